"""Routing, catching up, hand-over: with a real log, over the bus in memory."""

import time

import acs_packets as acs
import pytest
from hand_worker import HandWorker
from paper_gateway import RECORD, TICK_US, Gateway, segments, seqs, settle

from gateway.links import POOL_GONE_US, STUCK_US, SYNC_US_MAX
from gateway.log.adoption import adopt
from gateway.log.folder import dead_logs
from gateway.wire.descriptor import SessionClose, SessionOpen, unpack
from gateway.wire.frame import FrameKind
from gateway.wire.messages import Bye, Heartbeat
from gateway.wire.topology import Pool


@pytest.fixture
def make(tmp_path):
    """Makes gateways, and closes them."""
    made = []

    def make(*arguments, **named):
        made.append(Gateway(tmp_path, *arguments, **named))
        return made[-1]

    yield make
    for gateway in made:
        gateway.close()


@pytest.fixture
def gateway(make):
    return make()


def test_a_call_that_begins_with_a_worker_there_is_heard_live(gateway):
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    gateway.turn(worker)
    session = gateway.call("call-1")
    for _ in range(10):
        gateway.turn(worker)

    assert list(range(10)) == seqs([worker], session)
    assert [f.kind for f in worker.frames[:3]] == [FrameKind.OPEN, FrameKind.OPEN, FrameKind.AUDIO]
    assert unpack(worker.frames[0].payload, SessionOpen).call_id == "call-1"
    assert list(range(1, 11)) == worker.batches


def test_a_worker_that_comes_late_is_given_everything_from_the_log(gateway):
    session = gateway.call("call-1")
    for _ in range(100):
        gateway.turn()
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    for _ in range(10):
        gateway.turn(worker)
    gateway.hang_up(session)
    settle(gateway, worker)

    assert list(range(110)) == seqs([worker], session)
    order = [frame.seq for frame in worker.frames if frame.kind == FrameKind.AUDIO]
    assert sorted(order) == order


def test_a_dead_workers_calls_go_to_another_with_what_it_had_not_made_safe(gateway):
    first = HandWorker(gateway.hub, "record-0")
    first.hello()
    gateway.turn(first)
    session = gateway.call("call-1")
    for _ in range(50):
        gateway.turn(first)
    first.ack(safe=first.batches[20])
    gateway.turn(first)
    first.die()
    second = HandWorker(gateway.hub, "record-1")
    second.hello()
    for _ in range(20):
        gateway.turn(second)
    gateway.hang_up(session)
    settle(gateway, second)

    safe = {seq for seq in first.audio()[session.id, 1] if seq <= 20}
    assert set(range(71)) == safe | set(second.audio()[session.id, 1])
    assert gateway.router.links_lost == 1


def test_calls_stay_with_their_worker_when_another_comes(gateway):
    first = HandWorker(gateway.hub, "record-0")
    first.hello()
    gateway.turn(first)
    sessions = [gateway.call(f"call-{n}") for n in range(8)]
    second = HandWorker(gateway.hub, "record-1")
    second.hello()
    for _ in range(5):
        gateway.turn(first, second)
    later = [gateway.call(f"later-{n}", 2) for n in range(16)]
    for _ in range(5):
        gateway.turn(first, second)

    assert {session.id for session in sessions} <= {key[0] for key in first.audio()}
    assert not {session.id for session in sessions} & {key[0] for key in second.audio()}
    heard = {key[0] for key in second.audio()}
    assert heard
    assert heard < {session.id for session in later}


def test_a_worker_without_credit_is_served_from_the_log_and_loses_nothing(gateway):
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello(credit_bytes=3000)
    gateway.turn(worker)
    session = gateway.call("call-1")
    for _ in range(60):
        gateway.turn(worker)
    behind = len(worker.audio()[session.id, 1])
    for _ in range(60):
        worker.ack()
        gateway.turn(worker)
    gateway.hang_up(session)
    settle(gateway, worker)

    assert behind < 60
    assert list(range(120)) == seqs([worker], session)


def test_a_silent_worker_loses_its_calls_and_is_told_when_it_wakes(gateway):
    first = HandWorker(gateway.hub, "record-0")
    first.hello()
    gateway.turn(first)
    session = gateway.call("call-1")
    second = HandWorker(gateway.hub, "record-1")
    second.hello()
    for _ in range(100):
        gateway.turn(second)
    first.listen()
    first.ack()
    gateway.turn(second)
    first.listen()
    gateway.hang_up(session)
    settle(gateway, second)

    assert list(range(101)) == seqs([second], session)
    assert [m["kind"] for m in first.control if m["kind"] == "GONE"] == ["GONE", "GONE"]
    assert gateway.router.stale_messages == 1


def test_segments_go_when_every_worker_has_made_them_safe(gateway):
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    gateway.turn(worker)
    gateway.call("call-1")
    for _ in range(200):
        gateway.turn(worker)
    unsafe = segments(gateway)
    worker.ack()
    gateway.turn(worker)
    worker.ack()
    gateway.turn(worker, talk=False)

    assert unsafe >= 7
    assert segments(gateway) <= 2


def test_the_log_of_a_dead_gateway_is_delivered_and_its_sessions_are_closed(make, tmp_path):
    dead = make("boot-1")
    session = dead.call("call-1")
    for _ in range(120):
        dead.turn()
    dead.close()
    heir = make("boot-2")
    worker = HandWorker(heir.hub, "record-0")
    worker.hello()
    [folder] = dead_logs(tmp_path)
    heir.router.adopt(adopt(folder))
    settle(heir, worker)

    assert list(range(120)) == seqs([worker], session)
    closes = [frame for frame in worker.frames if frame.kind == FrameKind.CLOSE]
    assert [frame.stream for frame in closes] == [1, 0]
    assert unpack(closes[-1].payload, SessionClose).cause == "gateway_died"
    assert not folder.exists()


def test_a_live_pool_hears_a_call_from_the_moment_it_joins(gateway):
    session = gateway.call("call-1")
    for _ in range(10):
        gateway.turn()
    worker = HandWorker(gateway.hub, "ears-0", pool="ears")
    worker.hello()
    for _ in range(5):
        gateway.turn(worker)

    assert [frame.kind for frame in worker.frames[:2]] == [FrameKind.OPEN, FrameKind.OPEN]
    assert list(range(11, 15)) == seqs([worker], session) or list(range(10, 15)) == seqs(
        [worker], session
    )


def test_a_live_pool_that_does_not_read_loses_the_oldest_and_it_is_counted(make):
    pools = {"record": RECORD, "ears": Pool(queue_ms_max=200)}
    gateway = make(pools=pools)
    worker = HandWorker(gateway.hub, "ears-0", pool="ears")
    worker.hello(credit_bytes=2000)
    gateway.turn(worker)
    session = gateway.call("call-1")
    for _ in range(50):
        gateway.turn(worker)
    for _ in range(20):
        worker.ack()
        gateway.turn(worker)

    heard = seqs([worker], session)
    assert heard[-1] == 69
    assert 70 - len(heard) == gateway.router.dropped.frames["ears"]["queue_full"]
    assert FrameKind.OPEN in {frame.kind for frame in worker.frames}


class LateReads:
    """A `RunRead` that keeps what was read until the test hands it over."""

    def __init__(self) -> None:
        self.waiting = []

    def __call__(self, read, done) -> None:
        self.waiting.append((read, done))

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for read, done in waiting:
            done(read())


def spread(gateway, calls: int, *workers: HandWorker) -> list:
    """Calls of which each worker has one at least."""
    sessions = [gateway.call(f"call-{number}") for number in range(calls)]
    for _ in range(3):
        gateway.turn(*workers)
    for worker in workers:
        assert worker.audio()
    return sessions


def test_a_session_that_joins_a_catch_up_while_it_reads_loses_nothing(make):
    reads = LateReads()
    gateway = make(run_read=reads)
    heir, safe, unsafe = workers = [HandWorker(gateway.hub, f"record-{n}") for n in range(3)]
    for worker in workers:
        worker.hello()
    gateway.turn(*workers)
    sessions = spread(gateway, 12, *workers)
    for _ in range(50):
        gateway.turn(*workers)
    segments(gateway)  # all is written, so what is wanted again is read back
    safe.ack(safe=safe.batches[-20])
    gateway.turn(*workers)
    safe.die()
    gateway.turn(heir, unsafe)
    assert reads.waiting  # of the last ticks only
    unsafe.die()
    for _ in range(5):
        gateway.turn(heir)
    for _ in range(200):
        reads.run()
        gateway.turn(heir, talk=False)
        heir.ack()

    for session in sessions:
        assert list(range(60)) == seqs([heir, safe], session)


def test_a_worker_that_reads_and_never_acknowledges_loses_its_calls_to_one_that_does(gateway):
    mute, well = HandWorker(gateway.hub, "record-0"), HandWorker(gateway.hub, "record-1")
    mute.hello()
    well.hello()
    gateway.turn(mute, well)
    sessions = spread(gateway, 4, mute, well)
    for _ in range(STUCK_US // TICK_US + 5):
        well.ack()
        gateway.turn(mute, well)
    mute.link += 1
    mute.hello()  # it comes back, and is given nothing for a while
    later = [gateway.call(f"later-{number}") for number in range(8)]
    for _ in range(20):
        well.ack()
        gateway.turn(mute, well)

    assert 1 == gateway.router.links_lost
    assert ["acknowledges nothing"] == [
        message["reason"]
        for message in mute.control
        if message["kind"] == "GONE" and message["reason"] != "no such link"
    ]
    assert {session.id for session in sessions + later} == {key[0] for key in well.audio()}
    for session in sessions:
        assert list(range(len(seqs([well], session)))) == seqs([well], session)


def wait_for_a_disk(gateway, slow: HandWorker, well: HandWorker, seconds: int) -> None:
    """Time passes; one worker says that it waits for its disk, the other acknowledges."""
    since_us = gateway.now_us
    for _ in range(10 * seconds):
        gateway.now_us += 100_000
        well.ack()
        well.beat()
        slow.ack(safe=0)
        slow.say(Heartbeat(link=1, unsynced_us=gateway.now_us - since_us))
        while (message := gateway.hub.receive()) is not None:
            gateway.router.receive(*message, gateway.now_us)
        for session in gateway.sessions:
            session.receive(acs.dtmf("1"), True)
        gateway.router.flush(gateway.now_us)
        gateway.router.tend(gateway.now_us)
        well.listen()
        slow.listen()


def test_a_worker_that_waits_for_its_disk_and_says_so_keeps_its_calls(gateway):
    slow, well = HandWorker(gateway.hub, "record-0"), HandWorker(gateway.hub, "record-1")
    slow.hello()
    well.hello()
    gateway.turn(slow, well)
    spread(gateway, 4, slow, well)
    wait_for_a_disk(gateway, slow, well, 10)

    assert 0 == gateway.router.links_lost


def test_a_worker_that_waits_for_ever_loses_its_calls_where_anothers_disk_is_quick(gateway):
    slow, well = HandWorker(gateway.hub, "record-0"), HandWorker(gateway.hub, "record-1")
    slow.hello()
    well.hello()
    gateway.turn(slow, well)
    spread(gateway, 4, slow, well)
    wait_for_a_disk(gateway, slow, well, SYNC_US_MAX // 1_000_000 + 2)

    assert 1 == gateway.router.links_lost
    assert [slow.name] == [
        worker.name
        for worker in (slow, well)
        if any(message["kind"] == "GONE" for message in worker.control)
    ]


def test_nothing_moves_while_nobody_acknowledges(gateway):
    workers = [HandWorker(gateway.hub, f"record-{number}") for number in range(2)]
    for worker in workers:
        worker.hello()
    gateway.turn(*workers)
    spread(gateway, 4, *workers)
    for _ in range(3 * STUCK_US // TICK_US):
        gateway.turn(*workers)

    assert 0 == gateway.router.links_lost


def test_a_gateway_that_was_stopped_does_not_take_its_workers_for_dead(gateway):
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    gateway.turn(worker)
    gateway.call("call-1")
    gateway.now_us += 10_000_000
    gateway.router.tend(gateway.now_us)
    gateway.turn(worker)

    assert 0 == gateway.router.links_lost


def test_a_worker_that_comes_back_under_another_link_is_served_from_what_was_not_safe(gateway):
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    gateway.turn(worker)
    session = gateway.call("call-1")
    for _ in range(30):
        gateway.turn(worker)
    worker.ack(safe=worker.batches[9])
    gateway.turn(worker)
    heard = len(worker.frames)
    worker.link = 2
    worker.hello()
    for _ in range(5):
        gateway.turn(worker)
    again = [f.seq for f in worker.frames[heard:] if f.kind == FrameKind.AUDIO]
    gateway.hang_up(session)
    settle(gateway, worker)

    assert 10 == again[0]
    assert again == sorted(again)
    assert list(range(36)) == seqs([worker], session)


def test_a_configured_live_pool_without_workers_holds_no_log_back_and_is_counted(make):
    gateway = make(pools={"record": RECORD, "ears": Pool()})
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    gateway.turn(worker)
    session = gateway.call("call-1")
    for _ in range(20):
        gateway.turn(worker)
    gateway.hang_up(session)
    settle(gateway, worker)
    [close] = [f for f in worker.frames if f.kind == FrameKind.CLOSE and f.stream == 0]

    assert {"no_worker": 20} == gateway.router.dropped.frames["ears"]
    assert {"ears": {"no_worker": 20}} == unpack(close.payload, SessionClose).dropped


def test_what_a_dead_live_worker_had_not_taken_is_counted_with_its_call(make):
    gateway = make(pools={"record": RECORD, "ears": Pool()})
    recorder = HandWorker(gateway.hub, "record-0")
    ears = HandWorker(gateway.hub, "ears-0", pool="ears")
    recorder.hello()
    ears.hello()
    gateway.turn(recorder, ears)
    session, other = gateway.call("call-1"), gateway.call("call-2")
    for _ in range(10):
        gateway.turn(recorder, ears)
    ears.ack()
    gateway.turn(recorder, ears)
    gateway.hang_up(other)
    for _ in range(4):
        gateway.turn(recorder)
    ears.die()
    gateway.turn(recorder)
    gateway.hang_up(session)
    settle(gateway, recorder)
    taken = 10
    closes = {
        frame.session: unpack(frame.payload, SessionClose)
        for frame in recorder.frames
        if frame.kind == FrameKind.CLOSE and frame.stream == 0
    }

    assert {} == closes[other.id].dropped
    assert {"worker_gone": 16 - taken} == closes[session.id].dropped["ears"]
    assert {"worker_gone": 16 - taken + 1} == gateway.router.dropped.frames["ears"]


def test_a_replaying_pool_that_nobody_named_is_waited_for_a_while_and_then_let_go(gateway):
    recorder = HandWorker(gateway.hub, "record-0")
    bridge = HandWorker(gateway.hub, "bridge-0", pool="bridge")
    recorder.hello()
    bridge.hello(delivery="replay")
    gateway.turn(recorder, bridge)
    session = gateway.call("call-1")
    for _ in range(10):
        gateway.turn(recorder, bridge)
    bridge.die()
    gateway.turn(recorder)
    gateway.hang_up(session)
    for _ in range(50):
        gateway.turn(recorder)
        recorder.ack()
    waited = not gateway.router.is_idle()
    gateway.now_us += POOL_GONE_US
    settle(gateway, recorder)

    assert waited
    assert ["record"] == list(gateway.router.pools)


def test_a_replaying_pool_that_nobody_named_is_given_what_it_missed_when_it_comes_back(gateway):
    bridge = HandWorker(gateway.hub, "bridge-0", pool="bridge")
    bridge.hello(delivery="replay")
    gateway.turn(bridge)
    session = gateway.call("call-1")
    for _ in range(10):
        gateway.turn(bridge)
    bridge.die()
    for _ in range(20):
        gateway.turn()
    heir = HandWorker(gateway.hub, "bridge-1", pool="bridge")
    heir.hello(delivery="replay")
    gateway.hang_up(session)
    for _ in range(500):
        gateway.turn(heir)
        if list(range(30)) == seqs([heir], session):
            break
        time.sleep(0.001)  # the log's writer has its own pace

    assert list(range(30)) == seqs([heir], session)


def test_workers_of_a_nameless_pool_may_come_and_go(gateway):
    for number in range(3):
        worker = HandWorker(gateway.hub, f"ears-{number}", pool="ears")
        worker.hello()
        gateway.turn(worker)
        worker.say(Bye(link=1))
        gateway.turn(worker)
        gateway.turn()

    assert 0 == gateway.router.links_lost
    assert ["record"] == list(gateway.router.pools)


def test_a_slow_live_worker_delays_nobody_else(make):
    gateway = make(pools={"record": RECORD, "ears": Pool(queue_ms_max=100)})
    recorder = HandWorker(gateway.hub, "record-0")
    slow = HandWorker(gateway.hub, "ears-0", pool="ears")
    recorder.hello()
    slow.hello(credit_bytes=1)
    gateway.turn(recorder, slow)
    session = gateway.call("call-1")
    late = []
    for _ in range(100):
        gateway.turn(recorder, slow)
        late.append(session.packets - len(recorder.audio()[session.id, 1]))
    gateway.hang_up(session)
    settle(gateway, recorder, slow)
    for _ in range(5):
        slow.ack()
        gateway.turn(slow, talk=False)

    assert {0} == set(late)
    assert list(range(100)) == seqs([recorder], session)
    dropped = gateway.router.dropped.frames["ears"]["queue_full"]
    assert 100 - dropped == len(seqs([slow], session))
    assert dropped >= 90
