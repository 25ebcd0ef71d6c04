"""The checker by itself: what is done to recordings that are right must show."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bench.schedules.checker import check
from bench.schedules.sent import Packet, SentCall, Tone
from bench.schedules.world import World

HEADER_BYTES = 80
PACKET_BYTES = 1600
PACKETS_MIN = 100


class Finished:
    """The recordings of one world, and what its gateways have read."""

    def __init__(self, root: Path, world: World) -> None:
        self.recordings = root / "recordings"
        self.calls: list[SentCall] = [call.sent for call in world.callers.calls]

    def folder(self) -> Path:
        """A recording with audio."""
        for path in sorted(self.recordings.glob("2*/*/*/*/manifest.json")):
            if json.loads(path.read_text())["tracks"]:
                return path.parent
        raise AssertionError("there is no audio")

    def change(self, do: Callable[[dict[str, Any]], None]) -> None:
        """Change what the manifest of the recording says."""
        path = self.folder() / "manifest.json"
        manifest = json.loads(path.read_text())
        do(manifest)
        path.write_text(json.dumps(manifest))

    def change_audio(self, do: Callable[[bytes], bytes]) -> None:
        """Change the first track's samples, and its sum."""

        def write(manifest: dict[str, Any]) -> None:
            track = manifest["tracks"][0]
            path = self.folder() / track["file"]
            data = path.read_bytes()
            data = data[:HEADER_BYTES] + do(data[HEADER_BYTES:])
            path.write_bytes(data)
            track["sha256"] = hashlib.sha256(data).hexdigest()

        self.change(write)

    def faults(self) -> str:
        return "\n".join(check(self.recordings, self.calls))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Of the first world in which nothing that was read may be missing."""
    for seed in count():
        root = tmp_path_factory.mktemp("world")
        world = World(seed, root)
        outcome = world.run()
        assert () == outcome.faults
        if outcome.packets > PACKETS_MIN and not outcome.missing:
            return Finished(root, world)
    raise AssertionError


@pytest.fixture
def finished(template: Finished, tmp_path: Path) -> Iterator[Finished]:
    """The same each time; what is done to the recordings is undone."""
    kept = tmp_path / "kept"
    shutil.copytree(template.recordings, kept, symlinks=True)
    yield template
    shutil.rmtree(template.recordings)
    shutil.copytree(kept, template.recordings, symlinks=True)


def test_what_is_right_has_no_faults(finished: Finished) -> None:
    assert "" == finished.faults()


def test_a_packet_that_is_silent_and_not_declared_shows(finished: Finished) -> None:
    finished.change_audio(lambda pcm: bytes(PACKET_BYTES) + pcm[PACKET_BYTES:])

    assert "has lost 1 packets" in finished.faults()
    assert "the gaps do not tell what is silent, from sample 0 on" in finished.faults()


def test_a_packet_that_is_there_twice_shows(finished: Finished) -> None:
    def double(pcm: bytes) -> bytes:
        return pcm[:PACKET_BYTES] * 2 + pcm[2 * PACKET_BYTES :]

    finished.change_audio(double)

    assert "is there twice" in finished.faults()


def test_one_wrong_sample_shows(finished: Finished) -> None:
    finished.change_audio(lambda pcm: pcm[:100] + b"\7\7" + pcm[102:])

    assert "samples are of no whole packet" in finished.faults()


def test_packets_in_the_wrong_order_show(finished: Finished) -> None:
    def swap(pcm: bytes) -> bytes:
        first, second = pcm[:PACKET_BYTES], pcm[PACKET_BYTES : 2 * PACKET_BYTES]
        return second + first + pcm[2 * PACKET_BYTES :]

    finished.change_audio(swap)

    assert "us from its place" in finished.faults()


def test_a_gap_that_is_none_shows(finished: Finished) -> None:
    gap = {"start_us": 0, "length_us": 100_000, "cause": "not_received"}
    finished.change(lambda manifest: manifest["tracks"][0]["gaps"].append(gap))

    assert "the gaps do not tell what is silent" in finished.faults()


def test_a_counter_that_is_wrong_shows(finished: Finished) -> None:
    def count(manifest: dict[str, Any]) -> None:
        manifest["tracks"][0]["packets"]["received"] += 1

    finished.change(count)

    assert "packets counted" in finished.faults()


def test_a_recording_that_is_gone_shows(finished: Finished) -> None:
    shutil.rmtree(finished.folder())

    assert "has lost" in finished.faults()


def test_a_manifest_that_is_open_or_of_nobody_shows(finished: Finished) -> None:
    finished.change(lambda manifest: manifest.update(state="open"))
    assert "the recording is open" in finished.faults()

    finished.change(lambda manifest: manifest.update(state="complete", call_id="another"))
    assert "another: nobody has called so" in finished.faults()


def test_what_may_be_missing_must_be_declared_all_the_same(finished: Finished) -> None:
    call_id = json.loads((finished.folder() / "manifest.json").read_text())["call_id"]
    [call] = [call for call in finished.calls if call.call_id == call_id]
    session = next(each for each in call.sessions if each.packets)
    last = session.packets[-1]
    after = Packet(9999, last.participant, last.stamp_us + 3_600_000_000, may_miss=True)
    session.packets.append(after)
    session.tones.append(Tone("key-9999", may_miss=True))

    faults = finished.faults()
    session.packets.remove(after)
    session.tones.pop()

    assert "2 frames are missing from what calls itself complete" in faults
    assert "nothing says that the end is missing: 1 packets: 9999" in faults
