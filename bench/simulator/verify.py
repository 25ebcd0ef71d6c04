"""Waits for the recordings of a run's calls and has each checked against what was sent.

What was sent is made again from the plan and the pool of voices, one call at a time: a run of
hundreds of calls needs the memory of one.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.simulator.checker import CallReport, SentCall, SentTone, check_call
from bench.simulator.compare import SentTrack
from bench.simulator.drive import CallOutcome
from bench.simulator.voices import Voices, silent_packets

FINISHED = ("complete", "incomplete")
POLL_S = 0.25


def sent_call(outcome: CallOutcome, voices: Voices) -> SentCall:
    """All that a call sent, made again."""
    scenario = outcome.plan.scenario
    packet = scenario.packet_samples
    tracks = []
    for track, packets in zip(outcome.plan.tracks, outcome.sent, strict=True):
        pcm = voices.sum_of(track.speakers, 0, packets * packet)
        silent = sum(silent_packets(pcm, packet))
        tracks.append(SentTrack(track.participant, pcm, packets=packets, silent=silent))
    tones = [SentTone(tone.tone, tone.participant) for tone in outcome.tones]
    return SentCall(
        outcome.call_id,
        scenario.rate,
        [track for track in tracks if track.packets],
        outcome.correlation_id,
        tones,
    )


def verify(
    outcomes: Sequence[CallOutcome], voices: Voices, data: Path, timeout_s: float
) -> list[CallReport]:
    """A report of every call that sent audio; waits at most `timeout_s` for the last recording."""
    calls = {outcome.call_id: outcome for outcome in outcomes if any(outcome.sent)}
    reports: dict[str, CallReport] = {}
    for call_id, folders in Recordings(data).finished(set(calls), timeout_s):
        sent = sent_call(calls[call_id], voices)
        reports[call_id] = _report(sent, [folder for folder, _ in folders], timeout_s)
    return [reports[call_id] for call_id in calls]


def _report(sent: SentCall, folders: Sequence[Path], timeout_s: float) -> CallReport:
    if not folders:
        samples = sum(len(track.pcm) for track in sent.tracks)
        report = CallReport(sent.call_id, tracks_expected=len(sent.tracks), samples_sent=samples)
        report.differences.lost = samples
        report.faults.append(f"there is no manifest of the call after {timeout_s:g} s")
        return report
    report = check_call(sent, folders[0])
    if len(folders) > 1:
        report.faults.append(f"{len(folders)} recordings are of this call")
    return report


class Recordings:
    """Finds the recordings of a data folder by the call ids in their manifests."""

    def __init__(self, data: Path) -> None:
        self._root = data / "recordings"
        #: Manifest path to (its time and size, call id, state): each version is read once.
        self._seen: dict[Path, tuple[tuple[int, int], str, str]] = {}

    def scan(self) -> dict[str, list[tuple[Path, str]]]:
        """Folder and state of every recording there is, by call id."""
        # `os.walk` does not mind folders that go away while it looks.
        for folder, names, files in os.walk(self._root):
            if "manifest.json" in files:
                names.clear()
                self._look(Path(folder, "manifest.json"))
        calls: dict[str, list[tuple[Path, str]]] = {}
        for path, (_, call_id, state) in self._seen.items():
            calls.setdefault(call_id, []).append((path.parent, state))
        return calls

    def finished(
        self, call_ids: set[str], timeout_s: float
    ) -> Iterator[tuple[str, list[tuple[Path, str]]]]:
        """Each call with its folders as soon as all are finished; at the timeout, the others."""
        waiting = set(call_ids)
        deadline_s = time.monotonic() + timeout_s
        while waiting:
            is_last = time.monotonic() >= deadline_s
            found = self.scan()
            for call_id in sorted(waiting):
                folders = found.get(call_id, [])
                if is_last or (folders and all(state in FINISHED for _, state in folders)):
                    waiting.discard(call_id)
                    yield call_id, folders
            if waiting:
                time.sleep(min(POLL_S, max(deadline_s - time.monotonic(), 0.01)))

    def _look(self, path: Path) -> None:
        try:
            stat = path.stat()
            version = (stat.st_mtime_ns, stat.st_size)
            if path in self._seen and self._seen[path][0] == version:
                return
            manifest = json.loads(path.read_bytes())
            self._seen[path] = (version, str(manifest["call_id"]), str(manifest["state"]))
        except (OSError, ValueError, KeyError, TypeError):
            self._seen.pop(path, None)
