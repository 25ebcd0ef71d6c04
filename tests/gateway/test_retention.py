"""Which tick of a log is still needed."""

from hand_worker import HandWorker

from gateway.bus.memory import MemoryHub
from gateway.catch_up import CatchUps, run_at_once
from gateway.links import Link, PoolState
from gateway.retention import first_needed, resume_tick
from gateway.seats import Routed, Seat
from gateway.wire.frame import FRAME
from gateway.wire.messages import Hello
from gateway.wire.topology import Pool

HUB = MemoryHub("memory://retention")
NOW = 50  # the tick that gathers


def link(delivery: str = "replay") -> Link:
    pool = PoolState("record", Pool(delivery=delivery), is_configured=True)
    worker = HandWorker(HUB, "record-0")
    hello = Hello(pool="record", name=worker.name, boot_id="b", link=1)
    made = Link(b"peer", hello, pool, 0)
    pool.links.append(made)
    return made


def catch_ups() -> CatchUps:
    return CatchUps(None, HUB.send, run_at_once, {})


def test_a_link_that_has_everything_needs_only_what_gathers_now():
    assert NOW == resume_tick(link(), None, catch_ups(), NOW)


def test_a_link_needs_what_is_in_flight_on_it():
    one = link()
    one.in_flight.add(None, 17, FRAME.size, b"", 0)

    assert 17 == resume_tick(one, None, catch_ups(), NOW)


def test_a_link_needs_what_has_not_been_read_back_for_it():
    one, behind = link(), catch_ups()
    one.in_flight.add(None, 17, FRAME.size, b"", 0)
    behind.serve(None, one, 1, 12)

    assert 12 == resume_tick(one, None, behind, NOW)


def test_a_session_without_worker_holds_the_log():
    waiting = Routed(1, "call-1", None)
    waiting.seats["record"] = Seat(None, 9, is_live=False)

    assert 9 == first_needed(None, [link()], [waiting], catch_ups(), NOW)


def test_a_link_to_which_nothing_is_replayed_holds_nothing():
    live = link("newest")
    live.in_flight.add(None, 3, FRAME.size, b"", 0)

    assert NOW == first_needed(None, [live], [], catch_ups(), NOW)
