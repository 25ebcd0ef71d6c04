"""One call's processors and sinks, chained by direct calls. HOT; guarded by `bench/micro`.

What a plug-in raises ends here: it costs the plug-in its call, never the worker. While a worker
runs, nothing but the two `except Exception` here swallows what it does not know.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from gateway.wire.descriptor import Event
from workers.audio import Block, Call, Outcome, Stream
from workers.metrics import CallsCounters
from workers.processors.base import Processor
from workers.sinks.base import Sink

log = logging.getLogger(__name__)


class NamedProcessor(NamedTuple):
    """What makes a call's processor, and the name that the configuration has for it."""

    name: str
    make: Callable[[], Processor]
    on_error: Literal["bypass", "end_call"] = "bypass"


class NamedSink(NamedTuple):
    """What makes a call's sink, and the name that the configuration has for it."""

    name: str
    make: Callable[[], Sink]


class _Next(Protocol):
    """What a stage hands its blocks to."""

    blocks: int

    def push(self, block: Block) -> None: ...


class _Stage:
    """One processor. Without one, since it failed, blocks pass through."""

    def __init__(
        self,
        named: NamedProcessor,
        following: _Next,
        call_id: str,
        failed: Callable[[NamedProcessor], None],
    ) -> None:
        self.blocks = 0
        self._named = named
        self._processor: Processor | None = None
        self._following = following
        self._emit = following.push
        self._call_id = call_id
        self._failed = failed

    def push(self, block: Block) -> None:
        self.blocks += 1
        if self._processor is None:
            self._emit(block)
            return
        before = self._following.blocks
        if not self._runs(self._processor.process, block, self._emit) and (
            self._following.blocks == before
        ):
            self._emit(block)

    def open(self, call: Call) -> None:
        self._runs(self._open, call)

    def _open(self, call: Call) -> None:
        self._processor = self._named.make()
        self._processor.open(call)

    def stream_opened(self, stream: Stream) -> None:
        if self._processor is not None:
            self._runs(self._processor.stream_opened, stream)

    def event(self, event: Event) -> None:
        if self._processor is not None:
            self._runs(self._processor.event, event)

    def stream_closed(self, stream: Stream) -> None:
        if self._processor is not None:
            self._runs(self._processor.stream_closed, stream, self._emit)

    def close(self) -> None:
        if self._processor is not None:
            self._runs(self._processor.close, self._emit)

    def _runs(self, hook: Callable[..., None], *arguments: object) -> bool:
        """Call a hook; False where it raised, and then the processor is out of this call."""
        try:
            hook(*arguments)
        except Exception as fault:
            self._processor = None
            _log_fault("processor failed", self._named.name, self._call_id, hook, fault)
            self._failed(self._named)
            return False
        return True


class _Outlet:
    """The sinks at the end of the chain."""

    def __init__(self, named: Sequence[NamedSink], call_id: str, counters: CallsCounters) -> None:
        self.blocks = 0
        self._named = named
        #: Those that are open, by name; replaced, never changed: loops over it go on undisturbed.
        self._sinks: list[tuple[str, Sink]] = []
        self._call_id = call_id
        self._counters = counters

    def push(self, block: Block) -> None:
        self.blocks += 1
        for name, sink in self._sinks:
            if not self._runs(name, sink.write, block):
                self._give_up(name, sink)

    def open(self, call: Call) -> None:
        for named in self._named:
            self._runs(named.name, self._open, named, call)

    def flush(self) -> None:
        for name, sink in self._sinks:
            if not self._runs(name, sink.flush):
                self._give_up(name, sink)

    def close(self, outcome: Outcome) -> None:
        self.flush()
        for name, sink in self._sinks:
            self._runs(name, sink.close, outcome)
        self._sinks = []

    def _open(self, named: NamedSink, call: Call) -> None:
        sink = named.make()
        sink.open(call)
        self._sinks = [*self._sinks, (named.name, sink)]

    def _give_up(self, name: str, failed: Sink) -> None:
        self._sinks = [entry for entry in self._sinks if entry[1] is not failed]
        self._runs(name, failed.close, Outcome.FAILED)

    def _runs(self, name: str, hook: Callable[..., None], *arguments: object) -> bool:
        try:
            hook(*arguments)
        except Exception as fault:
            self._counters.sink_faults[name] += 1
            _log_fault("sink failed", name, self._call_id, hook, fault)
            return False
        return True


class Pipeline:
    """What `Calls` drives: one call's processors in order, then its sinks.

    `on_error` of a processor that fails says what follows: `bypass` takes it out of this call,
    `end_call` ends the call at this pool, and what comes after is thrown away.
    """

    def __init__(
        self,
        call_id: str,
        correlation_id: str | None,
        processors: Sequence[NamedProcessor],
        sinks: Sequence[NamedSink],
        counters: CallsCounters,
    ) -> None:
        self._streams: dict[Stream, None] = {}
        self.call = Call(
            call_id=call_id, correlation_id=correlation_id, streams=self._streams.keys()
        )
        self._counters = counters
        self._outlet = _Outlet(sinks, call_id, counters)
        self._stages: list[_Stage] = []
        self._head: _Next = self._outlet
        for named in reversed(processors):
            stage = _Stage(named, self._head, call_id, self._processor_failed)
            self._stages.insert(0, stage)
            self._head = stage
        self._must_end = False
        self._is_closed = False

    def open(self) -> None:
        """The first hook of all."""
        self._outlet.open(self.call)
        for stage in self._stages:
            stage.open(self.call)
        self._end_if_failed()

    def stream_opened(self, stream: Stream) -> None:
        if self._is_closed:
            return
        self._streams[stream] = None
        for stage in self._stages:
            stage.stream_opened(stream)
        self._end_if_failed()

    def push(self, block: Block) -> None:
        """A block into the first processor."""
        if self._is_closed:
            return
        self._head.push(block)
        if self._must_end:
            self._end_if_failed()

    def event(self, event: Event) -> None:
        if self._is_closed:
            return
        for stage in self._stages:
            stage.event(event)
        self._end_if_failed()

    def stream_closed(self, stream: Stream) -> None:
        """Each processor's tail passes those after it before they hear of the end."""
        if self._is_closed:
            return
        for stage in self._stages:
            stage.stream_closed(stream)
        self._streams.pop(stream, None)
        self._end_if_failed()

    def flush(self) -> None:
        """Make safe what the sinks were given."""
        self._outlet.flush()

    def close(self, outcome: Outcome) -> None:
        """The last hook of all; calls after it do nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        for stage in self._stages:
            stage.close()
        self._outlet.close(Outcome.FAILED if self._must_end else outcome)

    def _processor_failed(self, named: NamedProcessor) -> None:
        self._counters.processor_faults[named.name] += 1
        if named.on_error == "end_call":
            self._must_end = True

    def _end_if_failed(self) -> None:
        # Not where it failed: that is in the midst of other processors' hooks.
        if self._must_end:
            self.close(Outcome.FAILED)


def _log_fault(
    event: str, name: str, call_id: str, hook: Callable[..., None], fault: Exception
) -> None:
    """Say where it happened. Not what the exception says: that may hold a participant's id."""
    place = traceback.extract_tb(fault.__traceback__)[-1]
    extra = {
        "call_id": call_id,
        "plugin": name,
        "hook": getattr(hook, "__name__", "?").lstrip("_"),
        "fault": f"{type(fault).__name__} at {Path(place.filename).name}:{place.lineno}",
    }
    log.warning(event, extra=extra)
