"""What one stream's index says: which packets there are, what is missing, and why. Pure.

The counters are the ledger's own, told again from the frames; they stand in for a CLOSE that has
none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
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
    #: How many frames that were sent are missing after that.
    lacks_at_end: int = 0

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
    entries: Entries,
    first_position: int,
    counted: Packets | None,
    bad: int,
    dropped: Sequence[tuple[int, int]] = (),
) -> StreamFacts:
    """`counted` are the counters of the stream's CLOSE; without them `bad` completes ours.

    `dropped`: first `seq` and number of frames that the gateway says it has thrown away.
    """
    seqs = np.flatnonzero(entries["written"] == 1)
    present = entries[seqs]
    before = np.concatenate(([first_position], _ends(present)[:-1]))[: len(present)]
    jumps = present["position"] - before
    missing = np.diff(seqs, prepend=-1) - 1
    packet = _packet_before(present)
    sent = max(len(entries), *(first + frames for first, frames in dropped), 0)
    sent = max(sent if counted is None else counted.received, _last(seqs) + 1)
    thrown = _missing_and_dropped(seqs, sent, dropped)
    gaps = _gaps(present, before, jumps, missing, _all_of(thrown, seqs, missing))
    packets = counted or _count(present, jumps, missing, packet)
    if counted is None:
        packets.received, packets.bad = sent, bad
    dropped_frames = packets.dropped + int(np.count_nonzero(thrown))
    packets = msgspec.structs.replace(packets, dropped=dropped_frames)
    end = max(_ends(present).tolist(), default=first_position)
    if sent > _last(seqs) + 1:
        cause: GapCause = "dropped" if thrown[_last(seqs) + 1 :].all() else "damaged"
        gaps.append(StreamGap(end, None, cause))
    return StreamFacts(
        entries=present,
        packets=packets,
        gaps=gaps,
        is_whole=sent == len(present),
        packet_samples=_usual(present),
        end=end,
        lacks_at_end=sent - _last(seqs) - 1,
    )


def _ends(entries: Entries) -> NDArray[np.int64]:
    ends: NDArray[np.int64] = entries["position"] + entries["samples"].astype(np.int64)
    return ends


def _last(seqs: NDArray[np.intp]) -> int:
    return int(seqs[-1]) if len(seqs) else -1


def _missing_and_dropped(
    seqs: NDArray[np.intp], sent: int, dropped: Sequence[tuple[int, int]]
) -> NDArray[np.bool_]:
    """For each `seq` whether its frame is not there because the gateway has thrown it away."""
    found = np.zeros(sent, np.bool_)
    for first, frames in dropped:
        found[first : first + frames] = True
    found[seqs] = False
    return found


def _all_of(
    mask: NDArray[np.bool_], seqs: NDArray[np.intp], missing: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """For each frame that is there whether the mask holds for all that miss before it."""
    sums = np.concatenate(([0], np.cumsum(mask)))
    whole: NDArray[np.bool_] = sums[seqs] - sums[seqs - missing] == missing
    return whole


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
    is_explained: NDArray[np.bool_],
) -> list[StreamGap]:
    gaps: list[StreamGap] = []
    clock = (entries["flags"] & FrameFlag.CLOCK) != 0
    left_out_here = is_dropped(entries)
    for at in np.flatnonzero((jumps > 0) | (missing > 0) | left_out_here).tolist():
        position, jump = int(before[at]), max(0, int(jumps[at]))
        if missing[at] > 0:
            cause: GapCause = "dropped" if is_explained[at] else "damaged"
            gaps.append(StreamGap(position, jump, cause))
        elif jump:
            gaps.append(StreamGap(position, jump, "clock" if clock[at] else "not_received"))
        if left_out_here[at]:
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
