"""What a recorder has taken and not yet written: batches of some seconds. Pure. HOT.

Their audio is copied into one buffer as it comes; only frames of other kinds are looked at one by
one.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.wire.descriptor import (
    Body,
    Event,
    Gap,
    SessionClose,
    SessionOpen,
    StreamClose,
    StreamOpen,
    unpack,
)
from gateway.wire.errors import TruncatedError, WireError
from gateway.wire.frame import FRAME_DTYPE, SESSION_STREAM, FrameKind, unpack_batch
from workers.recordings.index import Entries
from workers.recordings.scatter import Bytes, Discarded, StreamKey, StreamRuns, scatter

LinkKey = tuple[str, int]

_HEAD = np.dtype(FRAME_DTYPE)
_RATE_MAX = 1_000_000
_NUMBER_MAX = 2**61
#: Of one stream: days.
_GAP_FRAMES_MAX = 2**24


class Described(NamedTuple):
    """An OPEN, EVENT, CLOSE or GAP frame, read."""

    link: LinkKey
    kind: FrameKind
    session: int
    stream: int
    seq: int
    descriptor: Body


class Gather:
    """Batches of some seconds, their audio in `buffer`, which grows only for a message too long."""

    def __init__(self, buffer: Bytes) -> None:
        self.buffer = buffer
        #: Copies: a view would keep the whole message, and so the audio twice.
        self._heads: list[bytes] = []
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
        self._heads.append(heads.tobytes())
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
            return iter(())
        source = self.buffer[: self.size_bytes]
        return scatter(self._heads, source, first_positions, discarded)


def _heads(message: bytes, offset: int, stride: int, frames: int) -> Entries:
    if stride == _HEAD.itemsize:
        return np.frombuffer(message, _HEAD, frames, offset)
    raw = np.frombuffer(message, np.uint8, frames * stride, offset).reshape(frames, stride)
    return np.ascontiguousarray(raw[:, : _HEAD.itemsize]).view(_HEAD)[:, 0]


def _described(link: LinkKey, head: np.void, payload: bytes) -> Described | None:
    kind, session, stream = int(head["kind"]), int(head["session"]), int(head["stream"])
    whole = stream == SESSION_STREAM
    descriptor: Body
    if kind == FrameKind.OPEN and whole:
        descriptor = _sound_session(unpack(payload, SessionOpen), session)
    elif kind == FrameKind.OPEN:
        descriptor = _sound_stream(unpack(payload, StreamOpen))
    elif kind == FrameKind.CLOSE:
        descriptor = unpack(payload, SessionClose) if whole else unpack(payload, StreamClose)
    elif kind == FrameKind.EVENT:
        descriptor = unpack(payload, Event)
    elif kind == FrameKind.GAP:
        descriptor = _sound_gap(unpack(payload, Gap))
    else:
        return None
    return Described(link, FrameKind(kind), session, stream, int(head["seq"]), descriptor)


def _sound_session(opened: SessionOpen, session: int) -> SessionOpen:
    if opened.session != f"{session:016x}":
        raise WireError(f"session {session:016x} calls itself {opened.session!r}")
    return opened


def _sound_gap(gap: Gap) -> Gap:
    if not 0 < gap.frames <= _GAP_FRAMES_MAX:
        raise WireError(f"a gap of {gap.frames} frames is none")
    return gap


def _sound_stream(opened: StreamOpen) -> StreamOpen:
    """Only what a file can be made of: everything else would fail for as long as it is tried."""
    numbers = opened.first_position, opened.zero_us
    if not 0 < opened.sample_rate <= _RATE_MAX or max(map(abs, numbers)) > _NUMBER_MAX:
        raise WireError(f"a stream of {opened.sample_rate} Hz from {numbers} is none")
    return opened
