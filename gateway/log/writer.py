"""The log of one gateway process: ticks appended by a thread, synced by another, retired by number.

The loop hands a tick over and never waits. What is handed over is in memory until it is written,
what is written survives the process, what is synced survives the power.
"""

import logging
import os
import threading
import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue

from gateway.log.folder import make_folder, remove_log, segment_path
from gateway.log.reader import Cursor, Damages
from gateway.log.ticks import Tick, sums
from gateway.wire.record import SEGMENT, SNAPSHOT, pack_record_head, pack_segment_header

logger = logging.getLogger(__name__)

RETRY_S = 0.5


class Log:
    """Append, read back, retire. Methods are for the loop's thread, unless they say otherwise."""

    def __init__(
        self, parent: Path, boot_id: str, *, sync_ms: int, segment_s: float, power: bool
    ) -> None:
        """`power`: sync what was written every `sync_ms`. Raises OSError."""
        self.folder, self._lock = make_folder(parent, boot_id)
        self._sync_s = sync_ms / 1000
        self._segment_us = int(segment_s * 1_000_000)
        self._power = power
        #: Handed over and not yet written, oldest first; the writer takes from the left.
        self._pending: deque[Tick] = deque()
        self._queue: SimpleQueue[Tick | None] = SimpleQueue()
        #: Guards `_pending`, `_firsts` and `_descriptor` between the threads.
        self._guard = threading.Lock()
        #: First tick of each segment that is on disk, by its number.
        self._firsts: dict[int, int] = {}
        self._segment = 0
        self._segment_until_us = 0
        self._descriptor = -1
        self._offset = 0
        #: The tick that the present segment begins with.
        self._begun: int | None = None
        self._dirty = threading.Event()
        self._stopping = threading.Event()
        self.damages = Damages()
        self.bytes = 0
        self.write_errors = 0
        self.sync_errors = 0
        self.syncs = 0
        #: CPU time of the two threads, each kept up by the thread itself.
        self.writer_cpu_s = 0.0
        self.syncer_cpu_s = 0.0
        #: Why the last write failed; empty while all is well.
        self.fault = ""
        self._writer = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        self._syncer = threading.Thread(target=self._sync_all, name="log-sync", daemon=True)
        self._writer.start()
        self._syncer.start()

    def is_segment_due(self, now_us: int) -> bool:
        """Whether the next tick should begin a segment, and so be a snapshot of all OPENs."""
        return now_us >= self._segment_until_us

    def append(self, tick: Tick) -> None:
        """Hand a tick over. A snapshot begins a new segment."""
        if tick.snapshot:
            self._segment_until_us = tick.sent_us + self._segment_us
        with self._guard:
            self._pending.append(tick)
        self._queue.put(tick)

    def pending_from(self, first: int) -> list[Tick] | None:
        """The ticks from number `first` on if all of them are still in memory, else None."""
        with self._guard:
            if not self._pending or self._pending[0].number > first:
                return None
            return [tick for tick in self._pending if tick.number >= first]

    def written_up_to(self) -> int | None:
        """Number of the oldest tick that is not yet written; None when all are."""
        with self._guard:
            return self._pending[0].number if self._pending else None

    def cursor(self, first: int) -> Cursor:
        """A place to read written ticks from."""
        return Cursor(self.folder, first, self.damages)

    @property
    def ticks_pending(self) -> int:
        """Ticks that are only in memory."""
        return len(self._pending)

    @property
    def segments(self) -> int:
        """Segments that are kept."""
        return len(self._firsts)

    def retire(self, first_needed: int) -> None:
        """Drop the segments that end before tick `first_needed`."""
        with self._guard:
            numbers = sorted(self._firsts)
            gone = [
                number
                for number, following in pairwise(numbers)
                if self._firsts[following] <= first_needed
            ]
            for number in gone:
                del self._firsts[number]
        for number in gone:
            segment_path(self.folder, number).unlink(missing_ok=True)

    def close(self, *, remove: bool) -> None:
        """Write and sync what is left; `remove` takes the log away, for nobody needs it."""
        self._queue.put(None)
        self._writer.join()
        self._stopping.set()
        self._dirty.set()
        self._syncer.join()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        if remove:
            remove_log(self.folder)
        os.close(self._lock)

    def _write_all(self) -> None:
        """The writer thread."""
        while (tick := self._queue.get()) is not None:
            self._write_until_done(tick)
            with self._guard:
                self._pending.popleft()
            self._dirty.set()
            self.writer_cpu_s = time.thread_time()

    def _write_until_done(self, tick: Tick) -> None:
        """Write one tick, again and again while the disk does not take it."""
        while True:
            try:
                if self._descriptor < 0 or (tick.snapshot and self._begun != tick.number):
                    self._begin_segment(tick)
                self._write(tick)
            except OSError as fault:
                if self.fault != str(fault):
                    logger.error("log: cannot write %s; audio waits in memory", fault)
                self.fault = str(fault)
                self.write_errors += 1
                if self._stopping.wait(RETRY_S):
                    return
            else:
                if self.fault:
                    logger.warning("log: written again after: %s", self.fault)
                self.fault = ""
                return

    def _begin_segment(self, tick: Tick) -> None:
        number = self._segment + 1
        path = segment_path(self.folder, number)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, pack_segment_header(number, tick.number, tick.sent_us))
        except OSError:
            os.close(descriptor)
            raise
        self._segment = number
        self._begun = tick.number
        self._offset = SEGMENT.size
        with self._guard:
            previous, self._descriptor = self._descriptor, descriptor
            self._firsts[number] = tick.number
        if previous >= 0:
            self._sync(previous)
            os.close(previous)

    def _write(self, tick: Tick) -> None:
        """One `writev` for a record; a torn one is cut off again, so that it can be repeated."""
        head = pack_record_head(
            tick.number,
            tick.sent_us,
            tick.heads,
            sums(tick.heads, tick.payload).tobytes(),
            len(tick.payload),
            flags=SNAPSHOT if tick.snapshot else 0,
        )
        size = len(head) + len(tick.payload)
        written = 0
        try:
            written = os.writev(self._descriptor, (head, tick.payload))
            while written < size:
                rest = (head + tick.payload)[written:]
                written += os.write(self._descriptor, rest)
        except OSError:
            if written:
                os.ftruncate(self._descriptor, self._offset)
                os.lseek(self._descriptor, self._offset, os.SEEK_SET)
            raise
        self._offset += size
        self.bytes += size

    def _sync_all(self) -> None:
        """The sync thread: groups what was written meanwhile into one sync."""
        while not self._stopping.is_set():
            self._dirty.wait()
            self._dirty.clear()
            with self._guard:  # the writer may close its descriptor at any time
                descriptor = os.dup(self._descriptor) if self._descriptor >= 0 else -1
            if descriptor >= 0:
                self._sync(descriptor)
                os.close(descriptor)
            self.syncer_cpu_s = time.thread_time()
            self._stopping.wait(self._sync_s)

    def _sync(self, descriptor: int) -> None:
        if not self._power:
            return
        try:
            os.fdatasync(descriptor)
            self.syncs += 1
        except OSError as fault:
            self.sync_errors += 1
            logger.error("log: cannot sync %s", fault)
