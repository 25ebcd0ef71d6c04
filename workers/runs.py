"""A batch's audio as runs: frames of one stream that follow one another without a seam.

HOT; pure; guarded by `bench/micro`. What is done per frame is numpy's; who uses runs loops once per
run.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gateway.wire.errors import TruncatedError
from gateway.wire.frame import FRAME_DTYPE, Batch, FrameFlag
from workers.audio import SAMPLE_BYTES

HEADS = np.dtype(FRAME_DTYPE)
_NO_PAYLOAD = int(FrameFlag.DROPPED | FrameFlag.NO_DATA)

Heads = npt.NDArray[np.void]
Offsets = npt.NDArray[np.int64]


#: Frames of one stream: (session, stream, seq of the first, position of the first, frames, samples
#: of them all, where these begin in bytes, flags). Flags are 0 for plain audio; else the run is one
#: frame with these of `FrameFlag`, or, where they are `BAD`, with a payload that does not fit.
#: No named tuple: it would cost a microsecond a run.
Run = tuple[int, int, int, int, int, int, int, int]
#: Above the bits that a frame header has.
BAD = 1 << 8


def read_heads(message: bytes, batch: Batch) -> tuple[Heads, Offsets]:
    """The frame headers of a batch, and where each payload begins (and, at last, where they end).

    Raises `TruncatedError` where payloads reach past the message.
    """
    heads: Heads = np.ndarray(
        (batch.frames,), HEADS, message, batch.heads_offset, (batch.head_bytes,)
    )
    offsets: Offsets = np.empty(batch.frames + 1, np.int64)
    offsets[0] = batch.payload_offset
    np.cumsum(heads["length"], out=offsets[1:])
    offsets[1:] += batch.payload_offset
    if offsets[-1] > len(message):
        raise TruncatedError(f"the payloads of batch {batch.number} end past its message")
    return heads, offsets


def audio_runs(
    heads: Heads, offsets: Offsets, message: memoryview
) -> tuple[memoryview, Iterator[Run]]:
    """The runs of consecutive AUDIO frames, and the bytes that their `at` counts in.

    Each stream's runs come in order. `offsets` has one entry more than `heads`.
    """
    session, stream = heads["session"], heads["stream"]
    order = np.lexsort((stream, session))
    same = (session[1:] == session[:-1]) & (stream[1:] == stream[:-1])
    if np.count_nonzero(same) < _neighbours(session[order], stream[order]):
        message, offsets = _gather(heads, offsets, message, order)
        heads = heads[order]
        session, stream = heads["session"], heads["stream"]
        same = (session[1:] == session[:-1]) & (stream[1:] == stream[:-1])
    return message, _join(heads, offsets, same)


def _neighbours(session: npt.NDArray[np.uint64], stream: npt.NDArray[np.uint16]) -> int:
    return int(np.count_nonzero((session[1:] == session[:-1]) & (stream[1:] == stream[:-1])))


def _gather(
    heads: Heads, offsets: Offsets, message: memoryview, order: npt.NDArray[np.intp]
) -> tuple[memoryview, Offsets]:
    """The payloads side by side in another order, and where each begins."""
    length = heads["length"]
    first = int(length[0])
    if first and (length == first).all():
        rows = np.frombuffer(message, np.uint8, first * len(heads), int(offsets[0]))
        gathered = rows.reshape(len(heads), first)[order]
        return gathered.data.toreadonly().cast("B"), np.arange(len(heads) + 1) * first
    bounds = offsets.tolist()
    payload = b"".join([message[bounds[index] : bounds[index + 1]] for index in order.tolist()])
    moved: Offsets = np.zeros(len(heads) + 1, np.int64)
    np.cumsum(length[order], out=moved[1:])
    return memoryview(payload), moved


def _join(heads: Heads, offsets: Offsets, same: npt.NDArray[np.bool_]) -> Iterator[Run]:
    seq, position = heads["seq"], heads["position"]
    samples = heads["samples"].astype(np.int64)
    flags = heads["flags"] & np.uint8(_NO_PAYLOAD)
    odd = flags.astype(np.int64)
    odd[(odd == 0) & (heads["length"] != samples * SAMPLE_BYTES)] = BAD
    plain = odd == 0
    begins = np.ones(len(heads), np.bool_)
    begins[1:] = ~(
        same
        & plain[1:]
        & plain[:-1]
        & (seq[1:] == seq[:-1] + np.uint32(1))
        & (position[1:] == position[:-1] + samples[:-1])
    )
    first = np.flatnonzero(begins)
    return zip(
        heads["session"][first].tolist(),
        heads["stream"][first].tolist(),
        seq[first].tolist(),
        position[first].tolist(),
        np.diff(first, append=len(heads)).tolist(),
        np.add.reduceat(samples, first).tolist(),
        offsets[first].tolist(),
        odd[first].tolist(),
        strict=True,
    )
