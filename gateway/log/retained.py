"""What of a log is in memory: ticks that no disk has, and copies of what no disk has synced. Pure.

Its limit is kept by letting go of copies first, and then by throwing away the newest audio. What is
thrown away is counted, and told by GAP frames to whoever reads the log.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator

import numpy as np

from gateway.log.limits import RESUME_AT
from gateway.log.ticks import (
    Heads,
    Tick,
    controls_of,
    frames_tick,
    heads_of,
    is_control,
    joined,
    select,
)
from gateway.wire import descriptor
from gateway.wire.frame import FRAME, NO_STAMP, SESSION_STREAM, FrameKind

#: Ticks that are handed out at a time.
_BYTES_OUT_MAX = 4 * 1024 * 1024

_StreamKey = tuple[int, int]  # session, stream


class Retained:
    """Ticks in the order of their numbers. Not safe for two threads."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pending: deque[Tick] = deque()
        #: The pending tick that is being written.
        self._busy: Tick | None = None
        #: Ticks with the segment that they were written to, in the order of writing.
        self._copies: deque[tuple[int, Tick]] = deque()
        #: Segments of which copies were let go.
        self._uncovered: set[int] = set()
        #: What was thrown away and not told yet: (first seq, frames) of each stream.
        self._missing: dict[_StreamKey, tuple[int, int]] = {}
        #: Nobody needs the audio of ticks before this one any more.
        self._passed = 0
        #: The limit is reached: audio is thrown away.
        self.is_full = False
        self.pending_bytes = 0
        self.copies_bytes = 0
        #: Frames thrown away, by kind.
        self.dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many ticks no disk has."""
        return len(self._pending)

    def add(self, tick: Tick) -> Tick | None:
        """Take a tick. Returns GAP frames that were put in front of it, if there were any."""
        gap = None
        self._let_go(tick.size_bytes)
        if not self.is_full and self.pending_bytes + tick.size_bytes > self._bytes_max:
            self.is_full = True
        if tick.snapshot:
            pass  # nothing in it is news
        elif self.is_full:
            ending = {each.session for each in controls_of(tick) if each.kind == FrameKind.CLOSE}
            tick = self._thin(tick)
            gap = self._told(tick, [key for key in self._missing if key[0] in ending])
        elif self._missing:
            gap = self._told(tick, list(self._missing))
        if gap is not None:
            tick = joined((gap, tick))
        self._pending.append(tick)
        self.pending_bytes += tick.size_bytes
        return gap

    def _let_go(self, size: int) -> None:
        """Give memory that copies take to what is only in memory."""
        pending = self.pending_bytes + size
        while self._copies and (
            pending + self.copies_bytes > self._bytes_max
            # Should they come back, they must leave room for more.
            or 2 * self.copies_bytes > self._bytes_max
        ):
            segment, tick = self._copies.popleft()
            self._uncovered.add(segment)
            self.copies_bytes -= tick.size_bytes

    def _thin(self, tick: Tick) -> Tick:
        """A tick with nothing but its OPENs and CLOSEs; the rest is thrown away."""
        heads = heads_of(tick.heads)
        kept = is_control(heads)
        for key, first, frames in _runs(heads[~kept]):
            before = self._missing.get(key)
            self._missing[key] = (
                (first, frames) if before is None else (before[0], before[1] + frames)
            )
            self.dropped["event" if key[1] == SESSION_STREAM else "audio"] += frames
        return select(tick, kept)

    def _told(self, tick: Tick, keys: Collection[_StreamKey]) -> Tick | None:
        """GAP frames for what is missing of these streams, which is not missing any more."""
        if not keys:
            return None
        frames = [_gap_frame(key, *self._missing.pop(key)) for key in keys]
        return frames_tick(tick.number, tick.sent_us, frames)

    def take(self) -> Tick | None:
        """The oldest tick that no disk has, to be written: then say `written` or `refused`."""
        self._busy = self._pending[0] if self._pending else None
        return self._busy

    def refused(self) -> None:
        """The tick that was taken could not be written."""
        self._busy = None

    def written(self, segment: int | None) -> None:
        """The tick that was taken lies in a segment. With None no copy is kept until a sync."""
        tick, self._busy = self._busy, None
        if tick is None:
            raise AssertionError("no tick was taken")
        if self._pending[0] is tick:
            self._pending.popleft()
        else:  # older ones have come back meanwhile
            self._pending = deque(each for each in self._pending if each is not tick)
        self.pending_bytes -= tick.size_bytes
        self._go_on()
        if segment is not None:
            self._copies.append((segment, tick))
            self.copies_bytes += tick.size_bytes

    def synced(self, segment: int, last: int) -> None:
        """A segment is on the disk for good, up to tick number `last`."""
        while self._copies and self._copies[0][0] == segment and self._copies[0][1].number <= last:
            self.copies_bytes -= self._copies.popleft()[1].size_bytes

    def poisoned(self, segment: int) -> bool:
        """A sync has failed: what the segment may have lost is to be written again, elsewhere.

        Returns whether all of it is: not so where copies had to be let go.
        """
        lost = [tick for number, tick in self._copies if number == segment]
        self._copies = deque(each for each in self._copies if each[0] != segment)
        moved = sum(tick.size_bytes for tick in lost)
        self.copies_bytes -= moved
        self.pending_bytes += moved
        self._pending = deque(sorted((*lost, *self._pending), key=lambda tick: tick.number))
        is_covered = segment not in self._uncovered
        self._uncovered.discard(segment)
        return is_covered

    def forget(self, segment: int) -> None:
        """A segment will not be synced any more."""
        self._uncovered.discard(segment)

    def passed(self, first_needed: int) -> None:
        """Nobody needs the audio before tick `first_needed`: do not wait for a disk with it.

        What is open there must still be known to whoever adopts the log: that says the last
        snapshot, with the OPENs and CLOSEs after it.
        """
        if not self._pending or self._pending[0].number >= first_needed:
            return
        done = [tick for tick in self._pending if tick.number < first_needed]
        snapshots = [tick.number for tick in done if tick.snapshot]
        begin = snapshots[-1] if snapshots else 0
        kept = [self._kept(tick) for tick in done if tick.number >= begin or tick is self._busy]
        for _ in done:
            self.pending_bytes -= self._pending.popleft().size_bytes
        self.pending_bytes += sum(tick.size_bytes for tick in kept)
        self._pending.extendleft(reversed(kept))
        self._passed = first_needed
        self._go_on()

    def _go_on(self) -> None:
        """Take audio again, where there is room again."""
        if self.pending_bytes <= RESUME_AT * self._bytes_max:
            self.is_full = False

    def _kept(self, tick: Tick) -> Tick:
        if tick is self._busy or tick.number < self._passed:
            return tick
        return select(tick, is_control(heads_of(tick.heads)))

    def oldest(self) -> int | None:
        """Number of the oldest tick that no disk has."""
        return self._pending[0].number if self._pending else None

    def ticks_from(self, first: int) -> list[Tick] | None:
        """Ticks from number `first` on, without a hole, some of them; None if it is not here."""
        if not self._pending or self._pending[0].number > first:
            return None
        found: list[Tick] = []
        room = _BYTES_OUT_MAX
        for tick in self._pending:
            if tick.number < first:
                continue
            if tick.number != first + len(found) or room <= 0:
                break
            found.append(tick)
            room -= tick.size_bytes
        return found or None


def _runs(heads: Heads) -> Iterator[tuple[_StreamKey, int, int]]:
    """(session, stream), first `seq`, frames: of each stream that has some."""
    if not len(heads):
        return
    keys, firsts, frames = np.unique(
        heads[["session", "stream"]], return_index=True, return_counts=True
    )
    seqs = heads["seq"][firsts]
    yield from zip(keys.tolist(), seqs.tolist(), frames.tolist(), strict=True)


def _gap_frame(key: _StreamKey, first: int, frames: int) -> tuple[bytes, bytes]:
    session, stream = key
    payload = descriptor.pack(descriptor.Gap(frames=frames, reason="log_full"))
    fields = (int(FrameKind.GAP), 0, stream, len(payload), session, first, 0, NO_STAMP, 0)
    return FRAME.pack(*fields), payload
