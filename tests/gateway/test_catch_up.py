"""What a catch-up makes of a log whose sync fails while it is read."""

import errno
import os

import acs_packets as acs
import pytest

from gateway.bus.base import Sent
from gateway.catch_up import CatchUps
from gateway.links import Link, PoolState
from gateway.log.ticks import Tick, frames_tick
from gateway.log.writer import Log
from gateway.seats import Routed
from gateway.wire import messages
from gateway.wire.frame import FRAME, NO_STAMP, FrameKind, iterate
from gateway.wire.topology import Pool

SESSION = 7


def tick(number: int, *, snapshot: bool = False) -> Tick:
    """A tick whose only frame has its number as `seq`."""
    pcm = acs.pcm(number, 8)
    head = FRAME.pack(FrameKind.AUDIO, 0, 1, len(pcm), SESSION, number, 8, NO_STAMP, 8 * number)
    frames = [] if snapshot else [(head, pcm)]
    return frames_tick(number, number, frames)._replace(snapshot=snapshot)


class Reads:
    """Reads that wait until the test lets them run, and again until it hands them over."""

    def __init__(self) -> None:
        self.waiting = []

    def __call__(self, read, done) -> None:
        self.waiting.append((read, done))

    def run(self):
        """The next read is made; returns what hands it over."""
        read, done = self.waiting.pop()
        ticks = read()
        return lambda: done(ticks)


class Delivery:
    """One session's catch-up, and the `seq`s that its worker has been sent."""

    def __init__(self, log: Log) -> None:
        self.seqs: list[int] = []
        self.reads = Reads()
        sessions = {SESSION: Routed(SESSION, "call-1", None)}
        self._catch_ups = CatchUps(log, self._send, self.reads, sessions)
        hello = messages.Hello(pool="record", name="record-0", boot_id="boot-9", link=1)
        pool = PoolState("record", Pool(delivery="replay"), is_configured=True)
        self._catch_ups.serve(None, Link(b"peer", hello, pool, 0), SESSION, 1)

    def _send(self, _peer: bytes, message: bytes) -> Sent:
        for frame in iterate(message):
            self.seqs.append(frame.seq)
        return Sent.DONE

    def advance(self, present: int) -> None:
        self._catch_ups.advance(present, 0)


@pytest.fixture
def log(tmp_path):
    times = iter(range(100, 100_000))  # a second at each look: nothing is refused for long
    log = Log(
        tmp_path / "gateway-0",
        "boot-1",
        sync_ms=50,
        segment_s=1,
        power=True,
        clock=lambda: float(next(times)),
        threads=False,
    )
    yield log
    log.close(remove=True)


def write(log: Log, *ticks: Tick) -> None:
    for each in ticks:
        log.append(each)
        assert log.write_next()


def fail_while(monkeypatch, log: Log, do) -> None:
    """`do`, and in the midst of its first write a sync that fails."""
    write_now, sync = os.writev, os.fdatasync

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def writev(descriptor, parts) -> int:
        monkeypatch.setattr(os, "writev", write_now)
        monkeypatch.setattr(os, "fdatasync", fail)
        log.sync_next()
        monkeypatch.setattr(os, "fdatasync", sync)
        return write_now(descriptor, parts)

    monkeypatch.setattr(os, "writev", writev)
    do()


@pytest.mark.parametrize("is_written_again", [False, True])
def test_what_a_failed_sync_takes_away_under_a_read_is_delivered(
    log, monkeypatch, is_written_again
):
    write(log, tick(1, snapshot=True), tick(2))
    log.sync_next()
    write(log, tick(3, snapshot=True), tick(4))
    delivery = Delivery(log)
    delivery.advance(5)
    delivery.reads.run()()
    delivery.advance(5)  # 2 is sent, and the next read begins
    fail_while(monkeypatch, log, lambda: write(log, tick(5, snapshot=True)))
    hand_over = delivery.reads.run()
    while is_written_again and log.write_next():
        pass
    hand_over()
    write(log, tick(6)) if is_written_again else log.append(tick(6))
    for _ in range(10):
        delivery.advance(7)
        if delivery.reads.waiting:
            delivery.reads.run()()

    assert [2, 4, 6] == delivery.seqs


def test_what_is_damaged_is_passed_over(log):
    write(log, tick(1, snapshot=True), tick(2))
    write(log, tick(3, snapshot=True), tick(4))
    write(log, tick(5, snapshot=True), tick(6))
    log.sync_next()
    (log.folder / "00000002.seg").write_bytes(b"")
    delivery = Delivery(log)
    for _ in range(10):
        delivery.advance(7)
        if delivery.reads.waiting:
            delivery.reads.run()()

    assert [2, 6] == delivery.seqs
