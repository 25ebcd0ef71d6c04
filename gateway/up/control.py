"""How a running `up` is told to upgrade: a Unix socket in a folder that only its owner reaches.

One JSON object a line: a request, then what is being done, at last an exit code.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from gateway.bus.rendezvous import bus_folder, leave_bus_folder
from gateway.errors import EX_USAGE, Unavailable
from gateway.wire.layout import Layout

_NAME = "up.sock"

logger = logging.getLogger(__name__)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Replace every process. `drain_s` None: old gateways let their calls end."""

    drain_s: float | None = None
    #: Answer when the last old process has left.
    wait: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of what is being done, or the exit code, which is the last thing said."""

    text: str = ""
    code: int | None = None


Say = Callable[[str], None]
Perform = Callable[[Request, Say], Awaitable[int]]


class Control:
    """The socket of a running `up`."""

    def __init__(self, layout: Layout, perform: Perform) -> None:
        self._layout = layout
        self._perform = perform
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._busy: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._path = bus_folder(self._layout, create=True) / _NAME
        self._server = await asyncio.start_unix_server(self._connected, self._path)

    async def close(self) -> None:
        """Listen no more; whoever is connected sees the end of the line."""
        if self._server is not None:
            self._server.close()
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            leave_bus_folder(self._layout)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # nobody listens any more, or we leave
        except Exception:
            logger.exception("an upgrade has failed by a fault of ours")
        finally:
            self._busy.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(answer: Answer) -> None:
            # What was begun is done, also where nobody wants to hear of it any more.
            if not writer.is_closing():
                writer.write(msgspec.json.encode(answer) + b"\n")

        try:
            request = msgspec.json.decode(await reader.readline(), type=Request)
        except msgspec.DecodeError as fault:
            say(Answer(text=f"the request cannot be read: {fault}", code=EX_USAGE))
        else:
            code = await self._perform(request, lambda text: say(Answer(text=text)))
            say(Answer(code=code))
        await writer.drain()


def ask(layout: Layout, request: Request, say: Say) -> int:
    """Have the `up` that runs on a data folder do it; returns the exit code. Raises `Unavailable`.

    `say` is given every line of what is being done.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(bus_folder(layout) / _NAME))
            connection.sendall(msgspec.json.encode(request) + b"\n")
        except OSError as fault:
            raise Unavailable(
                f"no `acs-ingest up` answers on the data folder {layout.data}; start one, or say "
                "with --data which folder it uses"
            ) from fault
        with connection.makefile("rb") as lines:
            for line in lines:
                answer = msgspec.json.decode(line, type=Answer)
                if answer.text:
                    say(answer.text)
                if answer.code is not None:
                    return answer.code
    raise Unavailable(
        "`acs-ingest up` has ended before the upgrade; what was recorded is completed by the next"
    )
