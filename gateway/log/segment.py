"""One file of the log while it is written: what lies in it is whole records, whatever happens."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gateway.log.place import Place
from gateway.log.ticks import Tick, sums
from gateway.wire.record import SNAPSHOT, pack_record_head, pack_segment_header

Parts = Sequence[bytes]


def record_of(tick: Tick) -> tuple[bytes, bytes]:
    """A tick as a record, in two parts. HOT."""
    head = pack_record_head(
        tick.number,
        tick.sent_us,
        tick.heads,
        sums(tick.heads, tick.payload).tobytes(),
        len(tick.payload),
        flags=SNAPSHOT if tick.snapshot else 0,
    )
    return head, tick.payload


class Segment:
    """`append` is for one thread; who syncs may be another."""

    def __init__(self, place: Place, path: Path, number: int, descriptor: int, first: int) -> None:
        self.place = place
        self.path = path
        self.number = number
        self.descriptor = descriptor
        #: Numbers of its first tick, and of the last one that was written.
        self.first = first
        self.last = first
        self.size = 0
        #: Up to where it is on the disk for good, its name included.
        self.synced_size = 0
        #: A sync of it has failed: no other one is trusted.
        self.is_poisoned = False

    def append(self, parts: Parts, last: int) -> None:
        """Write all of `parts`, which end with tick `last`, or nothing of it. Raises OSError."""
        size = sum(map(len, parts))
        written = 0
        try:
            written = os.writev(self.descriptor, parts)
            while written < size:
                written += os.write(self.descriptor, b"".join(parts)[written:])
        except OSError:
            if written:
                with suppress(OSError):  # what cannot be cut off is written over
                    os.ftruncate(self.descriptor, self.size)
                os.lseek(self.descriptor, self.size, os.SEEK_SET)
            raise
        self.size += size
        self.last = last


def begin_segment(
    place: Place, path: Path, number: int, ticks: Sequence[Tick], *, spend: bool
) -> Segment | None:
    """A new file that begins with these ticks; the last of them is its first tick.

    `spend` makes it of the place's reserve; None where that is gone. There is the whole of it, or
    no file. Raises OSError.
    """
    if spend and not place.spend_reserve(path):
        return None
    flags = os.O_RDWR | os.O_CLOEXEC | (0 if spend else os.O_CREAT | os.O_EXCL)
    descriptor = os.open(path, flags, 0o600)
    first = ticks[-1]
    parts = [pack_segment_header(number, first.number, first.sent_us)]
    for tick in ticks:
        parts += record_of(tick)
    segment = Segment(place, path, number, descriptor, first.number)
    try:
        segment.append(parts, first.number)
    except OSError:
        os.close(descriptor)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return segment
