"""The segments of a log: which are kept, and where the next tick is written. For two threads."""

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.log.folder import segment_path
from gateway.log.limits import LogLimits
from gateway.log.opens import Opens
from gateway.log.place import Place
from gateway.log.segment import Segment, begin_segment, record_of
from gateway.log.syncer import Syncer
from gateway.log.ticks import Tick

#: Of a log at its limit: so that most of it can be retired, though the last one cannot.
SEGMENTS_MIN = 8
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))

logger = logging.getLogger(__name__)


class Kept(NamedTuple):
    """A segment on disk."""

    path: Path
    last: int
    size: int


class Segments:
    """Writes for one thread; says what is kept to all who hold the guard."""

    def __init__(
        self,
        guard: threading.Condition,
        places: Sequence[Place],
        syncer: Syncer,
        limits: LogLimits,
        clock: Callable[[], float],
    ) -> None:
        self._guard = guard
        self._places = places
        self._syncer = syncer
        self._clock = clock
        self._bytes_max = limits.bytes_max
        self._opens = Opens()
        self._number = 0
        self._current: Segment | None = None
        self._kept: dict[int, Kept] = {}
        #: How much of each kept segment is whole records. Readers look without the guard.
        self._sizes: dict[Path, int] = {}
        #: Why a folder has refused something, the last time.
        self._fault: OSError | None = None
        #: Bytes that are kept, and that were ever written.
        self.kept_bytes = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def size_of(self, path: Path) -> int:
        """How much of a segment is whole records; 0 where it is not kept any more."""
        return self._sizes.get(path, 0)

    @property
    def is_long(self) -> bool:
        """Whether the present segment takes too much of what the log may hold."""
        current = self._current
        return current is not None and current.size > self._bytes_max // SEGMENTS_MIN

    # The writer's thread

    def write(self, tick: Tick) -> Segment:
        """Write one tick where there is room for it. Raises OSError where there is none."""
        segment = self._write(tick, record_of(tick))
        self._opens.note(tick)
        return segment

    def _write(self, tick: Tick, record: Sequence[bytes]) -> Segment:
        self._require_room(sum(map(len, record)))
        current = self._current
        if current is not None and current.is_poisoned:
            self.end()
            current = None
        # A segment holds ticks without a hole, in order: what is written again, after a sync has
        # failed, has one of its own, and so has what comes after that. Readers go by first ticks.
        is_next = current is None or tick.number == current.last + 1
        is_new = current is None or (tick.snapshot and current.first < tick.number)
        is_due = is_new or not is_next
        if current is not None and not is_due and self._append(current, record, tick):
            return current
        begun = self._begin(tick, spend=False)
        is_forced = begun is None and is_next and is_due
        if current is not None and is_forced and self._append(current, record, tick):
            return current
        begun = begun or self._begin(tick, spend=True)
        if begun is None:
            raise self._refusal()
        return begun

    def _require_room(self, size: int) -> None:
        if self.kept_bytes + size > self._bytes_max:
            raise OSError(errno.EDQUOT, f"the limit of {self._bytes_max} bytes is reached")

    def _refusal(self) -> OSError:
        faults = (place.fault for place in self._places if place.fault is not None)
        unknown = OSError(errno.EAGAIN, "no folder takes anything just now")
        return next(faults, None) or self._fault or unknown

    def _refused(self, place: Place, fault: OSError) -> None:
        self._fault = fault
        place.refused(fault, self._clock())

    def _append(self, segment: Segment, record: Sequence[bytes], tick: Tick) -> bool:
        if not segment.place.may_try(self._clock()):
            return False
        before = segment.size
        try:
            segment.append(record, tick.number)
        except OSError as fault:
            self._refused(segment.place, fault)
            return False
        self._count(segment, segment.size - before)
        return True

    def _begin(self, tick: Tick, *, spend: bool) -> Segment | None:
        """Begin a segment in the first folder that takes it; `spend`: of what is reserved there."""
        ticks = (tick,) if tick.snapshot else (self._opens.before(tick), tick)
        for place in self._places:
            is_full = place.fault is not None and place.fault.errno in _NO_ROOM
            if not (is_full if spend else place.may_try(self._clock())):
                continue
            self._number += 1
            try:
                path = segment_path(place.prepare(), self._number)
                segment = begin_segment(place, path, self._number, ticks, spend=spend)
            except OSError as fault:
                self._refused(place, fault)
                continue
            if segment is not None:
                self._enter(segment)
                self._count(segment, segment.size)
                if not spend:
                    place.reserve()
                return segment
        return None

    def _count(self, segment: Segment, size: int) -> None:
        if not self._syncer.power:
            segment.place.works()
        with self._guard:
            self.bytes += size
            if not segment.is_poisoned:
                self.kept_bytes += size
                self._kept[segment.number] = Kept(segment.path, segment.last, segment.size)
                self._sizes[segment.path] = segment.size

    def _enter(self, segment: Segment) -> None:
        with self._guard:
            self._current = self._syncer.present = segment
            self._syncer.add(segment)

    def end(self) -> None:
        """Leave the present segment to the syncer, which closes it."""
        with self._guard:
            self._current = self._syncer.present = None

    # With the guard held

    def retire(self, first_needed: int) -> bool:
        """Drop the segments that end before a tick. Returns whether there were any."""
        present = None if self._current is None else self._current.number
        gone = [
            number
            for number, kept in self._kept.items()
            if kept.last < first_needed and number != present
        ]
        for number in gone:
            self.drop(number)
        return bool(gone)

    def drop(self, number: int) -> None:
        """A segment is not needed any more."""
        kept = self._kept.pop(number, None)
        if kept is not None:
            del self._sizes[kept.path]
            self.kept_bytes -= kept.size
            self._syncer.remove(kept.path)
