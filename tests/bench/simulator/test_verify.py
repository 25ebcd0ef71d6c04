"""Waiting for recordings, and checking a run's calls against them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from bench.simulator.calls import Scenario, plan_call
from bench.simulator.drive import CallOutcome
from bench.simulator.verify import Recordings, sent_call, verify
from bench.simulator.voices import Voices, synthetic_voices


@pytest.fixture(scope="module")
def voices() -> Voices:
    return synthetic_voices(16_000, 0)


def outcome(number: int, call_id: str, scenario: Scenario | None = None) -> CallOutcome:
    plan = plan_call(scenario or Scenario(calls=3, ticks=100, dtmf=True), number)
    packets = [plan.scenario.ticks] * len(plan.tracks)
    return CallOutcome(plan, call_id, "correlation", sent=packets, tones=list(plan.tones))


def folder(data: Path, name: str) -> Path:
    return data / "recordings" / "2026" / "11" / "23" / name


def test_recordings_of_a_run_are_found_by_call_id_and_are_right(
    tmp_path: Path, record: Any, voices: Voices
) -> None:
    outcomes = [outcome(number, f"call-{number}") for number in range(3)]
    for number, one in enumerate(outcomes):
        record(folder(tmp_path, f"other-name-{number}"), sent_call(one, voices))
    reports = verify(outcomes, voices, tmp_path, 10)
    assert [(f"call-{number}", []) for number in range(3)] == [
        (report.call_id, report.faults) for report in reports
    ]


def test_mixed_calls_are_made_again_too(tmp_path: Path, record: Any, voices: Voices) -> None:
    one = outcome(0, "mixed", Scenario(ticks=100, mixed=True))
    recording = record(folder(tmp_path, "a"), sent_call(one, voices))
    recording.change(mixed=None)
    assert [report.faults for report in verify([one], voices, tmp_path, 10)] == [[]]


def test_recordings_of_two_calls_in_each_other_s_place_are_found(
    tmp_path: Path, record: Any, voices: Voices
) -> None:
    outcomes = [outcome(number, f"call-{number}") for number in range(2)]
    for number, one in enumerate(outcomes):
        recording = record(folder(tmp_path, str(number)), sent_call(one, voices))
        recording.change(call_id=f"call-{1 - number}")
    assert [one.is_right for one in verify(outcomes, voices, tmp_path, 10)] == [False, False]


def test_call_that_ended_early_is_held_to_what_it_sent(
    tmp_path: Path, record: Any, voices: Voices
) -> None:
    one = outcome(0, "early")
    one.sent = [61, 60]
    one.tones = []
    sent = sent_call(one, voices)
    assert [len(track.pcm) for track in sent.tracks] == [61 * 320, 60 * 320]
    record(folder(tmp_path, "a"), sent)
    assert [report.faults for report in verify([one], voices, tmp_path, 10)] == [[]]


def test_calls_that_sent_nothing_are_not_looked_for(tmp_path: Path, voices: Voices) -> None:
    one = outcome(0, "refused")
    one.sent = []
    assert verify([one], voices, tmp_path, 10) == []


def test_recording_that_is_finished_later_is_waited_for(
    tmp_path: Path, record: Any, voices: Voices
) -> None:
    one = outcome(0, "call")
    recording = record(folder(tmp_path, "a"), sent_call(one, voices), "open")
    timer = threading.Timer(0.1, recording.change, kwargs={"state": "complete"})
    timer.start()
    try:
        assert [report.faults for report in verify([one], voices, tmp_path, 30)] == [[]]
    finally:
        timer.join()


def test_recording_that_stays_open_is_told_after_the_timeout(
    tmp_path: Path, record: Any, voices: Voices
) -> None:
    one = outcome(0, "call")
    record(folder(tmp_path, "a"), sent_call(one, voices), "open")
    (report,) = verify([one], voices, tmp_path, 0)
    assert report.faults == ["the state is open, not complete"]


def test_call_without_a_recording_is_told_after_the_timeout(tmp_path: Path, voices: Voices) -> None:
    (report,) = verify([outcome(0, "call")], voices, tmp_path, 0.1)
    assert report.faults == ["there is no manifest of the call after 0.1 s"]
    assert report.differences.lost == 2 * 100 * 320
    assert report.state == "missing"


def test_two_recordings_of_one_call_are_found(tmp_path: Path, record: Any, voices: Voices) -> None:
    one = outcome(0, "call")
    for name in ("a", "b"):
        record(folder(tmp_path, name), sent_call(one, voices))
    (report,) = verify([one], voices, tmp_path, 10)
    assert report.faults == ["2 recordings are of this call"]


def test_manifests_that_are_none_are_passed_over(tmp_path: Path, record: Any, sent: Any) -> None:
    record(folder(tmp_path, "a"), sent)
    for name, text in (("b", "{"), ("c", "[]"), ("d", "{}")):
        folder(tmp_path, name).mkdir()
        (folder(tmp_path, name) / "manifest.json").write_text(text)
    recordings = Recordings(tmp_path)
    assert {sent.call_id: [(folder(tmp_path, "a"), "complete")]} == recordings.scan()


def test_manifest_that_changes_is_read_again(tmp_path: Path, record: Any, sent: Any) -> None:
    recording = record(folder(tmp_path, "a"), sent, "open")
    recordings = Recordings(tmp_path)
    assert [(recording.folder, "open")] == recordings.scan()[sent.call_id]
    recording.change(state="incomplete")
    assert [(recording.folder, "incomplete")] == recordings.scan()[sent.call_id]
    (recording.folder / "manifest.json").unlink()
    manifest = json.dumps({**recording.manifest, "call_id": "other"})
    (recording.folder / "manifest.json").write_text(manifest)
    assert list(recordings.scan()) == ["other"]
