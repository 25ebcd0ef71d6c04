import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.admission import Refusal
from gateway.ending import GOING_AWAY, Ending, EndLimits
from gateway.front import Front, SocketLimits
from gateway.listener import Listener

LIMITS = EndLimits(calls_s=30, close_s=30)


class PaperCall:
    """A socket with a call: its peer answers a close frame, or does not."""

    def __init__(self, front: Front, *, polite: bool = True) -> None:
        self._front = front
        self._polite = polite
        self.heard: list[int | str] = []
        front.sockets.add(self)

    def hang_up(self) -> None:
        self._front.sockets.discard(self)

    def tend(self, now_s: float) -> None: ...

    def close(self, code: int, reason: str = "") -> None:
        self.heard.append(code)
        if self._polite:
            self.hang_up()

    def abort(self) -> None:
        self.heard.append("cut")
        self.hang_up()


class Scene:
    """A front process's sockets, and its end."""

    def __init__(self) -> None:
        self.front = Front(lambda request: Refusal(404, "nothing"), SocketLimits())
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.listener = Listener(self.socket, lambda _: asyncio.Protocol(), None, 5)
        self.listener.start()
        self.told = 0

    def tell(self) -> None:
        self.told += 1

    def ending(self, **limits: float) -> Ending:
        return Ending(self.front, self.listener, replace(LIMITS, **limits), self.tell)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    scene.listener.close()


async def over(ending: Ending) -> None:
    async with asyncio.timeout(10):
        await ending.calls_over()


async def test_nothing_ends_before_a_signal(scene: Scene) -> None:
    ending = scene.ending()
    waiting = asyncio.create_task(ending.calls_over())
    await asyncio.sleep(0)
    assert (False, False, False) == (waiting.done(), ending.has_begun, ending.refuses)
    ending.stop()
    await asyncio.wait_for(waiting, 10)


async def test_drain_refuses_what_was_accepted_and_waits_for_calls(scene: Scene) -> None:
    call, ending = PaperCall(scene.front), scene.ending()
    ending.stop()
    asyncio.get_running_loop().call_later(0.05, call.hang_up)
    await over(ending)
    assert (True, True, []) == (ending.refuses, ending.has_begun, call.heard)
    assert (-1, 1) == (scene.socket.fileno(), scene.told)


async def test_calls_are_closed_when_their_time_is_over(scene: Scene) -> None:
    call, ending = PaperCall(scene.front), scene.ending(calls_s=0.05)
    ending.stop()
    await over(ending)
    assert [GOING_AWAY] == call.heard


async def test_call_that_answers_no_close_is_cut_within_half_of_the_rest(scene: Scene) -> None:
    call, ending = PaperCall(scene.front, polite=False), scene.ending(calls_s=0, leave_s=0.2)
    ending.stop()
    await over(ending)
    assert [GOING_AWAY, "cut"] == call.heard
    assert not await ending.until(lambda: False, 30)


async def test_second_signal_closes_at_once_and_leaves_no_time(scene: Scene) -> None:
    call, ending = PaperCall(scene.front, polite=False), scene.ending()
    ending.stop()
    asyncio.get_running_loop().call_later(0.05, ending.stop)
    await over(ending)
    assert [GOING_AWAY, GOING_AWAY, "cut"] == call.heard
    assert not await ending.until(lambda: False, 30)


async def test_retired_process_lets_its_calls_end_and_those_on_their_way_in(scene: Scene) -> None:
    call, ending = PaperCall(scene.front), scene.ending(calls_s=0)
    waiting = asyncio.create_task(over(ending))
    ending.retire()
    assert (True, False, -1) == (ending.has_begun, ending.refuses, scene.socket.fileno())
    await asyncio.sleep(0.05)
    later = PaperCall(scene.front)  # it was accepted before
    call.hang_up()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    later.hang_up()
    await waiting
    assert ([], [], 1) == (call.heard, later.heard, scene.told)


async def test_retired_process_that_is_told_again_closes_what_is_left(scene: Scene) -> None:
    call, ending = PaperCall(scene.front), scene.ending()
    ending.retire()
    ending.retire()
    await over(ending)
    assert [GOING_AWAY] == call.heard


async def test_drain_of_a_retired_process_gives_its_calls_their_time(scene: Scene) -> None:
    call, ending = PaperCall(scene.front), scene.ending()
    ending.retire()
    ending.stop()
    asyncio.get_running_loop().call_later(0.05, call.hang_up)
    await over(ending)
    assert [] == call.heard


async def test_retired_process_waits_for_a_connection_that_has_no_protocol_yet(
    scene: Scene,
) -> None:
    ending = scene.ending()
    _, writer = await asyncio.open_connection(*scene.socket.getsockname())
    async with asyncio.timeout(10):
        while not scene.listener.accepted:  # noqa: ASYNC110  # a counter has no event
            await asyncio.sleep(0)
    ending.retire()
    await over(ending)
    assert not scene.listener.is_connecting
    writer.close()
    await writer.wait_closed()
