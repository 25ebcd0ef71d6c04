import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.bus.rendezvous import bus_folder
from gateway.errors import Unavailable
from gateway.up.control import Control, Request, Say, ask
from gateway.wire.layout import Layout


@pytest.fixture(params=["data", "d" * 90])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    """Also one whose path is too long for the name of a socket."""
    return Layout(tmp_path / request.param)


class Served:
    """A control socket, and what was asked of it."""

    def __init__(self, layout: Layout) -> None:
        self.asked: list[Request] = []
        self.may_end = asyncio.Event()
        self.has_ended = asyncio.Event()
        self.control = Control(layout, self.perform)

    async def perform(self, request: Request, say: Say) -> int:
        self.asked.append(request)
        say("a step")
        await self.may_end.wait()
        say("another")
        self.has_ended.set()
        return 70


@pytest.fixture
async def served(layout: Layout) -> AsyncIterator[Served]:
    served = Served(layout)
    await served.control.start()
    yield served
    await served.control.close()


async def test_every_step_is_heard_and_then_the_exit_code(served: Served, layout: Layout) -> None:
    lines: list[str] = []
    served.may_end.set()
    code = await asyncio.to_thread(ask, layout, Request(drain_s=3, wait=True), lines.append)
    assert (70, ["a step", "another"]) == (code, lines)
    assert [Request(drain_s=3, wait=True)] == served.asked


async def test_what_was_begun_is_done_when_nobody_listens_any_more(
    served: Served, layout: Layout
) -> None:
    path = bus_folder(layout) / "up.sock"
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"{}\n")
    await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()
    served.may_end.set()
    await asyncio.wait_for(served.has_ended.wait(), 10)


async def test_request_that_cannot_be_read_is_answered(served: Served, layout: Layout) -> None:
    reader, writer = await asyncio.open_unix_connection(bus_folder(layout) / "up.sock")
    writer.write(b"upgrade!\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert b'"code":2' in answer
    assert [] == served.asked


async def test_end_of_the_node_is_told(served: Served, layout: Layout) -> None:
    lines: list[str] = []
    asked = asyncio.create_task(asyncio.to_thread(ask, layout, Request(), lines.append))
    async with asyncio.timeout(10):
        while not lines:  # noqa: ASYNC110  # a thread's list has no event
            await asyncio.sleep(0.01)
    await served.control.close()
    with pytest.raises(Unavailable, match="has ended before the upgrade"):
        await asyncio.wait_for(asked, 10)


def test_nobody_there_is_told_with_the_folder(layout: Layout) -> None:
    with pytest.raises(Unavailable, match=f"no `acs-ingest up` answers .*{layout.data.name}"):
        ask(layout, Request(), print)


def test_socket_that_a_killed_node_has_left_is_nobody(layout: Layout) -> None:
    path = bus_folder(layout, create=True) / "up.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(Unavailable, match="no `acs-ingest up` answers"):
        ask(layout, Request(), print)
