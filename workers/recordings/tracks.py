"""Tracks: one file for each participant and rate, made of the streams of all sessions.

The earlier session stands where two overlap; what nobody brought is silence.
"""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from workers.recordings import durable, wave_file
from workers.recordings.names import track_name
from workers.recordings.placing import Piece, is_same_track
from workers.recordings.wave_file import HEADER_BYTES, SAMPLE_BYTES

_COPY_BYTES = 1024 * 1024


@dataclass(slots=True)
class TrackPlan:
    """A track before it is made. `begin` and `end` count on the call's axis, at its own rate."""

    participant: str | None
    sample_rate: int
    pieces: list[Piece]
    begin: int
    end: int

    @property
    def file(self) -> str:
        """Its name below the recording's folder."""
        return track_name(self.participant, self.sample_rate)

    @property
    def samples(self) -> int:
        return self.end - self.begin

    @property
    def starts(self) -> Fraction:
        """Seconds on the call's axis."""
        return Fraction(self.begin, self.sample_rate)

    @property
    def ends(self) -> Fraction:
        """Seconds on the call's axis."""
        return Fraction(self.end, self.sample_rate)


def plan_tracks(pieces: list[Piece]) -> list[TrackPlan]:
    """The tracks that these pieces make, in the order in which their participants came."""
    grouped: list[list[Piece]] = []
    for piece in pieces:
        if not (piece.facts.packets.received or piece.stream.samples):
            continue
        if piece.brings_nothing and piece.lacks_nothing:
            continue  # else the track must tell what is missing
        for group in grouped:
            if is_same_track(group[0].stream, piece.stream):
                group.append(piece)
                break
        else:
            grouped.append([piece])
    return [
        TrackPlan(
            group[0].stream.opened.participant,
            group[0].stream.opened.sample_rate,
            group,
            min(piece.begin for piece in group if not piece.brings_nothing),
            max(piece.end for piece in group if not piece.brings_nothing),
        )
        for group in grouped
        if not all(piece.brings_nothing for piece in group)
    ]


def make_track(plan: TrackPlan, target: Path, *, sync: bool) -> None:
    """Make the file, which must not exist: a second name for the stream's own, or a new one.

    A stream that its gateway has not closed may still grow, so it is copied: a recorder may hold
    what nobody else has heard. Raises OSError.
    """
    only = plan.pieces[0]
    is_the_stream = (
        len(plan.pieces) == 1
        and not len(only.copies)
        and only.stream.closed is not None
        # Else there may be audio that no entry speaks of.
        and only.facts.is_whole
        and only.facts.end == only.stream.end
        and not only.session.broke_off
        and 0 < only.stream.samples == plan.samples
    )
    if not (is_the_stream and _link(only.stream.audio, target, plan.sample_rate, sync=sync)):
        _join(plan, target, sync=sync)


def _link(audio: Path, target: Path, sample_rate: int, *, sync: bool) -> bool:
    """Give a stream's file a second name; False where the file system has no such thing."""
    descriptor = durable.open_file(audio, os.O_RDWR)
    try:
        wave_file.settle_header(descriptor, sample_rate)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(audio, target)
    except OSError:
        return False
    return True


def _join(plan: TrackPlan, target: Path, *, sync: bool) -> None:
    output = durable.open_file(target, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        os.ftruncate(output, HEADER_BYTES + plan.samples * SAMPLE_BYTES)
        for piece in reversed(plan.pieces):
            if piece.stream.samples:
                _put(piece, plan.begin, output)
        wave_file.settle_header(output, plan.sample_rate)
        if sync:
            os.fsync(output)
    finally:
        os.close(output)


def _put(piece: Piece, begin: int, output: int) -> None:
    """Copy the packets of a stream to their places in a track that begins at `begin`."""
    audio = durable.open_file(piece.stream.audio, os.O_RDONLY)
    try:
        for first, end in piece.rows.tolist():
            source = HEADER_BYTES + (first - piece.shift - piece.stream.first) * SAMPLE_BYTES
            target = HEADER_BYTES + (first - begin) * SAMPLE_BYTES
            left = (end - first) * SAMPLE_BYTES
            while left and (data := os.pread(audio, min(left, _COPY_BYTES), source)):
                durable.write_all(output, data, target)
                source, target, left = source + len(data), target + len(data), left - len(data)
    finally:
        os.close(audio)
