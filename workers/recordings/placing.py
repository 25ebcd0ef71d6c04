"""Where each session's streams lie on the call's one axis, and which packets are copies. No output.

The axis begins at the zero of the first session. A later one is laid onto it by the difference of
their zeros, each corrected by how far its stamps lie ahead of its places; then shifted so that it
goes on where the earlier ones ended, if it nearly does.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

from gateway.wire.frame import FrameFlag
from workers.recordings.contents import Contents, SessionContents, StreamContents
from workers.recordings.durable import open_file
from workers.recordings.facts import StreamFacts, stream_facts
from workers.recordings.index import Entries
from workers.recordings.intervals import Intervals, union
from workers.recordings.wave_file import HEADER_BYTES, SAMPLE_BYTES

US = 1_000_000
NEAR = Fraction(40, 1000)
GRID_US_MIN = 10_000

Mask = NDArray[np.bool_]


@dataclass(slots=True)
class Piece:
    """A stream on the call's axis, counted in samples at its rate."""

    session: SessionContents
    stream: StreamContents
    facts: StreamFacts
    #: What is to be added to a position of the session's axis.
    shift: int
    #: Packets that are to be heard, as intervals of the call's axis.
    rows: Intervals
    #: Flags of the packets that an earlier session has brought already.
    copies: NDArray[np.uint8]

    @property
    def begin(self) -> int:
        """The first sample that it brings."""
        return int(self.rows[0, 0]) if len(self.copies) else self.stream.first + self.shift

    @property
    def end(self) -> int:
        """After the last sample that it brings."""
        last = int(self.rows[-1, 1]) if len(self.rows) else self.begin
        return last if len(self.copies) else max(last, self.stream.end + self.shift)

    @property
    def brings_nothing(self) -> bool:
        """All of its packets are copies."""
        return len(self.copies) > 0 and not len(self.rows)

    @property
    def lacks_nothing(self) -> bool:
        """Nothing of it is missing, so far as anybody knows."""
        return self.facts.is_whole and not self.session.broke_off


def place(contents: Contents) -> list[Piece]:
    """Every stream of a recording, sessions in order. Raises OSError."""
    pieces: list[Piece] = []
    axis: int | None = None
    for session in contents.sessions:
        streams = [(stream, _facts(session, stream)) for stream in session.streams]
        if not streams:
            continue
        at_us = streams[0][0].opened.zero_us + _baseline_us(streams)
        if axis is None:
            axis = at_us
        kept = [(stream, facts, _kept(pieces, stream, facts)) for stream, facts in streams]
        offset = _offset(at_us - axis, streams)
        offset += _nearly(pieces, offset, kept)
        pieces.extend(_piece(session, offset, *each) for each in kept)
    return pieces


def _facts(session: SessionContents, stream: StreamContents) -> StreamFacts:
    counted = None if stream.closed is None else stream.closed.packets
    bad = 0 if counted is not None else _bad_packets(session, stream)
    return stream_facts(stream.entries(), stream.first, counted, bad, stream.dropped)


def _bad_packets(session: SessionContents, stream: StreamContents) -> int:
    """Of the events those that name the stream's participant, or none if it is the first stream."""
    firsts: dict[str | None, int] = {}
    for other in reversed(session.streams):
        firsts[other.opened.participant] = other.number
    whose = [event.participant for _, event in session.events if event.kind == "bad_packet"]
    return sum(
        firsts.get(participant, session.streams[0].number) == stream.number for participant in whose
    )


def _piece(
    session: SessionContents,
    offset: Fraction,
    stream: StreamContents,
    facts: StreamFacts,
    kept: Mask,
) -> Piece:
    shift = round(offset * stream.opened.sample_rate)
    chosen = facts.entries[kept]
    begins = chosen["position"] + shift
    rows = union(np.stack((begins, begins + chosen["samples"].astype(np.int64)), axis=1))
    copies = facts.entries["flags"][facts.with_audio & ~kept]
    return Piece(session, stream, facts, shift, rows, copies)


# On the axis


def _baseline_us(streams: list[tuple[StreamContents, StreamFacts]]) -> int:
    """Median of stamp - place over the session's first second."""
    ahead: list[NDArray[np.int64]] = []
    places: list[NDArray[np.int64]] = []
    for stream, facts in streams:
        entries = facts.entries[facts.with_stamp]
        place_us = entries["position"] * US // stream.opened.sample_rate
        places.append(place_us)
        ahead.append(entries["stamp_us"] - stream.opened.zero_us - place_us)
    place_us = np.concatenate(places)
    if not len(place_us):
        return 0
    first = np.concatenate(ahead)[place_us < place_us.min() + US]
    return int(median_low(first.tolist()))


def _offset(difference_us: int, streams: list[tuple[StreamContents, StreamFacts]]) -> Fraction:
    """A difference of zeros in s, rounded to whole packets, at least 10 ms."""
    packet = max(
        (
            Fraction(facts.packet_samples * US, stream.opened.sample_rate)
            for stream, facts in streams
        ),
        default=Fraction(0),
    )
    grid = packet or Fraction(GRID_US_MIN)
    grid *= -(-GRID_US_MIN // grid)
    return round(difference_us / grid) * grid / US


def _nearly(
    pieces: list[Piece], offset: Fraction, kept: list[tuple[StreamContents, StreamFacts, Mask]]
) -> Fraction:
    """What makes a session go on without a seam where its streams' tracks end; 0 if far off.

    By whole packets alone: where its recorder died a file may end in the midst of one.
    """
    distances: list[Fraction] = []
    for stream, facts, mask in kept:
        rate, chosen = stream.opened.sample_rate, facts.entries[mask]
        ends = [
            int(piece.rows[-1, 1])
            for piece in pieces
            if is_same_track(piece.stream, stream) and len(piece.rows)
        ]
        if not ends or not len(chosen):
            continue
        first = int(chosen["position"][0]) + round(offset * rate)
        distance = Fraction(max(ends) - first, rate)
        if abs(distance) <= NEAR:
            distances.append(distance)
    return median_low(distances) if distances else Fraction(0)


def is_same_track(one: StreamContents, other: StreamContents) -> bool:
    """Whether two streams are one participant's at one rate."""
    return (
        one.opened.participant == other.opened.participant
        and one.opened.sample_rate == other.opened.sample_rate
    )


# Copies


def _kept(pieces: list[Piece], stream: StreamContents, facts: StreamFacts) -> Mask:
    """Which frames are to be heard: those with audio that no earlier session has brought.

    A stamp names a packet of its participant. Where a session has used one twice (stamps may be
    whole seconds) it does not, and the samples must be the same, too.
    """
    kept = facts.with_audio
    earlier = [
        piece for piece in pieces if piece.stream.opened.participant == stream.opened.participant
    ]
    if not earlier:
        return kept
    stamped = facts.with_stamp
    stamps = facts.entries["stamp_us"]
    known = [piece.facts.entries["stamp_us"][piece.facts.with_stamp] for piece in earlier]
    found = stamped & np.isin(stamps, np.concatenate(known))
    vague = found & np.isin(stamps, _repeated([*known, stamps[stamped]]))
    kept &= ~found
    if vague.any():
        heard: set[tuple[int, bytes]] = set()
        for piece in earlier:
            matches = piece.facts.with_stamp & np.isin(
                piece.facts.entries["stamp_us"], stamps[vague]
            )
            heard.update(_samples(piece.stream, piece.facts.entries[matches]))
        again = [what in heard for what in _samples(stream, facts.entries[vague])]
        kept[np.flatnonzero(vague)[~np.array(again, bool)]] = True
    return kept


def _repeated(each: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Stamps that occur more than once in one stream."""
    found = []
    for stamps in each:
        values, counts = np.unique(stamps, return_counts=True)
        found.append(values[counts > 1])
    return np.concatenate(found)


def _samples(stream: StreamContents, entries: Entries) -> Iterator[tuple[int, bytes]]:
    """(stamp, digest of the samples) of frames."""
    if not len(entries) or not stream.samples:
        return
    descriptor = open_file(stream.audio, os.O_RDONLY)
    try:
        for entry in entries:
            at = HEADER_BYTES + (int(entry["position"]) - stream.first) * SAMPLE_BYTES
            pcm = os.pread(descriptor, int(entry["samples"]) * SAMPLE_BYTES, at)
            yield int(entry["stamp_us"]), blake2b(pcm, digest_size=16).digest()
    finally:
        os.close(descriptor)


def count_flag(piece: Piece, flag: FrameFlag) -> int:
    """How many of a piece's copies have a flag."""
    return int(np.count_nonzero(piece.copies & flag))
