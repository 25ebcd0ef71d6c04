"""Reading a log's segments tick by tick. Damage costs what was damaged, and is counted."""

import os
from pathlib import Path

from gateway.log.folder import segments
from gateway.log.ticks import Tick, sound
from gateway.wire.errors import WireError
from gateway.wire.record import (
    SEGMENT,
    SNAPSHOT,
    Damage,
    read_records,
    unpack_segment_header,
)

READ_BYTES_MIN = 256 * 1024


class Damages:
    """What reading a log has met that was not sound."""

    def __init__(self) -> None:
        self.segments = 0  # without a readable header
        self.runs = 0  # of bytes that are no record
        self.frames = 0  # whose payload is not what was written


class Cursor:
    """A place in a log's segments, read onwards; only whole records are taken."""

    def __init__(self, folder: Path, first: int, damages: Damages) -> None:
        """Begin at tick number `first`, or at the oldest that is there."""
        self._folder = folder
        self._first = first
        self._damages = damages
        self._path: Path | None = None
        self._offset = 0

    def read(self, bytes_max: int) -> list[Tick]:
        """The next ticks: up to `bytes_max` bytes of them, one at least; none at the end.

        Raises OSError where a segment cannot be read.
        """
        if self._path is None:
            self._path = self._segment_of(self._first)
        while self._path is not None:
            # Looked up before reading: only a segment that had a successor then is complete.
            following = [path for path in segments(self._folder) if path > self._path]
            try:
                ticks = self._read_segment(self._path, bytes_max)
                if ticks or not following:
                    return ticks
                self._leave(self._path)
            except FileNotFoundError:
                pass  # Retired: whoever reads here had all of it.
            self._path, self._offset = (following[0] if following else None), 0
        return []

    def _segment_of(self, tick: int) -> Path | None:
        chosen = None
        for path in segments(self._folder):
            first = _first_tick(path)
            if chosen is None or (first is not None and first <= tick):
                chosen = path
        return chosen

    def _read_segment(self, path: Path, bytes_max: int) -> list[Tick]:
        """Sound ticks from the present offset on, which moves behind the last one."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if self._offset == 0 and not self._enter(descriptor):
                return []
            size = max(bytes_max, READ_BYTES_MIN)
            while True:
                data = os.pread(descriptor, size, self._offset)
                ticks = self._take(data)
                if ticks or len(data) < size:
                    return ticks
                size *= 2
        finally:
            os.close(descriptor)

    def _enter(self, descriptor: int) -> bool:
        """Pass the segment's header; where it is damaged the records behind it still count."""
        head = os.pread(descriptor, SEGMENT.size, 0)
        if len(head) < SEGMENT.size:
            return False
        try:
            unpack_segment_header(head)
        except WireError:
            self._damages.segments += 1
        self._offset = SEGMENT.size
        return True

    def _take(self, data: bytes) -> list[Tick]:
        ticks = []
        run: Damage | None = None
        taken = 0
        for record in read_records(memoryview(data), 0):
            if isinstance(record, Damage):
                run = record
                continue
            if run is not None:
                self._damages.runs += 1
                run = None
            taken = record.end
            if record.tick >= self._first:
                tick, damaged = sound(record, snapshot=bool(record.flags & SNAPSHOT))
                self._damages.frames += damaged
                ticks.append(tick)
        self._offset += taken
        return ticks if ticks or not taken else self._take(data[taken:])

    def _leave(self, path: Path) -> None:
        """Count what is left of a segment that is over: a torn tail."""
        if os.stat(path).st_size > max(self._offset, SEGMENT.size):
            self._damages.runs += 1


def _first_tick(path: Path) -> int | None:
    """Number of a segment's first tick; None where its header is damaged, not written, or gone."""
    try:
        with path.open("rb") as segment:
            return unpack_segment_header(segment.read(SEGMENT.size)).first_tick
    except (WireError, FileNotFoundError):
        return None
