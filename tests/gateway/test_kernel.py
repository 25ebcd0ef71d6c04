"""The compiled part does what the Python does, or leaves it alone."""

import base64
import os
import random
import struct
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import acs_packets as acs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import kernel, ledger
from gateway.route import Route
from gateway.session import Identity, Limits, Session
from gateway.wire.frame import FRAME

needs_kernel = pytest.mark.skipif(
    kernel.take is None
    and (os.environ.get("CI") != "true" or os.environ.get("ACS_INGEST_KERNEL") == "off"),
    reason="the compiled part is not there: no compiler, or ACS_INGEST_KERNEL=off",
)
ANNA, BERT = "8:acs:anna", "4:+44123"
SETTLED = 60  # packets after which a session's first second is over


def audio(*arguments: Any, **options: Any) -> bytes:
    """A packet without blanks, as the service writes it."""
    return acs.audio(*arguments, **options).replace(b'": ', b'":').replace(b', "', b',"')


def masked(message: bytes, mask: bytes) -> bytes:
    """A whole frame of the lane's shape."""
    body = bytes(byte ^ mask[at & 3] for at, byte in enumerate(message))
    return struct.pack("!HH", 0x81FE, len(message)) + mask + body


class Line:
    """One session, fed by whole messages or by buffers of frames."""

    def __init__(self) -> None:
        self.route = Route((), lambda: None, lambda *_: None)
        identity = Identity(7, "call-1", None, "gateway-0", "boot-1", acs.ZERO_US)
        self.session = Session(identity, self.route, Limits(), lambda: acs.ZERO_US, lambda _: None)
        self.by_kernel = 0

    def say(self, messages: list[bytes]) -> None:
        for message in messages:
            self.session.receive(message, True)

    def feed(self, messages: list[bytes], mask: bytes) -> None:
        frames = [masked(message, mask) for message in messages]
        data = b"".join(frames)
        ends = {}
        at = 0
        for number, frame in enumerate(frames):
            ends[at] = number
            at += len(frame)
        at = 0
        while at < len(data):
            at, taken = self.session.take(data, at, 65_536)
            self.by_kernel += taken
            if at < len(data):
                number = ends[at]
                self.session.receive(messages[number], True)
                at += len(frames[number])

    def state(self) -> object:
        """Everything that what comes next may depend on."""
        streams = [
            (
                stream.participant,
                stream.index,
                stream.silent,
                stream.bad,
                stream.held,
                [
                    getattr(stream.place, name)
                    for name in (
                        *("position", "first_position", "seq", "packet_samples", "base_us"),
                        *("owed", "is_late", "is_clock_jump", "lost", "filled", "late", "wild"),
                        *("_median_us", "_count", "_window_end", "rebased", "dropped"),
                    )
                ],
                list(stream.place._window),
            )
            for stream in self.session._all.values()
        ]
        axis = self.session._axis
        clock = axis and (axis.head_us, axis.baseline_us, axis.grain_us, axis.settled, axis.base_us)
        last = self.session._last and self.session._last.participant
        return (
            [FRAME.unpack(head) for head in self.route.heads],
            self.route.payloads,
            self.route.room,
            self.session.packets,
            self.session._bad_run,
            self.session.bad_packets,
            (streams, clock, last),
        )


def steady(packets: int, first: int = 0) -> list[bytes]:
    """Two participants, a packet each 20 ms, a little late now and then."""
    return [
        audio(who, acs.pcm(number), acs.stamp(20 * number + number % 3))
        for number in range(first, first + packets)
        for who in (ANNA, BERT)
    ]


def settled() -> tuple[Line, Line]:
    """Two sessions with the same past, of which the first is fed by the kernel."""
    lines = Line(), Line()
    for line in lines:
        line.say(steady(SETTLED))
    return lines


def assert_alike(messages: list[bytes], mask: bytes = b"\x12\x00\xff\x81") -> Line:
    fed, told = settled()
    fed.feed(messages, mask)
    told.say(messages)
    assert told.state() == fed.state()
    return fed


@needs_kernel
def test_usual_packets_are_all_taken():
    fed = assert_alike(steady(200, SETTLED))

    # One in a second and stream ends a window, which is the ledger's own business.
    assert fed.by_kernel >= 400 - 2 * 5


@needs_kernel
def test_the_numbers_of_both_parts_are_the_same():
    from gateway import _kernel

    assert (ledger.NEAR_US, ledger.WINDOW) == (_kernel.NEAR_US, _kernel.WINDOW)


STAMPS = (
    "2024-11-15T19:16:14.125Z",
    "2024-11-15T19:16:14Z",
    "2024-11-15t19:16:14.125Z",
    "2024-11-15T19:16:14.125+00:00",
    "2024-11-15T19:16:14.12Z",
    "2024-02-30T19:16:14.125Z",
    "2024-13-15T19:16:14.125Z",
    "2024-11-15T24:16:14.125Z",
    "1969-11-15T19:16:14.125Z",
    "0000-11-15T19:16:14.125Z",
    "9999-12-31T23:59:59.999Z",
    "",
)


def text(number: int, stamp: str, data: str, *, silent: bool = False, who: str = ANNA) -> bytes:
    """A packet as `audio` writes it, with any text in the two places."""
    whole = audio(who, acs.pcm(number), acs.stamp(20 * number), silent=silent)
    whole = whole.replace(acs.stamp(20 * number).encode(), stamp.encode())
    return whole.replace(base64.b64encode(acs.pcm(number)), data.encode())


@st.composite
def messages(draw):
    """What may follow a settled second: mostly usual packets, and everything else."""
    number = SETTLED
    found = []
    for _ in range(draw(st.integers(1, 25))):
        kind = draw(st.sampled_from(["usual"] * 6 + ["silent", "stamp", "data", "cut", "other"]))
        who = draw(st.sampled_from([ANNA, ANNA, BERT, "8:acs:late", None]))
        off_ms = draw(
            st.sampled_from([0, 0, 0, *range(36, 44), *range(-44, -36), 500, -500, 20_000])
        )
        stamp, data = acs.stamp(20 * number + off_ms), base64.b64encode(acs.pcm(number)).decode()
        if kind in ("usual", "silent"):
            samples = draw(st.sampled_from([320, 320, 320, 160, 161, 480, 0]))
            pcm = acs.pcm(number, samples) + draw(st.sampled_from([b"", b"", b"", b"1", b"12"]))
            found.append(audio(who, pcm, stamp, silent=kind == "silent"))
        elif kind == "stamp":
            found.append(text(number, draw(st.sampled_from(STAMPS)), data))
        elif kind == "data":
            at = draw(st.integers(0, len(data) - 1) | st.integers(len(data) - 4, len(data) - 1))
            wrong = draw(st.sampled_from(["=", "-", "é", "\\\\", '"', " ", "B", "*"]))
            found.append(text(number, stamp, data[:at] + wrong + data[at + 1 :]))
        elif kind == "cut":
            found.append(text(number, stamp, data[: draw(st.integers(0, 9))]))
        else:
            junk = [b'{"kind":"Nope"}' + b" " * 200, acs.dtmf("1" * 200), b"\xff" * 300]
            found.append(draw(st.sampled_from([*junk, acs.metadata(24_000), acs.metadata()])))
        number += draw(st.integers(0, 2))
    return [message for message in found if len(message) > 125]


@needs_kernel
@settings(max_examples=400)
@given(messages(), st.binary(min_size=4, max_size=4))
def test_whatever_comes_ends_the_same_way(said, mask):
    assert_alike(said, mask)


@needs_kernel
@given(st.binary(max_size=400), st.integers(-3, 500))
def test_bytes_that_are_no_frames_are_left_alone(data, at):
    fed, told = settled()
    usual = masked(steady(1, SETTLED)[0], b"abcd")
    for buffer in (data, usual[: max(at, 0)], bytearray(data)):
        assert (at, 0) == fed.session.take(buffer, at, 65_536)
    assert told.state() == fed.state()


@needs_kernel
def test_a_message_that_is_too_long_and_one_cut_anywhere_are_left_alone():
    fed, told = settled()
    frame = masked(steady(1, SETTLED)[0], b"abcd")

    assert (0, 0) == fed.session.take(frame, 0, len(frame) - 9)
    for end in range(len(frame)):
        assert (0, 0) == fed.session.take(frame[:end], 0, 65_536)
    assert told.state() == fed.state()


@needs_kernel
def test_a_route_without_room_gets_one_frame_more_and_is_told():
    flushed = []
    line, _ = settled()
    line.route.overflow = lambda: flushed.append(True)
    line.route.room = 1

    frames = b"".join(masked(message, b"abcd") for message in steady(2, SETTLED))
    _, taken = line.session.take(frames, 0, 65_536)

    assert (1, [True]) == (taken, flushed)
    assert line.route.room <= 0


@needs_kernel
def test_stamps_of_every_day_are_read_as_python_reads_them():
    chance = random.Random(1)
    for _ in range(300):
        at = datetime.fromtimestamp(chance.randrange(1_420_070_400, 4_102_444_800), UTC)
        fed, told = Line(), Line()
        zero = f"{at:%Y-%m-%dT%H:%M:%S}"
        for line in (fed, told):
            line.say([audio(ANNA, acs.pcm(n), f"{zero}.{n:03}Z") for n in range(3)])
            line.session._axis.settled = True
        message = [audio(ANNA, acs.pcm(9), f"{zero}.021Z")]
        fed.feed(message, b"wxyz")
        told.say(message)
        assert told.state() == fed.state()


@needs_kernel
@pytest.mark.parametrize(
    ("second", "before"),
    [
        ("2024-03-01T00:00:00", "2024-02-30T00:00:00"),
        ("2023-03-01T00:00:00", "2023-02-29T00:00:00"),
        ("2024-05-01T00:00:00", "2024-04-31T00:00:00"),
        ("2024-05-02T00:00:00", "2024-05-01T24:00:00"),
        ("2024-05-01T13:00:00", "2024-05-01T12:60:00"),
        ("2024-05-01T12:01:00", "2024-05-01T12:00:60"),
    ],
)
def test_an_instant_that_does_not_exist_is_none(second, before):
    fed, told = Line(), Line()
    for line in (fed, told):
        line.say([audio(ANNA, acs.pcm(n), f"{second}.{n:03}Z") for n in range(3)])
        line.session._axis.settled = True
    message = [audio(ANNA, acs.pcm(9), f"{before}.021Z")]
    fed.feed(message, b"wxyz")
    told.say(message)

    assert told.state() == fed.state()


@pytest.mark.parametrize("layouts", [{}, {"x": 1}, {9: [()]}, {9: [tuple(range(10))]}, {9: 7}])
@needs_kernel
def test_layouts_that_are_none_match_nothing(layouts):
    data = masked(b"123456789", b"abcd")

    assert (0, 0, 5, None) == kernel.take(data, 0, 100, layouts, {}, 1, [], [], 5)


@needs_kernel
@pytest.mark.parametrize("arguments", [(), (b"", 0, 9, {}, {}, 1, [], (), 5), (b"",) * 9])
def test_other_arguments_are_an_error(arguments):
    with pytest.raises(TypeError):
        kernel.take(*arguments)


def test_without_it_everything_takes_the_way_of_unusual_packets():
    code = (
        "from gateway import kernel, session\n"
        "assert kernel.take is None\n"
        "assert session.Session.take(None, b'', 3, 9) == (3, 0)\n"
    )
    environment = {**os.environ, "ACS_INGEST_KERNEL": "off"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=30)
