"""Disks that are full, read-only, slow or failing, under real processes."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import acs_packets as acs
import pytest
from disks import BadSyncs, SmallDisk
from node import Node, eventually, fetch, samples
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.timeout(120)

QUICK = "[recording]\ngather_s = 0.2\nredial_wait_s = 0.5\n[log]\nsegment_s = 0.5\n"
NOBODY = "[pools.record]\nprocesses = 0\n"
TROUBLES: dict[str, Callable[[SmallDisk], None]] = {
    "no_bytes": SmallDisk.fill,
    "no_inodes": SmallDisk.fill_inodes,
    "read_only": SmallDisk.make_read_only,
}


#: All of them in a long run.
each_trouble = pytest.mark.parametrize(
    "trouble",
    [
        "no_bytes",
        *(pytest.param(each, marks=pytest.mark.long) for each in ("no_inodes", "read_only")),
    ],
)


class Watched(Node):
    """A node with an admin address."""

    def __init__(self, data: Path, *arguments: str, **options: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.admin = f"127.0.0.1:{free.getsockname()[1]}"
        super().__init__(data, *arguments, "--admin", self.admin, **options)

    def readiness(self) -> str:
        """What `/readyz` complains of; empty if of nothing."""
        status, body = fetch(f"http://{self.admin}/readyz")
        return "" if status == 200 else body

    def figure(self, name: str) -> float:
        """A metric, summed over its labels."""
        lines = fetch(f"http://{self.admin}/metrics")[1].splitlines()
        found = [line for line in lines if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def log_disk(data: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(data / "log", "16m")
    yield disk
    disk.close()


@pytest.fixture
def recordings_disk(data: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(data / "recordings", "64m")
    yield disk
    disk.close()


@contextmanager
def running(data: Path, config: str, **options: Any) -> Iterator[Watched]:
    node = Watched(data, config=config, **options)
    try:
        yield node
    finally:
        node.kill()


@contextmanager
def worker(data: Path, pool: str) -> Iterator[None]:
    """A worker that `up` knows nothing of."""
    config = data.with_name(f"{data.name}.toml")
    line = [sys.executable, "-m", "gateway", "worker", "--pool", pool]
    line += ["--data", str(data), "--config", str(config)]
    with data.with_name("worker.log").open("ab") as log:
        process = subprocess.Popen(line, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def dial(node: Node, call_id: str = "call-1") -> ClientConnection:
    headers = {"x-ms-call-connection-id": call_id}
    return connect(node.url, additional_headers=headers, compression=None)


def talk(call: ClientConnection, packets: range, gap_s: float = 0.0) -> bytes:
    for number in packets:
        call.send(acs.audio("8:acs:a", acs.pcm(number), acs.stamp(20 * number)).decode())
        time.sleep(gap_s)
    return b"".join(acs.pcm(number) for number in packets)


@each_trouble
def test_a_log_that_cannot_be_written_waits_in_memory_and_is_written_when_it_can(
    data, log_disk, trouble
):
    with running(data, QUICK + NOBODY) as node:
        with dial(node) as call:
            sent = talk(call, range(50))
            TROUBLES[trouble](log_disk)
            sent += talk(call, range(50, 250), gap_s=0.005)
            complaint = eventually(node.readiness)
            eventually(lambda: node.figure("acs_ingest_log_pending_bytes") > 100 * 640)
            log_disk.mend()
            eventually(lambda: not node.readiness())
            sent += talk(call, range(250, 300))
        eventually(lambda: node.figure("acs_ingest_log_pending_bytes") == 0)
        with worker(data, "record"):
            manifest = node.finished("call-1")
    [track] = manifest["tracks"]

    assert "the log cannot be written" in complaint
    assert sent == samples(manifest, track)
    assert ("complete", []) == (manifest["state"], track["gaps"])


@each_trouble
def test_recordings_that_cannot_be_written_wait_and_are_written_when_they_can(
    data, recordings_disk, trouble
):
    with running(data, QUICK) as node:
        with dial(node) as call:
            sent = talk(call, range(50))
            eventually(lambda: node.manifest("call-1"))
            TROUBLES[trouble](recordings_disk)
            sent += talk(call, range(50, 250), gap_s=0.005)
            with dial(node, "call-2") as other:
                others = talk(other, range(100))
            complaint = eventually(node.readiness)
            recordings_disk.mend()
            sent += talk(call, range(250, 300))
        manifests = [node.finished("call-1"), node.finished("call-2")]
        ready = eventually(lambda: not node.readiness())
        restarts = node.figure("acs_ingest_restarts_total")
        lost = node.figure("acs_ingest_links_lost_total")

    assert "recordings cannot be written (E" in complaint
    assert ["complete"] * 2 == [manifest["state"] for manifest in manifests]
    assert [sent, others] == [samples(each, each["tracks"][0]) for each in manifests]
    assert (True, 0, 0) == (ready, restarts, lost)


def test_a_data_folder_on_one_disk_that_is_full_says_so_and_goes_on_by_itself(data):
    disk = SmallDisk(data, "64m")
    try:
        with running(data, QUICK) as node:
            with dial(node) as call:
                sent = talk(call, range(50))
                eventually(lambda: node.manifest("call-1"))
                disk.fill()
                sent += talk(call, range(50, 250), gap_s=0.005)
                complaint = eventually(
                    lambda: (
                        all(
                            part in (said := node.readiness())
                            for part in (
                                "the log cannot be written",
                                "recordings cannot be written",
                            )
                        )
                        and said
                    )
                )
                waiting = eventually(lambda: node.figure("acs_ingest_log_pending_bytes"))
                disk.mend()
                sent += talk(call, range(250, 300))
            manifest = node.finished("call-1")
            recorded = samples(manifest, manifest["tracks"][0])
            eventually(lambda: not node.readiness())
            node.stop()
    finally:
        disk.close()

    assert "No space left on device" in complaint
    assert waiting > 0
    assert ("complete", sent) == (manifest["state"], recorded)


def test_what_a_full_log_has_no_room_for_is_counted_and_declared(data):
    limits = "bytes_max = 1048576\nretain_bytes_max = 1048576\nreserve_bytes = 0\n"
    with running(data, QUICK + limits + NOBODY) as node, dial(node) as call:
        sent = talk(call, range(3500), gap_s=0.0004)
        full = eventually(lambda: "audio is dropped" in (said := node.readiness()) and said)
        with pytest.raises(InvalidStatus) as refused:
            dial(node, "call-2").close()
        dropped = node.figure("acs_ingest_log_dropped_frames_total")
        with worker(data, "record"):
            eventually(lambda: not node.readiness())
            sent += talk(call, range(3500, 3600))
            call.close()
            manifest = node.finished("call-1")
    [track] = manifest["tracks"]
    [gap] = track["gaps"]
    begin, length = (gap[name] * 16 // 1000 * 2 for name in ("start_us", "length_us"))
    recorded = samples(manifest, track)

    assert "full" in full
    assert (503, "5") == (
        refused.value.response.status_code,
        refused.value.response.headers["Retry-After"],
    )
    assert ("incomplete", "dropped") == (manifest["state"], gap["cause"])
    assert sent[:begin] + bytes(length) + sent[begin + length :] == recorded
    assert dropped <= track["packets"]["dropped"] == length // 640
    assert (3600, 0) == (track["packets"]["received"], track["packets"]["lost"])


def test_a_full_first_folder_is_left_for_the_next_and_both_are_adopted(data, log_disk, tmp_path):
    other = tmp_path / "other"
    config = f"{QUICK}dirs = ['{other}']\n{NOBODY}"
    with running(data, config) as node, dial(node) as call:
        sent = talk(call, range(50))
        eventually(lambda: list(data.glob("log/*/*/*.seg")))
        log_disk.fill()
        sent += talk(call, range(50, 150), gap_s=0.005)
        eventually(lambda: list(other.glob("*/*/*.seg")))
        ready = node.readiness()
        eventually(lambda: node.figure("acs_ingest_messages_total") == 150)
        time.sleep(0.1)  # a tick: what is killed sooner may be lost
        node.kill_everything()
    log_disk.mend()
    with running(data, QUICK + f"dirs = ['{other}']\n") as node:
        manifest = node.finished("call-1")
        node.stop()

    assert "" == ready
    assert sent == samples(manifest, manifest["tracks"][0])
    assert [] == [*data.glob("log/*/*"), *other.glob("*/*")]


@pytest.mark.parametrize("what", ["/log/", "/recordings/"])
def test_a_slow_disk_is_no_hang(data, tmp_path, what):
    syncs = BadSyncs(tmp_path / "syncs")
    with running(data, QUICK, environment=syncs.environment) as node:
        with dial(node) as call:
            sent = talk(call, range(50))
            syncs.say(f"{what} 2")
            sent += talk(call, range(50, 250), gap_s=0.01)
            complaint = eventually(node.readiness)
            syncs.say()
        manifest = node.finished("call-1")
        lost = node.figure("acs_ingest_links_lost_total")

    assert "slow" in complaint
    assert ("complete", sent) == (manifest["state"], samples(manifest, manifest["tracks"][0]))
    assert 0 == lost


@pytest.mark.parametrize("what", ["/log/", "/recordings/"])
def test_a_sync_that_fails_once_loses_nothing(data, tmp_path, what):
    syncs = BadSyncs(tmp_path / "syncs")
    config = QUICK + (NOBODY if what == "/log/" else "")
    with running(data, config, environment=syncs.environment) as node:
        with dial(node) as call:
            sent = talk(call, range(50))
            syncs.say(f"{what} fail 1")
            sent += talk(call, range(50, 150), gap_s=0.005)
            name = "log_sync_errors" if what == "/log/" else "recorder_storage_errors"
            eventually(lambda: node.figure(f"acs_ingest_{name}_total"))
            sent += talk(call, range(150, 200))
        if what == "/log/":
            eventually(lambda: node.figure("acs_ingest_log_pending_bytes") == 0)
        with worker(data, "record"):
            manifest = node.finished("call-1")

    assert ("complete", sent) == (manifest["state"], samples(manifest, manifest["tracks"][0]))


def test_log_and_run_are_for_our_eyes_only(data):
    (data / "log").mkdir(parents=True, mode=0o755)
    with running(data, QUICK + NOBODY) as node, dial(node) as call:
        talk(call, range(10))
        eventually(lambda: list(data.glob("log/*/*/*.seg")))
        found = [data / "log", data / "run", *data.glob("log/**/*"), *data.glob("run/**/*")]
        open_ones = {
            str(path.relative_to(data))
            for path in found
            if path.exists() and not path.is_socket() and path.stat().st_mode & 0o077
        }

    assert set() == open_ones


@pytest.mark.long
def test_calls_of_speech_are_exact_after_both_disks_were_full_again_and_again(
    data, log_disk, recordings_disk
):
    with running(data, QUICK) as node:
        line = [sys.executable, "-m", "gateway", "simulate", node.url, "--verify", str(data)]
        run = subprocess.Popen(
            [*line, "--calls", "4", "--participants", "2", "--seconds", "40"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for disk in (log_disk, recordings_disk) * 4:
            disk.fill()
            time.sleep(2)
            disk.mend()
            time.sleep(1)
        output, _ = run.communicate(timeout=100)

    assert 0 == run.returncode, output
