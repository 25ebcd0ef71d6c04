"""What a gateway does with a full route: take it, batch it, log it.

The baseline joins the same frame headers and payloads, once.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

from bench.load.frames import PCM_BYTES
from bench.micro.inputs import batch, pcm, route, tick
from bench.micro.measure import Measure
from gateway.log.ticks import sums
from gateway.wire.frame import FRAME, batch_header, pack_batch, unpack_batch
from gateway.wire.record import pack_record_head
from workers.runs import audio_runs, read_heads

#: What a route holds when it overflows.
FRAMES = 190
_TICK = tick(1, FRAMES)
_HEADS = [_TICK.heads[at : at + FRAME.size] for at in range(0, len(_TICK.heads), FRAME.size)]
_PAYLOADS = [pcm(1)] * FRAMES


def bench_baseline_join(measure: Measure) -> None:
    def run() -> int:
        heads, payloads = b"".join(_HEADS), b"".join(_PAYLOADS)
        return len(heads) + len(payloads)

    measure(run, FRAMES, baseline=True)


def bench_take_and_pack(measure: Measure) -> None:
    to = route()

    def run() -> int:
        to.heads.extend(_HEADS)
        to.payloads.extend(_PAYLOADS)
        part = to.take(1, 0)
        header = batch_header(1, 1, 0, frames=part.frames, payload_bytes=len(part.payload))
        return len(pack_batch(header, (part.heads,), (part.payload,)))

    measure(run, FRAMES)


def bench_log_sums_and_record_head(measure: Measure) -> None:
    def run() -> int:
        all_sums = sums(_TICK.heads, _TICK.payload).tobytes()
        return crc32(pack_record_head(1, 0, _TICK.heads, all_sums, len(_TICK.payload))[40:])

    measure(run, FRAMES)


def bench_crc_of_payloads(measure: Measure) -> None:
    """What sums by CRC would cost at least."""

    def run() -> int:
        return crc32(_TICK.payload)

    measure(run, FRAMES)


def bench_unpack_batch(measure: Measure) -> None:
    message = batch(_TICK, 1)

    def run() -> int:
        heads, offsets = read_heads(message, unpack_batch(message))
        _, runs = audio_runs(heads, offsets, memoryview(message))
        return sum(run[5] for run in runs)

    measure(run, FRAMES)


def bench_view_of_batch(measure: Measure) -> None:
    """The samples alone, as one array."""
    message = batch(_TICK, 1)

    def run() -> int:
        return len(np.frombuffer(message, "<i2", offset=len(message) - FRAMES * PCM_BYTES))

    measure(run, FRAMES)
