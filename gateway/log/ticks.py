"""Ticks as they are logged and read back: arithmetic on arrays, no I/O."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.wire.frame import FRAME, FRAME_DTYPE, FrameKind
from gateway.wire.record import Record, payload_sum

HEADS = np.dtype([(name, form) for name, form in FRAME_DTYPE])

Heads = NDArray[Any]

#: Of memory for a tick without frames.
TICK_BYTES = 256


class Tick(NamedTuple):
    """The frames of one flush: `FRAME.size` bytes of head each, then what they carry, in order."""

    number: int
    sent_us: int
    heads: bytes
    payload: bytes
    #: OPENs of all live streams at the begin of a segment: news only to whoever adopts the log.
    snapshot: bool = False

    @property
    def frames(self) -> int:
        return len(self.heads) // FRAME.size

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, nearly."""
        return len(self.heads) + len(self.payload) + TICK_BYTES


def heads_of(tick_heads: bytes | memoryview) -> Heads:
    """Frame headers as a structured array."""
    return np.frombuffer(tick_heads, HEADS)


class Control(NamedTuple):
    """An OPEN or CLOSE frame."""

    kind: int
    session: int
    stream: int
    head: bytes
    payload: bytes


def is_control(heads: Heads) -> NDArray[np.bool_]:
    """Which frames are an OPEN or CLOSE."""
    control: NDArray[np.bool_] = (heads["kind"] == FrameKind.OPEN) | (
        heads["kind"] == FrameKind.CLOSE
    )
    return control


def controls_of(tick: Tick) -> Iterator[Control]:
    """The OPENs and CLOSEs of a tick, in order."""
    heads = heads_of(tick.heads)
    chosen = np.flatnonzero(is_control(heads))
    if not len(chosen):
        return
    ends = np.cumsum(heads["length"], dtype=np.int64)
    for index in chosen.tolist():
        head = heads[index]
        payload = tick.payload[int(ends[index]) - int(head["length"]) : int(ends[index])]
        numbers = int(head["kind"]), int(head["session"]), int(head["stream"])
        yield Control(*numbers, head.tobytes(), payload)


def sums(heads: bytes | memoryview, payload: bytes | memoryview) -> NDArray[np.uint32]:
    """`payload_sum` of each frame's payload. HOT; guarded by `bench/micro`."""
    lengths = heads_of(heads)["length"]
    if not len(lengths):
        return np.zeros(0, np.uint32)
    first = int(lengths[0])
    if first and first % 4 == 0 and (lengths == first).all():
        words = np.frombuffer(payload, "<u4").reshape(len(lengths), first // 4)
        # Not `words @ weights`: three times slower for integers.
        found: NDArray[np.uint32] = np.einsum("ij,j->i", words, _weights(first // 4))
        return found
    if not (lengths % 4).any() and lengths.all():
        return _sums_of_words(lengths // 4, payload)
    ends = np.cumsum(lengths, dtype=np.int64)
    view = memoryview(payload)
    return np.fromiter(
        (payload_sum(view[end - length : end]) for end, length in zip(ends, lengths, strict=True)),
        np.uint32,
        len(lengths),
    )


def _sums_of_words(counts: NDArray[Any], payload: bytes | memoryview) -> NDArray[np.uint32]:
    """Sums of payloads of several lengths, each a whole number of words and not empty."""
    words = np.frombuffer(payload, "<u4")
    ends = np.cumsum(counts, dtype=np.int64)
    starts = ends - counts
    places = np.arange(len(words), dtype=np.uint32) - np.repeat(starts, counts).astype(np.uint32)
    return np.add.reduceat(words * (2 * places + 1), starts, dtype=np.uint32)


_weights_by_length: dict[int, NDArray[np.uint32]] = {}


def _weights(words: int) -> NDArray[np.uint32]:
    if words not in _weights_by_length:
        if len(_weights_by_length) > 64:
            _weights_by_length.clear()
        _weights_by_length[words] = 2 * np.arange(words, dtype=np.uint32) + 1
    return _weights_by_length[words]


def sound(record: Record, *, snapshot: bool) -> tuple[Tick, int]:
    """A record's tick without the frames whose payload is damaged, and how many those were."""
    heads = bytes(record.heads)
    tick = Tick(record.tick, record.sent_us, heads, bytes(record.payload), snapshot)
    intact = sums(heads, tick.payload) == np.frombuffer(record.sums, "<u4")
    if intact.all():
        return tick, 0
    return select(tick, intact), int((~intact).sum())


def of_sessions(tick: Tick, sessions: Collection[int]) -> Tick:
    """The frames of a tick that belong to `sessions`."""
    wanted = np.fromiter(sessions, np.uint64, len(sessions))
    return select(tick, np.isin(heads_of(tick.heads)["session"], wanted))


def select(tick: Tick, mask: NDArray[np.bool_]) -> Tick:
    """The frames of a tick for which `mask` is true."""
    if mask.all():
        return tick
    heads = heads_of(tick.heads)
    ends = np.cumsum(heads["length"], dtype=np.int64)
    starts = ends - heads["length"]
    view = memoryview(tick.payload)
    chosen = np.flatnonzero(mask)
    payload = b"".join([view[starts[index] : ends[index]] for index in chosen])
    return tick._replace(heads=heads[chosen].tobytes(), payload=payload)


def split(tick: Tick, bytes_max: int) -> list[Tick]:
    """A tick in parts of at most `bytes_max` bytes each (one frame at least), in order."""
    if len(tick.heads) + len(tick.payload) <= bytes_max:
        return [tick] if tick.heads else []
    ends = np.cumsum(heads_of(tick.heads)["length"], dtype=np.int64)
    sizes = ends + FRAME.size * np.arange(1, len(ends) + 1)
    parts, begin = [], 0
    while begin < len(ends):
        before = int(sizes[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(sizes, before + bytes_max, "right")))
        payload_from = int(ends[begin - 1]) if begin else 0
        parts.append(
            tick._replace(
                heads=tick.heads[begin * FRAME.size : end * FRAME.size],
                payload=tick.payload[payload_from : int(ends[end - 1])],
            )
        )
        begin = end
    return parts


def joined(parts: Iterable[Tick]) -> Tick:
    """Parts of one tick as one. There must be one at least."""
    all_parts = list(parts)
    if len(all_parts) == 1:
        return all_parts[0]
    return all_parts[0]._replace(
        heads=b"".join(part.heads for part in all_parts),
        payload=b"".join(part.payload for part in all_parts),
    )


def frames_tick(number: int, now_us: int, frames: Iterable[tuple[bytes, bytes]]) -> Tick:
    """A tick of single (head, payload) frames."""
    pairs = list(frames)
    heads = b"".join(head for head, _ in pairs)
    return Tick(number, now_us, heads, b"".join(payload for _, payload in pairs))
