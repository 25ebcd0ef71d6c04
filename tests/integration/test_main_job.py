"""The main job as a user sees it: real processes, real sockets, real speech."""

import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import acs_packets as acs
import pytest
from node import LOOPBACK, Node, acs_ingest, eventually, fetch, samples
from websockets.sync.client import ClientConnection, connect

HERE = Path(__file__).parent
AGENT = HERE.parent / "corpus" / "audio" / "agent-16k.flac"
CALLERS = (
    HERE.parents[2] / "shared" / "audio" / "jfk-16k.flac",
    HERE.parent / "corpus" / "audio" / "caller-16k.flac",
)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def node(data: Path) -> Iterator[Node]:
    node = Node(data)
    yield node
    node.kill()


def dial(node: Node, call_id: str) -> ClientConnection:
    headers = {"x-ms-call-connection-id": call_id}
    return connect(node.url, additional_headers=headers, compression=None)


def hang_up_rudely(call: ClientConnection) -> None:
    """Reset the connection: no close frame."""
    call.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    call.socket.shutdown(socket.SHUT_RD)  # wakes the client's reader; closing then resets
    call.close_socket()


def talk(call: ClientConnection, packets: range, participant: str = "8:acs:a") -> bytes:
    """Send packets of a participant, stamped in step; returns their PCM."""
    for number in packets:
        call.send(acs.audio(participant, acs.pcm(number), acs.stamp(20 * number)).decode())
    return b"".join(acs.pcm(number) for number in packets)


def test_ten_calls_of_real_speech_are_recorded_sample_by_sample(node):
    caller = next(path for path in CALLERS if path.exists())
    run = acs_ingest(
        *("simulate", node.url, "--calls", "10", "--seconds", "11", "--dtmf"),
        *("--audio", caller, "--audio", AGENT, "--verify", node.data, "--json"),
    )

    assert 0 == run.returncode, run.stdout + run.stderr
    assert 10 == len(list(node.data.glob("recordings/*/*/*/*/mixed.wav")))


@pytest.mark.parametrize("options", [("--rate", "24000"), ("--mixed",), ("--jitter-ms", "15")])
def test_every_kind_of_call_is_recorded_right_by_two_gateways_and_two_recorders(data, options):
    node = Node(
        data, "--gateways", "2", config="[pools.record]\nprocesses = 2\n[recording]\ngather_s = 0.3"
    )
    try:
        run = acs_ingest(
            *("simulate", node.url, "--calls", "12", "--participants", "3", "--seconds", "3"),
            *(*options, "--verify", node.data),
        )
        exit_code = node.stop()
    finally:
        node.kill()

    assert 0 == run.returncode, run.stdout + run.stderr
    assert 0 == exit_code


def test_after_kill_9_of_everything_the_next_up_completes_the_recordings(data):
    first = Node(data)
    with dial(first, "call-1") as call:
        sent = talk(call, range(100))
        time.sleep(0.3)  # a log tick: what is killed sooner may be lost, and says so
        sent += talk(call, range(100, 110))
        first.kill_everything()
        first.kill()
    second = Node(data)
    manifest = second.finished("call-1")
    exit_code = second.stop()
    second.kill()
    [track] = manifest["tracks"]
    recorded = samples(manifest, track)

    assert "incomplete" == manifest["state"]
    assert recorded == sent[: len(recorded)]
    assert 100 <= track["packets"]["received"] == len(recorded) // 640
    assert [
        {"start_us": len(recorded) // 32 * 1000, "length_us": None, "cause": "gateway_died"}
    ] == (track["gaps"])
    assert 0 == exit_code
    assert [] == list(data.glob("log/*/*"))


def test_a_killed_recorder_costs_nothing(node):
    with dial(node, "call-1") as call:
        sent = talk(call, range(100))
        for number in range(100, 300):
            sent += talk(call, range(number, number + 1))
            time.sleep(0.01)
            if number in (150, 220):
                [pid] = node.processes("worker", "record")
                os.kill(pid, signal.SIGKILL)
                eventually(lambda old=pid: old not in node.processes("worker", "record"))
    manifest = node.finished("call-1")

    assert "complete" == manifest["state"]
    assert sent == samples(manifest, manifest["tracks"][0])


def test_a_call_that_acs_dials_again_goes_on_in_the_same_recording(node):
    with dial(node, "call-1") as first:
        sent = talk(first, range(50))
        eventually(lambda: node.manifest("call-1"))
        hang_up_rudely(first)
    with dial(node, "call-1") as second:
        again = talk(second, range(40, 50)) + talk(second, range(100, 150))
    manifest = node.finished("call-1")
    [track] = manifest["tracks"]

    assert 2 == len(manifest["sessions"])
    assert sent + bytes(50 * 640) + again[10 * 640 :] == samples(manifest, track)
    assert [(1_000_000, 1_000_000, "not_received")] == [
        tuple(gap.values()) for gap in track["gaps"]
    ]


def test_a_call_that_is_dialled_again_after_it_was_finished_gets_another_revision(node):
    with dial(node, "call-1") as call:
        sent = talk(call, range(50))
    node.finished("call-1")
    with dial(node, "call-1") as call:
        sent += talk(call, range(50, 75))
    manifest = node.finished("call-1", revision=2)

    assert sent == samples(manifest, manifest["tracks"][0])
    assert "complete" == manifest["state"]


def test_sigterm_finishes_the_recording_of_a_call_that_still_runs(data):
    node = Node(data, "--drain-s", "8")
    try:
        with dial(node, "call-1") as call:
            sent = talk(call, range(100))
            node.process.send_signal(signal.SIGTERM)
            exit_code = node.process.wait(12)
        manifest = node.manifest("call-1")
    finally:
        node.kill()

    assert 0 == exit_code
    assert manifest is not None
    assert ("complete", 1001) == (manifest["state"], manifest["sessions"][0]["close_code"])
    assert sent == samples(manifest, manifest["tracks"][0])


def test_hostile_names_stay_inside_and_the_manifest_keeps_them(node):
    names = ["../../etc/passwd", "x" * 4000, "a/b\0c", "-rf ~", "é\u202e"]
    with dial(node, "../../../call") as call:
        for number, name in enumerate(names):
            talk(call, range(10 * number, 10 * number + 10), name)
    manifest = node.finished("../../../call")
    files = [path for path in node.data.rglob("*") if path.is_file()]

    assert names == [track["participant"] for track in manifest["tracks"]]
    assert all(len(path.name) < 80 and ".." not in path.name for path in files)
    assert node.data / "recordings" in manifest["folder"].parents
    assert not any((node.data.parent / "etc").glob("*"))


def test_bad_packets_are_counted_in_the_manifest_and_in_metrics(data):
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = f"127.0.0.1:{free.getsockname()[1]}"
    node = Node(data, "--admin", admin)
    try:
        with dial(node, "call-1") as call:
            sent = talk(call, range(10))
            call.send("{")
            call.send(acs.audio("8:acs:a", b"abc", acs.stamp(200)).decode())
            sent += talk(call, range(10, 20))
        manifest = node.finished("call-1")
        text = eventually(
            lambda: 'error="odd_length"' in (body := fetch(f"http://{admin}/metrics")[1]) and body
        )
        health, ready = fetch(f"http://{admin}/healthz"), fetch(f"http://{admin}/readyz")
    finally:
        node.kill()
    [track] = manifest["tracks"]

    assert sent == samples(manifest, track)
    assert {"not_json": 1, "odd_length": 1} == manifest["sessions"][0]["bad_packets"]
    assert 2 == track["packets"]["bad"]
    assert 'acs_ingest_bad_packets_total{error="not_json",process="gateway-0"} 1.0' in text
    assert (200, 200) == (health[0], ready[0])


def test_a_second_up_on_the_same_data_folder_is_refused_in_one_line(node):
    refused = acs_ingest("up", "--data", node.data, "--listen", LOOPBACK, "--admin", "off")

    assert 69 == refused.returncode
    assert 1 == len(refused.stderr.splitlines())
    assert str(node.process.pid) in refused.stderr


def test_recordings_are_listed_and_shown(node):
    with dial(node, "call-1") as call:
        talk(call, range(50))
    node.finished("call-1")
    listed = acs_ingest("recordings", "list", "--data", node.data, "--json")
    shown = acs_ingest("recordings", "show", "call-1", "--data", node.data, "--json")

    assert ["call-1"] == [row["call_id"] for row in json.loads(listed.stdout)]
    assert 16_000 == json.loads(shown.stdout)["tracks"][0]["samples"]
