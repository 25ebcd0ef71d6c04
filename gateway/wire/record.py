"""The log on disk: segments of records, one record a tick. Bytes only, no I/O.

A record holds the frames of one tick as a batch does, with a sum for each payload between the frame
headers and the payloads, and a CRC over everything but the payloads. So damage costs what was
damaged: a bad payload its frame, bad headers their record; reading goes on at the next record that
is whole.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from gateway.wire.errors import WireError
from gateway.wire.frame import FRAME

VERSION = 1
SEGMENT_MAGIC = b"ACSL"
RECORD_MAGIC = b"ACSR"

#: magic, version, reserved, number of the segment, first tick, created at (Unix us),
#: CRC-32 of what is before it, reserved
SEGMENT = struct.Struct("<4sB3xQQqI28x")
#: magic, version, flags, bytes of this header, frames, payload bytes, tick, sent at (Unix us),
#: CRC-32 of this header with 0 here, the frame headers and the sums, reserved
RECORD = struct.Struct("<4sBBHIIQqI4x")
#: Record flag: OPENs of all live streams, repeated at the begin of a segment.
SNAPSHOT = 1
#: In both.
_CRC_OFFSET = 32
_SUM = struct.Struct("<I")


class Record(NamedTuple):
    """One tick as it lies in a segment. `heads`, `sums` and `payload` are views into it."""

    tick: int
    sent_us: int
    flags: int
    frames: int
    heads: memoryview  # frames x FRAME.size bytes
    sums: memoryview  # frames x 4 bytes
    payload: memoryview
    end: int  # offset of what follows in the segment


class Damage(NamedTuple):
    """A run of bytes that is no record."""

    offset: int
    length: int


def pack_segment_header(number: int, first_tick: int, created_us: int) -> bytes:
    """The first `SEGMENT.size` bytes of a segment."""
    fields = SEGMENT_MAGIC, VERSION, number, first_tick, created_us
    crc = zlib.crc32(SEGMENT.pack(*fields, 0)[:_CRC_OFFSET])
    return SEGMENT.pack(*fields, crc)


class SegmentHeader(NamedTuple):
    """What the head of a segment says."""

    number: int
    first_tick: int
    created_us: int


def unpack_segment_header(head: bytes | memoryview) -> SegmentHeader:
    """Read a segment's header. Raises `WireError` where it is not one of this version."""
    if len(head) < SEGMENT.size or bytes(head[:4]) != SEGMENT_MAGIC or head[4] != VERSION:
        raise WireError("not the head of a log segment of version 1")
    *fields, crc = SEGMENT.unpack_from(head)
    if zlib.crc32(head[:_CRC_OFFSET]) != crc:
        raise WireError("the head of a log segment is damaged")
    return SegmentHeader(*fields[2:])


def pack_record_head(
    tick: int, sent_us: int, heads: bytes, sums: bytes, payload_bytes: int, *, flags: int = 0
) -> bytes:
    """A record but for its payloads: header, frame headers, sums."""
    frames = len(heads) // FRAME.size
    fields = (RECORD_MAGIC, VERSION, flags, RECORD.size, frames, payload_bytes, tick, sent_us, 0)
    header = bytearray(RECORD.pack(*fields))
    crc = zlib.crc32(sums, zlib.crc32(heads, zlib.crc32(header)))
    _SUM.pack_into(header, _CRC_OFFSET, crc)
    return b"".join((header, heads, sums))


def payload_sum(payload: bytes | memoryview) -> int:
    """The sum of one payload: its 32-bit words, zero-padded, weighted 1, 3, 5, ..., modulo 2^32.

    The definition; who sums many payloads may do it faster.
    """
    padded = bytes(payload) + bytes(-len(payload) % 4)
    words = struct.unpack(f"<{len(padded) // 4}I", padded)
    return sum((2 * index + 1) * int(word) for index, word in enumerate(words)) % 2**32


def read_records(view: memoryview, at: int) -> Iterator[Record | Damage]:
    """The records from offset `at` on, and where there are none. A torn tail is `Damage`."""
    while at < len(view):
        record = record_at(view, at)
        if record is not None:
            yield record
            at = record.end
            continue
        following = next_record(view, at + 1)
        yield Damage(at, following - at)
        at = following


def next_record(view: memoryview, at: int) -> int:
    """Offset of the first whole record from `at` on, or the end."""
    data = view.obj if isinstance(view.obj, bytes) and len(view.obj) == len(view) else bytes(view)
    while (at := data.find(RECORD_MAGIC, at)) >= 0:
        if record_at(view, at) is not None:
            return at
        at += 1
    return len(view)


def record_at(view: memoryview, at: int) -> Record | None:
    """The record that begins at an offset; None where none does, or not the whole of it."""
    found = _found_at(view, at)
    return None if found is None or found.end > len(view) else found


def is_cut_off(view: memoryview, at: int) -> bool:
    """Whether, as far as one can see, a record begins at an offset and ends past the view."""
    if len(view) - at < RECORD.size:
        return True
    magic, version, _, size, frames = RECORD.unpack_from(view, at)[:5]
    if magic != RECORD_MAGIC or version != VERSION or size != RECORD.size:
        return False
    if at + size + frames * (FRAME.size + _SUM.size) > len(view):
        return True
    found = _found_at(view, at)
    return found is not None and found.end > len(view)


def _found_at(view: memoryview, at: int) -> Record | None:
    """A record of which all but the payloads is there and sound; `end` may be past the view."""
    if len(view) - at < RECORD.size:
        return None
    magic, version, flags, size, frames, payload_bytes, tick, sent_us, crc = RECORD.unpack_from(
        view, at
    )
    if magic != RECORD_MAGIC or version != VERSION or size != RECORD.size:
        return None
    heads_at = at + size
    sums_at = heads_at + frames * FRAME.size
    payload_at = sums_at + frames * _SUM.size
    if payload_at > len(view):
        return None
    header = bytearray(view[at:heads_at])
    _SUM.pack_into(header, _CRC_OFFSET, 0)
    if zlib.crc32(view[heads_at:payload_at], zlib.crc32(header)) != crc:
        return None
    end = payload_at + payload_bytes
    heads, sums, payload = view[heads_at:sums_at], view[sums_at:payload_at], view[payload_at:end]
    return Record(tick, sent_us, flags, frames, heads, sums, payload, end)
