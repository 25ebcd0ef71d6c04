"""The checker against recordings made by hand: the right one passes, each wrong one is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.simulator.checker import CallReport, SentCall, check_call, mix_of
from bench.simulator.compare import Differences, SentTrack

SECOND = 16_000
PACKET = 320


def check(sent: SentCall, recording: Any) -> CallReport:
    return check_call(sent, recording.folder)


def test_right_recording_is_right(sent: SentCall, recording: Any) -> None:
    report = check(sent, recording)
    assert report.faults == []
    assert report.is_right
    assert (report.tracks_expected, report.tracks_found) == (2, 2)
    assert (report.samples_sent, report.samples_recorded) == (8 * SECOND, 8 * SECOND)
    assert report.differences == Differences()
    assert report.state == "complete"


def test_tracks_that_begin_later_and_have_holes_are_right(tmp_path: Path, record: Any) -> None:
    rng = np.random.default_rng(5)
    tracks = [
        SentTrack("a", rng.integers(-9000, 9000, SECOND).astype(np.int16), packets=50, silent=0),
        SentTrack(
            "b",
            rng.integers(-9000, 9000, 2 * SECOND).astype(np.int16),
            start=4800,
            holes=[(6400, PACKET), (6400 + PACKET, PACKET), (16_000, 1600)],
            packets=93,
            silent=0,
        ),
    ]
    sent = SentCall("c", SECOND, tracks)
    report = check(sent, record(tmp_path / "c", sent))
    assert report.faults == []
    assert report.gaps_declared == 3
    assert report.samples_sent == 3 * SECOND - 640 - 1600


def test_mixed_call_of_one_track_needs_no_mix(tmp_path: Path, record: Any, sent: SentCall) -> None:
    one = SentCall("c", SECOND, [SentTrack(None, sent.tracks[0].pcm, packets=200, silent=10)])
    recording = record(tmp_path / "c", one)
    recording.change(mixed=None)
    assert check(one, recording).faults == []


def test_one_altered_sample_is_found(sent: SentCall, recording: Any) -> None:
    pcm = recording.pcm(0)
    pcm[12_345] += 1
    recording.write(0, pcm)
    report = check(sent, recording)
    assert report.differences.altered == 1
    assert not report.is_mix_right
    assert "the first at 0.7716 s" in report.faults[0]


def test_track_shifted_by_one_packet_is_found(sent: SentCall, recording: Any) -> None:
    pcm = recording.pcm(0)
    recording.write(0, np.concatenate([np.zeros(PACKET, np.int16), pcm[:-PACKET]]))
    found = check(sent, recording).differences
    assert found.displaced > 0.9 * len(pcm)
    assert (found.altered, found.extra) == (0, 0)


def test_track_at_a_wrong_offset_is_found(sent: SentCall, recording: Any) -> None:
    recording.manifest["tracks"][1]["offset_us"] = 20_000
    recording.save()
    report = check(sent, recording)
    assert report.differences.displaced > 0.9 * len(recording.pcm(1))
    assert not report.is_mix_right


def test_missing_second_filled_with_silence_is_found(sent: SentCall, recording: Any) -> None:
    pcm = recording.pcm(1)
    pcm[SECOND : 2 * SECOND] = 0
    recording.write(1, pcm)
    found = check(sent, recording).differences
    # All but the silent packets of that second, which are right by chance.
    assert found.lost == SECOND - 2 * PACKET
    assert (found.altered, found.displaced, found.extra) == (0, 0, 0)


def test_missing_second_that_was_closed_up_is_found(sent: SentCall, recording: Any) -> None:
    pcm = recording.pcm(1)
    recording.write(1, np.concatenate([pcm[:SECOND], pcm[2 * SECOND :]]))
    found = check(sent, recording).differences
    assert found.lost >= SECOND
    assert found.displaced > 1.5 * SECOND


def test_swapped_tracks_are_found(sent: SentCall, recording: Any) -> None:
    one, two = recording.pcm(0), recording.pcm(1)
    recording.write(0, two)
    recording.write(1, one)
    report = check(sent, recording)
    assert report.differences.displaced > 7 * SECOND
    assert report.is_mix_right


def test_wrong_mix_is_found(sent: SentCall, recording: Any) -> None:
    mixed = recording.folder / "mixed.wav"
    raw = bytearray(mixed.read_bytes())
    raw[5000] ^= 1
    mixed.write_bytes(raw)
    report = check(sent, recording)
    assert not report.is_mix_right
    assert not report.are_sums_right
    assert report.differences == Differences()


def test_missing_mix_is_found(sent: SentCall, recording: Any) -> None:
    recording.change(mixed=None)
    assert check(sent, recording).faults == ["there is no mix of several tracks"]


def test_mix_saturates_and_keeps_places() -> None:
    one = np.array([30_000, -30_000, 5], np.int16)
    two = np.array([-30_000, 7], np.int16)
    expected = np.array([30_000, -32_768, 12], np.int16)
    assert np.array_equal(expected, mix_of([(0, one), (1, two)]))


def test_wrong_sha256_is_found(sent: SentCall, recording: Any) -> None:
    recording.manifest["tracks"][0]["sha256"] = "0" * 64
    recording.save()
    report = check(sent, recording)
    assert not report.are_sums_right
    assert report.faults == ["track 1: the sha256 is not the file's"]


def test_wrong_length_in_a_header_is_found(sent: SentCall, recording: Any) -> None:
    path = recording.folder / "tracks/0.wav"
    raw = bytearray(path.read_bytes())
    raw[40:44] = (len(raw) - 44 - 640).to_bytes(4, "little")
    path.write_bytes(raw)
    report = check(sent, recording)
    assert any("the chunks end at" in fault for fault in report.faults)
    assert report.differences.lost == 4 * SECOND


def test_missing_track_is_found(sent: SentCall, recording: Any) -> None:
    recording.change(tracks=recording.manifest["tracks"][:1])
    report = check(sent, recording)
    assert "participant 2 has no track" in report.faults
    assert (report.tracks_found, report.differences.lost) == (1, 4 * SECOND)


def test_missing_file_is_found(sent: SentCall, recording: Any) -> None:
    (recording.folder / "tracks/1.wav").unlink()
    report = check(sent, recording)
    assert "track 2: No such file or directory" in report.faults
    assert report.differences.lost == 4 * SECOND


@pytest.mark.parametrize("participant", ["8:acs:one", "28:stranger", None])
def test_extra_track_is_found(sent: SentCall, recording: Any, participant: str | None) -> None:
    tracks = recording.manifest["tracks"]
    recording.change(tracks=[*tracks, {**tracks[0], "participant": participant}])
    report = check(sent, recording)
    assert "track 3 is of nobody who spoke, or of one who has a track" in report.faults
    assert report.differences.extra == 4 * SECOND


@pytest.mark.parametrize("state", ["open", "incomplete"])
def test_state_other_than_complete_is_found(sent: SentCall, recording: Any, state: str) -> None:
    recording.change(state=state)
    assert check(sent, recording).faults == [f"the state is {state}, not complete"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("received", 199), ("silent", 0), ("lost", 1), ("late", 1), ("dropped", 2), ("filled", 3),
     ("bad", 1)],
)  # fmt: skip
def test_wrong_counter_is_found(sent: SentCall, recording: Any, name: str, value: int) -> None:
    recording.manifest["tracks"][1]["packets"][name] = value
    recording.save()
    report = check(sent, recording)
    assert not report.are_counters_right
    assert [fault.split(" is ")[0] for fault in report.faults] == [f"track 2: packets.{name}"]


def test_counter_that_is_not_there_is_found(sent: SentCall, recording: Any) -> None:
    del recording.manifest["tracks"][1]["packets"]["late"]
    recording.save()
    assert check(sent, recording).faults == ["the manifest is not of its shape: KeyError 'late'"]


@pytest.mark.parametrize("length_us", [20_000, 0, None])
def test_gap_that_was_none_is_found(sent: SentCall, recording: Any, length_us: int | None) -> None:
    gap = {"start_us": 0, "length_us": length_us, "cause": "not_received"}
    recording.manifest["tracks"][0]["gaps"] = [gap]
    recording.save()
    report = check(sent, recording)
    assert not report.are_gaps_right
    assert report.gaps_declared == 1


def test_hole_that_is_not_declared_is_found(sent: SentCall, recording: Any) -> None:
    sent.tracks[0].holes = [(0, PACKET)]
    pcm = recording.pcm(0)
    pcm[:PACKET] = 0
    recording.write(0, pcm)
    report = check(sent, recording)
    assert not report.are_gaps_right
    assert report.differences == Differences()


def test_tones_that_are_missing_or_of_another_are_found(sent: SentCall, recording: Any) -> None:
    first, second = recording.manifest["events"]
    of_another = {**first, "participant": "8:acs:one"}
    other_key = {**first, "data": {"tone": "4"}}
    for events in ([], [first], [of_another, second], [other_key, second]):
        recording.change(events=events)
        assert not check(sent, recording).are_events_right


def test_events_of_other_kinds_are_no_tones(sent: SentCall, recording: Any) -> None:
    events = recording.manifest["events"]
    recording.change(events=[{**events[0], "kind": "audio_metadata", "data": {}}, *events])
    assert check(sent, recording).faults == []


def test_tones_out_of_order_are_found(sent: SentCall, recording: Any) -> None:
    recording.change(events=recording.manifest["events"][::-1])
    assert not check(sent, recording).are_events_right


@pytest.mark.parametrize(
    "member", [{"call_id": "b"}, {"correlation_id": "b"}, {"sample_rate": 24_000}, {"schema": "x"}]
)
def test_head_of_another_call_is_found(
    sent: SentCall, recording: Any, member: dict[str, Any]
) -> None:
    recording.change(**member)
    assert len(check(sent, recording).faults) == 1


def test_wrong_number_of_samples_is_found(sent: SentCall, recording: Any) -> None:
    recording.manifest["tracks"][0]["samples"] -= 1
    recording.save()
    assert "63999 samples declared, 64000 in the file" in check(sent, recording).faults[0]


@pytest.mark.parametrize("name", ["../elsewhere.wav", "/etc/passwd"])
def test_file_outside_of_the_folder_is_not_opened(
    sent: SentCall, recording: Any, name: str
) -> None:
    shutil.copy(recording.folder / "tracks/0.wav", recording.folder.parent / "elsewhere.wav")
    recording.manifest["tracks"][0]["file"] = name
    recording.save()
    assert "track 1: its file is outside of the folder" in check(sent, recording).faults


def test_track_that_begins_before_its_call_is_found(sent: SentCall, recording: Any) -> None:
    recording.manifest["tracks"][0]["offset_us"] = -20_000
    recording.save()
    assert "begins before its call" in check(sent, recording).faults[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"state": "complete"})])
def test_manifest_of_no_shape_is_a_fault_and_no_crash(
    sent: SentCall, recording: Any, text: str
) -> None:
    (recording.folder / "manifest.json").write_text(text)
    assert len(check(sent, recording).faults) == 1


def test_missing_manifest_is_all_lost(tmp_path: Path, sent: SentCall) -> None:
    report = check_call(sent, tmp_path)
    assert (report.state, report.differences.lost) == ("missing", 8 * SECOND)
    assert not report.is_right


def test_no_fault_tells_a_raw_id(sent: SentCall, recording: Any) -> None:
    recording.manifest["tracks"][1]["participant"] = "4:+15559999999"
    recording.write(0, recording.pcm(0)[:-5])
    faults = " ".join(check(sent, recording).faults)
    assert "+1555" not in faults
    assert "8:acs" not in faults
