from gateway.up.state import SNAPSHOT_AGE_US_MAX, State, of_children
from gateway.up.supervisor import Child, Place
from gateway.wire.counters import Snapshot

NOW_US = 1_900_000_000_000_000
GATEWAY = Child(Place("gateway", None, 0), pid=10, accepts=True)
RECORD = Child(Place("worker", "record", 0), pid=11)
SECOND = Child(Place("worker", "record", 1), pid=12)
LIVE = Child(Place("worker", "live", 0), pid=13)


def snapshot(child: Child, *, ready: bool = True, reason: str = "", age_us: int = 0) -> Snapshot:
    assert child.pid is not None
    return Snapshot(
        process=child.place.name,
        role=child.place.role,
        pool=child.place.pool,
        index=child.place.index,
        pid=child.pid,
        at_us=NOW_US - age_us,
        ready=ready,
        reason=reason,
    )


def state(
    children: list[Child], *snapshots: Snapshot, replay: str = "record", drains: bool = False
) -> State:
    return State(
        children=children,
        snapshots=of_children(children, snapshots),
        replay_pools=frozenset([replay]) if replay else frozenset(),
        is_draining=drains,
        now_us=NOW_US,
    )


def test_node_is_ready_with_every_gateway_and_one_worker_of_each_replay_pool() -> None:
    found = state([GATEWAY, RECORD, SECOND, LIVE], snapshot(GATEWAY), snapshot(SECOND))
    assert [] == found.faults()
    assert found.accepts()


def test_drain_is_told() -> None:
    found = state([GATEWAY, RECORD], snapshot(GATEWAY), snapshot(RECORD), drains=True)
    assert ["the node drains"] == found.faults()


def test_gateway_that_is_gone_starting_silent_or_unready_is_told_with_its_reason() -> None:
    children = [
        Child(Place("gateway", None, 0)),
        Child(Place("gateway", None, 1), pid=21),
        Child(Place("gateway", None, 2), pid=22, accepts=True),
        Child(Place("gateway", None, 3), pid=23, accepts=True),
    ]
    snapshots = [
        snapshot(children[1]),
        snapshot(children[2], age_us=SNAPSHOT_AGE_US_MAX + 1),
        snapshot(children[3], ready=False, reason="the log's disk is full"),
    ]
    expected = [
        "gateway-0: is not running",
        "gateway-1: is starting",
        "gateway-2: has said nothing for some seconds",
        "gateway-3: the log's disk is full",
    ]
    assert expected == state(children, *snapshots, replay="").faults()


def test_replay_pool_without_a_ready_worker_is_told_and_keeps_the_node_closed() -> None:
    found = state([GATEWAY, RECORD, SECOND], snapshot(GATEWAY), snapshot(RECORD, ready=False))
    expected = ["pool record: no worker is ready (record-0: is not ready; record-1: is starting)"]
    assert expected == found.faults()
    assert not found.accepts()


def test_node_accepts_when_its_gateways_say_so_though_one_is_not_ready_for_more() -> None:
    assert state([GATEWAY], snapshot(GATEWAY, ready=False), replay="").accepts()
    starting = Child(Place("gateway", None, 0), pid=10)
    assert not state([starting], snapshot(starting), replay="").accepts()


def test_snapshot_of_a_process_that_is_no_live_child_does_not_count() -> None:
    gone = Child(Place("worker", "record", 0))
    assert {} == of_children([gone], [snapshot(RECORD)])
