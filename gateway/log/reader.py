"""Reading a log's segments tick by tick. Damage costs what was damaged, and is counted."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.log.folder import segments
from gateway.log.ticks import Tick, sound
from gateway.wire.errors import WireError
from gateway.wire.record import (
    SEGMENT,
    SNAPSHOT,
    Record,
    is_cut_off,
    next_record,
    record_at,
    unpack_segment_header,
)
from gateway.wire.shortage import is_shortage

READ_BYTES_MIN = 256 * 1024
#: What cannot be read is passed over by so much.
PAGE_BYTES = 4096

#: How much of a segment is whole; None where everything is that is there.
SizeOf = Callable[[Path], int | None]

#: Where a segment stands among the others: by its first tick, for names may have been mixed up.
_Rank = tuple[int, str]


class Damages:
    """What reading a log has met that was not sound."""

    def __init__(self) -> None:
        self.segments = 0  # without a readable header
        self.runs = 0  # of bytes that are no record
        self.frames = 0  # whose payload is not what was written
        self.pages = 0  # that the disk does not give back


class Cursor:
    """A place in a log's segments, read onwards; only whole records are taken."""

    def __init__(
        self,
        folders: Sequence[Path],
        first: int,
        damages: Damages,
        size_of: SizeOf = lambda _: None,
    ) -> None:
        """Begin at tick number `first`, or at the oldest that is there."""
        self._folders = folders
        self._first = first
        self._damages = damages
        self._size_of = size_of
        self._path: Path | None = None
        self._rank: _Rank = (0, "")
        #: None until the segment's header is there.
        self._offset: int | None = None
        #: From here on the next segment has the ticks, too: written again after a failed sync.
        self._again: int | None = None
        #: The first tick of each segment, as far as it could be told.
        self._firsts: dict[Path, int] = {}

    def read(self, bytes_max: int) -> list[Tick]:
        """The next ticks: up to `bytes_max` bytes of them, one at least; none at the end.

        Raises OSError where a segment cannot be opened.
        """
        if self._path is None:
            self._enter(self._segment_of(self._first))
        while self._path is not None:
            # Looked up before reading: only a segment that had a successor then is complete.
            following = [found for found in self._ranked() if found[0] > self._rank]
            self._again = following[0][0][0] if following else None
            try:
                ticks = self._read_segment(self._path, bytes_max)
                if ticks or not following:
                    return ticks
                self._leave(self._path)
            except FileNotFoundError:
                pass  # Retired: whoever reads here had all of it.
            self._enter(following[0] if following else None)
        return []

    def _enter(self, found: tuple[_Rank, Path] | None) -> None:
        self._offset = None
        self._path = None
        if found is not None:
            self._rank, self._path = found

    def _ranked(self) -> list[tuple[_Rank, Path]]:
        """Every segment, in the order of its ticks."""
        found = []
        before = 0
        for path in segments(*self._folders):
            first = self._firsts.get(path)
            if first is None and (first := _first_tick(path)) is not None:
                self._firsts[path] = first
            # One that cannot tell stands where its name does.
            before = before if first is None else first
            found.append(((before, path.name), path))
        return sorted(found)

    def _segment_of(self, tick: int) -> tuple[_Rank, Path] | None:
        chosen = None
        for rank, path in self._ranked():
            if chosen is None or (path in self._firsts and rank[0] <= tick):
                chosen = rank, path
        return chosen

    def _read_segment(self, path: Path, bytes_max: int) -> list[Tick]:
        """Sound ticks from the present offset on, which moves behind the last one."""
        limit = self._size_of(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if limit is None:
                limit = os.fstat(descriptor).st_size
            if self._offset is None:
                self._offset = self._pass_header(descriptor)
            if self._offset is None or self._offset >= limit:
                return []
            size = max(bytes_max, READ_BYTES_MIN)
            while True:
                end = min(self._offset + size, limit)
                data = _read_bytes(descriptor, self._offset, end, self._damages)
                is_end = end == limit or not data
                ticks, taken = self._take(memoryview(data), is_end=is_end)
                self._offset += taken
                if ticks or is_end:
                    return ticks
                size = size if taken else 2 * size
        finally:
            os.close(descriptor)

    def _pass_header(self, descriptor: int) -> int | None:
        """Where the records begin. None while no header is there; a damaged one may be shorter."""
        head = os.pread(descriptor, SEGMENT.size, 0)
        if len(head) < SEGMENT.size:
            return None
        try:
            unpack_segment_header(head)
        except WireError:
            self._damages.segments += 1
            return 0
        return SEGMENT.size

    def _take(self, view: memoryview, *, is_end: bool) -> tuple[list[Tick], int]:
        """The ticks in what was read, and where the last record ends."""
        ticks = []
        at = taken = 0
        while at < len(view):
            record = record_at(view, at)
            if record is None:
                # Not before all of it is there: in audio anything may look like a record.
                if not is_end and is_cut_off(view, at):
                    break
                at = next_record(view, at + 1)
                self._damages.runs += at < len(view)
                continue
            tick, damaged = sound(record, snapshot=bool(record.flags & SNAPSHOT))
            end = record.end
            if damaged:
                if not is_end and is_cut_off(view, end):
                    break
                end = _end_of_damaged(view, record)
            at = taken = end
            if damaged and self._again is not None and record.tick >= self._again:
                continue  # whole in the next segment
            if record.tick >= self._first:
                self._damages.frames += damaged
                ticks.append(tick)
        return ticks, taken

    def _leave(self, path: Path) -> None:
        """Count what is left of a segment that is over: a torn tail."""
        size = self._size_of(path)
        if size is None:
            size = os.stat(path).st_size
        if size > max(self._offset or 0, SEGMENT.size):
            self._damages.runs += 1


def _read_bytes(descriptor: int, begin: int, end: int, damages: Damages) -> bytes:
    """A part of a file, with zeros for what the disk does not give back. Raises OSError."""
    try:
        return os.pread(descriptor, end - begin, begin)
    except OSError as fault:
        if fault.errno != errno.EIO:
            raise
    data = b""
    while (at := begin + len(data)) < end:
        wanted = min(PAGE_BYTES - at % PAGE_BYTES, end - at)
        try:
            data += os.pread(descriptor, wanted, at)
        except OSError:
            damages.pages += 1
            data += bytes(wanted)
    return data


def _end_of_damaged(view: memoryview, record: Record) -> int:
    """Where a record with damaged payloads ends: sooner than it says where bytes were cut out."""
    if record_at(view, record.end) is not None:
        return record.end
    following = next_record(view, record.end - len(record.payload))
    return min(following, record.end)


def _first_tick(path: Path) -> int | None:
    """Number of a segment's first tick; None where nothing tells it yet, or it has gone.

    Raises OSError where it cannot be looked at just now.
    """
    try:
        with path.open("rb") as segment:
            head = segment.read(SEGMENT.size)
            try:
                return unpack_segment_header(head).first_tick
            except WireError:
                data = memoryview(head + segment.read(READ_BYTES_MIN))
    except OSError as fault:
        if is_shortage(fault):
            raise
        return None
    record = record_at(data, at) if (at := next_record(data, 0)) < len(data) else None
    return None if record is None else record.tick
