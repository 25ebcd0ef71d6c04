"""From the bytes of one packet to its frame in a route: parse, ledger, session, lane.

The baseline is what no Python can avoid: the JSON and the base64 of the same packets.
"""

from __future__ import annotations

from zlib import crc32

import orjson
import pybase64
import pytest

from bench.load.frames import audio_frames
from bench.micro.inputs import (
    BEGIN_MS,
    RATE,
    SAMPLES,
    front,
    masked_packets,
    packets,
    route,
    session,
)
from bench.micro.measure import Measure
from gateway import kernel
from gateway.acs.packets import parse
from gateway.acs.reader import PacketReader
from gateway.ledger import Axis, Place
from gateway.websocket import MediaSocket

COUNT = 500
#: After so many packets a session's baseline stands still.
SETTLED = 60


def bench_baseline_json_and_base64(measure: Measure) -> None:
    messages = packets(COUNT)

    def run() -> int:
        for message in messages:
            pcm = pybase64.b64decode(orjson.loads(message)["audioData"]["data"], validate=True)
        return crc32(pcm)

    measure(run, COUNT, baseline=True)


def bench_parse(measure: Measure) -> None:
    messages = packets(COUNT)

    def run() -> int:
        for message in messages:
            packet = parse(message)
        return crc32(packet[1])  # type: ignore[index]  # it is audio

    measure(run, COUNT)


def bench_read_what_is_laid_out_alike(measure: Measure) -> None:
    messages = packets(COUNT)
    read = PacketReader().read

    def run() -> int:
        for message in messages:
            packet = read(message)
        return crc32(packet[1])  # type: ignore[index]  # it is audio

    measure(run, COUNT)


def bench_ledger_place(measure: Measure) -> None:
    stamps = [BEGIN_MS * 1000 + number * 20_000 for number in range(COUNT)]

    def run() -> int:
        place = Place(Axis(BEGIN_MS * 1000), RATE)
        for stamp_us in stamps:
            position = place.place(stamp_us, SAMPLES)
        return position or 0

    measure(run, COUNT)


def bench_session_receive(measure: Measure) -> None:
    messages = packets(COUNT)

    def run() -> int:
        to = route()
        receive = session(to).receive
        for message in messages:
            receive(message, True)
        return crc32(to.take(1, 0).payload)

    measure(run, COUNT)


with_and_without = pytest.mark.parametrize("compiled", [False, True], ids=["python", "kernel"])


class _Nobody:
    """A handler that does nothing."""

    received = 0

    def receive(self, message: bytes, text: bool) -> int:
        self.received += 1
        return 0

    def closed(self, code: int | None, proper: bool) -> None:
        """Nothing."""


def _open_socket(handler: object, *, compiled: bool = False) -> MediaSocket:
    socket = MediaSocket(front(handler))
    socket._handler = handler  # type: ignore[assignment]  # as if the upgrade were done
    if compiled:
        if kernel.take is None:
            pytest.skip("the compiled part is not there")
        socket._take_usual = handler.take  # type: ignore[attr-defined]
    return socket


def bench_lane(measure: Measure) -> None:
    frames = masked_packets(COUNT)
    nobody = _Nobody()

    def run() -> int:
        nobody.received = 0
        feed = _open_socket(nobody).feed
        for frame in frames:
            feed(frame)
        return nobody.received

    measure(run, COUNT)


@with_and_without
def bench_lane_and_session(measure: Measure, compiled: bool) -> None:
    frames = masked_packets(COUNT)

    def run() -> int:
        to = route()
        data_received = _open_socket(session(to), compiled=compiled).data_received
        for frame in frames:
            data_received(frame)
        return crc32(to.take(1, 0).payload)

    measure(run, COUNT)


@with_and_without
def bench_lane_and_session_of_1000_sockets(measure: Measure, compiled: bool) -> None:
    """One packet of each: what is touched is cold, as under a load."""
    frames = audio_frames(BEGIN_MS)
    to = route()
    feeds = [_open_socket(session(to), compiled=compiled).data_received for _ in range(1000)]

    def run() -> int:
        frame = memoryview(next(frames))
        for feed in feeds:
            feed(bytes(frame))  # a socket gives every packet memory of its own
            if to.room <= 0:
                to.take(1, 0)
        return len(to.take(1, 0).payload)

    for _ in range(SETTLED):
        run()
    measure(run, len(feeds))
