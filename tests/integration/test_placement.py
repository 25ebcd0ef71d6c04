"""Several real gateways on one socket share calls evenly, and refuse where all are full."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from node import Node, eventually
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

CALLS = 100
GATEWAYS = 4

pytestmark = pytest.mark.timeout(120)


class Callers:
    """Calls that are dialled and say nothing."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.calls: list[ClientConnection] = []
        self._open = ExitStack()

    def dial(self, call_id: str = "") -> ClientConnection:
        headers = {"x-ms-call-connection-id": call_id} if call_id else None
        call = connect(
            self.node.url, additional_headers=headers, compression=None, close_timeout=0.2
        )
        self._open.enter_context(call)
        self.calls.append(call)
        return call

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def callers(tmp_path: Path) -> Iterator[Callers]:
    node = Node(
        tmp_path / "data",
        "--gateways",
        str(GATEWAYS),
        config="[recording]\ngather_s = 0.3\nredial_wait_s = 0.5\n[gateway]\nsessions_max = 40\n",
    )
    callers = Callers(node)
    yield callers
    node.kill()
    callers.close()


def shares(node: Node) -> dict[int, int]:
    """Calls of each gateway that lives, by pid, as published last."""
    found = {}
    pids = node.processes("gateway")
    for path in (node.data / "run" / "metrics").glob("gateway-*.json"):
        snapshot = json.loads(path.read_text())
        if snapshot["pid"] in pids:
            calls = (each for each in snapshot["series"] if each["name"] == "sessions")
            found[snapshot["pid"]] = int(next(calls)["value"])
    return found


def test_a_hundred_calls_are_shared_evenly(callers):
    for _ in range(CALLS):
        callers.dial()

    eventually(lambda: sum(shares(callers.node).values()) == CALLS)

    even = CALLS / GATEWAYS
    assert all(0.9 * even <= each <= 1.1 * even for each in shares(callers.node).values())


def test_calls_that_come_and_go_are_shared_evenly(callers):
    for number in range(CALLS):
        call = callers.dial()
        if number % 3 == 0:
            call.close()
    left = CALLS - len(range(0, CALLS, 3))

    eventually(lambda: sum(shares(callers.node).values()) == left)

    assert max(shares(callers.node).values()) - min(shares(callers.node).values()) <= 4


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_no_call_is_refused_because_another_process_hangs_or_is_dead(callers, number):
    for _ in range(8):
        callers.dial()
    eventually(lambda: sum(shares(callers.node).values()) == 8)
    victim, left = next(iter(shares(callers.node).items()))

    os.kill(victim, number)
    for _ in range(30):
        callers.dial()

    def elsewhere() -> int:
        return sum(calls for pid, calls in shares(callers.node).items() if pid != victim)

    eventually(lambda: elsewhere() == 8 - left + 30)
    if number == signal.SIGSTOP:
        os.kill(victim, signal.SIGCONT)


def test_calls_are_refused_where_every_process_is_full_and_taken_when_one_has_room(callers):
    for _ in range(GATEWAYS * 40):
        callers.dial()
    with pytest.raises(InvalidStatus) as refused:
        callers.dial("too-many")

    assert 503 == refused.value.response.status_code
    assert "5" == refused.value.response.headers["Retry-After"]
    eventually(lambda: "call too-many was refused" in callers.node.log())

    callers.calls[0].close()
    eventually(lambda: sum(shares(callers.node).values()) == GATEWAYS * 40 - 1)
    callers.dial("at-last")
