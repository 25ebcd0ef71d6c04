"""Batches into calls, sessions and streams, each with its timeline. HOT; pure; `bench/micro`.

A call lives from its first OPEN at this worker until its last session has ended: by CLOSE, or
because the link that carried it died and no other has taken it over for a while.
"""

from collections.abc import Callable

from gateway.wire.descriptor import (
    Event,
    Gap,
    SessionClose,
    SessionOpen,
    StreamClose,
    StreamOpen,
    unpack,
)
from gateway.wire.errors import WireError
from gateway.wire.frame import SESSION_STREAM, FrameFlag, FrameKind, unpack_batch
from workers.audio import Outcome, Stream
from workers.links import LinkKey
from workers.metrics import CallsCounters
from workers.pipeline import Pipeline
from workers.runs import BAD, Heads, Offsets, Run, audio_runs, read_heads
from workers.timeline import Arrival, Timeline

#: How long a session whose link died waits for another link to open it again.
GRACE_US = 10_000_000
#: How often sinks flush, and how long a stream may stall before its begun block goes out short.
FLUSH_US = 1_000_000
#: How long a closed session is remembered, so that a replay of it is known as one.
CLOSED_US = 60_000_000
GAP_FILL_MAX_MS = 10_000

#: Opens the pipeline of a call: (call id, correlation id).
OpenPipeline = Callable[[str, str | None], Pipeline]


class _Session:
    __slots__ = ("call", "closed", "deadline_us", "key", "link", "next_event", "timelines")

    def __init__(self, key: int, call: "_OpenCall", link: LinkKey) -> None:
        self.key = key
        self.call = call
        #: The live link that carries it; None while it waits for another, until `deadline_us`.
        self.link: LinkKey | None = link
        self.deadline_us = 0
        self.next_event = 0
        self.timelines: dict[int, Timeline] = {}
        self.closed: set[int] = set()


class _OpenCall:
    __slots__ = ("pipeline", "sessions")

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.sessions: set[int] = set()


class Calls:
    """The consumer of every pool that runs processors and sinks. See `links.Consumer`."""

    def __init__(
        self,
        open_pipeline: OpenPipeline,
        counters: CallsCounters,
        *,
        block_ms: int,
        has_sinks: bool,
        gap_fill_max_ms: int = GAP_FILL_MAX_MS,
    ) -> None:
        self._open_pipeline = open_pipeline
        self.counters = counters
        self._block_ms = block_ms
        self._gap_fill_max_ms = gap_fill_max_ms
        self._has_sinks = has_sinks
        self._arrival = Arrival()
        self._calls: dict[str, _OpenCall] = {}
        self._sessions: dict[int, _Session] = {}
        #: (session, stream) of every open stream, for one lookup a run.
        self._timelines: dict[tuple[int, int], Timeline] = {}
        #: Session -> when it was closed.
        self._closed: dict[int, int] = {}
        self._taken: dict[LinkKey, int] = {}
        self._safe: dict[LinkKey, int] = {}
        self._flushed_us = 0
        #: When the oldest batch came that no flush has followed.
        self._unsafe_us: int | None = None
        #: Where each timeline had got to at the last flush.
        self._ends: dict[tuple[int, int], int | None] = {}

    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        """One batch, whole. Raises `WireError` where nothing of it can be read."""
        self._arrival.number = number
        self._arrival.now_us = now_us
        self._taken[link] = number
        if self._unsafe_us is None:
            self._unsafe_us = now_us
        heads, offsets = read_heads(message, unpack_batch(message))
        view = memoryview(message)
        begin = 0
        for index in (heads["kind"] != FrameKind.AUDIO).nonzero()[0].tolist():
            self._audio(heads[begin:index], offsets[begin : index + 1], view)
            payload = bytes(view[offsets[index] : offsets[index + 1]])
            self._control(link, heads[index : index + 1], payload)
            begin = index + 1
        self._audio(heads[begin:], offsets[begin:], view)

    def advance(self, now_us: int) -> None:
        """Once a second: flush, cut blocks that wait for a stalled stream, end what vanished."""
        self._arrival.now_us = now_us
        if now_us - self._flushed_us < FLUSH_US:
            return
        self._flushed_us = now_us
        for session in [s for s in self._sessions.values() if s.link is None]:
            if now_us >= session.deadline_us:
                self.counters.sessions_vanished += 1
                self._end_session(session, Outcome.VANISHED)
        for key in [key for key, at in self._closed.items() if now_us - at >= CLOSED_US]:
            del self._closed[key]
        self._cut_stalled()
        self._flush()

    def safe(self) -> dict[LinkKey, int]:
        """Per live link the highest batch whose audio is in sinks that have flushed."""
        return self._safe if self._has_sinks else self._taken

    def unsynced_us(self, now_us: int) -> int:
        """Age of the oldest audio taken and not yet flushed; 0 where no sink keeps any."""
        if self._unsafe_us is None or not self._has_sinks:
            return 0
        return max(0, now_us - self._unsafe_us)

    def has_room(self) -> bool:
        """Always: a batch is done with when `receive` returns."""
        return True

    def forget(self, link: LinkKey) -> None:
        """The link died: its sessions wait for another link to open them again."""
        self._taken.pop(link, None)
        self._safe.pop(link, None)
        for session in self._sessions.values():
            if session.link == link:
                session.link = None
                session.deadline_us = self._arrival.now_us + GRACE_US

    def close(self, now_us: int) -> None:
        """End every call here; what is left of them goes on at other workers."""
        self._arrival.now_us = now_us
        for session in list(self._sessions.values()):
            self._end_session(session, Outcome.LEFT)
        self._flush()

    def _audio(self, heads: Heads, offsets: Offsets, view: memoryview) -> None:
        if not len(heads):
            return
        self.counters.frames += len(heads)
        find = self._timelines.get
        source, runs = audio_runs(heads, offsets, view)
        for run in runs:
            timeline = find((run[0], run[1]))
            if timeline is None:
                session, stream, _, _, frames, *_ = run
                self._count_stranger(session, stream, frames)
            elif not run[7]:
                timeline.receive(run, source)
            else:
                self._odd_frame(timeline, run)

    def _odd_frame(self, timeline: Timeline, run: Run) -> None:
        _, _, seq, position, _, samples, _, flags = run
        if flags == BAD:
            self.counters.bad_frames += 1
        elif flags & FrameFlag.DROPPED:
            if seq >= timeline.next_seq:
                self.counters.dropped_frames += 1
            timeline.receive_silence(seq, position, 0)
        else:
            timeline.receive_silence(seq, position, samples)

    def _count_stranger(self, key: int, stream: int, frames: int) -> None:
        session = self._sessions.get(key)
        if key in self._closed or (session is not None and stream in session.closed):
            self.counters.repeated_frames += frames
        else:
            self.counters.unknown_frames += frames

    def _control(self, link: LinkKey, head: Heads, payload: bytes) -> None:
        kind, _, stream, _, key, seq, *_ = head.tolist()[0]
        try:
            if kind == FrameKind.OPEN and stream == SESSION_STREAM:
                self._open_session(link, key, unpack(payload, SessionOpen))
            elif kind == FrameKind.OPEN:
                self._open_stream(key, stream, unpack(payload, StreamOpen))
            elif kind == FrameKind.EVENT:
                self._event(key, seq, unpack(payload, Event))
            elif kind == FrameKind.CLOSE and stream == SESSION_STREAM:
                self._close_session(key, unpack(payload, SessionClose))
            elif kind == FrameKind.CLOSE:
                self._close_stream(key, stream, unpack(payload, StreamClose))
            elif kind == FrameKind.GAP:
                # The next frame's position says where audio is missing.
                self.counters.missing_frames += unpack(payload, Gap).frames
            else:
                self.counters.unknown_frames += 1
        except WireError:
            self.counters.bad_frames += 1

    def _open_session(self, link: LinkKey, key: int, opened: SessionOpen) -> None:
        if key in self._closed:
            self.counters.repeated_frames += 1
            return
        session = self._sessions.get(key)
        if session is None:
            call = self._calls.get(opened.call_id) or self._open_call(opened)
            call.sessions.add(key)
            self._sessions[key] = _Session(key, call, link)
        elif session.link != link:
            session.link = link
            # What waits here comes again on the new link, where it is not safe before it is cut.
            for timeline in session.timelines.values():
                timeline.held_number = self._arrival.number

    def _open_call(self, opened: SessionOpen) -> _OpenCall:
        call = _OpenCall(self._open_pipeline(opened.call_id, opened.correlation_id))
        self._calls[opened.call_id] = call
        self.counters.calls_opened += 1
        call.pipeline.open()
        return call

    def _open_stream(self, key: int, number: int, opened: StreamOpen) -> None:
        session = self._sessions.get(key)
        if session is None or number in session.closed:
            self._count_stranger(key, number, 1)
            return
        if number in session.timelines:
            return
        if opened.sample_rate <= 0:
            raise WireError(f"a sample rate of {opened.sample_rate} Hz")
        stream = Stream(
            session=f"{key:016x}",
            number=number,
            sample_rate=opened.sample_rate,
            participant=opened.participant,
            zero_us=opened.zero_us,
            first_position=opened.first_position,
        )
        pipeline = session.call.pipeline
        timeline = Timeline(
            stream,
            pipeline.push,
            self._arrival,
            self.counters,
            block_ms=self._block_ms,
            gap_fill_max_ms=self._gap_fill_max_ms,
        )
        session.timelines[number] = self._timelines[key, number] = timeline
        pipeline.stream_opened(stream)

    def _event(self, key: int, seq: int, event: Event) -> None:
        session = self._sessions.get(key)
        if session is None:
            self._count_stranger(key, SESSION_STREAM, 1)
        elif seq < session.next_event:
            self.counters.repeated_frames += 1
        else:
            session.next_event = seq + 1
            session.call.pipeline.event(event)

    def _close_stream(self, key: int, number: int, _: StreamClose) -> None:
        session = self._sessions.get(key)
        if session is None or number not in session.timelines:
            self._count_stranger(key, number, 1)
            return
        self._end_stream(session, number)

    def _close_session(self, key: int, _: SessionClose) -> None:
        session = self._sessions.get(key)
        if session is None:
            self._count_stranger(key, SESSION_STREAM, 1)
            return
        self._closed[key] = self._arrival.now_us
        self._end_session(session, Outcome.ENDED)

    def _end_stream(self, session: _Session, number: int) -> None:
        timeline = session.timelines.pop(number)
        del self._timelines[session.key, number]
        session.closed.add(number)
        timeline.cut()
        session.call.pipeline.stream_closed(timeline.stream)

    def _end_session(self, session: _Session, outcome: Outcome) -> None:
        for number in list(session.timelines):
            self._end_stream(session, number)
        del self._sessions[session.key]
        call = session.call
        call.sessions.discard(session.key)
        if not call.sessions:
            del self._calls[call.pipeline.call.call_id]
            call.pipeline.close(outcome)
            self.counters.calls_closed += 1

    def _cut_stalled(self) -> None:
        """Cut blocks of streams that have not moved since the last flush.

        Else one participant's stalled block would hold back the acknowledgement of all audio.
        """
        for key, timeline in self._timelines.items():
            if key in self._ends and self._ends[key] == timeline.end:
                timeline.cut()
        self._ends = {key: timeline.end for key, timeline in self._timelines.items()}

    def _flush(self) -> None:
        if not self._has_sinks:
            return
        for call in self._calls.values():
            call.pipeline.flush()
        self._safe = dict(self._taken)
        self._unsafe_us = None
        for session in self._sessions.values():
            for timeline in session.timelines.values():
                if timeline.is_held:
                    self._hold_back(session.link, timeline)

    def _hold_back(self, link: LinkKey | None, timeline: Timeline) -> None:
        if link is not None:
            self._safe[link] = min(self._safe[link], timeline.held_number - 1)
        if self._unsafe_us is None or timeline.held_us < self._unsafe_us:
            self._unsafe_us = timeline.held_us
