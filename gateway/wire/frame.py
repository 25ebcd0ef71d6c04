"""Batches and the frames in them: the layout, written down once. HOT; guarded by `bench/micro`.

A batch is one message on the bus: a header, `frames` frame headers of `FRAME.size` bytes one after
the other, then their payloads one after the other in the same order. Integers are little-endian.
`FRAME_DTYPE` describes the frame headers to numpy, so that a worker reads them as one structured
array; this module itself needs nothing but the standard library.
"""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum, IntFlag
from typing import NamedTuple

from gateway.wire.errors import TruncatedError, VersionError, WireError

VERSION = 1
MAGIC = b"ACSB"
BATCH_BYTES_MAX = 192 * 1024

#: magic, version, flags, offset of the first frame header, bytes of one frame header, reserved,
#: link, number, frames, bytes of all payloads, sent at (Unix us), reserved
BATCH = struct.Struct("<4sBBHHHIQIIqQ")
#: kind, flags, stream, payload bytes, session, seq, samples, stamp_us, position
FRAME = struct.Struct("<BBHIQIIqq")
FRAME_DTYPE = [
    ("kind", "u1"),
    ("flags", "u1"),
    ("stream", "<u2"),
    ("length", "<u4"),
    ("session", "<u8"),
    ("seq", "<u4"),
    ("samples", "<u4"),
    ("stamp_us", "<i8"),
    ("position", "<i8"),
]

#: `stamp_us` of a frame whose packet had no believable time stamp.
NO_STAMP = -(2**63)
#: `stream` of the frames that concern the session as a whole.
SESSION_STREAM = 0
#: Payloads of OPEN, EVENT and CLOSE are JSON, padded with blanks to a multiple of this.
JSON_ALIGNMENT = 4


class FrameKind(IntEnum):
    """What a frame carries. A receiver skips and counts kinds that it does not know."""

    OPEN = 1
    AUDIO = 2
    EVENT = 3
    CLOSE = 4
    GAP = 5  # frames of a stream, from `seq` on, that the gateway has thrown away


class FrameFlag(IntFlag):
    """Bits of an AUDIO frame's `flags`."""

    SILENT = 1  # ACS said so
    LATE = 2  # its stamp lies further behind its place than jitter explains
    DROPPED = 4  # left out by the ledger: no payload, no samples, keeps its `seq`
    NO_DATA = 8  # the packet had no bytes; `samples` of silence stand for it
    CLOCK = 16  # the jump in `position` before it corrects a drifting clock; nothing was lost


class BatchFlag(IntFlag):
    """Bits of a batch's `flags`."""

    REPLAYED = 1  # read back from the log; some of it may have been sent before


class Batch(NamedTuple):
    """A batch's header, unpacked."""

    link: int
    number: int
    frames: int
    sent_us: int
    flags: int
    heads_offset: int
    head_bytes: int
    payload_offset: int


class Frame(NamedTuple):
    """One frame of a batch. For cold paths and tests; hot ones read whole arrays."""

    kind: int
    flags: int
    stream: int
    session: int
    seq: int
    samples: int
    stamp_us: int
    position: int
    payload: bytes


def pack_batch(header: bytes, heads: Sequence[bytes], payloads: Sequence[bytes]) -> bytes:
    """Join a `batch_header`, the frame headers that it counts and their payloads."""
    return b"".join((header, *heads, *payloads))


def batch_header(
    link: int, number: int, sent_us: int, *, frames: int, payload_bytes: int, flags: int = 0
) -> bytes:
    """The header of a batch of `frames` frames with `payload_bytes` of payload in all."""
    return BATCH.pack(
        MAGIC,
        VERSION,
        flags,
        BATCH.size,
        FRAME.size,
        0,
        link,
        number,
        frames,
        payload_bytes,
        sent_us,
        0,
    )


def unpack_batch(message: bytes | memoryview) -> Batch:
    """Read a batch's header and check that the message is as long as it says.

    Raises `WireError` when it is no batch, `VersionError`, `TruncatedError`.
    """
    if len(message) < BATCH.size:
        raise TruncatedError(f"a batch of {len(message)} bytes is shorter than its header")
    magic, version, flags, offset, stride, _, link, number, frames, payload_bytes, sent_us, _ = (
        BATCH.unpack_from(message)
    )
    if magic != MAGIC:
        raise WireError(f"a batch begins with {MAGIC!r}, not with {bytes(magic)!r}")
    if not VERSION - 1 <= version <= VERSION or version == 0:
        raise VersionError(f"batch version {version}; this side speaks {VERSION}")
    if offset < BATCH.size or stride < FRAME.size:
        raise WireError(f"headers of {offset} and {stride} bytes are shorter than version 1's")
    payload_offset = offset + frames * stride
    if len(message) < payload_offset + payload_bytes:
        raise TruncatedError(
            f"a batch of {len(message)} bytes says it has {payload_offset + payload_bytes}"
        )
    return Batch(link, number, frames, sent_us, flags, offset, stride, payload_offset)


def iterate(message: bytes | memoryview) -> Iterator[Frame]:
    """The frames of a batch, one by one, each checked to lie within the message."""
    batch = unpack_batch(message)
    at = batch.payload_offset
    for index in range(batch.frames):
        kind, flags, stream, length, session, seq, samples, stamp_us, position = FRAME.unpack_from(
            message, batch.heads_offset + index * batch.head_bytes
        )
        if at + length > len(message):
            raise TruncatedError(f"frame {index} of batch {batch.number} ends past the message")
        payload = bytes(message[at : at + length])
        yield Frame(kind, flags, stream, session, seq, samples, stamp_us, position, payload)
        at += length


def pad_json(text: bytes) -> bytes:
    """Pad JSON with blanks so that what follows it in a record stays aligned."""
    return text + b" " * (-len(text) % JSON_ALIGNMENT)
