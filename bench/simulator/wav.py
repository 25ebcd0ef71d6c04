"""Reads WAV and RF64 headers by itself and distrusts them: sizes must agree with the file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

PCM_TAG = 1
EXTENSIBLE_TAG = 0xFFFE
IN_DS64 = 0xFFFFFFFF


class WavError(Exception):
    """The file is not a well-formed mono 16-bit WAV; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """`data_at` and `data_bytes` are where the samples lie."""

    rate: int
    data_at: int
    data_bytes: int


def read_wav(path: Path) -> tuple[WavHeader, npt.NDArray[np.int16]]:
    """Header and samples of a mono 16-bit file. Raises WavError, OSError."""
    with path.open("rb") as file:
        header = _read_header(file, path.stat().st_size)
        file.seek(header.data_at)
        samples = np.fromfile(file, "<i2", header.data_bytes // 2)
    if len(samples) * 2 != header.data_bytes:
        raise WavError("the file ends within its samples")
    return header, samples


def _read_header(file: BinaryIO, file_bytes: int) -> WavHeader:
    magic, riff_bytes, form = _unpack("<4sI4s", file)
    if magic not in (b"RIFF", b"RF64") or form != b"WAVE":
        raise WavError("neither RIFF nor RF64 of form WAVE")
    long_sizes: tuple[Any, ...] | None = None
    rate = data_at = data_bytes = None
    at = 12
    while at + 8 <= file_bytes:
        file.seek(at)
        name, size = _unpack("<4sI", file)
        if name == b"ds64":
            long_sizes = _unpack("<QQ", file)
        elif name == b"fmt ":
            rate = _read_format(file, size)
        elif name == b"data":
            if size == IN_DS64 and long_sizes is not None:
                size = long_sizes[1]
            data_at, data_bytes = at + 8, size
        at += 8 + size + size % 2
    if rate is None or data_at is None or data_bytes is None:
        raise WavError("no format or no samples")
    if magic == b"RF64":
        if long_sizes is None:
            raise WavError("RF64 without its ds64 chunk")
        riff_bytes = long_sizes[0] if riff_bytes == IN_DS64 else riff_bytes
    _check_sizes(file_bytes, at, riff_bytes, data_bytes)
    return WavHeader(rate, data_at, data_bytes)


def _check_sizes(file_bytes: int, chunks_end: int, riff_bytes: int, data_bytes: int) -> None:
    if riff_bytes + 8 != file_bytes:
        raise WavError(f"the header says {riff_bytes + 8} bytes, the file has {file_bytes}")
    if chunks_end != file_bytes:
        raise WavError(f"the chunks end at byte {chunks_end}, the file at {file_bytes}")
    if data_bytes % 2:
        raise WavError("an odd number of bytes of 16-bit samples")


def _read_format(file: BinaryIO, size: int) -> int:
    tag, channels, rate, byte_rate, block, bits = _unpack("<HHIIHH", file)
    if tag == EXTENSIBLE_TAG and size >= 40:
        tag = _unpack("<8xH", file)[0]
    if (tag, channels, bits) != (PCM_TAG, 1, 16):
        raise WavError(f"not mono 16-bit PCM: format {tag}, {channels} channels, {bits} bits")
    if (byte_rate, block) != (rate * 2, 2):
        raise WavError("byte rate or block size does not fit the sample rate")
    return int(rate)


def _unpack(layout: str, file: BinaryIO) -> tuple[Any, ...]:
    raw = file.read(struct.calcsize(layout))
    if len(raw) < struct.calcsize(layout):
        raise WavError("the header is cut short")
    return struct.unpack(layout, raw)
