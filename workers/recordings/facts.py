"""What one stream's index says: which packets there are, what is missing, and why. Pure.

The counters are the ledger's own, told again from the frames; they stand in for a CLOSE that has
none.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.wire.descriptor import Packets
from gateway.wire.frame import NO_STAMP, FrameFlag
from workers.recordings.index import Entries, is_dropped
from workers.recordings.manifest import GapCause


class StreamGap(NamedTuple):
    """Silence that nobody sent, from `position` on; `samples` is None where nobody can know."""

    position: int
    samples: int | None
    cause: GapCause


@dataclass(slots=True)
class StreamFacts:
    """`entries` are those of the frames that came, in order of `seq`."""

    entries: Entries
    packets: Packets
    gaps: list[StreamGap]
    #: Every frame that was sent is there.
    is_whole: bool
    packet_samples: int
    #: Position after the last sample that there should be.
    end: int

    @property
    def with_audio(self) -> NDArray[np.bool_]:
        """Which entries have a place: not those that were left out or were empty."""
        placed: NDArray[np.bool_] = self.entries["samples"] > 0
        return placed

    @property
    def with_stamp(self) -> NDArray[np.bool_]:
        """Which entries have a place and a stamp."""
        stamped: NDArray[np.bool_] = self.with_audio & (self.entries["stamp_us"] != NO_STAMP)
        return stamped


def stream_facts(
    entries: Entries, first_position: int, counted: Packets | None, bad: int
) -> StreamFacts:
    """`counted` are the counters of the stream's CLOSE; without them `bad` completes ours."""
    seqs = np.flatnonzero(entries["written"] == 1)
    present = entries[seqs]
    before = np.concatenate(([first_position], _ends(present)[:-1]))[: len(present)]
    jumps = present["position"] - before
    missing = np.diff(seqs, prepend=-1) - 1
    packet = _packet_before(present)
    gaps = _gaps(present, before, jumps, missing)
    packets = counted or _count(present, jumps, missing, packet)
    if counted is None:
        packets.received, packets.bad = len(entries), bad
    end = max(_ends(present).tolist(), default=first_position)
    sent = max(len(entries) if counted is None else counted.received, _last(seqs) + 1)
    if sent > _last(seqs) + 1:
        gaps.append(
            StreamGap(max(_ends(present).tolist(), default=first_position), None, "damaged")
        )
    return StreamFacts(present, packets, gaps, sent == len(present), _usual(present), end)


def _ends(entries: Entries) -> NDArray[np.int64]:
    ends: NDArray[np.int64] = entries["position"] + entries["samples"].astype(np.int64)
    return ends


def _last(seqs: NDArray[np.intp]) -> int:
    return int(seqs[-1]) if len(seqs) else -1


def _usual(entries: Entries) -> int:
    """Samples of most packets that have any; 0 if none has."""
    sizes, counts = np.unique(entries["samples"][entries["samples"] > 0], return_counts=True)
    return int(sizes[np.argmax(counts)]) if len(sizes) else 0


def _packet_before(entries: Entries) -> NDArray[np.int64]:
    """For each packet the samples of the last one before it that had any, else of the usual one."""
    samples = entries["samples"].astype(np.int64)
    at = np.where(samples > 0, np.arange(len(samples)), -1)
    last = np.concatenate(([-1], np.maximum.accumulate(at)))[: len(samples)]
    return np.where(last >= 0, samples[last] if len(samples) else 0, max(1, _usual(entries)))


def _gaps(
    entries: Entries,
    before: NDArray[np.int64],
    jumps: NDArray[np.int64],
    missing: NDArray[np.intp],
) -> list[StreamGap]:
    gaps: list[StreamGap] = []
    clock = (entries["flags"] & FrameFlag.CLOCK) != 0
    dropped = is_dropped(entries)
    for at in np.flatnonzero((jumps > 0) | (missing > 0) | dropped).tolist():
        position, jump = int(before[at]), max(0, int(jumps[at]))
        if missing[at] > 0:
            gaps.append(StreamGap(position, jump, "damaged"))
        elif jump:
            gaps.append(StreamGap(position, jump, "clock" if clock[at] else "not_received"))
        if dropped[at]:
            left_out = StreamGap(int(entries["position"][at]), 0, "clock")
            if not gaps or gaps[-1] != left_out:
                gaps.append(left_out)
    return gaps


def _count(
    present: Entries,
    jumps: NDArray[np.int64],
    missing: NDArray[np.intp],
    packet: NDArray[np.int64],
) -> Packets:
    """All counters but `received` and `bad`."""
    flags = present["flags"]
    # Of a jump over damaged frames each of them explains a packet.
    away = np.maximum(np.maximum(jumps, 0) // packet - missing, 0)
    clock = (flags & FrameFlag.CLOCK) != 0
    lost = int(away[~clock].sum())

    def count(flag: FrameFlag) -> int:
        return int(np.count_nonzero(flags & flag))

    return Packets(
        silent=count(FrameFlag.SILENT),
        lost=lost,
        late=count(FrameFlag.LATE),
        dropped=count(FrameFlag.DROPPED),
        filled=lost + int(away[clock].sum()) + count(FrameFlag.NO_DATA),
    )
