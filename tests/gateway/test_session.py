"""A session: packets in, frames out. Frames are read back as a worker reads them."""

import acs_packets as acs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.route import Route
from gateway.session import GO_ON, Identity, Limits, Session
from gateway.wire.descriptor import Event, SessionClose, StreamClose, StreamOpen, unpack
from gateway.wire.frame import (
    NO_STAMP,
    Frame,
    FrameFlag,
    FrameKind,
    batch_header,
    iterate,
    pack_batch,
)

CALLER = "8:acs:caller"


class Line:
    """One session and what came out of it."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008  # immutable
        self.now_us = acs.ZERO_US
        self._frames: list[Frame] = []
        self.route = Route((), self._take, lambda *_: None)
        identity = Identity(7, "call-1", "correlation-1", "gateway-0", "boot-1", self.now_us)
        self.session = Session(identity, self.route, limits, lambda: self.now_us, lambda _: None)

    def say(self, *packets: bytes) -> int:
        for packet in packets:
            code = self.session.receive(packet, True)
            if code != GO_ON:
                return code
        return GO_ON

    def _take(self) -> None:
        tick = self.route.take(1, self.now_us)
        header = batch_header(
            1, 1, self.now_us, frames=tick.frames, payload_bytes=len(tick.payload)
        )
        self._frames += iterate(pack_batch(header, (tick.heads,), (tick.payload,)))

    def frames(self, kind: FrameKind, stream: int | None = None) -> list[Frame]:
        self._take()
        return [
            frame for frame in self._frames if frame.kind == kind and stream in (None, frame.stream)
        ]

    def close(self) -> SessionClose:
        self.session.closed(1000, True)
        return unpack(self.frames(FrameKind.CLOSE, 0)[0].payload, SessionClose)

    def events(self) -> list[Event]:
        return [unpack(frame.payload, Event) for frame in self.frames(FrameKind.EVENT)]


def second(participant: str | None = CALLER, packets: int = 50, first: int = 0) -> list[bytes]:
    return [
        acs.audio(participant, acs.pcm(i), acs.stamp(20 * i)) for i in range(first, first + packets)
    ]


def test_audio_goes_out_as_it_came_numbered_and_placed():
    line = Line()
    line.say(acs.metadata(), *second())
    frames = line.frames(FrameKind.AUDIO)

    assert [acs.pcm(i) for i in range(50)] == [frame.payload for frame in frames]
    assert [(i, i * 320, 320) for i in range(50)] == [
        (f.seq, f.position, f.samples) for f in frames
    ]
    assert [acs.ZERO_US + i * 20_000 for i in range(50)] == [frame.stamp_us for frame in frames]


def test_each_participant_has_a_stream_that_is_opened_before_its_first_frame():
    line = Line()
    for one, other in zip(second("a"), second(None), strict=True):
        line.say(one, other)
    opens = [unpack(frame.payload, StreamOpen) for frame in line.frames(FrameKind.OPEN)[1:]]

    assert ["a", None] == [opened.participant for opened in opens]
    assert [0, 0] == [opened.first_position for opened in opens]
    assert {acs.ZERO_US} == {opened.zero_us for opened in opens}


@pytest.mark.parametrize(("samples", "rate"), [(320, 16_000), (480, 24_000)])
def test_until_metadata_comes_the_size_of_a_packet_tells_its_rate(samples, rate):
    line = Line()
    line.say(acs.audio(CALLER, acs.pcm(1, samples), acs.stamp(0)))

    assert rate == unpack(line.frames(FrameKind.OPEN, 1)[0].payload, StreamOpen).sample_rate


def test_a_new_rate_is_a_new_stream_and_the_old_one_goes_on_when_it_comes_back():
    line = Line()
    line.say(*second(packets=10), acs.metadata(24_000))
    line.say(acs.audio(CALLER, acs.pcm(10, 480), acs.stamp(200)), acs.metadata(16_000))
    line.say(*second(packets=5, first=15))

    assert [1] * 10 + [2] + [1] * 5 == [f.stream for f in line.frames(FrameKind.AUDIO)]
    assert 200 * 24 == line.frames(FrameKind.AUDIO, 2)[0].position
    assert 19 * 320 == line.frames(FrameKind.AUDIO, 1)[-1].position


def test_metadata_twice_or_absurd_changes_nothing():
    line = Line()
    line.say(acs.metadata(), *second(packets=5), acs.metadata(), acs.metadata(7))
    line.say(*second(packets=5, first=5))

    assert [1] * 10 == [frame.stream for frame in line.frames(FrameKind.AUDIO)]
    assert ["audio_metadata"] * 3 == [event.kind for event in line.events()]


def test_a_silent_packet_without_data_stands_for_a_packet_of_silence():
    line = Line()
    line.say(*second(packets=2), acs.audio(CALLER, b"", acs.stamp(40), silent=True))
    line.say(*second(packets=1, first=3))
    frames = line.frames(FrameKind.AUDIO)

    assert [0, 320, 640, 960] == [frame.position for frame in frames]
    assert (b"", 320, FrameFlag.SILENT | FrameFlag.NO_DATA) == (
        frames[2].payload,
        frames[2].samples,
        frames[2].flags,
    )
    line.session.closed(1000, True)
    packets = unpack(line.frames(FrameKind.CLOSE, 1)[0].payload, StreamClose).packets
    assert packets is not None
    assert (4, 1, 1) == (packets.received, packets.silent, packets.filled)


def test_packets_without_stamps_follow_each_other_from_the_wall_clock_on():
    line = Line()
    line.say(*(acs.audio(CALLER, acs.pcm(i), None) for i in range(3)))

    assert [(0, NO_STAMP), (320, NO_STAMP), (640, NO_STAMP)] == [
        (frame.position, frame.stamp_us) for frame in line.frames(FrameKind.AUDIO)
    ]
    assert line.now_us == unpack(line.frames(FrameKind.OPEN, 1)[0].payload, StreamOpen).zero_us


def test_a_first_stamp_of_the_far_future_is_no_beginning():
    line = Line()
    line.say(acs.audio(CALLER, acs.pcm(0), "2099-01-01T00:00:00.000Z"), *second(first=1))

    assert line.now_us == unpack(line.frames(FrameKind.OPEN, 1)[0].payload, StreamOpen).zero_us
    assert [index * 320 for index in range(50)] == [
        frame.position for frame in line.frames(FrameKind.AUDIO)[:50]
    ]


def test_a_packet_that_waits_for_the_next_ones_word_is_placed_before_it():
    line = Line()
    line.say(*second(packets=60))
    before = len(line.frames(FrameKind.AUDIO))
    line.say(*second(packets=1, first=3000))
    held = len(line.frames(FrameKind.AUDIO))
    line.say(*second(packets=1, first=3001))

    assert [60, 60] == [before, held]
    assert [3000 * 320, 3001 * 320] == [f.position for f in line.frames(FrameKind.AUDIO)[-2:]]


def test_a_packet_that_still_waits_at_the_end_is_not_lost():
    line = Line()
    line.say(*second(packets=60), *second(packets=1, first=3000))
    line.close()

    assert 61 == len(line.frames(FrameKind.AUDIO))


def test_a_drifting_stream_leaves_out_silence_and_says_so_under_its_seq():
    line = Line()
    for i in range(400):
        quiet = i % 10 == 0
        data = bytes(640) if quiet else acs.pcm(i + 1)
        line.say(acs.audio(CALLER, data, acs.stamp(20 * i - (30 if i > 100 else 0)), silent=quiet))
    frames = line.frames(FrameKind.AUDIO)
    dropped = [frame for frame in frames if frame.flags & FrameFlag.DROPPED]

    assert list(range(400)) == [frame.seq for frame in frames]
    assert 2 == len(dropped)
    assert {(b"", 0)} == {(frame.payload, frame.samples) for frame in dropped}
    assert 397 * 320 == frames[-1].position


def test_events_keep_their_time_and_speaker():
    line = Line()
    line.say(acs.dtmf("5"))
    line.say(
        b'{"kind":"DtmfData","dtmfData":{"data":"#","timestamp":"2024-11-15T19:16:13.925Z",'
        b'"participantRawID":"4:+1"}}'
    )
    line.say(b'{"kind":"VideoData","videoData":{}}')
    events = line.events()

    assert ["dtmf", "dtmf", "unknown"] == [event.kind for event in events]
    assert [acs.ZERO_US, acs.ZERO_US + 1_000_000] == [event.at_us for event in events[:2]]
    assert [None, "4:+1"] == [event.participant for event in events[:2]]
    assert ["5", "#"] == [event.data["tone"] for event in events[:2]]
    assert [0, 1, 2] == [frame.seq for frame in line.frames(FrameKind.EVENT)]


def test_bad_packets_are_counted_by_class_and_with_the_stream_they_belong_to():
    line = Line()
    line.say(b"nonsense", *second(packets=2), b"[]")
    line.say(acs.audio("8:acs:other", acs.pcm(1), acs.stamp(40)))
    line.say(acs.audio(CALLER, b"abc", acs.stamp(60)))
    close = line.close()
    streams = [unpack(f.payload, StreamClose).packets for f in line.frames(FrameKind.CLOSE)[:2]]

    assert {"not_json": 1, "not_object": 1, "odd_length": 1} == close.bad_packets
    assert [3, 0] == [packets.bad for packets in streams if packets]
    assert [2, 1] == [packets.received for packets in streams if packets]


def test_a_run_of_bad_packets_ends_the_session_and_a_good_one_ends_the_run():
    line = Line(Limits(bad_packets_run_max=3))

    assert [GO_ON, GO_ON, GO_ON] == [line.say(b"{"), line.say(b"{"), line.say(acs.dtmf("1"))]
    assert [GO_ON, GO_ON, 1008] == [line.say(b"{"), line.say(b"{"), line.say(b"{")]


def test_invalid_utf8_ends_the_session():
    assert 1007 == Line().say(b'{"kind":"\xff"}')


def test_too_many_participants_are_counted_and_the_first_ones_go_on():
    line = Line(Limits(streams_max=2))
    line.say(*(second(name, packets=1)[0] for name in "abc"), second("a", 1, first=1)[0])

    assert [1, 2, 1] == [frame.stream for frame in line.frames(FrameKind.AUDIO)]
    assert {"too_many_streams": 1} == line.close().bad_packets


def test_close_is_the_last_of_every_stream_and_the_session_comes_last_of_all():
    line = Line()
    line.say(*second("a", 1), *second("b", 1))
    close = line.close()

    assert [1, 2, 0] == [frame.stream for frame in line.frames(FrameKind.CLOSE)]
    assert (1000, True, None) == (close.close_code, close.proper, close.cause)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=80), st.sampled_from(second(packets=8))), max_size=40))
def test_whatever_comes_every_good_packet_is_in_a_frame_and_every_bad_one_is_counted(packets):
    line = Line(Limits(bad_packets_run_max=10_000))
    audio = set(second(packets=8))
    good = [packet for packet in packets if packet in audio]
    for packet in packets:
        line.say(packet)
    close = line.close()
    events = [event for event in line.events() if event.kind != "bad_packet"]

    assert len(good) == len(line.frames(FrameKind.AUDIO))
    assert len(packets) == len(good) + sum(close.bad_packets.values()) + len(events)
