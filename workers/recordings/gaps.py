"""Where a track is silent because there was nothing to put there, and its counters. Pure."""

import numpy as np

from gateway.wire.descriptor import Packets
from gateway.wire.frame import FrameFlag
from workers.recordings.facts import StreamGap
from workers.recordings.intervals import NONE, Intervals, subtract, union
from workers.recordings.manifest import GapCause, TrackGap
from workers.recordings.placing import US, Piece, count_flag


def track_gaps(pieces: list[Piece], begin: int, end: int) -> list[StreamGap]:
    """The gaps of a track that spans `begin` to `end`, counted in samples from its first.

    What a session did not bring is no gap where another one did.
    """
    gaps: list[StreamGap] = []
    told = NONE
    for piece in pieces:
        others = union(_rows([other for other in pieces if other is not piece]))
        for gap in piece.facts.gaps:
            at = gap.position + piece.shift
            if not gap.samples:
                # Frames whose places nobody knows follow each other, as far as that can be told.
                lacks = 0 if gap.samples == 0 else piece.facts.lacks_at_end
                first = _first_missing(others, at, lacks * piece.facts.packet_samples)
                if first is not None and begin <= first <= end:
                    gaps.append(gap._replace(position=first))
                continue
            span = np.array([[max(at, begin), min(at + gap.samples, end)]], np.int64)
            left = subtract(subtract(union(span), others), told)
            told = union(np.concatenate((told, left)))
            gaps.extend(StreamGap(low, high - low, gap.cause) for low, high in left.tolist())
    holes = subtract(union(np.array([[begin, end]], np.int64)), union(_rows(pieces)))
    for low, high in subtract(holes, told).tolist():
        cause: GapCause = "gateway_died" if _broke_off_before(pieces, low) else "not_received"
        gaps.append(StreamGap(low, high - low, cause))
    if _is_open(pieces, end):
        gaps.append(StreamGap(end, None, "gateway_died"))
    gaps.sort(key=lambda gap: (gap.position, gap.samples is None, gap.samples or 0, gap.cause))
    return [gap._replace(position=gap.position - begin) for gap in _merged(gaps)]


def in_time(gap: StreamGap, sample_rate: int) -> TrackGap:
    """A gap as the manifest tells it."""
    start_us = round(gap.position * US / sample_rate)
    length_us = None
    if gap.samples is not None:
        # The difference of two rounded times, so that a gap ends where the next one begins.
        length_us = round((gap.position + gap.samples) * US / sample_rate) - start_us
    return TrackGap(start_us=start_us, length_us=length_us, cause=gap.cause)


def track_packets(pieces: list[Piece], gaps: list[StreamGap]) -> Packets:
    """Counters of a track. A packet that came on two sockets counts once.

    With several streams `lost` is what is missing in the track, not in each of them.
    """
    total = Packets()
    for piece in pieces:
        for name in total.__struct_fields__:
            value = getattr(total, name) + getattr(piece.facts.packets, name)
            setattr(total, name, value)
        total.received -= len(piece.copies)
        total.silent -= count_flag(piece, FrameFlag.SILENT)
        total.late -= count_flag(piece, FrameFlag.LATE)
        total.filled -= count_flag(piece, FrameFlag.NO_DATA)
    if len(pieces) > 1:
        packet = max((piece.facts.packet_samples for piece in pieces), default=0) or 1
        missing = sum(
            gap.samples or 0 for gap in gaps if gap.cause in ("not_received", "gateway_died")
        )
        lost = round(missing / packet)
        total.filled += lost - total.lost
        total.lost = lost
    return total


def _rows(pieces: list[Piece]) -> Intervals:
    return np.concatenate([NONE, *(piece.rows for piece in pieces)])


def _covers(intervals: Intervals, at: int) -> bool:
    index = int(np.searchsorted(intervals[:, 1], at, side="right"))
    return index < len(intervals) and int(intervals[index, 0]) <= at


def _is_open(pieces: list[Piece], end: int) -> bool:
    """Whether more may have been said at the end of a track than its sessions could bring."""
    last = [piece for piece in pieces if len(piece.rows) or not len(piece.copies)][-1]
    return last.session.broke_off or any(
        piece.session.broke_off and piece.facts.end + piece.shift >= end
        for piece in pieces
        if len(piece.copies) and not len(piece.rows)
    )


def _first_missing(intervals: Intervals, at: int, samples: int) -> int | None:
    """Where samples from `at` on are missing first; None where the intervals have them all."""
    if not _covers(intervals, at):
        return at
    end = int(intervals[np.searchsorted(intervals[:, 1], at, side="right"), 1])
    return None if end - at >= samples else end


def _broke_off_before(pieces: list[Piece], at: int) -> bool:
    """Whether the session whose audio ends last before `at` broke off."""
    before = [
        (int(ends[-1]), index)
        for index, piece in enumerate(pieces)
        if len(ends := piece.rows[:, 1][piece.rows[:, 1] <= at])
    ]
    return bool(before) and pieces[max(before)[1]].session.broke_off


def _merged(gaps: list[StreamGap]) -> list[StreamGap]:
    """Gaps of one cause that touch are one."""
    merged: list[StreamGap] = []
    for gap in gaps:
        last = merged[-1] if merged else None
        if last and last.samples and gap.samples and _touch(last, gap):
            merged[-1] = last._replace(samples=last.samples + gap.samples)
        else:
            merged.append(gap)
    return merged


def _touch(one: StreamGap, next_one: StreamGap) -> bool:
    return one.cause == next_one.cause and one.position + (one.samples or 0) == next_one.position
