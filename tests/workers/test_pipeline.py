import logging

import numpy as np
import pytest

from gateway.wire.descriptor import Event
from workers.audio import Outcome
from workers.metrics import CallsCounters
from workers.pipeline import NamedProcessor, NamedSink, Pipeline
from workers.processors.base import Processor
from workers.sinks.base import Sink
from workers.testing import CollectingSink, blocks_of, new_processor, new_stream

STREAM = new_stream(participant="4:+15551234567")
HOOKS = ("open", "stream_opened", "process", "event", "stream_closed", "close")


class Add(Processor):
    """Adds 1 to every sample."""

    def process(self, block, emit):
        emit(block.with_pcm(block.pcm + np.int16(1)))


class Delay(Processor):
    """Holds back the last block of a stream until the next one, or its end."""

    held = None

    def process(self, block, emit):
        if self.held is not None:
            emit(self.held)
        self.held = block

    def stream_closed(self, stream, emit):
        emit(self.held)


class Broken(Processor):
    """Raises in one hook, and counts the calls of each."""

    hook = "process"
    emits_first = False

    def _called(self, hook):
        self.calls = [*getattr(self, "calls", []), hook]
        if hook == self.hook:
            raise KeyError(STREAM.participant)

    def open(self, call):
        self._called("open")

    def stream_opened(self, stream):
        self._called("stream_opened")

    def process(self, block, emit):
        if self.emits_first:
            emit(block)
        self._called("process")
        emit(block)

    def event(self, event):
        self._called("event")

    def stream_closed(self, stream, emit):
        self._called("stream_closed")

    def close(self, emit):
        self._called("close")


class BrokenSink(CollectingSink):
    """Raises in one hook."""

    def __init__(self, hook):
        super().__init__()
        self.hook = hook

    def open(self, call):
        self._raise("open")

    def write(self, block):
        self._raise("write")
        super().write(block)

    def flush(self):
        self._raise("flush")

    def close(self, outcome):
        super().close(outcome)
        self._raise("close")

    def _raise(self, hook):
        if hook == self.hook:
            raise OSError("disk full")


class Bench:
    """One call's pipeline over processors and sinks that exist already."""

    def __init__(self, *processors, sinks=None, on_error="bypass"):
        self.counters = CallsCounters()
        self.sink = CollectingSink()
        self.sinks = [self.sink] if sinks is None else sinks
        self.pipeline = Pipeline(
            "call-1",
            "correlation-1",
            [
                NamedProcessor(type(p).__name__, lambda p=p: p, on_error=on_error)
                for p in processors
            ],
            [NamedSink(type(s).__name__, lambda s=s: s) for s in self.sinks],
            self.counters,
        )

    def run(self, samples=640):
        """A whole call with one stream."""
        self.pipeline.open()
        self.pipeline.stream_opened(STREAM)
        for block in blocks_of(STREAM, np.zeros(samples, "<i2")):
            self.pipeline.push(block)
        self.pipeline.event(Event(kind="dtmf", at_us=0))
        self.pipeline.flush()
        self.pipeline.stream_closed(STREAM)
        self.pipeline.close(Outcome.ENDED)
        return self

    def firsts(self):
        return [int(block.pcm[0]) for block in self.sink.blocks]


def broken(hook, **members):
    processor = new_processor(Broken)
    processor.hook = hook
    vars(processor).update(members)
    return processor


def test_blocks_pass_the_processors_in_order_and_reach_every_sink():
    one, two = CollectingSink(), CollectingSink()

    Bench(new_processor(Add), new_processor(Add), sinks=[one, two]).run()

    assert [2, 2] == [int(block.pcm[0]) for block in one.blocks]
    assert one.blocks == two.blocks


def test_processor_without_hooks_swallows_nothing_but_blocks():
    bench = Bench(new_processor(Processor)).run()

    assert [] == bench.sink.blocks
    assert not bench.counters.processor_faults


def test_tail_of_one_processor_passes_those_behind_it():
    bench = Bench(new_processor(Delay), new_processor(Add)).run()

    assert [1, 1] == bench.firsts()


def test_sink_hears_the_call_the_flushes_and_the_outcome():
    bench = Bench().run()

    assert ("call-1", "correlation-1") == (bench.sink.call.call_id, bench.sink.call.correlation_id)
    assert 2 == bench.sink.flushes
    assert Outcome.ENDED is bench.sink.outcome


def test_call_shows_the_streams_that_are_open():
    bench = Bench()
    bench.pipeline.open()

    bench.pipeline.stream_opened(STREAM)
    assert [STREAM] == list(bench.sink.call.streams)
    bench.pipeline.stream_closed(STREAM)

    assert [] == list(bench.sink.call.streams)


def test_call_cannot_be_changed():
    with pytest.raises(AttributeError):
        Bench().pipeline.call.call_id = "another"


@pytest.mark.parametrize("hook", HOOKS)
def test_processor_that_fails_is_bypassed_for_its_call(hook):
    processor = broken(hook)

    bench = Bench(processor, new_processor(Add)).run()

    assert [1, 1] == bench.firsts()
    assert {"Broken": 1} == bench.counters.processor_faults
    assert hook == processor.calls[-1]
    assert Outcome.ENDED is bench.sink.outcome


def test_block_that_was_emitted_before_the_failure_is_not_emitted_again():
    bench = Bench(broken("process", emits_first=True)).run()

    assert [0, 320] == [block.position for block in bench.sink.blocks]


@pytest.mark.parametrize("hook", HOOKS[:-1])
def test_processor_that_fails_can_end_the_call(hook):
    after = broken("never")

    bench = Bench(broken(hook), after, on_error="end_call").run()

    assert Outcome.FAILED is bench.sink.outcome
    assert 1 == after.calls.count("close")
    assert "close" == after.calls[-1]


def test_nothing_follows_once_a_call_has_ended():
    bench = Bench(broken("open"), on_error="end_call").run()

    assert [] == bench.sink.blocks
    assert {"Broken": 1} == bench.counters.processor_faults


def test_processor_that_cannot_be_made_is_bypassed():
    counters, sink = CallsCounters(), CollectingSink()
    pipeline = Pipeline(
        "call-1",
        None,
        [NamedProcessor("never", lambda: 1 // 0)],
        [NamedSink("collect", lambda: sink)],
        counters,
    )

    pipeline.open()
    pipeline.push(blocks_of(STREAM, np.zeros(320, "<i2"))[0])

    assert 1 == len(sink.blocks)
    assert {"never": 1} == counters.processor_faults


@pytest.mark.parametrize("hook", ["open", "write", "flush"])
def test_sink_that_fails_is_closed_and_the_others_go_on(hook):
    bad, good = BrokenSink(hook), CollectingSink()

    bench = Bench(sinks=[bad, good]).run()

    assert 2 == len(good.blocks)
    assert Outcome.ENDED is good.outcome
    assert (None if hook == "open" else Outcome.FAILED) is bad.outcome
    assert {"BrokenSink": 1} == bench.counters.sink_faults


def test_sink_that_fails_in_its_close_is_counted():
    bad, good = BrokenSink("close"), CollectingSink()

    bench = Bench(sinks=[bad, good]).run()

    assert {"BrokenSink": 1} == bench.counters.sink_faults
    assert Outcome.ENDED is good.outcome


def test_failure_is_logged_once_with_the_call_and_the_place_but_no_participant(caplog):
    with caplog.at_level(logging.INFO):
        Bench(broken("process"), sinks=[BrokenSink("write")]).run()

    first, second = caplog.records
    assert ("processor failed", "call-1", "Broken", "process") == (
        first.getMessage(),
        first.call_id,
        first.plugin,
        first.hook,
    )
    assert first.fault.startswith("KeyError at test_pipeline.py:")
    assert ("sink failed", "write") == (second.getMessage(), second.hook)
    assert not any(STREAM.participant in str(vars(record)) for record in caplog.records)


def test_closing_twice_closes_once():
    bench = Bench(processor := broken("never")).run()

    bench.pipeline.close(Outcome.LEFT)

    assert 1 == processor.calls.count("close")
    assert Outcome.ENDED is bench.sink.outcome


def test_hooks_of_the_bases_do_nothing():
    sink = Sink(Sink.Settings(), None)

    Bench(new_processor(Processor), sinks=[sink]).run()
