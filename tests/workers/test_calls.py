import numpy as np
import pytest
from hand_gateway import (
    audio,
    batch,
    close_session,
    close_stream,
    event,
    frame,
    open_session,
    open_stream,
    ramp,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.descriptor import Gap, pack
from gateway.wire.errors import WireError
from gateway.wire.frame import FrameFlag, FrameKind
from workers.audio import Outcome
from workers.calls import CLOSED_US, FLUSH_US, GRACE_US, Calls
from workers.metrics import CallsCounters
from workers.pipeline import NamedProcessor, NamedSink, Pipeline
from workers.processors.base import Place, Processor
from workers.testing import CollectingSink

LINK = ("boot-1", 1)
OTHER = ("boot-2", 1)


class Hooks(Processor):
    """Passes blocks on, and writes down what happened in which order."""

    def __init__(self, place):
        super().__init__(Processor.Settings(), place)
        self.happened = []

    def open(self, call):
        self.happened.append(("open", call.call_id))

    def stream_opened(self, stream):
        self.happened.append(("stream_opened", stream.number))

    def process(self, block, emit):
        self.happened.append(("process", block.stream.number, block.position))
        emit(block)

    def event(self, event):
        self.happened.append(("event", event.kind))

    def stream_closed(self, stream, emit):
        self.happened.append(("stream_closed", stream.number))

    def close(self, emit):
        self.happened.append(("close",))


class Bench:
    """Calls with one processor and, unless told otherwise, one sink for each call."""

    def __init__(self, tmp_path, block_ms=20, has_sinks=True):
        self.place = Place(data=tmp_path, pool="test")
        self.hooks, self.sinks = [], []
        self.counters = CallsCounters()
        self.has_sinks = has_sinks
        self.calls = Calls(self.open, self.counters, block_ms=block_ms, has_sinks=has_sinks)
        self.number = {}
        self.now_us = 0

    def open(self, call_id, correlation_id):
        self.hooks.append(Hooks(self.place))
        self.sinks.append(CollectingSink())
        return Pipeline(
            call_id,
            correlation_id,
            [NamedProcessor("hooks", lambda: self.hooks[-1])],
            [NamedSink("collect", lambda: self.sinks[-1])] if self.has_sinks else [],
            self.counters,
        )

    def receive(self, *frames, link=LINK):
        number = self.number[link] = self.number.get(link, 0) + 1
        message = batch(*frames, link=link[1], number=number)
        self.calls.receive(link, number, message, self.now_us)

    def after(self, passed_us):
        self.now_us += passed_us
        self.calls.advance(self.now_us)

    def pcm(self, stream=1, call=-1):
        parts = [b.pcm for b in self.sinks[call].blocks if b.stream.number == stream]
        return np.concatenate(parts).tolist() if parts else []


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def slow(tmp_path):
    """With blocks of half a second."""
    return Bench(tmp_path, block_ms=500)


def test_call_goes_through_every_hook_in_order(bench):
    bench.receive(open_session(), open_stream(), audio(0), event(0), audio(1))
    bench.receive(close_stream(), close_session())

    assert [
        ("open", "call-1"),
        ("stream_opened", 1),
        ("process", 1, 0),
        ("event", "dtmf"),
        ("process", 1, 320),
        ("stream_closed", 1),
        ("close",),
    ] == bench.hooks[0].happened
    assert Outcome.ENDED is bench.sinks[0].outcome
    assert ramp(0, 640).tolist() == bench.pcm()


def test_stream_says_what_its_open_said(bench):
    bench.receive(open_session(), open_stream(zero_us=7), audio(0))

    stream = bench.sinks[0].blocks[0].stream
    assert ("00000000000000a1", 1, 16000, "8:alice", 7) == (
        stream.session,
        stream.number,
        stream.sample_rate,
        stream.participant,
        stream.zero_us,
    )


def test_tail_is_delivered_when_the_stream_closes(slow):
    slow.receive(open_session(), open_stream(), audio(0))
    assert [] == slow.pcm()

    slow.receive(close_stream())

    assert ramp(0, 320).tolist() == slow.pcm()


def test_closed_session_closes_streams_that_were_not(slow):
    slow.receive(open_session(), open_stream(), audio(0), close_session())

    assert ramp(0, 320).tolist() == slow.pcm()
    assert [("stream_closed", 1), ("close",)] == slow.hooks[0].happened[-2:]


def test_call_ends_with_its_last_session(bench):
    bench.receive(open_session(1), open_session(2), close_session(1))
    assert ("close",) not in bench.hooks[0].happened

    bench.receive(close_session(2))

    assert [("open", "call-1"), ("close",)] == bench.hooks[0].happened
    assert (1, 1) == (bench.counters.calls_opened, bench.counters.calls_closed)


def test_repeated_opens_change_nothing(bench):
    bench.receive(open_session(), open_stream(), audio(0))
    bench.receive(open_session(), open_stream(), audio(1))

    assert 1 == len(bench.hooks)
    assert ramp(0, 640).tolist() == bench.pcm()


def test_audio_of_unknown_streams_is_counted_and_skipped(bench):
    bench.receive(audio(0), audio(1), close_stream(), close_session(), event(0), open_stream())

    assert 6 == bench.counters.unknown_frames
    assert [] == bench.hooks


def test_frame_of_an_unknown_kind_is_counted_and_skipped(bench):
    bench.receive(open_session(), open_stream(), frame(77, 1), audio(0))

    assert 1 == bench.counters.unknown_frames
    assert ramp(0, 320).tolist() == bench.pcm()


def test_frame_whose_descriptor_cannot_be_read_costs_only_itself(bench):
    bad = frame(FrameKind.OPEN, 2, b"[] ")

    bench.receive(open_session(), bad, open_stream(rate=0, stream=3), open_stream(), audio(0))

    assert 2 == bench.counters.bad_frames
    assert ramp(0, 320).tolist() == bench.pcm()


def test_frame_whose_payload_does_not_fit_is_silence(bench):
    odd = frame(FrameKind.AUDIO, 1, b"\1\2\3", seq=1, samples=320, position=320)

    bench.receive(open_session(), open_stream(), audio(0), odd, audio(2))

    assert 1 == bench.counters.bad_frames
    assert [0, 320, 0] == [block.filled for block in bench.sinks[0].blocks]


def test_batch_that_cannot_be_read_is_taken_and_changes_nothing(bench):
    with pytest.raises(WireError):
        bench.calls.receive(LINK, 1, b"ACSB", 0)
    bench.after(FLUSH_US)

    assert {LINK: 1} == bench.calls.safe()


def test_dropped_frames_and_frames_without_data(bench):
    bench.receive(
        open_session(),
        open_stream(),
        audio(0, flags=FrameFlag.DROPPED),
        audio(0, flags=FrameFlag.DROPPED),
        audio(1, 0, flags=FrameFlag.NO_DATA),
        audio(2, 320),
    )

    assert [(0, 320), (320, 0)] == [(b.position, b.filled) for b in bench.sinks[0].blocks]
    assert (1, 1) == (bench.counters.dropped_frames, bench.counters.repeated_frames)


def test_events_are_handed_on_once(bench):
    bench.receive(open_session(), event(0), event(1, kind="second"))
    bench.receive(open_session(), event(0), event(1), event(2, kind="third"))

    kinds = [entry[1] for entry in bench.hooks[0].happened if entry[0] == "event"]
    assert ["dtmf", "second", "third"] == kinds
    assert 2 == bench.counters.repeated_frames


def test_replay_of_what_is_closed_is_a_repeat(bench):
    frames = [open_session(), open_stream(), audio(0), close_stream()]
    bench.receive(*frames, open_stream(2), audio(0, stream=2))

    bench.receive(*frames)
    assert 3 == bench.counters.repeated_frames
    bench.receive(close_session())
    bench.receive(*frames, close_session())

    assert 8 == bench.counters.repeated_frames
    assert 1 == len(bench.hooks)
    assert 0 == bench.counters.unknown_frames


def test_closed_sessions_are_not_remembered_for_ever(bench):
    bench.receive(open_session(), close_session())

    bench.after(CLOSED_US)
    bench.receive(open_session())

    assert 2 == len(bench.hooks)


def test_session_of_a_dead_link_ends_after_a_grace(slow):
    slow.receive(open_session(), open_stream(), audio(0))

    slow.calls.forget(LINK)
    slow.after(GRACE_US - 1)
    assert slow.sinks[0].outcome is None
    slow.after(FLUSH_US)

    assert Outcome.VANISHED is slow.sinks[0].outcome
    assert ramp(0, 320).tolist() == slow.pcm()
    assert 1 == slow.counters.sessions_vanished


def test_session_that_another_link_opens_again_goes_on(bench):
    bench.receive(open_session(), open_stream(), audio(0), audio(1))

    bench.calls.forget(LINK)
    bench.receive(open_session(), open_stream(), audio(1), audio(2), link=OTHER)
    bench.after(2 * GRACE_US)

    assert ramp(0, 960).tolist() == bench.pcm()
    assert bench.sinks[0].outcome is None
    assert {OTHER: 1} == bench.calls.safe()


def test_vanished_session_can_come_back_as_a_new_call(bench):
    bench.receive(open_session(), open_stream(), audio(0))
    bench.calls.forget(LINK)
    bench.after(GRACE_US)

    bench.receive(open_session(), open_stream(), audio(1), link=OTHER)

    assert 2 == len(bench.hooks)
    assert ramp(320).tolist() == bench.pcm()


def test_dead_link_of_another_session_ends_nothing(bench):
    bench.receive(open_session(1), link=LINK)
    bench.receive(open_session(2, call_id="call-2"), link=OTHER)

    bench.calls.forget(OTHER)
    bench.after(GRACE_US)

    assert [None, Outcome.VANISHED] == [sink.outcome for sink in bench.sinks]


def test_close_ends_every_call_that_is_open(slow):
    slow.receive(open_session(1), open_stream(session=1), audio(0, session=1))
    slow.receive(open_session(2, call_id="call-2"))

    slow.calls.close(5)

    assert [Outcome.LEFT, Outcome.LEFT] == [sink.outcome for sink in slow.sinks]
    assert ramp(0, 320).tolist() == slow.pcm(call=0)


def test_without_sinks_what_is_taken_is_safe(tmp_path):
    bench = Bench(tmp_path, block_ms=500, has_sinks=False)

    bench.receive(open_session(), open_stream(), audio(0))
    bench.after(FLUSH_US)

    assert {LINK: 1} == bench.calls.safe()
    assert 0 == bench.calls.unsynced_us(FLUSH_US)


def test_batches_are_safe_once_the_sinks_have_flushed(bench):
    bench.after(FLUSH_US)
    bench.receive(open_session(), open_stream(), audio(0))
    bench.after(FLUSH_US - 1)
    assert {} == bench.calls.safe()
    assert FLUSH_US - 1 == bench.calls.unsynced_us(bench.now_us)

    bench.after(1)

    assert {LINK: 1} == bench.calls.safe()
    assert 1 == bench.sinks[0].flushes
    assert 0 == bench.calls.unsynced_us(bench.now_us)


def test_batch_whose_audio_waits_in_a_block_is_not_safe(slow):
    slow.receive(open_session(), open_stream(), open_stream(2))
    slow.receive(audio(0))
    slow.now_us += 5
    slow.receive(audio(0, stream=2))
    slow.after(FLUSH_US)

    assert {LINK: 1} == slow.calls.safe()
    assert FLUSH_US + 5 == slow.calls.unsynced_us(slow.now_us)


def test_stalled_stream_does_not_hold_back_the_acknowledgement(slow):
    slow.receive(open_session(), open_stream(), audio(0))
    slow.after(FLUSH_US)
    assert {LINK: 0} == slow.calls.safe()

    slow.after(FLUSH_US)

    assert {LINK: 1} == slow.calls.safe()
    assert ramp(0, 320).tolist() == slow.pcm()


def test_audio_that_waits_when_its_link_dies_is_not_safe_on_the_next(slow):
    slow.receive(open_session(), open_stream())
    slow.receive(audio(0))
    slow.calls.forget(LINK)
    slow.receive(open_session(), open_stream(), link=OTHER)
    slow.receive(audio(0), audio(1), link=OTHER)

    slow.after(FLUSH_US)

    assert {OTHER: 0} == slow.calls.safe()


def test_audio_of_a_session_without_a_link_holds_nothing_back(slow):
    slow.receive(open_session(), open_stream(), audio(0))
    slow.receive(open_session(2), link=OTHER)
    slow.calls.forget(LINK)

    slow.after(FLUSH_US)

    assert {OTHER: 1} == slow.calls.safe()


def test_there_is_always_room(bench):
    assert bench.calls.has_room()


SHAPES = st.lists(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 5)), min_size=1, max_size=25
)


@given(shape=SHAPES, cuts=st.lists(st.integers(1, 12)), repeated=st.integers(0, 8))
def test_any_cut_into_batches_and_any_replay_gives_the_same_audio(
    tmp_path_factory, shape, cuts, repeated
):
    bench = Bench(tmp_path_factory.getbasetemp(), block_ms=50)
    frames, seqs = [], {}
    for session in (1, 2):
        frames.append(open_session(session, call_id=f"call-{session}"))
        frames += [open_stream(stream, session) for stream in (1, 2, 3)]
    for session, stream, count in shape:
        for _ in range(count):
            seq = seqs[session, stream] = seqs.get((session, stream), -1) + 1
            frames.append(audio(seq, stream=stream, session=session))
    done = 0
    for cut in [*cuts, len(frames)]:
        part = frames[max(0, done - repeated) : done + cut]
        done += cut
        if part:
            bench.receive(*part)
    bench.receive(close_session(1), close_session(2))

    got = {
        (session, stream): bench.pcm(stream, session - 1)
        for session in (1, 2)
        for stream in (1, 2, 3)
        if bench.pcm(stream, session - 1)
    }
    expected = {key: ramp(0, 320 * (seq + 1)).tolist() for key, seq in seqs.items()}
    assert expected == got


def test_what_the_gateway_has_dropped_is_counted_and_its_place_filled(bench):
    gap = frame(FrameKind.GAP, 1, pack(Gap(frames=2, reason="log_full")), seq=1)
    bench.receive(open_session(), open_stream(), audio(0), gap, audio(3))

    assert 2 == bench.counters.missing_frames
    assert 0 == bench.counters.unknown_frames
    assert ramp(0, 320).tolist() + [0] * 640 + ramp(960, 320).tolist() == bench.pcm()
