"""Drain and upgrade of real nodes under real calls: nothing is refused, closed or lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import acs_packets as acs
import pytest
from node import Node, acs_ingest, eventually, samples
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.timeout(120)

CONFIG = "[pools.record]\nprocesses = 2\n[recording]\ngather_s = 0.3\nredial_wait_s = 0.5\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@contextmanager
def running(data: Path, *arguments: str) -> Iterator[Node]:
    node = Node(data, *arguments, config=CONFIG)
    try:
        yield node
    finally:
        node.kill()


def dial(node: Node, call_id: str) -> ClientConnection:
    headers = {"x-ms-call-connection-id": call_id}
    return connect(node.url, additional_headers=headers, compression=None)


def talk(call: ClientConnection, packets: range) -> bytes:
    """Send packets of one participant, stamped in step; returns their PCM."""
    for number in packets:
        call.send(acs.audio("8:acs:a", acs.pcm(number), acs.stamp(20 * number)).decode())
    return b"".join(acs.pcm(number) for number in packets)


def rows(node: Node) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads((node.data / "run" / "processes.json").read_text())
    return listed


def pids(node: Node, generation: int) -> set[object]:
    """Of gateways and workers."""
    return {
        row["pid"] for row in rows(node) if row["generation"] == generation and row["role"] != "up"
    }


def upgrade(node: Node, *options: str) -> subprocess.CompletedProcess[str]:
    return acs_ingest("upgrade", "--data", node.data, *options)


class Callers:
    """Calls one after the other, each of ten packets, until told to stop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._is_over = threading.Event()
        self.calls = 0
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._is_over.wait(0.05):
                with dial(self._node, f"short-{self.calls}") as call:
                    talk(call, range(10))
                self.calls += 1
        except Exception as fault:
            self.fault = fault

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join(30)


@contextmanager
def load(node: Node, seconds: int) -> Iterator[Callers]:
    """Calls that last, played by `simulate`, and others that come and go; verified at the end."""
    line = [sys.executable, "-m", "gateway", "simulate", node.url, "--verify", str(node.data)]
    line += ["--calls", "8", "--participants", "2", "--seconds", str(seconds)]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as simulate:
        callers = Callers(node)
        try:
            yield callers
            callers.stop()
            said, _ = simulate.communicate(timeout=90)
        finally:
            callers.stop()
            simulate.kill()
    assert 0 == simulate.returncode, said
    assert callers.fault is None
    check_short_calls(node, callers.calls)


def check_short_calls(node: Node, calls: int) -> None:
    pcm = b"".join(acs.pcm(number) for number in range(10))
    for number in range(calls):
        manifest = node.finished(f"short-{number}")
        assert ("complete", 1) == (manifest["state"], len(manifest["sessions"]))
        assert pcm == samples(manifest, manifest["tracks"][0])


def test_two_upgrades_in_a_row_under_load_cost_no_call_and_no_sample(data):
    with running(data, "--gateways", "2") as node:
        before = pids(node, 1)
        with load(node, seconds=8) as callers:
            eventually(lambda: callers.calls > 2)
            first, second = upgrade(node), upgrade(node)
        eventually(lambda: not pids(node, 1) | pids(node, 2))
        after = pids(node, 3)
        exit_code = node.stop()
    assert (0, 0) == (first.returncode, second.returncode), first.stdout + second.stdout
    assert (5, 5) == (len(before), len(after))
    assert 0 == exit_code
    assert [] == list(data.glob("log/*/*"))


def test_call_that_outlives_an_upgrade_stays_with_its_gateway(data):
    with running(data) as node:
        [old] = node.processes("gateway")
        with dial(node, "call-1") as call:
            sent = talk(call, range(50))
            done = upgrade(node)
            sent += talk(call, range(50, 100))
            still_there = pids(node, 1)
        manifest = node.finished("call-1")
        eventually(lambda: not pids(node, 1))
    assert 0 == done.returncode
    assert f"gateway-0: process {old} takes no new calls" in done.stdout
    assert {old} == still_there
    assert ("complete", 1) == (manifest["state"], len(manifest["sessions"]))
    assert sent == samples(manifest, manifest["tracks"][0])


def test_upgrade_with_an_end_closes_the_calls_that_are_left_in_order(data):
    with running(data) as node:
        with dial(node, "call-1") as call:
            sent = talk(call, range(50))
            done = upgrade(node, "--drain-s", "0.2", "--wait")
            left = pids(node, 1)
        manifest = node.finished("call-1")
    assert (0, set()) == (done.returncode, left)
    assert ("complete", 1001) == (manifest["state"], manifest["sessions"][0]["close_code"])
    assert sent == samples(manifest, manifest["tracks"][0])


def test_broken_configuration_fails_the_upgrade_and_leaves_everything_running(data):
    with running(data) as node:
        before = pids(node, 1)
        with dial(node, "call-1") as call:
            sent = talk(call, range(50))
            data.with_name("data.toml").write_text("[gateway]\nflush_ms = -1\n")
            failed = upgrade(node)
            sent += talk(call, range(50, 100))
        with dial(node, "call-2") as call:
            talk(call, range(10))
        manifests = [node.finished(call_id) for call_id in ("call-1", "call-2")]
        after = pids(node, 1)
    assert 78 == failed.returncode
    assert "[gateway] flush_ms: Expected int >= 1" in failed.stdout
    assert before == after
    assert ["complete", "complete"] == [manifest["state"] for manifest in manifests]
    assert sent == samples(manifests[0], manifests[0]["tracks"][0])


def test_kill_9_of_up_in_the_middle_of_an_upgrade_loses_nothing_that_was_received(data):
    with running(data, "--drain-s", "4") as node, dial(node, "call-1") as call:
        sent = talk(call, range(100))
        line = [sys.executable, "-m", "gateway", "upgrade", "--data", str(data)]
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as asked:
            children = eventually(lambda: pids(node, 2) and pids(node, 1) | pids(node, 2))
            os.kill(node.process.pid, signal.SIGKILL)
            _, said = asked.communicate(timeout=30)
        node.process.wait(10)
        sent += talk(call, range(100, 110))
        eventually(lambda: not any(is_alive(pid) for pid in children))
    with running(data) as again:
        manifest = again.finished("call-1")
        exit_code = again.stop()
    assert 69 == asked.returncode
    assert b"has ended before the upgrade" in said
    assert sent == samples(manifest, manifest["tracks"][0])
    assert ("complete", 0) == (manifest["state"], exit_code)


def is_alive(pid: object) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def test_without_a_node_there_is_nothing_to_upgrade(data):
    done = acs_ingest("upgrade", "--data", data)
    assert (69, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "no `acs-ingest up` answers" in done.stderr


@pytest.mark.parametrize("drain_s", ["3", "4", pytest.param("30", marks=pytest.mark.long)])
def test_drain_with_a_peer_that_never_answers_ends_in_time_and_kills_nobody(data, drain_s):
    with running(data, "--gateways", "2", "--drain-s", drain_s) as node:
        host, port = node.url.removeprefix("ws://").removesuffix("/media").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as deaf:
            deaf.sendall(
                b"GET /media HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert deaf.recv(12) == b"HTTP/1.1 101"
            with dial(node, "call-1") as call:
                sent = talk(call, range(50))
                exit_code = node.stop(float(drain_s) + 1)
        log = node.log()
        manifest = node.manifest("call-1")
    assert 0 == exit_code
    assert "killed" not in log
    assert manifest is not None
    assert sent == samples(manifest, manifest["tracks"][0])


@pytest.mark.long
@pytest.mark.timeout(400)
def test_ten_upgrades_in_a_row_under_load_cost_no_call_and_no_sample(data):
    with running(data, "--gateways", "2") as node:
        with load(node, seconds=90) as callers:
            eventually(lambda: callers.calls > 2)
            codes = []
            for _ in range(10):
                codes.append(upgrade(node).returncode)
                time.sleep(1)
        eventually(lambda: len(pids(node, 11)) == len(rows(node)) - 1)
    assert [0] * 10 == codes
