"""WAV files of 16-bit mono with a header of fixed size, plain up to 4 GiB and RF64 beyond.

The header is RIFF, a JUNK chunk of the size that RF64's `ds64` needs, `fmt ` and the head of
`data`: so audio starts at byte 80 in every file and nothing moves when one grows past 4 GiB.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

from workers.recordings.durable import create_file, open_file, write_all

#: RIFF, size, WAVE | JUNK or ds64, 28, RIFF size, data size, samples, 0 | fmt, 16, PCM, mono, rate,
#: bytes a second, bytes a sample, bits | data, size
_HEADER = struct.Struct("<4sI4s 4sIQQQI 4sIHHIIHH 4sI")
HEADER_BYTES = _HEADER.size
SAMPLE_BYTES = 2
_IN_DS64 = 0xFFFFFFFF
#: RIFF's size counts all but its own eight bytes.
_RIFF_OVERHEAD_BYTES = HEADER_BYTES - 8


class WaveInfo(NamedTuple):
    """What a file's header and size say."""

    sample_rate: int
    samples: int


def pack_header(sample_rate: int, samples: int) -> bytes:
    """The first `HEADER_BYTES` bytes of a file of `samples` samples."""
    data_bytes = samples * SAMPLE_BYTES
    riff_bytes = data_bytes + _RIFF_OVERHEAD_BYTES
    if riff_bytes < _IN_DS64:
        kinds = b"RIFF", riff_bytes, b"WAVE", b"JUNK", 28, 0, 0, 0, 0
    else:
        kinds = b"RF64", _IN_DS64, b"WAVE", b"ds64", 28, riff_bytes, data_bytes, samples, 0
    form = b"fmt ", 16, 1, 1, sample_rate, sample_rate * SAMPLE_BYTES, SAMPLE_BYTES, 16
    return _HEADER.pack(*kinds, *form, b"data", min(data_bytes, _IN_DS64))


def samples_in(size_bytes: int) -> int:
    """Whole samples in a file of that size."""
    return max(0, size_bytes - HEADER_BYTES) // SAMPLE_BYTES


def create(path: Path, sample_rate: int, *, sync: bool) -> None:
    """An empty file, unless it is there: its name never stands for less than a header."""
    create_file(path, pack_header(sample_rate, 0), sync=sync)


def settle_header(descriptor: int, sample_rate: int) -> int:
    """Write the lengths that the file's own size gives. Returns that size in bytes.

    Several may write one file: who was overtaken between looking and writing looks again, so the
    last header to be written is never behind the audio.
    """
    size = os.fstat(descriptor).st_size
    while True:
        write_all(descriptor, pack_header(sample_rate, samples_in(size)), 0)
        now = os.fstat(descriptor).st_size
        if now == size:
            return size
        size = now


def read_info(path: Path) -> WaveInfo:
    """Rate and length of one of our files. The size counts, not the lengths in the header.

    Raises OSError, and ValueError where the header is none of ours.
    """
    descriptor = open_file(path, os.O_RDONLY)
    try:
        header = os.pread(descriptor, HEADER_BYTES, 0)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if len(header) < HEADER_BYTES or header[:4] not in (b"RIFF", b"RF64"):
        raise ValueError(f"{path.name} does not begin with a recording's WAV header")
    return WaveInfo(_HEADER.unpack(header)[13], samples_in(size))
