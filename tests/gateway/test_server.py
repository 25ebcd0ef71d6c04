"""One front process, run for real: what it says, what it leaves, how it ends."""

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
from node import acs_ingest, eventually
from websockets.sync.client import ClientConnection, connect

from gateway.bus.rendezvous import live_endpoints
from gateway.bus.zmq import ZmqSpokes
from gateway.clock import Clock
from gateway.wire import messages
from gateway.wire.counters import Snapshot, collect
from gateway.wire.layout import Layout


class Front:
    """`acs-ingest gateway` on a socket of the test's."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.layout = Layout(data)
        self.listener = socket.create_server(("127.0.0.1", 0))
        ready_read, ready_write = os.pipe()
        fds = (self.listener.fileno(), ready_write)
        line = [sys.executable, "-m", "gateway", "gateway", "--data", str(data)]
        line += ["--listen", f"fd:{fds[0]}", "--ready-fd", str(ready_write), *arguments]
        self.process = subprocess.Popen(
            line, pass_fds=fds, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        os.close(ready_write)
        with os.fdopen(ready_read) as ready:
            self.said = ready.read()
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}/media"

    def figures(self) -> dict[str, float]:
        """What it publishes, summed over labels."""
        figures: dict[str, float] = {}
        for series in self.snapshot().series:
            figures[series.name] = figures.get(series.name, 0) + series.value
        return figures

    def snapshot(self) -> Snapshot:
        [snapshot] = collect(self.layout.metrics)
        return snapshot

    def stop(self) -> tuple[int, str]:
        """SIGTERM; exit code and what it has logged."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=20)
        return self.process.returncode, log

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=10)
        self.listener.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def front(data: Path) -> Iterator[Front]:
    front = Front(data)
    yield front
    front.kill()


def live_only(tmp_path: Path) -> Path:
    """A configuration in which nobody needs every frame."""
    config = tmp_path / "live.toml"
    config.write_text('[pools.record]\ndelivery = "newest"\n')
    return config


def test_the_clock_never_goes_back_and_is_unix_time():
    clock = Clock()
    ticks = [clock() for _ in range(1000)]

    assert sorted(ticks) == ticks
    assert abs(ticks[0] - time.time() * 1e6) < 10e6


def test_it_says_that_it_is_ready_and_what_it_counts(front):
    with connect(front.url, compression=None) as call:
        call.send(acs.audio("a", acs.pcm(1), acs.stamp(0)).decode())
        figures = eventually(lambda: (f := front.figures())["messages"] == 1 and f)

    assert "READY\n" == front.said
    assert (1, 1, 0) == (figures["sessions"], figures["upgrades"], figures["workers"])
    assert front.snapshot().ready


def test_it_leaves_its_log_where_nobody_has_made_it_safe_and_the_next_one_adopts_it(front, data):
    with connect(front.url, compression=None) as call:
        call.send(acs.audio("a", acs.pcm(1), acs.stamp(0)).decode())
    code, log = front.stop()
    left = list(data.glob("log/*/*"))
    heir = Front(data)
    adopted = eventually(lambda: heir.figures()["adopted_logs"])
    _, heirs_log = heir.stop()
    heir.kill()

    assert (0, 1) == (code, len(left))
    assert "the next process delivers the log" in log
    assert 1 == adopted
    assert "adopted the log of a dead process" in heirs_log


def test_a_gateway_without_replay_pools_keeps_no_log(data, tmp_path):
    front = Front(data, "--config", str(live_only(tmp_path)))
    with connect(front.url, compression=None) as call:
        call.send(acs.audio("a", acs.pcm(1), acs.stamp(0)).decode())
    code, _ = front.stop()
    front.kill()

    assert 0 == code
    assert not (data / "log").exists()


@contextmanager
def flood(front: Front) -> Iterator[list[int]]:
    """A call on which far more packets come than on any real one; yields how many, when it is over.

    They are short: on a socket with much traffic nothing may gather.
    """
    sent: list[int] = []
    is_over = threading.Event()

    def talk(call: ClientConnection) -> None:
        number = 0
        while not is_over.wait(0.002):
            for _ in range(20):
                call.send(acs.audio("a", acs.pcm(number, 2), acs.stamp(20 * number)).decode())
                number += 1
        sent.append(number)

    with connect(front.url, compression=None) as call:
        talker = threading.Thread(target=talk, args=(call,))
        talker.start()
        try:
            yield sent
        finally:
            is_over.set()
            talker.join(20)


def test_under_load_packets_gather_and_every_one_is_read(front):
    with flood(front) as sent:
        eventually(lambda: front.figures()["coalesced_reads"] > 0)
    figures = eventually(lambda: (f := front.figures())["messages"] == sent[0] and f)

    assert figures["coalesce_seconds"] > 0
    assert figures["sweeps"] > 0
    assert figures["coalesced_reads_empty"] <= figures["coalesced_reads"]


def test_switched_off_every_packet_is_read_as_it_comes(data, tmp_path):
    config = tmp_path / "off.toml"
    config.write_text("[gateway]\ncoalesce_ms_max = 0\n")
    front = Front(data, "--config", str(config))
    with flood(front):
        eventually(lambda: front.figures()["messages"] > 6000)
        figures = front.figures()
    front.kill()

    assert 0 == figures["coalesce_seconds"] == figures["coalesced_reads"]


def test_a_worker_that_cannot_wait_has_packets_read_as_they_come(front):
    spokes = ZmqSpokes()
    [address] = live_endpoints(front.layout).values()
    spoke = spokes.connect(address)
    hello = messages.Hello(
        pool="live", name="live-0", boot_id="boot-w", link=1, latency_ms=20, delivery="newest"
    )

    def figures_after(messages_more: int) -> dict[str, float]:
        """What is published when so many more packets have come; the worker is alive meanwhile."""
        limit = front.figures()["messages"] + messages_more

        def look() -> dict[str, float] | None:
            spoke.send(messages.pack(messages.Heartbeat(link=1)))
            figures = front.figures()
            return figures if figures["messages"] >= limit and figures["workers"] == 1 else None

        return eventually(look)

    try:
        with flood(front):
            eventually(lambda: front.figures()["coalesced_reads"] > 0)
            spoke.send(messages.pack(hello))
            before, after = figures_after(1000), figures_after(3000)
    finally:
        spoke.close()
        spokes.close()

    assert 0 == before["coalesced_sockets"] == after["coalesced_sockets"]
    assert before["coalesced_reads"] == after["coalesced_reads"]
    assert after["coalesce_seconds"] > 0


def test_sighup_without_tls_changes_nothing(front):
    front.process.send_signal(signal.SIGHUP)
    with connect(front.url, compression=None) as call:
        call.send(acs.audio("a", acs.pcm(1), acs.stamp(0)).decode())

    assert front.process.poll() is None


@pytest.mark.parametrize("listen", ["fd:99", "fd:x"])
def test_a_descriptor_that_is_no_socket_is_said_in_one_line(data, listen):
    run = acs_ingest("gateway", "--listen", listen, "--data", data)

    assert 69 == run.returncode
    assert 1 == len(run.stderr.splitlines())


def test_an_address_beyond_loopback_needs_a_word(data):
    run = acs_ingest("gateway", "--listen", "0.0.0.0:0", "--data", data)

    assert 78 == run.returncode
    assert "--insecure" in run.stderr


def test_a_data_folder_that_cannot_be_made_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    run = acs_ingest("gateway", "--listen", "127.0.0.1:0", "--data", tmp_path / "file" / "data")

    assert 69 == run.returncode
    assert "--data" in run.stderr
    assert "Traceback" not in run.stderr
