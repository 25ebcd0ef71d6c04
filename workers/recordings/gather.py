"""What a recorder has taken and not yet written, and its way into per-stream runs. Pure. HOT.

Batches come as they are; their audio is copied once into one buffer and once more, by numpy, into
the order of the streams. Nothing here loops over frames in Python.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gateway.wire.descriptor import (
    Body,
    Event,
    SessionClose,
    SessionOpen,
    StreamClose,
    StreamOpen,
    unpack,
)
from gateway.wire.errors import TruncatedError, WireError
from gateway.wire.frame import FRAME_DTYPE, SESSION_STREAM, FrameFlag, FrameKind, unpack_batch
from workers.recordings.index import Entries, is_dropped, pack_entries
from workers.recordings.wave_file import SAMPLE_BYTES

LinkKey = tuple[str, int]
StreamKey = tuple[int, int]  # session, stream

_HEAD = np.dtype(FRAME_DTYPE)
#: Of one frame: a packet's text is at most 64 KiB.
_FRAME_SAMPLES_MAX = 32 * 1024
#: After the first sample: weeks. What lies further is no place but a fault.
_SAMPLES_MAX = 2**37
#: Audio brought into order at a time.
_CHUNK_BYTES = 1 * 1024 * 1024

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


class Described(NamedTuple):
    """An OPEN, EVENT or CLOSE frame, read."""

    link: LinkKey
    kind: FrameKind
    session: int
    stream: int
    seq: int
    descriptor: Body


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


class Gather:
    """Batches of some seconds, their audio in `buffer`, which grows only for a message too long."""

    def __init__(self, buffer: Bytes) -> None:
        self.buffer = buffer
        self._heads: list[Entries] = []
        self.size_bytes = 0
        self.batches = 0
        self.skipped = 0
        self.bad_descriptors = 0
        self.begun_us = 0
        #: The highest batch of each link.
        self.numbers: dict[LinkKey, int] = {}
        self.described: list[Described] = []
        self.forgotten: list[LinkKey] = []

    @property
    def is_empty(self) -> bool:
        """Nothing to write, acknowledge or forget."""
        return not self.numbers and not self.forgotten

    def has_room(self, message_bytes: int) -> bool:
        """Whether a message of this size fits."""
        return self.size_bytes + message_bytes <= len(self.buffer)

    def add(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        """Take a batch, whole or not at all. Raises `WireError` for one that is none."""
        batch = unpack_batch(message)
        heads = _heads(message, batch.heads_offset, batch.head_bytes, batch.frames)
        payload_bytes = int(heads["length"].sum(dtype=np.int64))
        if batch.payload_offset + payload_bytes > len(message):
            raise TruncatedError(f"the frames of batch {number} end past the message")
        cold = np.flatnonzero(heads["kind"] != FrameKind.AUDIO)
        if len(cold):
            self._describe(link, heads, cold, message, batch.payload_offset)
        self._keep(message, batch.payload_offset, payload_bytes)
        self._heads.append(heads)
        self.begun_us = self.begun_us if self.batches else now_us
        self.batches += 1
        self.numbers[link] = number

    def _keep(self, message: bytes, offset: int, length: int) -> None:
        end = self.size_bytes + length
        if end > len(self.buffer):
            grown = np.empty(end, np.uint8)
            grown[: self.size_bytes] = self.buffer[: self.size_bytes]
            self.buffer = grown
        self.buffer[self.size_bytes : end] = np.frombuffer(message, np.uint8, length, offset)
        self.size_bytes = end

    def _describe(
        self, link: LinkKey, heads: Entries, cold: NDArray[np.intp], message: bytes, offset: int
    ) -> None:
        ends = np.cumsum(heads["length"], dtype=np.int64) + offset
        for index in cold:
            head = heads[index]
            payload = message[int(ends[index]) - int(head["length"]) : int(ends[index])]
            try:
                described = _described(link, head, payload)
            except WireError:
                self.bad_descriptors += 1
                continue
            if described is None:
                self.skipped += 1
            else:
                self.described.append(described)

    def scatter(
        self, first_positions: Mapping[StreamKey, int], discarded: list[Discarded]
    ) -> Iterator[StreamRuns]:
        """The audio of the streams that are known, each stream's frames in the order they came.

        May be called again; the views are good until the next step. `discarded` gets one entry.
        """
        if not self._heads:
            return
        frames = _Frames.read(self._heads)
        frames, bounds, first = frames.by_stream(first_positions)
        discarded.append(frames.discarded)
        source = self.buffer[: self.size_bytes]
        for begin, end in _chunks(frames.sizes, bounds):
            yield from _scatter_chunk(source, frames, bounds[begin : end + 1], first[begin:end])


class _Frames(NamedTuple):
    """AUDIO frames as parallel arrays: headers, place in the buffer, bytes of audio they mean."""

    heads: Entries
    sources: Integers
    sizes: Integers
    discarded: Discarded

    @classmethod
    def read(cls, parts: list[Entries]) -> "_Frames":
        heads = parts[0] if len(parts) == 1 else np.concatenate(parts)
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
        heads = self.heads[order]
        bounds = _bounds(heads)
        keys = [(int(heads["session"][at]), int(heads["stream"][at])) for at in bounds[:-1]]
        counts = np.diff(bounds)
        first = np.array([first_positions.get(key, 0) for key in keys], np.int64)
        known = np.repeat([key in first_positions for key in keys], counts).astype(bool)
        offsets = heads["position"] - np.repeat(first, counts)
        placed = known & (offsets >= 0) & (offsets <= _SAMPLES_MAX)
        unknown = len(heads) - int(np.count_nonzero(known))
        bad = len(heads) - int(np.count_nonzero(placed)) - unknown
        frames = _Frames(
            heads,
            self.sources[order],
            self.sizes[order],
            Discarded(self.discarded.bad + bad, unknown),
        )
        if unknown or bad:
            frames = frames._replace(
                heads=heads[placed], sources=frames.sources[placed], sizes=frames.sizes[placed]
            )
            bounds = _bounds(frames.heads)
            heads = frames.heads
            keys = [(int(heads["session"][at]), int(heads["stream"][at])) for at in bounds[:-1]]
        return frames, bounds, keys


def _heads(message: bytes, offset: int, stride: int, frames: int) -> Entries:
    if stride == _HEAD.itemsize:
        return np.frombuffer(message, _HEAD, frames, offset)
    raw = np.frombuffer(message, np.uint8, frames * stride, offset).reshape(frames, stride)
    return np.ascontiguousarray(raw[:, : _HEAD.itemsize]).view(_HEAD)[:, 0]


def _described(link: LinkKey, head: np.void, payload: bytes) -> Described | None:
    kind, session, stream = int(head["kind"]), int(head["session"]), int(head["stream"])
    whole = stream == SESSION_STREAM
    descriptor: Body
    if kind == FrameKind.OPEN:
        descriptor = unpack(payload, SessionOpen) if whole else unpack(payload, StreamOpen)
    elif kind == FrameKind.CLOSE:
        descriptor = unpack(payload, SessionClose) if whole else unpack(payload, StreamClose)
    elif kind == FrameKind.EVENT:
        descriptor = unpack(payload, Event)
    else:
        return None
    return Described(link, FrameKind(kind), session, stream, int(head["seq"]), descriptor)


def _bounds(heads: Entries) -> Integers:
    """Where a stream begins, and the end."""
    sessions, streams = heads["session"], heads["stream"]
    new = (sessions[1:] != sessions[:-1]) | (streams[1:] != streams[:-1])
    inner = np.flatnonzero(new) + 1
    outer = [0, len(heads)] if len(heads) else [0]
    return np.concatenate((outer[:1], inner, outer[1:])).astype(np.int64)


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
    heads, sizes = frames.heads[low:high], frames.sizes[low:high]
    ends = np.cumsum(sizes)
    begins = ends - sizes
    lengths = heads["length"].astype(np.int64)
    # Zeros only where silence has to stand for packets without data.
    make = np.zeros if ((lengths == 0) & (sizes > 0)).any() else np.empty
    audio: Bytes = make(int(ends[-1]), np.uint8)
    _copy(source, frames.sources[low:high], audio, begins, lengths)
    audio_view = memoryview(audio.data)
    entries_view = memoryview(pack_entries(heads).view(np.uint8).data)
    entry_bytes = len(entries_view) // len(heads)

    firsts = bounds[:-1] - low
    jumps = np.concatenate(([True], heads["position"][1:] != _following(heads, sizes)[:-1]))
    jumps[firsts] = True
    breaks = np.concatenate(([True], heads["seq"][1:] != heads["seq"][:-1] + np.uint32(1)))
    breaks[firsts] = True
    audio_at, entries_at = np.flatnonzero(jumps), np.flatnonzero(breaks)
    audio_of = np.searchsorted(audio_at, bounds - low).tolist()
    entries_of = np.searchsorted(entries_at, bounds - low).tolist()
    audio_runs = list(
        zip(
            heads["position"][audio_at].tolist(),
            begins[audio_at].tolist(),
            [*begins[audio_at[1:]].tolist(), len(audio)],
            strict=True,
        )
    )
    entry_runs = list(
        zip(
            heads["seq"][entries_at].tolist(),
            entries_at.tolist(),
            [*entries_at[1:].tolist(), len(heads)],
            strict=True,
        )
    )
    for index, key in enumerate(keys):
        yield StreamRuns(
            key,
            int(bounds[index + 1] - bounds[index]),
            [
                (position, audio_view[begin:end])
                for position, begin, end in audio_runs[audio_of[index] : audio_of[index + 1]]
                if begin < end
            ],
            [
                (seq, entries_view[begin * entry_bytes : end * entry_bytes])
                for seq, begin, end in entry_runs[entries_of[index] : entries_of[index + 1]]
            ],
        )


def _following(heads: Entries, sizes: Integers) -> Integers:
    following: Integers = heads["position"] + sizes // SAMPLE_BYTES
    return following


def _copy(
    source: Bytes, sources: Integers, target: Bytes, begins: Integers, lengths: Integers
) -> None:
    """Copy each frame's payload to its place: one step for each length that occurs."""
    for length in np.unique(lengths).tolist():
        if length:
            chosen = np.flatnonzero(lengths == length)
            windows = as_strided(source, (len(source) - length + 1, length), (1, 1))
            places = as_strided(target, (len(target) - length + 1, length), (1, 1))
            places[begins[chosen]] = windows[sources[chosen]]
