"""Says whether a recording is what was sent, sharing no code with those who made it.

`check_call` compares one call with the folder of its recording: every sample in place, the header,
the sums, the counters, the gaps, the mix, the tones. Faults are told without raw ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bench.simulator.compare import Differences, Pcm, SentTrack, compare
from bench.simulator.wav import WavError, read_wav

SCHEMA = "acs-ingest.recording/1"
#: Counters of a track in which nothing may stand when all that was sent should have come.
ALWAYS_ZERO = ("late", "dropped", "bad")
ZERO_WITHOUT_HOLES = ("lost", "filled")


@dataclass(frozen=True, slots=True)
class SentTone:
    """One key pressed; `participant` is None where the packet names nobody."""

    tone: str
    participant: str | None = None


@dataclass(slots=True)
class SentCall:
    """What one call sent. `correlation_id` None: not to be checked; tones in order of sending."""

    call_id: str
    sample_rate: int
    tracks: list[SentTrack]
    correlation_id: str | None = None
    tones: list[SentTone] = field(default_factory=list)


@dataclass(slots=True)
class CallReport:
    """What came of one call. The call is right if `faults` is empty; each verdict says of what."""

    call_id: str
    state: str = "missing"
    tracks_expected: int = 0
    tracks_found: int = 0
    samples_sent: int = 0
    samples_recorded: int = 0
    differences: Differences = field(default_factory=Differences)
    gaps_declared: int = 0
    are_gaps_right: bool = True
    is_mix_right: bool = True
    are_sums_right: bool = True
    are_events_right: bool = True
    are_counters_right: bool = True
    faults: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Everything sent is recorded as it was sent, and nothing else is."""
        return not self.faults


def check_call(sent: SentCall, folder: Path) -> CallReport:
    """Compare what was sent with the recording in `folder` (the one that holds manifest.json)."""
    report = CallReport(sent.call_id, tracks_expected=len(sent.tracks))
    report.samples_sent = sum(
        len(track.pcm) - sum(count for _, count in track.holes) for track in sent.tracks
    )
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        report.faults.append(f"the manifest cannot be read: {error}")
        report.differences.lost = report.samples_sent
        return report
    try:
        _Check(sent, folder, manifest, report).run()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        report.faults.append(f"the manifest is not of its shape: {type(error).__name__} {error}")
    return report


class _Check:
    """One call's check under way."""

    def __init__(
        self, sent: SentCall, folder: Path, manifest: dict[str, Any], report: CallReport
    ) -> None:
        self._sent = sent
        self._folder = folder
        self._manifest = manifest
        self._report = report
        #: The recorded tracks, by where they begin on the call's axis: what the mix is made of.
        self._recorded: list[tuple[int, Pcm]] = []

    def run(self) -> None:
        self._check_head()
        self._check_tracks()
        self._check_mix()
        self._check_events()

    def _fault(self, text: str) -> None:
        self._report.faults.append(text)

    def _check_head(self) -> None:
        manifest, sent = self._manifest, self._sent
        self._report.state = str(manifest["state"])
        if manifest["schema"] != SCHEMA:
            self._fault("the manifest's schema is not the known one")
        if self._report.state != "complete":
            self._fault(f"the state is {self._report.state}, not complete")
        if manifest["call_id"] != sent.call_id:
            self._fault("the manifest is of another call")
        if sent.correlation_id is not None and manifest["correlation_id"] != sent.correlation_id:
            self._fault("the correlation id is not the one sent")
        if manifest["sample_rate"] != sent.sample_rate:
            self._fault(f"the sample rate is {manifest['sample_rate']}, not {sent.sample_rate}")

    def _check_tracks(self) -> None:
        waiting = {track.participant: track for track in self._sent.tracks}
        for number, entry in enumerate(self._manifest["tracks"], 1):
            self._report.tracks_found += 1
            pcm = self._read(f"track {number}", entry)
            start = _samples_of(entry["offset_us"], self._sent.sample_rate)
            if start < 0:
                raise ValueError(f"track {number} begins before its call")
            if entry["sample_rate"] != self._sent.sample_rate:
                self._fault(f"track {number} is at {entry['sample_rate']} Hz")
            self._recorded.append((start, pcm))
            self._report.samples_recorded += len(pcm)
            sent = waiting.pop(entry["participant"], None)
            if sent is None:
                self._fault(f"track {number} is of nobody who spoke, or of one who has a track")
                self._report.differences.extra += len(pcm)
                continue
            self._compare(number, sent, pcm, start)
            self._check_gaps(number, sent, entry)
            self._check_counters(number, sent, entry)
        for track in waiting.values():
            self._fault(f"participant {self._place(track)} has no track")
            self._report.differences.lost += len(track.pcm)

    def _place(self, sent: SentTrack) -> int:
        return 1 + next(n for n, track in enumerate(self._sent.tracks) if track is sent)

    def _compare(self, number: int, sent: SentTrack, pcm: Pcm, start: int) -> None:
        others = [track for track in self._sent.tracks if track is not sent]
        found = compare(sent, pcm, start, self._sent.sample_rate // 50, others)
        self._report.differences.add(found)
        if found.total:
            at_s = (found.first_at or 0) / self._sent.sample_rate
            self._fault(
                f"track {number}: {found.lost} samples lost, {found.altered} altered, "
                f"{found.displaced} displaced, {found.extra} extra; the first at {at_s:.4f} s"
            )

    def _check_gaps(self, number: int, sent: SentTrack, entry: dict[str, Any]) -> None:
        rate = self._sent.sample_rate
        # A length of 0 (audio left out) or null (nobody knows) is no hole that was made.
        declared = [
            (_samples_of(gap["start_us"], rate), _samples_of(gap["length_us"] or 0, rate))
            for gap in entry["gaps"]
        ]
        self._report.gaps_declared += len(declared)
        if _joined(declared) != _joined(sent.holes):
            self._report.are_gaps_right = False
            self._fault(
                f"track {number}: {len(declared)} gaps declared, {len(sent.holes)} were made, "
                "or they lie elsewhere"
            )

    def _check_counters(self, number: int, sent: SentTrack, entry: dict[str, Any]) -> None:
        wanted = dict.fromkeys(ALWAYS_ZERO, 0)
        if not sent.holes:
            wanted |= dict.fromkeys(ZERO_WITHOUT_HOLES, 0)
        if sent.packets is not None:
            wanted["received"] = sent.packets
        if sent.silent is not None:
            wanted["silent"] = sent.silent
        for name, value in wanted.items():
            if entry["packets"][name] != value:
                self._report.are_counters_right = False
                found = entry["packets"][name]
                self._fault(f"track {number}: packets.{name} is {found}, not {value}")

    def _check_mix(self) -> None:
        mixed = self._manifest["mixed"]
        if mixed is None:
            if len(self._recorded) > 1:
                self._report.is_mix_right = False
                self._fault("there is no mix of several tracks")
            return
        pcm = self._read("the mix", mixed)
        expected = mix_of(self._recorded)
        if not np.array_equal(pcm, expected):
            self._report.is_mix_right = False
            self._fault(
                f"the mix is not the sum of the tracks ({_first_difference(pcm, expected)})"
            )

    def _check_events(self) -> None:
        found = [
            SentTone(event["data"]["tone"], event["participant"])
            for event in self._manifest["events"]
            if event["kind"] == "dtmf"
        ]
        if found != self._sent.tones:
            self._report.are_events_right = False
            self._fault(f"{len(found)} tones recorded, {len(self._sent.tones)} sent, or others")

    def _read(self, what: str, entry: dict[str, Any]) -> Pcm:
        """The samples of a file of the manifest; none if it cannot be read."""
        name = PurePosixPath(entry["file"])
        if name.is_absolute() or ".." in name.parts:
            self._fault(f"{what}: its file is outside of the folder")
            return np.zeros(0, np.int16)
        path = self._folder / name
        try:
            if _sha256(path) != entry["sha256"]:
                self._report.are_sums_right = False
                self._fault(f"{what}: the sha256 is not the file's")
            header, pcm = read_wav(path)
        except (OSError, WavError) as error:
            self._fault(f"{what}: {error.strerror if isinstance(error, OSError) else error}")
            return np.zeros(0, np.int16)
        if header.rate != self._sent.sample_rate:
            self._fault(f"{what}: its header says {header.rate} Hz")
        if entry["samples"] != len(pcm):
            self._fault(f"{what}: {entry['samples']} samples declared, {len(pcm)} in the file")
        return pcm


def mix_of(tracks: Iterable[tuple[int, Pcm]]) -> Pcm:
    """The sum of tracks at their places on the call's axis, saturated to 16 bits."""
    placed = list(tracks)
    total = np.zeros(max((start + len(pcm) for start, pcm in placed), default=0), np.int32)
    for start, pcm in placed:
        total[start : start + len(pcm)] += pcm
    return np.clip(total, -32768, 32767).astype(np.int16)


def _samples_of(time_us: int, rate: int) -> int:
    return (int(time_us) * rate + 500_000) // 1_000_000


def _joined(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs (first, count) in order, those that touch made one."""
    out: list[tuple[int, int]] = []
    for first, count in sorted(runs):
        if out and out[-1][0] + out[-1][1] == first:
            out[-1] = (out[-1][0], out[-1][1] + count)
        else:
            out.append((first, count))
    return out


def _first_difference(one: Pcm, two: Pcm) -> str:
    short = min(len(one), len(two))
    wrong = np.flatnonzero(one[:short] != two[:short])
    if len(wrong):
        return f"{len(wrong)} samples differ, the first is {wrong[0]}"
    return f"{len(one)} samples, {len(two)} expected"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
