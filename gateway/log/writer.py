"""The log of one gateway process: ticks appended by a thread, synced by another, retired by number.

The loop hands a tick over and never waits. What is handed over is in memory until it is written,
what is written survives the process, what is synced survives the power. What a disk does not take
waits in memory, up to a limit, and goes to whichever folder takes it first.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.log.folder import remove_log
from gateway.log.limits import REFUSE_AT, LogLimits, fill
from gateway.log.place import RETRY_S_MIN, Place
from gateway.log.reader import Cursor, Damages
from gateway.log.retained import Retained
from gateway.log.segment import Segment
from gateway.log.segments import Segments
from gateway.log.syncer import Syncer
from gateway.log.ticks import Tick

logger = logging.getLogger(__name__)

#: A write or a sync that takes longer says that the disk is slow.
SLOW_S = 1.0
#: A segment that is too long is not ended sooner than this.
LONG_US = 500_000


class Log:
    """Append, read back, retire. Methods are for the loop's thread, unless they say otherwise."""

    def __init__(
        self,
        parent: Path,
        boot_id: str,
        *,
        sync_ms: int,
        segment_s: float,
        power: bool,
        limits: LogLimits | None = None,
        further: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
        threads: bool = True,
    ) -> None:
        """`power`: sync what was written every `sync_ms`. `further`: other parents, in order.

        Without `threads` whoever made it calls `write_next` and `sync_next` by a `clock` of its
        own, in s. Raises OSError where no folder can be made.
        """
        self._clock = clock
        self._has_threads = threads
        self.limits = limits or LogLimits()
        parents = (parent, *further)
        self._places = [Place(each, boot_id, self.limits.reserve_bytes) for each in parents]
        self._prepare()
        self._segment_us = int(segment_s * 1_000_000)
        self._segment_until_us = self._long_until_us = 0
        #: Guards all that follows between the threads, never while somebody waits for a disk.
        self._changed = threading.Condition()
        self._retained = Retained(self.limits.retain_bytes_max)
        self._is_closing = False
        self._busy_since_s: float | None = None
        self._syncer = Syncer(
            self._changed,
            self._retained,
            self._places,
            self._poisoned,
            sync_ms,
            power=power,
            clock=clock,
        )
        self._segments = Segments(self._changed, self._places, self._syncer, self.limits, clock)
        self.damages = Damages()
        self.write_errors = 0
        #: CPU time of the writer's thread, kept up by itself.
        self.writer_cpu_s = 0.0
        #: Why the last write failed; empty while all is well.
        self.fault = ""
        self._writer = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        if threads:
            self._writer.start()
            self._syncer.start()

    def _prepare(self) -> None:
        faults = []
        clock_s = self._clock()
        for place in self._places:
            try:
                place.prepare()
            except OSError as fault:
                place.refused(fault, clock_s)
                faults.append(fault)
        if len(faults) == len(self._places):
            raise faults[0]
        for each in faults:
            logger.error("log: a folder cannot be used for now: %s", each)

    # What the loop asks for

    @property
    def folders(self) -> list[Path]:
        """Where its segments may lie."""
        return [place.folder for place in self._places if place.folder is not None]

    @property
    def folder(self) -> Path:
        """The first folder."""
        return self.folders[0]

    def is_segment_due(self, now_us: int) -> bool:
        """Whether the next tick should begin a segment, and so be a snapshot of all OPENs."""
        if self._retained.is_full:
            return False  # no room for what nobody can write
        is_long = self._segments.is_long and now_us >= self._long_until_us
        return is_long or now_us >= self._segment_until_us

    def append(self, tick: Tick) -> Tick | None:
        """Hand a tick over. A snapshot begins a new segment.

        Returns GAP frames that the log has put in front of it: live workers need them, too.
        """
        if tick.snapshot:
            self._segment_until_us = tick.sent_us + self._segment_us
            self._long_until_us = tick.sent_us + LONG_US
        with self._changed:
            gap = self._retained.add(tick)
            self._changed.notify()
        return gap

    def pending_from(self, first: int) -> list[Tick] | None:
        """Ticks from number `first` on, if that one is still in memory, else None."""
        with self._changed:
            return self._retained.ticks_from(first)

    def written_up_to(self) -> int | None:
        """Number of the oldest tick that is not yet written; None when all are."""
        with self._changed:
            return self._retained.oldest()

    def cursor(self, first: int) -> Cursor:
        """A place to read written ticks from."""
        return Cursor(self.folders, first, self.damages, self._segments.size_of)

    def retire(self, first_needed: int) -> None:
        """Nobody needs ticks before `first_needed`: segments that end before it are dropped."""
        with self._changed:
            self._retained.passed(first_needed)
            if self._segments.retire(first_needed):
                self._changed.notify_all()

    def close(self, *, remove: bool) -> None:
        """Write and sync what is left; `remove` takes the log away, for nobody needs it.

        Waits for the disk; what that refuses now is given up.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._has_threads:
            self._writer.join()
            self._syncer.stop()
        else:
            while self.write_next():
                pass
            self._segments.end()
            self._syncer.turn()
        if self._retained.oldest() is not None and not remove:
            logger.error("log: %d ticks could not be written and are lost", len(self._retained))
        if remove:
            try:
                remove_log(self.folders)
            except OSError as fault:
                logger.error("log: cannot be removed: %s; it will be delivered again", fault)
        for place in self._places:
            if place.lock >= 0:
                os.close(place.lock)

    # How it is

    @property
    def ticks_pending(self) -> int:
        """Ticks that are only in memory."""
        return len(self._retained)

    @property
    def bytes(self) -> int:
        """Bytes that were written to disk so far."""
        return self._segments.bytes

    @property
    def kept_bytes(self) -> int:
        """Bytes that are kept on disk."""
        return self._segments.kept_bytes

    @property
    def pending_bytes(self) -> int:
        """Of memory, for ticks that no disk has taken."""
        return self._retained.pending_bytes

    @property
    def copies_bytes(self) -> int:
        """Of memory, for ticks that are written and not synced."""
        return self._retained.copies_bytes

    @property
    def dropped(self) -> Counter[str]:
        """Frames that were thrown away because everything was full, by kind."""
        return self._retained.dropped

    @property
    def segments(self) -> int:
        """Segments that are kept."""
        return len(self._segments)

    @property
    def syncs(self) -> int:
        """Syncs that were made."""
        return self._syncer.syncs

    @property
    def sync_errors(self) -> int:
        """Syncs that failed."""
        return self._syncer.errors

    @property
    def syncer_cpu_s(self) -> float:
        """CPU time of the sync thread."""
        return self._syncer.cpu_s

    @property
    def reserved_bytes(self) -> int:
        """Taken from the disks for when they are full."""
        return sum(place.reserved_bytes for place in self._places)

    @property
    def waits_s(self) -> float:
        """For how long the present write or sync has waited for its disk."""
        began = [at for at in (self._busy_since_s, self._syncer.busy_since_s) if at is not None]
        return max(0.0, self._clock() - min(began)) if began else 0.0

    @property
    def fill(self) -> float:
        """How full the log is, 0 to 1. At `limits.REFUSE_AT` new calls are to be refused."""
        return fill(
            self.limits,
            kept_bytes=self._segments.kept_bytes,
            room_bytes=self._syncer.room_bytes,
            pending_bytes=self._retained.pending_bytes,
        )

    @property
    def refuses(self) -> str:
        """Why a new call should not be taken; empty where it may be."""
        return "the log is nearly full" if self.fill >= REFUSE_AT else ""

    @property
    def reason(self) -> str:
        """What is wrong with the log; empty while all is well."""
        if self._retained.is_full:
            return "the log is full, on disk and in memory: audio is dropped"
        fault = self.fault or self._syncer.fault
        if fault:
            return f"the log cannot be written ({fault}): audio waits in memory"
        if self.fill >= REFUSE_AT:
            return f"the log is {100 * self.fill:.0f} % full: new calls are refused"
        waits_s = self.waits_s
        return f"the log's disk is slow: it takes {waits_s:.1f} s" if waits_s > SLOW_S else ""

    # The steps of its threads

    def write_next(self) -> bool:
        """Write the oldest tick that waits. False where none does, or no disk takes it."""
        with self._changed:
            tick = self._retained.take()
        return tick is not None and self._try(tick)

    def sync_next(self) -> None:
        """Make what was written safe, and delete what is not needed any more."""
        self._syncer.turn()

    # The writer's thread

    def _write_all(self) -> None:
        for place in self._places:
            place.reserve()
        while (tick := self._next()) is not None:
            is_done = self._try(tick)
            self.writer_cpu_s = time.thread_time()
            if not is_done and not self._wait():
                break
        self._segments.end()

    def _next(self) -> Tick | None:
        with self._changed:
            while (tick := self._retained.take()) is None and not self._is_closing:
                self._changed.wait()
            return tick

    def _wait(self) -> bool:
        """After a refusal: for a while, or until there may be room; False when we are to end."""
        with self._changed:
            if not self._is_closing:
                self._changed.wait(RETRY_S_MIN)
            return not self._is_closing

    def _try(self, tick: Tick) -> bool:
        self._busy_since_s = self._clock()
        try:
            segment = self._segments.write(tick)
        except OSError as fault:
            self._note_refusal(fault)
            with self._changed:
                self._retained.refused()
            return False
        finally:
            self._busy_since_s = None
        with self._changed:
            if segment.is_poisoned:
                self._retained.refused()  # it may be lost with the rest: once more
            else:
                self._retained.written(segment.number if self._syncer.power else None)
            self._syncer.wake()
        if self.fault:
            logger.warning("log: written again after: %s", self.fault)
        self.fault = ""
        return True

    def _note_refusal(self, fault: OSError) -> None:
        said = fault.strerror or str(fault)
        if self.fault != said:
            logger.error("log: cannot write: %s; audio waits in memory", fault)
        self.fault = said
        self.write_errors += 1

    # With the guard held

    def _poisoned(self, segment: Segment) -> None:
        """A sync has failed: nothing that it had not synced before is trusted to be there."""
        segment.is_poisoned = True
        is_covered = self._retained.poisoned(segment.number)
        if is_covered and not segment.synced_size:
            self._segments.drop(segment.number)  # all of it is written again
        self._changed.notify_all()
