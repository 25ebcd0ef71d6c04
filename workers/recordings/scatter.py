"""Frames to streams: each stream's audio and index entries as few, long runs. Pure. HOT.

Measured by the recorder as a whole: nothing here loops over frames in Python.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gateway.wire.frame import FRAME_DTYPE, FrameFlag, FrameKind
from workers.recordings.index import ENTRY_BYTES, Entries, is_dropped, pack_entries
from workers.recordings.wave_file import SAMPLE_BYTES

StreamKey = tuple[int, int]  # session, stream
Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

_HEAD = np.dtype(FRAME_DTYPE)
#: Of one frame: a packet's text is at most 64 KiB.
_FRAME_SAMPLES_MAX = 32 * 1024
#: After the first sample: weeks. What lies further is no place but a fault.
_SAMPLES_MAX = 2**37
#: Audio brought into order at a time: what fits a core's cache is written out of it.
_CHUNK_BYTES = 1024 * 1024


class StreamRuns(NamedTuple):
    """What one stream gets: audio by first position, entries by first `seq`, ready to write."""

    key: StreamKey
    frames: int
    audio: list[tuple[int, memoryview]]
    entries: list[tuple[int, memoryview]]


class Discarded(NamedTuple):
    """AUDIO frames that are not written, by reason."""

    bad: int
    unknown: int


def scatter(
    parts: Sequence[bytes],
    source: Bytes,
    first_positions: Mapping[StreamKey, int],
    discarded: list[Discarded],
) -> Iterator[StreamRuns]:
    """The audio of known streams. `parts`: frame headers; `source`: all payloads in their order."""
    frames, bounds, keys = _Frames.read(parts).by_stream(first_positions)
    discarded.append(frames.discarded)
    for begin, end in _chunks(frames.sizes, bounds):
        yield from _scatter_chunk(source, frames, bounds[begin : end + 1], keys[begin:end])


class _Frames(NamedTuple):
    """AUDIO frames as parallel arrays: headers, place in the buffer, bytes of audio they mean."""

    heads: Entries
    sources: Integers
    sizes: Integers
    discarded: Discarded

    @classmethod
    def read(cls, parts: Sequence[bytes]) -> "_Frames":
        # Not `np.concatenate`: of structured arrays it copies field by field, 15 times as long.
        heads = np.frombuffer(b"".join(parts), _HEAD)
        lengths = heads["length"].astype(np.int64)
        sources = np.cumsum(lengths) - lengths
        audio = heads["kind"] == FrameKind.AUDIO
        sizes = np.where(is_dropped(heads), 0, heads["samples"].astype(np.int64) * SAMPLE_BYTES)
        carried = (heads["flags"] & (FrameFlag.DROPPED | FrameFlag.NO_DATA)) == 0
        sound = (lengths == np.where(carried, sizes, 0)) & (heads["samples"] <= _FRAME_SAMPLES_MAX)
        kept = audio & sound
        bad = int(np.count_nonzero(audio)) - int(np.count_nonzero(kept))
        if len(heads) == np.count_nonzero(kept):
            return cls(heads, sources, sizes, Discarded(0, 0))
        return cls(heads[kept], sources[kept], sizes[kept], Discarded(bad, 0))

    def by_stream(
        self, first_positions: Mapping[StreamKey, int]
    ) -> tuple["_Frames", Integers, list[StreamKey]]:
        """Sorted by stream; where each stream begins and, last, where all end; their keys.

        The sort is stable and its key is a mixture: should two streams ever share it, one of them
        comes in several pieces, which costs a write.
        """
        mixed = self.heads["session"] + self.heads["stream"] * np.uint64(0x9E3779B97F4A7C15)
        order = np.argsort(mixed, kind="stable")
        heads = self.heads.take(order)  # not `[order]`: 20 times as long
        bounds = _bounds(heads)
        keys = _keys(heads, bounds)
        counts = np.diff(bounds)
        first = np.array([first_positions.get(key, 0) for key in keys], np.int64)
        known = np.repeat([key in first_positions for key in keys], counts).astype(bool)
        offsets = heads["position"] - np.repeat(first, counts)
        placed = known & (offsets >= 0) & (offsets <= _SAMPLES_MAX)
        unknown = len(heads) - int(np.count_nonzero(known))
        bad = len(heads) - int(np.count_nonzero(placed)) - unknown
        discarded = Discarded(self.discarded.bad + bad, unknown)
        if unknown or bad:
            heads, order = heads[placed], order[placed]
            bounds = _bounds(heads)
            keys = _keys(heads, bounds)
        return _Frames(heads, self.sources[order], self.sizes[order], discarded), bounds, keys


def _bounds(heads: Entries) -> Integers:
    """Where a stream begins, and the end."""
    sessions, streams = heads["session"], heads["stream"]
    new = (sessions[1:] != sessions[:-1]) | (streams[1:] != streams[:-1])
    inner = np.flatnonzero(new) + 1
    outer = [0, len(heads)] if len(heads) else [0]
    return np.concatenate((outer[:1], inner, outer[1:])).astype(np.int64)


def _keys(heads: Entries, bounds: Integers) -> list[StreamKey]:
    firsts = heads[bounds[:-1]]
    return list(zip(firsts["session"].tolist(), firsts["stream"].tolist(), strict=True))


def _chunks(sizes: Integers, bounds: Integers) -> Iterator[tuple[int, int]]:
    """Runs of whole streams of about `_CHUNK_BYTES`, as (first stream, stream after the last)."""
    ends = np.concatenate(([0], np.cumsum(sizes)))[bounds]
    begin = 0
    while begin < len(bounds) - 1:
        end = int(np.searchsorted(ends, ends[begin] + _CHUNK_BYTES, side="right")) - 1
        end = max(end, begin + 1)
        yield begin, end
        begin = end


def _scatter_chunk(
    source: Bytes, frames: _Frames, bounds: Integers, keys: list[StreamKey]
) -> Iterator[StreamRuns]:
    low, high = int(bounds[0]), int(bounds[-1])
    heads, sizes, bounds = frames.heads[low:high], frames.sizes[low:high], bounds - low
    begins = np.cumsum(sizes) - sizes
    audio = _ordered(source, frames.sources[low:high], heads, sizes, begins)
    entries = memoryview(pack_entries(heads).view(np.uint8).data)
    position, seq = heads["position"], heads["seq"]
    audio_runs = _cut(
        position[1:] != (position + sizes // SAMPLE_BYTES)[:-1],
        bounds,
        position,
        np.append(begins, len(audio)),
    )
    entry_runs = _cut(
        seq[1:] != seq[:-1] + np.uint32(1), bounds, seq, np.arange(len(heads) + 1) * ENTRY_BYTES
    )
    for key, mine, theirs, frames_in in zip(
        keys, audio_runs, entry_runs, np.diff(bounds).tolist(), strict=True
    ):
        yield StreamRuns(
            key,
            frames_in,
            [(at, audio[a:b]) for at, a, b in mine if a < b],
            [(at, entries[a:b]) for at, a, b in theirs],
        )


def _cut(
    breaks: NDArray[np.bool_], bounds: Integers, labels: Entries, begins: Integers
) -> Iterator[list[tuple[int, int, int]]]:
    """For each stream (label, begin, end) of its runs: one begins with it, one after each break.

    Streams lie one after the other, so a run ends where the next one begins, whosever it is.
    """
    starts = np.concatenate(([True], breaks))
    starts[bounds[:-1]] = True
    at = np.flatnonzero(starts)
    ends = np.append(at[1:], len(labels))
    runs = list(zip(labels[at].tolist(), begins[at].tolist(), begins[ends].tolist(), strict=True))
    for first, last in pairwise(np.searchsorted(at, bounds).tolist()):
        yield runs[first:last]


def _ordered(
    source: Bytes, sources: Integers, heads: Entries, sizes: Integers, begins: Integers
) -> memoryview:
    """Each frame's audio at its place in `begins`: one step for each length that occurs."""
    lengths = heads["length"].astype(np.int64)
    # Zeros only where silence has to stand for packets without data.
    make = np.zeros if ((lengths == 0) & (sizes > 0)).any() else np.empty
    target: Bytes = make(int(sizes.sum()), np.uint8)
    for length in np.unique(lengths).tolist():
        if length:
            chosen = np.flatnonzero(lengths == length)
            windows = as_strided(source, (len(source) - length + 1, length), (1, 1))
            places = as_strided(target, (len(target) - length + 1, length), (1, 1))
            places[begins[chosen]] = windows[sources[chosen]]
    return memoryview(target.data)
