"""What happens to calls when the log has no room: routing over a log that takes nothing more."""

from functools import partial

import paper_gateway
import pytest
from hand_worker import HandWorker
from paper_gateway import Gateway, settle

from gateway.log.adoption import adopt
from gateway.log.folder import dead_logs
from gateway.log.limits import LogLimits
from gateway.log.writer import Log
from gateway.wire.descriptor import Gap, unpack
from gateway.wire.frame import FrameKind

NOTHING_ON_DISK = LogLimits(bytes_max=1, reserve_bytes=0, retain_bytes_max=60_000)


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    monkeypatch.setattr(paper_gateway, "Log", partial(Log, limits=NOTHING_ON_DISK))
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.close()


def missing(worker: HandWorker, session: int) -> list[int]:
    """The `seq` of every frame of stream 1 that a worker was told to be missing."""
    found: list[int] = []
    for frame in worker.frames:
        if (frame.kind, frame.session, frame.stream) == (FrameKind.GAP, session, 1):
            found += range(frame.seq, frame.seq + unpack(frame.payload, Gap).frames)
    return found


def test_a_worker_that_keeps_up_loses_nothing_though_no_disk_takes_anything(gateway):
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    gateway.turn(worker)
    session = gateway.call("call-1")
    for _ in range(600):
        gateway.turn(worker)
        worker.ack()
    gateway.hang_up(session)
    settle(gateway, worker)

    assert list(range(600)) == sorted(worker.audio()[session.id, 1])
    assert (0, {}) == (len(missing(worker, session.id)), gateway.log.dropped)
    assert gateway.log.pending_bytes < NOTHING_ON_DISK.retain_bytes_max / 2


def test_a_worker_that_comes_too_late_is_told_what_is_missing(gateway):
    session = gateway.call("call-1")
    for _ in range(300):
        gateway.turn()
    dropped = gateway.log.dropped["audio"]
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    for _ in range(100):
        gateway.turn(worker)
        worker.ack()
    gateway.hang_up(session)
    settle(gateway, worker)
    heard = set(worker.audio()[session.id, 1])

    assert dropped > 100
    assert set(range(400)) == heard | set(missing(worker, session.id))
    assert set(range(350, 400)) <= heard


def test_a_worker_that_hears_live_before_the_gap_ends_is_told_of_it(gateway):
    session = gateway.call("call-1")
    for _ in range(300):
        gateway.turn()
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    for _ in range(50):  # it hears all there is, and makes nothing of it safe
        gateway.turn(worker)
    before = missing(worker, session.id)
    for _ in range(50):
        worker.ack()
        gateway.turn(worker)
    gateway.hang_up(session)
    settle(gateway, worker)

    assert [] == before
    assert set(range(400)) == {*worker.audio()[session.id, 1], *missing(worker, session.id)}
    kinds = [frame.kind for frame in worker.frames]
    assert kinds.index(FrameKind.GAP) < kinds.index(FrameKind.CLOSE)


def test_a_call_that_ends_while_the_log_is_full_says_what_is_missing(gateway):
    session = gateway.call("call-1")
    for _ in range(300):
        gateway.turn()
    gateway.hang_up(session)
    gateway.turn()
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    settle(gateway, worker)

    assert set(range(300)) == {*worker.audio()[session.id, 1], *missing(worker, session.id)}
    assert [FrameKind.GAP, FrameKind.CLOSE, FrameKind.CLOSE] == [
        frame.kind for frame in worker.frames[-3:]
    ]


def test_a_call_that_is_over_is_not_opened_again_by_the_next_segment(tmp_path):
    """Or who adopts the log would end it a second time, as if its gateway had died."""
    dead = Gateway(tmp_path)
    worker = HandWorker(dead.hub, "record-0")
    worker.hello()
    dead.turn(worker)
    over = dead.call("call-1")
    dead.call("call-2")
    for _ in range(5):
        dead.turn(worker)
    dead.hang_up(over)
    for _ in range(40):  # another segment begins before its end is acknowledged
        dead.turn(worker)
    settle_acks(dead, worker)
    dead.close()
    [folder] = dead_logs(tmp_path)
    adopted = adopt(folder)
    assert adopted is not None
    calls = {logged.call_id for logged in adopted.sessions.values()}
    adopted.remove()

    assert {"call-2"} == calls


def settle_acks(gateway: Gateway, worker: HandWorker) -> None:
    for _ in range(60):
        worker.ack()
        gateway.turn(worker)
