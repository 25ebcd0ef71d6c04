"""Compares a finished recording with what its call sent, packet by packet and sample by sample.

Imports nothing of what made the recording: it reads the manifest, the WAV files, and knows what
was sent. Each packet is there once, at its place, or lies in a gap that says so; nothing else is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.faults.sent import TORN, WHOLE, SentCall, SentSocket
from bench.faults.speech import (
    PACKET_MS,
    PACKET_SAMPLES,
    RATE,
    Pcm,
    Speech,
    name_in,
    participant,
)
from bench.simulator.checker import mix_of
from bench.simulator.wav import WavError, read_wav

US = 1_000_000
PACKET_US = PACKET_MS * 1000
#: What was sent so long before its socket was torn is not missing: no fault here takes longer.
TORN_S_MAX = 10.0
_TORN_PACKETS_MAX = int(TORN_S_MAX * 1000) // PACKET_MS
#: So much of a session that is killed with its gateway may leave no trace: it was not read yet.
_TRACELESS_PACKETS_MAX = 50
_FAULTS_MAX = 20

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Found:
    """What came of one call, in packets of all participants. Right if `faults` is empty."""

    sent: int = 0
    written: int = 0
    #: In a gap of the recording.
    declared: int = 0
    #: Outside of the recording's begin and end: still on their way when we cut the socket, or never
    #: handed to a kernel. No gateway has read them.
    unread: int = 0
    #: Before the recording's begin: the manifest names the session that its dead gateway took
    #: along, with its times, but no packet of it is there to tell a gap's length from.
    unplaced: int = 0
    samples: int = 0
    #: Of each socket that was torn: ms of audio that are missing, by how it ended.
    torn_ms: list[tuple[str, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Nothing is missing, twice, elsewhere, altered or invented."""
        return not self.faults

    def fault(self, text: str) -> None:
        """Note a difference."""
        if len(self.faults) < _FAULTS_MAX:
            self.faults.append(text)


def check(call: SentCall, folder: Path, speech: Speech) -> Found:
    """Compare a call with the folder of its recording."""
    found = Found(sent=call.packets)
    for socket in call.sockets:
        if socket.end not in WHOLE | TORN:
            found.fault(f"a socket of gateway {socket.gateway} has ended by itself: {socket.end}")
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        _check_manifest(call, manifest, found)
        tracks = [_read(folder, entry, found) for entry in manifest["tracks"]]
        for place in range(call.participants):
            _check_participant(call, place, tracks, speech, found)
        _check_traces(call, manifest, found)
        _check_mix(folder, manifest, tracks, found)
    except (OSError, WavError, KeyError, TypeError, ValueError) as error:
        found.fault(f"the recording cannot be read: {type(error).__name__} {error}")
    parts = (found.written, found.declared, found.unread, found.unplaced)
    if found.is_right and found.sent != sum(parts):
        found.fault(f"{found.sent} packets sent, but {parts} written, missing, unread, unplaced")
    return found


def _check_manifest(call: SentCall, manifest: dict[str, Any], found: Found) -> None:
    if manifest["call_id"] != call.call_id:
        found.fault("the manifest is of another call")
    if manifest["state"] not in ("complete", "incomplete"):
        found.fault(f"the recording is {manifest['state']}")
    died = any(session["cause"] == "gateway_died" for session in manifest["sessions"])
    if died and not any(socket.end == "killed" for socket in call.sockets):
        found.fault("a gateway is said to have died that nobody has killed")
    if died == (manifest["state"] == "complete"):
        found.fault(f"the recording is {manifest['state']}, gateway died: {died}")
    known = {participant(call.number, place) for place in range(call.participants)}
    told = [track["participant"] for track in manifest["tracks"]]
    if len(told) != len(set(told)) or not known.issuperset(told):
        found.fault("there are tracks of nobody who spoke, or two of one who did")


def _check_traces(call: SentCall, manifest: dict[str, Any], found: Found) -> None:
    """What is before the begin was said on sockets of which the manifest tells."""
    if not found.unplaced:
        return
    begins = [_us_of(track["started_at"]) - call.base_ms * 1000 for track in manifest["tracks"]]
    before = [
        socket
        for socket in call.sockets
        if socket.packets > _TRACELESS_PACKETS_MAX and socket.first * PACKET_US < min(begins)
    ]
    died = [session for session in manifest["sessions"] if session["cause"] == "gateway_died"]
    if len(before) > len(died):
        found.fault(f"{found.unplaced} packets are missing before the begin, nothing says so")


def _read(folder: Path, entry: dict[str, Any], found: Found) -> tuple[dict[str, Any], Pcm]:
    raw = (folder / entry["file"]).read_bytes()
    if hashlib.sha256(raw).hexdigest() != entry["sha256"]:
        found.fault(f"{entry['file']}: the sha256 is not the file's")
    header, pcm = read_wav(folder / entry["file"])
    if header.rate != RATE or len(pcm) != entry["samples"]:
        found.fault(f"{entry['file']}: {len(pcm)} samples at {header.rate} Hz")
    return entry, pcm


def _check_mix(
    folder: Path, manifest: dict[str, Any], tracks: list[tuple[dict[str, Any], Pcm]], found: Found
) -> None:
    if manifest["mixed"] is None:
        if tracks:
            found.fault("there is no mix")
        return
    _, mixed = _read(folder, {**manifest["mixed"], "sample_rate": RATE}, found)
    placed = [(entry["offset_us"] * RATE // US, pcm) for entry, pcm in tracks]
    if not np.array_equal(mix_of(placed), mixed):
        found.fault("the mix is not the sum of the tracks")


def _check_participant(
    call: SentCall,
    place: int,
    tracks: list[tuple[dict[str, Any], Pcm]],
    speech: Speech,
    found: Found,
) -> None:
    name = participant(call.number, place)
    for entry, pcm in tracks:
        if entry["participant"] == name:
            _Track(call, place, entry, pcm, found).check(speech)
            return
    if any(each.handed_of(place, call.participants) for each in call.sockets):
        found.fault(f"participant {place} has no track")
    else:  # the call was torn before it could say anything
        found.unread += sum(each.packets for each in call.sockets)


def _us_of(text: str) -> int:
    """Unix us of a time in the manifest, exactly."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * US + int(fraction)


class _Track:
    """The check of one participant's track. Places are packet numbers on the call's clock."""

    def __init__(
        self, call: SentCall, place: int, entry: dict[str, Any], pcm: Pcm, found: Found
    ) -> None:
        self._call = call
        self._place = place
        self._entry = entry
        self._pcm = pcm
        self._found = found
        begin_us = _us_of(entry["started_at"]) - call.base_ms * 1000
        self._begin, off_us = divmod(begin_us, PACKET_US)
        self._length, rest = divmod(len(pcm), PACKET_SAMPLES)
        if off_us or rest or self._begin < 0:
            raise ValueError(f"track {place} begins at {begin_us} us and has {len(pcm)} samples")

    def check(self, speech: Speech) -> None:
        """All of it."""
        self._found.samples += len(self._pcm)
        there = self._compare(speech)
        self._check_gaps(there)
        for socket in self._call.sockets:
            self._account(socket, there)
        self._check_counters(there)

    def _compare(self, speech: Speech) -> Mask:
        """Which of the track's places hold what was sent for them; the others must be silent."""
        blocks = self._pcm.reshape(self._length, PACKET_SAMPLES)
        was_sent = np.zeros(self._length, np.bool_)
        for socket in self._call.sockets:
            first = max(socket.first - self._begin, 0)
            last = min(socket.first + socket.packets - self._begin, self._length)
            was_sent[first : max(first, last)] = True
        sent = speech.packets(self._call.number, self._place, self._begin, self._length)
        there: Mask = (blocks == sent).all(axis=1) & was_sent
        wrong = np.flatnonzero(~there & blocks.any(axis=1))
        for at in wrong[:4].tolist():
            self._fault(at + self._begin, f"is {self._what(blocks[at])}")
        if len(wrong) > 4:
            self._fault(int(wrong[4]) + self._begin, f"and {len(wrong) - 5} more are wrong")
        return there

    def _what(self, block: Pcm) -> str:
        name = name_in(block)
        if name is None:
            return "altered, or nobody has sent it"
        return f"packet {name.number} of participant {name.place} of call {name.call}"

    def _fault(self, number: int, text: str) -> None:
        self._found.fault(f"track {self._place}, packet {number}: {text}")

    def _check_gaps(self, there: Mask) -> None:
        """Gaps lie where nothing is, and only there."""
        gaps = np.zeros(self._length, np.bool_)
        for gap in self._entry["gaps"]:
            if gap["length_us"] is None:
                self._check_last_gap(gap)
                continue
            first, off_us = divmod(gap["start_us"], PACKET_US)
            count, over_us = divmod(gap["length_us"], PACKET_US)
            if off_us or over_us or not count:
                self._fault(self._begin + first, f"no gap of whole packets: {gap}")
            if gaps[first : first + count].any() or first + count > self._length:
                self._fault(self._begin + first, f"a gap over another or the end: {gap}")
            gaps[first : first + count] = True
        for at in np.flatnonzero(gaps == there)[:4].tolist():
            told = "in a gap, but there" if gaps[at] else "neither there nor in a gap"
            self._fault(at + self._begin, told)

    def _check_last_gap(self, gap: dict[str, Any]) -> None:
        if gap["start_us"] != self._length * PACKET_US or gap["cause"] != "gateway_died":
            self._fault(self._begin, f"a gap without a length: {gap}")

    def _account(self, socket: SentSocket, there: Mask) -> None:
        """Each packet of one socket is written, or may be missing and is declared to be."""
        numbers = np.arange(socket.first, socket.first + socket.packets) - self._begin
        inside = (numbers >= 0) & (numbers < self._length)
        written = np.zeros(socket.packets, np.bool_)
        written[inside] = there[numbers[inside]]
        count = int(np.count_nonzero(written))
        self._found.written += count
        if not written[:count].all():
            at = int(np.flatnonzero(~written)[0])
            self._fault(socket.first + at, "is missing in the middle of its socket")
        if socket.end in TORN:
            needed = socket.packets - _TORN_PACKETS_MAX
            ms = (socket.packets - count) * PACKET_MS
            self._found.torn_ms.append((socket.end, ms))
        elif socket.end == "closed":
            needed = socket.packets
        else:
            needed = socket.handed_of(self._place, self._call.participants)
        if count < needed:
            self._fault(socket.first + count, f"and {needed - count - 1} more are missing")
        self._declare(socket, numbers[~written])

    def _declare(self, socket: SentSocket, missing: npt.NDArray[np.int64]) -> None:
        """Inside the track `_check_gaps` has seen to it; before and behind there is more to say.

        What was never handed to a kernel nobody need tell of.
        """
        inside = (missing >= 0) & (missing < self._length)
        self._found.declared += int(np.count_nonzero(inside))
        handed = socket.first + socket.handed_of(self._place, self._call.participants) - self._begin
        left = missing[~inside & (missing < handed)]
        self._found.unread += len(missing) - int(np.count_nonzero(inside)) - len(left)
        before = int(np.count_nonzero(left < 0))
        if before and socket.end == "killed":
            self._found.unplaced += before
        elif before:
            self._fault(socket.first, f"{before} are missing before the track's begin")
        behind = len(left) - before
        if not behind:
            return
        if any(gap["length_us"] is None for gap in self._entry["gaps"]):
            self._found.declared += behind
        elif socket.end == "killed":
            self._fault(socket.first, f"{behind} are missing behind the end, nothing says so")
        else:
            self._found.unread += behind

    def _check_counters(self, there: Mask) -> None:
        packets = self._entry["packets"]
        written = int(np.count_nonzero(there))
        wanted = {"received": written, "lost": self._length - written}
        wanted |= {"filled": wanted["lost"], "silent": 0, "late": 0, "dropped": 0, "bad": 0}
        for name, value in wanted.items():
            if packets[name] != value:
                self._found.fault(f"track {self._place}: {name} is {packets[name]}, not {value}")
