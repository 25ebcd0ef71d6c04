"""`mixed.wav`: the sum of all tracks in 32 bits, saturated to 16, block by block.

Tracks at other rates than the highest are resampled to it first. Memory does not grow with the
call.
"""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from workers.recordings import durable, wave_file
from workers.recordings.wave_file import HEADER_BYTES, SAMPLE_BYTES

_BLOCK_SAMPLES = 256 * 1024
#: Fed to the resampler at a time; always the same, so that the same samples come out.
_FEED_SAMPLES = 64 * 1024

Block = NDArray[np.int32]


class MixInput(NamedTuple):
    """A track's file, and where it starts: seconds after the call's start."""

    file: Path
    sample_rate: int
    samples: int
    starts: Fraction


def make_mix(tracks: Sequence[MixInput], sample_rate: int, target: Path, *, sync: bool) -> int:
    """Write the mix to a file that must not exist; returns its samples. Raises OSError."""
    readers = [_Reader(track, sample_rate) for track in tracks]
    output = durable.open_file(target, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        total = max((reader.end for reader in readers), default=0)
        for begin in range(0, total, _BLOCK_SAMPLES):
            block = np.zeros(min(_BLOCK_SAMPLES, total - begin), np.int32)
            for reader in readers:
                reader.add_to(block, begin)
            mixed = np.clip(block, -32768, 32767).astype("<i2")
            offset = HEADER_BYTES + begin * SAMPLE_BYTES
            durable.write_all(output, memoryview(mixed.tobytes()), offset)
        wave_file.settle_header(output, sample_rate)
        if sync:
            os.fsync(output)
    finally:
        os.close(output)
        for reader in readers:
            reader.close()
    return total


class _Reader:
    """One track at the mix's rate, read in order."""

    def __init__(self, track: MixInput, sample_rate: int) -> None:
        self._begin = round(track.starts * sample_rate)
        self.end = self._begin + round(Fraction(track.samples * sample_rate, track.sample_rate))
        self._audio = durable.open_file(track.file, os.O_RDONLY)
        self._left = track.samples
        self._at = HEADER_BYTES
        self._ready: Block = np.zeros(0, np.int32)
        self._resampler = (
            None
            if track.sample_rate == sample_rate
            else soxr.ResampleStream(
                track.sample_rate, sample_rate, 1, dtype="float32", quality="HQ"
            )
        )

    def close(self) -> None:
        os.close(self._audio)

    def add_to(self, block: Block, begin: int) -> None:
        """Add what lies within `begin` and the block's length after it."""
        low, high = max(begin, self._begin), min(begin + len(block), self.end)
        if low >= high:
            return
        samples = self._next(high - low)
        block[low - begin : low - begin + len(samples)] += samples

    def _next(self, count: int) -> Block:
        """The next samples; fewer only at the end."""
        if self._resampler is None:
            return self._read(count)
        while len(self._ready) < count and self._left:
            source = self._read(_FEED_SAMPLES).astype(np.float32)
            # In floats: with integers soxr would add noise, another one each time.
            made = self._resampler.resample_chunk(source, last=not self._left)
            self._ready = np.concatenate((self._ready, np.rint(made).astype(np.int32)))
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def _read(self, count: int) -> Block:
        length = min(count, self._left) * SAMPLE_BYTES
        data = os.pread(self._audio, length, self._at)
        self._left = 0 if len(data) < length else self._left - length // SAMPLE_BYTES
        self._at += len(data)
        return np.frombuffer(data[: len(data) // SAMPLE_BYTES * SAMPLE_BYTES], "<i2").astype(
            np.int32
        )
