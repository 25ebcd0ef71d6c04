"""Several real gateways on one socket share calls evenly, and refuse where all are full."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from node import Node, eventually
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gateway.placement import ROW

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


def snapshots(node: Node) -> list[dict[str, Any]]:
    """What each gateway that lives has published last."""
    found = []
    for path in (node.data / "run" / "metrics").glob("gateway-*.json"):
        with suppress(FileNotFoundError):  # of one that died, just taken away
            found.append(json.loads(path.read_text()))
    pids = node.processes("gateway")
    return [snapshot for snapshot in found if snapshot["pid"] in pids]


def figure(snapshot: dict[str, Any], name: str, **labels: str) -> int:
    [value] = [
        each["value"]
        for each in snapshot["series"]
        if each["name"] == name and labels.items() <= each["labels"].items()
    ]
    return int(value)


def shares(node: Node) -> dict[int, int]:
    """Calls of each gateway that lives, by pid."""
    return {snapshot["pid"]: figure(snapshot, "sessions") for snapshot in snapshots(node)}


def told(node: Node) -> list[int]:
    """How many calls the gateways tell each other that they have, as of now."""
    rows = np.frombuffer((node.data / "run" / "placement").read_bytes(), ROW)
    return sorted(rows["calls"][rows["beat_us"] != 0].tolist())


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


def test_calls_in_the_place_of_those_that_ended_make_it_even_again(callers):
    for _ in range(CALLS):
        callers.dial()
    for call in random.Random(7).sample(callers.calls, CALLS // 2):
        call.close()
    eventually(lambda: sum(told(callers.node)) == CALLS // 2)
    for _ in range(CALLS // 2):
        callers.dial()

    eventually(lambda: sum(shares(callers.node).values()) == CALLS)

    assert all(23 <= each <= 27 for each in shares(callers.node).values())


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


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callers]:
    """Two gateways for three calls each."""
    config = "[recording]\ngather_s = 0.3\nredial_wait_s = 0.5\n[gateway]\nsessions_max = 3\n"
    node = Node(tmp_path / "data", "--gateways", "2", config=config)
    callers = Callers(node)
    yield callers
    node.kill()
    callers.close()


def test_no_call_is_refused_while_one_process_has_room(small):
    for _ in range(6):
        small.dial()
    for number in range(30):
        small.calls[number].close()
        eventually(lambda: [2, 3] == told(small.node))
        small.dial()

    assert [3, 3] == told(small.node)


def test_a_node_is_ready_until_its_last_process_is_full_and_says_why_it_is_not(small):
    for _ in range(5):
        small.dial()
    published = eventually(
        lambda: (
            (found := snapshots(small.node))
            and [False, True] == sorted(figure(each, "accepting") == 1 for each in found)
            and found
        )
    )
    assert [True, True] == [snapshot["ready"] for snapshot in published]

    small.dial()
    published = eventually(
        lambda: (
            (found := snapshots(small.node))
            and not any(snapshot["ready"] for snapshot in found)
            and found
        )
    )
    reason = "takes no new calls: 3 calls are as many as `sessions_max` allows"
    assert [reason, reason] == [snapshot["reason"] for snapshot in published]


LITTLE = 'ulimit -n 300 && exec "$0" "$@"'


def test_connections_that_say_nothing_leave_descriptors_and_once_gone_room(tmp_path):
    config = tmp_path / "patient.toml"
    config.write_text("[gateway]\nhandshake_s = 60\n")
    ready, said = os.pipe()
    with ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=400))
        line = ["sh", "-c", LITTLE, sys.executable, "-m", "gateway", "gateway"]
        line += ["--data", str(tmp_path), "--config", str(config)]
        line += ["--listen", f"fd:{listening.fileno()}", "--ready-fd", str(said)]
        process = subprocess.Popen(
            line, pass_fds=[listening.fileno(), said], stderr=subprocess.PIPE, text=True
        )
        opened.callback(process.communicate)
        opened.callback(process.kill)
        os.close(said)
        assert b"READY\n" == opened.enter_context(os.fdopen(ready, "rb")).readline()
        address = listening.getsockname()

        def reason() -> str:
            [path] = (tmp_path / "run" / "metrics").glob("gateway-*.json")
            return str(json.loads(path.read_text())["reason"])

        with ExitStack() as idle:
            for _ in range(300):
                idle.enter_context(socket.create_connection(address))
            eventually(lambda: "236 connections are all that file descriptors allow" in reason())
        eventually(lambda: not reason())
        with connect(f"ws://127.0.0.1:{address[1]}/media", compression=None):
            pass
        process.terminate()
        _, log = process.communicate(timeout=30)

    assert "Too many open files" not in log
