"""Says whether recordings hold what gateways have read: once, at its place, or declared missing.

Knows nothing of how recordings are made: it reads manifests and WAV files, and what was sent.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.schedules.sent import PACKET_SAMPLES, RATE, Packet, SentCall, SentSession
from bench.simulator.checker import mix_of
from bench.simulator.compare import Pcm
from bench.simulator.wav import WavError, read_wav

US = 1_000_000


def check(recordings: Path, calls: list[SentCall]) -> list[str]:
    """What is wrong with the recordings of these calls; nothing if all is right."""
    folders: dict[str, list[_Folder]] = defaultdict(list)
    faults: list[str] = []
    for path in sorted(recordings.glob("[0-9]*/*/*/*/manifest.json")):
        try:
            folder = _Folder(path.parent, json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError) as fault:
            faults.append(f"{path.parent.name}: the manifest cannot be read: {fault}")
            continue
        folders[folder.call_id].append(folder)
    for call in calls:
        faults += _Call(call, folders.pop(call.call_id, [])).faults()
    faults += [f"{name}: nobody has called so" for name in sorted(folders)]
    return faults


class _Folder:
    """One recording."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.call_id = str(manifest["call_id"])
        self.is_complete = manifest["state"] == "complete"
        self.sessions = {str(session["id"]) for session in manifest["sessions"]}
        self.died = {
            str(session["id"]) for session in manifest["sessions"] if session["cause"] is not None
        }
        #: Packets that were found in it, and keys.
        self.numbers: set[int] = set()
        self.tones: list[str] = [
            str(event["data"]["tone"]) for event in manifest["events"] if event["kind"] == "dtmf"
        ]


class _Call:
    """One call's check."""

    def __init__(self, call: SentCall, folders: list[_Folder]) -> None:
        self._call = call
        self._folders = folders
        self._faults: list[str] = []

    def faults(self) -> list[str]:
        """Everything that is wrong."""
        for folder in self._folders:
            sessions = [each for each in self._call.sessions if each.id in folder.sessions]
            self._check_folder(folder, sessions)
        self._check_whole()
        return [f"{self._call.call_id}: {fault}" for fault in self._faults]

    def _check_folder(self, folder: _Folder, sessions: list[SentSession]) -> None:
        if folder.manifest["state"] not in ("complete", "incomplete"):
            self._faults.append(f"the recording is {folder.manifest['state']}")
            return
        if unknown := folder.sessions - {session.id for session in sessions}:
            self._faults.append(f"sessions that nobody has opened: {sorted(unknown)}")
        placed: list[tuple[int, Pcm]] = []
        axis: int | None = None
        for entry in folder.manifest["tracks"]:
            track = _Track(folder, entry, sessions)
            axis = track.check(axis)
            self._faults += [f"{entry['participant']}: {fault}" for fault in track.faults]
            folder.numbers |= set(track.starts)
            placed.append((round(entry["offset_us"] * RATE / US), track.pcm))
        self._check_mix(folder, placed)
        self._check_state(folder, sessions)

    def _check_mix(self, folder: _Folder, placed: list[tuple[int, Pcm]]) -> None:
        mixed = folder.manifest["mixed"]
        if mixed is None:
            if placed:
                self._faults.append("there is no mix")
            return
        if not np.array_equal(_samples(folder.path, mixed, self._faults), mix_of(placed)):
            self._faults.append("the mix is not the sum of the tracks")

    def _check_state(self, folder: _Folder, sessions: list[SentSession]) -> None:
        packets = {each.number for session in sessions for each in session.packets}
        tones = {each.name for session in sessions for each in session.tones}
        missing = len(packets - folder.numbers) + len(tones - set(folder.tones))
        if missing and folder.is_complete:
            self._faults.append(f"{missing} frames are missing from what calls itself complete")
        if all(map(_is_certain, sessions)) and not folder.is_complete:
            self._faults.append("nothing is missing, and the recording does not call itself whole")
        if len(set(folder.tones)) < len(folder.tones):
            self._faults.append("a key is there twice")
        if invented := set(folder.tones) - tones:
            self._faults.append(f"keys that nobody pressed: {sorted(invented)}")

    def _check_whole(self) -> None:
        """What must be somewhere is somewhere, and nothing is there more often than it was read."""
        numbers: set[int] = set().union(*(folder.numbers for folder in self._folders))
        tones = {name for folder in self._folders for name in folder.tones}
        for session in self._call.sessions:
            lost = [p for p in session.packets if not p.may_miss and p.number not in numbers]
            if lost:
                self._faults.append(f"session {session.id} has lost {_told(lost)}")
            keys = [t.name for t in session.tones if not t.may_miss and t.name not in tones]
            if keys:
                self._faults.append(f"session {session.id} has lost keys {keys}")
        for number in sorted(numbers):
            holders = [folder for folder in self._folders if number in folder.numbers]
            readers = [s for s in self._call.sessions if number in {p.number for p in s.packets}]
            if len(holders) > len(readers):
                self._faults.append(f"packet {number} is in {len(holders)} recordings")


class _Track:
    """One track's check. `starts`: packet to the sample that it begins at."""

    def __init__(self, folder: _Folder, entry: dict[str, Any], sessions: list[SentSession]) -> None:
        self.faults: list[str] = []
        self.starts: dict[int, int] = {}
        self._folder = folder
        self._entry = entry
        self._sessions = sessions
        self._sent: dict[int, Packet] = {
            packet.number: packet
            for session in sessions
            for packet in session.packets
            if packet.participant == entry["participant"]
        }
        self.pcm = _samples(folder.path, entry, self.faults)

    def check(self, axis: int | None) -> int | None:
        """`axis`: where the recording's first sample lies, in time, if a track has told."""
        self._find()
        axis = self._check_places(axis)
        self._check_samples()
        self._check_holes(axis)
        self._check_counters()
        return axis

    def _find(self) -> None:
        """Every packet that is there whole, each once."""
        for at in np.flatnonzero(self.pcm < 0).tolist():
            number = -int(self.pcm[at])
            rest = self.pcm[at + 1 : at + PACKET_SAMPLES]
            if len(rest) < PACKET_SAMPLES - 1 or not (rest == number).all():
                continue
            if number not in self._sent:
                self.faults.append(f"packet {number} at sample {at} was never read here")
            if number in self.starts:
                self.faults.append(f"packet {number} is there twice")
            self.starts[number] = at

    def _check_counters(self) -> None:
        """The manifest says how many there were, and how many of them were thrown away."""
        received, dropped = (self._entry["packets"][name] for name in ("received", "dropped"))
        if self._folder.is_complete and received != len(self._sent):
            self.faults.append(f"{received} packets counted, {len(self._sent)} read")
        is_damaged = any(gap["cause"] == "damaged" for gap in self._entry["gaps"])
        if not (self._folder.died or is_damaged) and received - dropped != len(self.starts):
            counted = f"{received} packets counted, {dropped} of them dropped"
            self.faults.append(f"{counted}, {len(self.starts)} there")

    def _check_samples(self) -> None:
        """No sample but those of packets."""
        expected = np.zeros_like(self.pcm)
        for number, at in self.starts.items():
            expected[at : at + PACKET_SAMPLES] = number
            expected[at] = -number
        wrong = np.flatnonzero(expected != self.pcm)
        if len(wrong):
            self.faults.append(f"{len(wrong)} samples are of no whole packet, from {wrong[0]} on")

    def _check_places(self, axis: int | None) -> int | None:
        """All packets of a recording lie on one axis, by the time at which they were said."""
        for number, at in self.starts.items():
            if number not in self._sent:
                continue
            zero = self._sent[number].stamp_us - self._entry["offset_us"] - at * US // RATE
            axis = zero if axis is None else axis
            if zero != axis:
                self.faults.append(f"packet {number} lies {axis - zero} us from its place")
                break
        return axis

    def _check_holes(self, axis: int | None) -> None:
        """Silence is declared, all of it and nothing else; what is missing lies in it or after."""
        heard = np.zeros(len(self.pcm), np.bool_)
        for at in self.starts.values():
            heard[at : at + PACKET_SAMPLES] = True
        declared = np.zeros(len(self.pcm), np.bool_)
        is_open = False
        for gap in self._entry["gaps"]:
            first = round(gap["start_us"] * RATE / US)
            if gap["length_us"] is None:
                is_open = True  # from there on, and nobody knows how much
            else:
                declared[first : first + round(gap["length_us"] * RATE / US)] = True
        wrong = np.flatnonzero(declared == heard)
        if len(wrong):
            self.faults.append(f"the gaps do not tell what is silent, from sample {wrong[0]} on")
        if axis is None:
            return
        end_us = axis + self._entry["offset_us"] + len(self.pcm) * US // RATE
        after = [
            packet
            for packet in self._told_of()
            if packet.number not in self.starts and packet.stamp_us >= end_us
        ]
        if after and not is_open:
            self.faults.append(f"nothing says that the end is missing: {_told(after)}")

    def _told_of(self) -> list[Packet]:
        """Packets of sessions that the track must speak of.

        Not those of a session that says of itself that its gateway has died, and of which nothing
        else of this participant is there.
        """
        told = []
        for session in self._sessions:
            mine = [p for p in session.packets if p.participant == self._entry["participant"]]
            if session.id in self._folder.died and not any(p.number in self.starts for p in mine):
                continue
            told += mine
        return told


def _is_certain(session: SentSession) -> bool:
    """Whether nothing of it may be missing."""
    if session.end is None or session.end.may_miss:
        return False
    packets_may = any(packet.may_miss for packet in session.packets)
    return not packets_may and not any(tone.may_miss for tone in session.tones)


def _samples(folder: Path, entry: dict[str, Any], faults: list[str]) -> Pcm:
    path = folder / entry["file"]
    try:
        header, pcm = read_wav(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, WavError) as fault:
        faults.append(f"{entry['file']}: {fault}")
        return np.zeros(0, np.int16)
    if header.rate != RATE or entry["samples"] != len(pcm) or digest != entry["sha256"]:
        faults.append(f"{entry['file']} is not what the manifest says")
    return pcm


def _told(packets: list[Packet]) -> str:
    """Some of them, in words."""
    some = ", ".join(f"{packet.number} of {packet.participant}" for packet in packets[:4])
    return f"{len(packets)} packets: {some}{' ...' if len(packets) > 4 else ''}"
