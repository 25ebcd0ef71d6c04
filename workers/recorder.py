"""The recorder: takes a pool's batches whole, writes every stream in place, says what is safe.

The loop that calls it only gathers; a thread of its own writes and syncs, gather by gather. It
holds nothing that its death would take along: what is not safe comes again from the log.
"""

import errno
import logging
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np

from workers.recordings.counters import RecorderCounters
from workers.recordings.gather import Gather, LinkKey
from workers.recordings.scatter import Bytes
from workers.recordings.settings import RecordingSettings
from workers.recordings.stream_files import StreamFiles

GATHER_BYTES_MAX = 64 * 1024 * 1024
#: Gathered and not yet safe, in all. Beyond it `has_room` says no.
WAITING_BYTES_MAX = 4 * GATHER_BYTES_MAX
_RETRY_S_MIN = 0.5
_RETRY_S_MAX = 5.0
_LOG_EACH_US = 60_000_000
#: A gather that takes longer to become safe says that the disk is slow.
SLOW_S = 2.0

_log = logging.getLogger(__name__)


class Recorder:
    """A `Consumer` of batches that makes recordings. `counters` are plain integers."""

    def __init__(
        self, recordings: Path, settings: RecordingSettings, *, threads: bool = True
    ) -> None:
        """Without `threads` whoever made it calls `write_next`, as a thread of its own would."""
        self.counters = RecorderCounters()
        self._gather_us = round(settings.gather_s * 1e6)
        files = StreamFiles(recordings, self.counters, sync=settings.durability == "power")
        self._writer = _Writer(files, self.counters, threads=threads)
        self._spare: list[Bytes] = []
        self._gather = self._new_gather()
        self._waiting: deque[Gather] = deque()  # handed to the writer, the oldest first
        self._safe: dict[LinkKey, int] = {}  # of the links that live

    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        """Take one batch. Raises `WireError` for a bad one, of which nothing is kept."""
        if self._gather.batches and not self._gather.has_room(len(message)):
            self._seal()
        self._gather.add(link, number, message, now_us)
        self._safe.setdefault(link, 0)
        self.counters.batches += 1

    def advance(self, now_us: int) -> None:
        """Hand over what was gathered for long enough, learn what has become safe."""
        self._collect()
        if self._gather.batches:
            if now_us - self._gather.begun_us >= self._gather_us:
                self._seal()
        elif self._gather.forgotten:
            self._seal()
        self._writer.report(now_us)

    def safe(self) -> dict[LinkKey, int]:
        """For each link the highest batch up to which everything is safe."""
        self._collect()
        return dict(self._safe)

    def unsynced_us(self, now_us: int) -> int:
        """Age of the oldest batch that was taken and is not safe."""
        self._collect()
        for gather in (*self._waiting, self._gather):
            if gather.batches:
                return now_us - gather.begun_us
        return 0

    def has_room(self) -> bool:
        """Whether to go on taking batches. If not, they wait at the gateways, in their logs."""
        self._collect()
        waiting_bytes = sum(gather.size_bytes for gather in self._waiting)
        return waiting_bytes + self._gather.size_bytes < WAITING_BYTES_MAX

    def storage_fault(self) -> str:
        """What is wrong with the disk; empty if nothing is."""
        return self._writer.storage_fault()

    def forget(self, link: LinkKey) -> None:
        """The link is dead: what came over it is still written, nothing of it acknowledged."""
        self._safe.pop(link, None)
        self._gather.forgotten.append(link)

    def close(self, now_us: int) -> None:
        """Write what is left and end the thread. What the disk refuses comes again elsewhere."""
        self._seal()
        self._writer.close()
        self._collect()
        self._writer.report(now_us)

    def write_next(self) -> bool:
        """Make the oldest gather that waits safe. False: none does, or the disk refuses it."""
        return self._writer.write_next()

    def _seal(self) -> None:
        if not self._gather.is_empty:
            self._waiting.append(self._gather)
            self._writer.put(self._gather)
            self._gather = self._new_gather()

    def _new_gather(self) -> Gather:
        return Gather(self._spare.pop() if self._spare else np.empty(GATHER_BYTES_MAX, np.uint8))

    def _collect(self) -> None:
        while self._waiting and self._writer.has_done(self._waiting[0]):
            gather = self._waiting.popleft()
            for link, number in gather.numbers.items():
                if link in self._safe:
                    self._safe[link] = number
            if len(gather.buffer) == GATHER_BYTES_MAX and not self._spare:
                self._spare.append(gather.buffer)


class _Writer:
    """The thread that makes gathers safe, in order, each for as long as the disk refuses it."""

    def __init__(self, files: StreamFiles, counters: RecorderCounters, *, threads: bool) -> None:
        self._has_thread = threads
        self._files = files
        self._counters = counters
        self._changed = threading.Condition()
        self._todo: deque[Gather] = deque()
        self._is_closing = False
        self._broken: BaseException | None = None
        self._errors: dict[str, int] = {}  # since the last report, by errno's name
        self._fault = ""  # errno's name, while it lasts
        self._began_s: float | None = None
        self._reported_us: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        if threads:
            self._thread.start()

    def put(self, gather: Gather) -> None:
        with self._changed:
            self._todo.append(gather)
            self._changed.notify()

    def has_done(self, gather: Gather) -> bool:
        """Whether all of it is safe. Raises what has ended the thread, our own fault."""
        with self._changed:
            if self._broken is not None:
                raise self._broken
            return gather not in self._todo

    def storage_fault(self) -> str:
        fault, began_s = self._fault, self._began_s
        if fault:
            return f"recordings cannot be written ({fault}): audio waits"
        waits_s = 0.0 if began_s is None else time.monotonic() - began_s
        return f"the recordings' disk is slow: it takes {waits_s:.0f} s" if waits_s > SLOW_S else ""

    def close(self) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._has_thread:
            self._thread.join()
        else:
            while self.write_next():
                pass

    def report(self, now_us: int) -> None:
        """One log line a minute for each kind of storage error."""
        with self._changed:
            errors = {
                kind: times
                for kind, times in self._errors.items()
                if now_us - self._reported_us.get(kind, now_us - _LOG_EACH_US) >= _LOG_EACH_US
            }
            for kind in errors:
                del self._errors[kind]
                self._reported_us[kind] = now_us
        for kind, times in errors.items():
            _log.error(
                "recordings cannot be written: %s, %d times; audio waits and is tried again",
                kind,
                times,
            )

    def write_next(self) -> bool:
        with self._changed:
            gather = self._todo[0] if self._todo else None
        return gather is not None and self._try(gather)

    def _run(self) -> None:
        try:
            while (gather := self._next()) is not None:
                if not self._write(gather):
                    return
        except BaseException as fault:  # handed to the loop, which ends the process
            with self._changed:
                self._broken = fault

    def _next(self) -> Gather | None:
        with self._changed:
            while not self._todo and not self._is_closing:
                self._changed.wait()
            return self._todo[0] if self._todo else None

    def _write(self, gather: Gather) -> bool:
        """Until it is safe; False when we are to end and the disk still refuses."""
        delay_s = _RETRY_S_MIN
        while not self._try(gather):
            with self._changed:
                if self._is_closing:
                    return False
                self._changed.wait_for(lambda: self._is_closing, delay_s)
            delay_s = min(2 * delay_s, _RETRY_S_MAX)
        return True

    def _try(self, gather: Gather) -> bool:
        self._began_s = time.monotonic()
        try:
            self._files.write(gather)
        except OSError as fault:
            self._note(fault)
            return False
        finally:
            self._began_s = None
        self._count(gather)
        self._fault = ""
        with self._changed:
            self._todo.popleft()
        return True

    def _note(self, fault: OSError) -> None:
        kind = errno.errorcode.get(fault.errno or 0, type(fault).__name__)
        with self._changed:
            self._fault = kind
            self._counters.storage_errors += 1
            self._errors[kind] = self._errors.get(kind, 0) + 1

    def _count(self, gather: Gather) -> None:
        self._counters.gathers += 1
        self._counters.frames_skipped += gather.skipped
        self._counters.descriptors_bad += gather.bad_descriptors
