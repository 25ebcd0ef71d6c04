"""For whoever writes a plug-in: run it over samples, without gateway, bus or worker.

>>> import numpy as np
>>> from workers import Block, Emit, Processor
>>> class Halve(Processor):
...     def process(self, block: Block, emit: Emit) -> None:
...         emit(block.with_pcm(block.pcm // 2))
>>> blocks = run(new_processor(Halve), np.full(800, 1000, "<i2"), rate=16000, block_ms=20)
>>> [(block.position, len(block.pcm), int(block.pcm[0])) for block in blocks]
[(0, 320, 500), (320, 320, 500), (640, 160, 500)]

What a hook raises comes through here; in a worker it would cost the plug-in its call.
"""

import tempfile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from workers.audio import PCM, Block, Call, Emit, Outcome, Pcm, Stream, new_block
from workers.processors.base import Place, Processor
from workers.sinks.base import Sink
from workers.tables import convert

Made = TypeVar("Made", Processor, Sink)


def new_stream(rate: int = 16000, number: int = 1, participant: str | None = "someone") -> Stream:
    """A stream of session `0000000000000001`, whose axis begins at Unix time 0."""
    return Stream(
        session="0000000000000001", number=number, sample_rate=rate, participant=participant
    )


def new_call(*streams: Stream, call_id: str = "call") -> Call:
    """A call in which `streams` are open."""
    return Call(call_id=call_id, streams=streams)


def blocks_of(stream: Stream, pcm: Pcm, block_ms: int = 20) -> list[Block]:
    """Samples cut as a worker cuts them: read-only blocks, the last one shorter."""
    samples = np.array(pcm, PCM)
    samples.setflags(write=False)
    size = stream.sample_rate * block_ms // 1000
    return [
        new_block(stream, stream.first_position + at, samples[at : at + size])
        for at in range(0, len(samples), size)
    ]


def new_processor(
    kind: type[Made], table: dict[str, Any] | None = None, data: Path | None = None
) -> Made:
    """A processor or a sink, with its table of the configuration. Raises `ConfigError`."""
    place = Place(data=data or Path(tempfile.gettempdir()), pool="test")
    return kind(convert(table or {}, kind.Settings, kind.__name__), place)


new_sink = new_processor


def run(processor: Processor, pcm: Pcm, rate: int = 16000, block_ms: int = 20) -> list[Block]:
    """The blocks that a processor emits for a call with one stream of `pcm`, from open to close."""
    emitted: list[Block] = []
    emit: Emit = emitted.append
    stream = new_stream(rate)
    processor.open(new_call(stream))
    processor.stream_opened(stream)
    for block in blocks_of(stream, pcm, block_ms):
        processor.process(block, emit)
    processor.stream_closed(stream, emit)
    processor.close(emit)
    return emitted


class CollectingSink(Sink):
    """A sink that keeps what it is given: `blocks`, the number of `flushes`, the `outcome`."""

    def __init__(self, settings: Sink.Settings | None = None, place: Place | None = None) -> None:
        super().__init__(
            settings or Sink.Settings(), place or Place(data=Path(tempfile.gettempdir()), pool="")
        )
        self.call: Call | None = None
        self.blocks: list[Block] = []
        self.flushes = 0
        self.outcome: Outcome | None = None

    def open(self, call: Call) -> None:
        self.call = call

    def write(self, block: Block) -> None:
        self.blocks.append(block)

    def flush(self) -> None:
        self.flushes += 1

    def close(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def pcm(self, stream: Stream) -> Pcm:
        """All samples that were written of one stream, one after the other."""
        parts = [block.pcm for block in self.blocks if block.stream == stream]
        return np.concatenate(parts) if parts else np.zeros(0, PCM)
