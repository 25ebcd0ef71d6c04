import doctest

import numpy as np
import pytest

from workers import testing
from workers.audio import Outcome
from workers.errors import ConfigError
from workers.processors.base import Processor
from workers.processors.level import Level
from workers.testing import CollectingSink, blocks_of, new_call, new_processor, new_sink, new_stream


def test_example_of_the_module_works():
    assert doctest.TestResults(0, 5) == doctest.testmod(testing)


class Echo(Processor):
    """Emits the name of each hook as the length of a block."""

    def stream_opened(self, stream):
        self.stream = stream

    def process(self, block, emit):
        emit(block)

    def stream_closed(self, stream, emit):
        emit(blocks_of(stream, np.zeros(1, "<i2"))[0])

    def close(self, emit):
        emit(blocks_of(self.stream, np.zeros(2, "<i2"))[0])


def test_run_calls_every_hook_in_order():
    blocks = testing.run(new_processor(Echo), np.zeros(700, "<i2"), rate=16000, block_ms=20)

    assert [320, 320, 60, 1, 2] == [len(block.pcm) for block in blocks]


def test_run_lets_the_plug_ins_exceptions_through():
    class Broken(Processor):
        def process(self, block, emit):
            raise KeyError("mine")

    with pytest.raises(KeyError):
        testing.run(new_processor(Broken), np.zeros(320, "<i2"))


def test_blocks_are_read_only_copies():
    pcm = np.zeros(320, "<i2")

    [block] = blocks_of(new_stream(), pcm)
    pcm[0] = 1

    assert not block.pcm.flags.writeable
    assert 0 == block.pcm[0]


def test_settings_are_decoded_as_from_the_configuration():
    assert 10 == new_processor(Level, {"window_ms": 10}).settings.window_ms
    with pytest.raises(ConfigError, match=r"\[Level\] window_ms: Expected `int`, got `str`"):
        new_processor(Level, {"window_ms": "long"})


def test_collecting_sink_keeps_what_it_is_given():
    sink, stream = CollectingSink(), new_stream()
    call = new_call(stream, call_id="mine")

    sink.open(call)
    for block in blocks_of(stream, np.arange(500)):
        sink.write(block)
    sink.flush()
    sink.close(Outcome.ENDED)

    assert list(range(500)) == sink.pcm(stream).tolist()
    assert [] == sink.pcm(new_stream(number=2)).tolist()
    assert (call, 1, Outcome.ENDED) == (sink.call, sink.flushes, sink.outcome)


def test_sinks_are_made_as_processors_are():
    assert isinstance(new_sink(CollectingSink), CollectingSink)
