"""The thread that makes a log's segments safe, and deletes them: whatever else waits for a disk."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.log.place import Place
from gateway.log.retained import Retained
from gateway.log.segment import Segment

#: How often it looks for what room there is.
LOOK_S = 0.5
_UNKNOWN_BYTES = 2**62

logger = logging.getLogger(__name__)


class Syncer:
    """Groups what was written meanwhile into one sync. Shares its guard with the writer."""

    def __init__(
        self,
        guard: threading.Condition,
        retained: Retained,
        places: Sequence[Place],
        on_failure: Callable[[Segment], None],
        sync_ms: int,
        *,
        power: bool,
        clock: Callable[[], float],
    ) -> None:
        """`on_failure` is called with the guard held: a sync of that segment has failed."""
        self.power = power
        self.syncs = 0
        self.errors = 0
        self.cpu_s = 0.0
        self.busy_since_s: float | None = None
        #: Why the last sync failed; empty once one was made again.
        self.fault = ""
        #: What the places would take, as it was at the last look.
        self.room_bytes = _UNKNOWN_BYTES
        #: The segment that the writer writes to.
        self.present: Segment | None = None
        self._guard = guard
        self._retained = retained
        self._places = places
        self._on_failure = on_failure
        self._sync_s = sync_ms / 1000
        self._clock = clock
        self._open: list[Segment] = []
        self._gone: deque[Path] = deque()
        self._dirty = threading.Event()
        self._stopping = threading.Event()
        self._looked_s = 0.0
        self._thread = threading.Thread(target=self._run, name="log-sync", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something was written."""
        self._dirty.set()

    def add(self, segment: Segment) -> None:
        """Sync this one from now on. Called with the guard held."""
        self._open.append(segment)

    def remove(self, path: Path) -> None:
        """Delete a file. Any thread may ask."""
        self._gone.append(path)
        self._dirty.set()

    def stop(self) -> None:
        """Sync and delete what is left and end, once the writer has."""
        self._stopping.set()
        self._dirty.set()
        self._thread.join()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._dirty.wait(LOOK_S)
            self._dirty.clear()
            is_last = self._stopping.is_set()
            self.turn()
            self.cpu_s = time.thread_time()
            self._stopping.wait(self._sync_s)

    def turn(self) -> None:
        """Delete what is due, sync what was written. For its thread, or for who has none."""
        self._delete()
        with self._guard:
            segments = tuple(self._open)
        for segment in segments:
            self._sync(segment)
        self._look()

    def _look(self) -> None:
        """See what room there is, on each file system once."""
        now_s = self._clock()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        rooms: dict[int, int] = {}
        for place in self._places:
            rooms.setdefault(place.device(), place.room_bytes())
        self.room_bytes = sum(rooms.values())

    def _delete(self) -> None:
        while self._gone:
            path = self._gone.popleft()
            try:
                path.unlink(missing_ok=True)
            except OSError as fault:
                logger.error("log: a segment cannot be removed: %s", fault)

    def _sync(self, segment: Segment) -> None:
        with self._guard:
            is_finished = segment is not self.present
            size, last = segment.size, segment.last
        if self.power and not segment.is_poisoned and segment.synced_size < size:
            self.busy_since_s = self._clock()
            try:
                self._make_safe(segment)
            except OSError as fault:
                self._failed(segment, fault)
                return
            finally:
                self.busy_since_s = None
            with self._guard:
                segment.synced_size = size
                self._retained.synced(segment.number, last)
            segment.place.works()
            self.syncs += 1
            self.fault = ""
        if is_finished:
            os.close(segment.descriptor)
            with self._guard:
                self._retained.forget(segment.number)
                self._open.remove(segment)

    def _make_safe(self, segment: Segment) -> None:
        os.fdatasync(segment.descriptor)
        if not segment.synced_size:
            folder = os.open(segment.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _failed(self, segment: Segment, fault: OSError) -> None:
        self.errors += 1
        self.fault = fault.strerror or str(fault)
        logger.error("log: cannot sync: %s; what was not safe is written again", fault)
        segment.place.refused(fault, self._clock())
        with self._guard:
            self._on_failure(segment)
        self._dirty.set()
