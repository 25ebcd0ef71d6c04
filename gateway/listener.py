"""Accepting connections on a socket that several processes share, and TLS in the process.

Each process accepts for itself, one connection a wake-up: libuv's own server would empty the whole
backlog into whichever process wakes first.
"""

import asyncio
import logging
import select
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gateway.capacity import UNLIMITED, Slot

logger = logging.getLogger(__name__)

#: How long nothing is accepted when accepting fails: descriptors have run out.
PAUSE_S = 0.1


class TlsContext:
    """A certificate with its key, read again when asked to."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `ValueError` with what is wrong with the files."""
        self._certificate = certificate
        self._key = key
        self.current = self._read()

    def reload(self) -> None:
        """Read both files again; new connections use them. Raises ValueError, and keeps the old."""
        self.current = self._read()

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
        except (OSError, ValueError) as fault:  # ssl.SSLError is an OSError
            reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else fault
            raise ValueError(
                f"certificate {self._certificate} and key {self._key} cannot be used: {reason}"
            ) from fault
        return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


class Door(Protocol):
    """Who decides on connections before anything is known of them."""

    def wait_s(self) -> float:
        """Seconds in which nothing is to be accepted; 0: accept one."""

    def take(self) -> Slot:
        """One was accepted: what it has."""

    def missed(self) -> None:
        """There is none to accept, or no longer."""

    def failed(self) -> None:
        """One cannot be accepted for now."""


class OpenDoor:
    """Takes everybody."""

    def wait_s(self) -> float:
        """Never waits."""
        return 0.0

    def take(self) -> Slot:
        """Always one."""
        return UNLIMITED

    def missed(self) -> None:
        """Nothing to remember."""

    def failed(self) -> None:
        """Nothing to remember."""


class Listener:
    """Hands every connection of a listening socket to a protocol of its own."""

    def __init__(
        self,
        listener: socket.socket,
        factory: Callable[[Slot], asyncio.Protocol],
        tls: TlsContext | None,
        handshake_s: float,
        door: Door | None = None,
    ) -> None:
        """`listener` does not block. `handshake_s`: limit of the TLS handshake.

        The protocol has to release its slot; without a door every connection has one.
        """
        self.accepted = 0
        #: Gone before they could be accepted, or failed in the TLS handshake.
        self.failed = 0
        self.pauses = 0
        self._listener = listener
        self._factory = factory
        self._tls = tls
        self._handshake_s = handshake_s
        self._door = door or OpenDoor()
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._is_open = False
        #: The last try to accept failed, and was logged.
        self._is_short = False

    @property
    def is_connecting(self) -> bool:
        """Whether a connection was accepted and has no protocol yet."""
        return bool(self._connecting)

    def start(self) -> None:
        """Begin to accept."""
        self._is_open = True
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; the socket itself may be another process's, too."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _accept(self) -> None:
        """Accept one; whatever is wrong with the listening socket is tried again later."""
        if wait_s := self._door.wait_s():
            self._pause(wait_s)
            return
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError):
            self._door.missed()  # another process was faster
            return
        except ConnectionAbortedError:
            self.failed += 1
            return
        except OSError as fault:
            # Mostly: descriptors have run out. The socket stays readable; only a pause helps.
            if not self._is_short:
                logger.error("connections cannot be accepted, trying again: %s", fault.strerror)
            self._is_short = True
            self.pauses += 1
            self._door.failed()
            self._pause(PAUSE_S)
            return
        self._is_short = False
        self.accepted += 1
        task = self._loop.create_task(self._connect(connection, self._door.take()))
        self._connecting.add(task)
        task.add_done_callback(self._connected)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if not self._is_open:
            return
        if not self._is_dialled():
            self._door.missed()
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _is_dialled(self) -> bool:
        """Whether a connection waits, as one did before the pause."""
        waiting = select.poll()
        waiting.register(self._listener.fileno(), select.POLLIN)
        return bool(waiting.poll(0))

    async def _connect(self, connection: socket.socket, slot: Slot) -> None:
        try:
            connection.setblocking(False)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                lambda: self._factory(slot),
                connection,
                ssl=self._tls.current if self._tls else None,
                ssl_handshake_timeout=self._handshake_s if self._tls else None,
            )
        except BaseException:
            slot.release()
            connection.close()
            raise

    def _connected(self, task: "asyncio.Task[None]") -> None:
        """A peer that broke off, spoke no TLS or took too long is counted; the rest is our bug."""
        self._connecting.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is None:
            return
        self.failed += 1
        if not isinstance(fault, OSError):
            logger.error("a connection could not be taken over", exc_info=fault)
