"""The bus over ZeroMQ: ROUTER in the gateway, DEALER in the workers. Nothing else imports zmq.

What ZeroMQ would lose in silence it reports here instead: an unknown peer (ROUTER_MANDATORY) and a
full queue (sends never block). High-water marks are far above the credit that a worker grants, so
that reaching one is a bug and not a way of life.
"""

import errno
import os
import select
import socket as sockets
from collections.abc import Callable

import zmq

from gateway.bus.base import Sent, Spoke
from gateway.wire.frame import BATCH_BYTES_MAX

#: Messages a queue holds; credit keeps a link below `BATCHES_IN_FLIGHT_MAX` of them.
HIGH_WATER_MARK = 2000
BATCHES_IN_FLIGHT_MAX = 1000
#: A connection on which something larger comes is cut. What workers say is short.
MESSAGE_BYTES_MAX = 256 * 1024
#: A frame is never parted, so a batch can be as large as one, and the largest that a configuration
#: allows comes of a message of 1 MiB.
BATCH_MESSAGE_BYTES_MAX = BATCH_BYTES_MAX + 2 * 1024 * 1024
LINGER_MS = 500


def _require_free(address: str) -> None:
    """ZeroMQ would take the path of another socket away from it without an error."""
    scheme, _, path = address.partition("://")
    if scheme != "ipc":
        return
    with sockets.socket(sockets.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            pass  # somebody is there, and busy
        except OSError:
            return  # nobody, or nobody any more; what else is wrong `bind` says better
        raise OSError(errno.EADDRINUSE, f"cannot bind {address}: another process listens there")


class ZmqHub:
    """A bound ROUTER."""

    def __init__(self, address: str) -> None:
        """Bind at `address` (`ipc://PATH`). Raises OSError when it cannot, or somebody else is."""
        _require_free(address)
        self._context = zmq.Context()
        socket = self._context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 3000)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        try:
            socket.bind(address)
        except zmq.ZMQError as fault:
            socket.close(linger=0)
            self._context.term()
            raise OSError(fault.errno, f"cannot bind {address}: {fault.strerror}") from fault
        self._socket = socket

    def fileno(self) -> int:
        return int(self._socket.getsockopt(zmq.FD))

    def send(self, peer: bytes, message: bytes) -> Sent:
        try:
            self._socket.send_multipart((peer, message), zmq.DONTWAIT, copy=len(message) < 65536)
        except zmq.Again:
            return Sent.FULL
        except zmq.ZMQError as fault:
            if fault.errno == zmq.EHOSTUNREACH:
                return Sent.UNREACHABLE
            raise
        return Sent.DONE

    def receive(self) -> tuple[bytes, bytes] | None:
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return None
            if len(parts) == 2:
                return parts[0], parts[1]

    def close(self) -> None:
        self._socket.close()
        self._context.term()


class ZmqSpoke:
    """A connected DEALER."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        address: str,
        forget: "Callable[[ZmqSpoke], None]",
    ) -> None:
        self._forget = forget
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.MAXMSGSIZE, BATCH_MESSAGE_BYTES_MAX)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._socket.connect(address)

    def fileno(self) -> int:
        return int(self._socket.getsockopt(zmq.FD))

    def is_readable(self) -> bool:
        """Whether a message waits now; the descriptor alone does not tell."""
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def send(self, message: bytes) -> bool:
        try:
            self._socket.send(message, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive(self) -> bytes | None:
        try:
            return self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None

    def close(self) -> None:
        self._forget(self)
        self._socket.close()


class ZmqSpokes:
    """Every spoke of a worker on one ZeroMQ context, and a pipe to wake the wait."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._spokes: list[ZmqSpoke] = []
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def connect(self, address: str) -> Spoke:
        spoke = ZmqSpoke(self._context, address, self._spokes.remove)
        self._spokes.append(spoke)
        return spoke

    def wait(self, timeout_s: float, *, messages: bool = True) -> None:
        heard = self._spokes if messages else []
        # A ZeroMQ descriptor is edge-triggered: what came before the poll shows in EVENTS only.
        if any(spoke.is_readable() for spoke in heard):
            return
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for spoke in heard:
            poll.register(spoke.fileno(), select.POLLIN)
        poll.poll(max(0.0, timeout_s) * 1000)
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            return

    def wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # the pipe is full of wakes already

    def close(self) -> None:
        for spoke in tuple(self._spokes):
            spoke.close()
        self._context.term()
        os.close(self._wake_read)
        os.close(self._wake_write)
