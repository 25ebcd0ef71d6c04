import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capacity import LAG_MEASURES, UNLIMITED, Capacity, CapacityLimits, Shortage


def test_without_limits_there_is_always_room():
    capacity = Capacity(CapacityLimits())
    capacity.memory_bytes, capacity.memory_free = 2**60, 0.0
    for _ in range(100):
        capacity.measured_lag(1e6)

    assert [None] * 1000 == [capacity.take().shortage for _ in range(1000)]


@given(st.integers(1, 5), st.lists(st.integers(0, 9), max_size=60))
def test_no_more_slots_are_held_than_there_are(sessions_max, releases):
    capacity = Capacity(CapacityLimits(sessions_max=sessions_max))
    held = []
    for release in releases:
        if release < len(held):
            held.pop(release).release()
        else:
            held.append(capacity.take())

        with_slot = [slot for slot in held if slot.shortage is None]
        assert len(with_slot) == capacity.slots <= sessions_max
        assert len(held) == capacity.connections


def test_a_slot_is_given_back_once():
    capacity = Capacity(CapacityLimits(sessions_max=2))
    first, _ = capacity.take(), capacity.take()
    first.release()
    first.release()

    assert 1 == capacity.slots
    assert None is capacity.take().shortage
    assert "sessions" == capacity.take().shortage.name


def test_a_connection_that_is_no_call_gives_its_slot_up_and_stays():
    capacity = Capacity(CapacityLimits(sessions_max=1))
    other = capacity.take()
    other.give_up()
    other.give_up()

    assert (0, 1) == (capacity.slots, capacity.connections)

    assert None is capacity.take().shortage
    other.release()

    assert (1, 1) == (capacity.slots, capacity.connections)


def test_connections_without_a_slot_take_descriptors_all_the_same():
    capacity = Capacity(CapacityLimits(sessions_max=1, descriptors_max=3))

    names = [slot.shortage and slot.shortage.name for slot in [capacity.take() for _ in range(4)]]

    assert [None, "sessions", "sessions", "sessions"] == names
    assert 4 == capacity.connections


def test_a_connection_that_is_gone_is_told():
    told = []
    capacity = Capacity(CapacityLimits(), lambda: told.append(capacity.connections))
    slots = [capacity.take(), capacity.take()]
    for slot in slots:
        slot.release()
        slot.release()

    assert [1, 0] == told


@pytest.mark.parametrize(("descriptors_max", "crowded_from"), [(1000, 1064), (10, 15), (0, None)])
def test_half_of_the_reserve_is_never_touched_by_connections(descriptors_max, crowded_from):
    capacity = Capacity(CapacityLimits(descriptors_max=descriptors_max))
    found = None
    for connections in range(1100):
        capacity.connections = connections
        if capacity.is_crowded:
            found = connections
            break

    assert crowded_from == found


@pytest.mark.parametrize(
    ("limits", "figures", "name"),
    [
        ({"memory_bytes_max": 100}, {"memory_bytes": 100}, "memory"),
        ({"memory_free_min": 0.05}, {"memory_free": 0.04}, "memory"),
        ({"descriptors_max": 7}, {"connections": 7}, "descriptors"),
        ({"sessions_max": 7}, {"slots": 7}, "sessions"),
    ],
)
def test_each_limit_refuses_under_its_name(limits, figures, name):
    capacity = Capacity(CapacityLimits(**limits))
    assert None is capacity.shortage()

    for figure, value in figures.items():
        setattr(capacity, figure, value)

    assert name == capacity.shortage().name


def test_a_log_that_is_nearly_full_refuses():
    capacity = Capacity(CapacityLimits())

    assert Shortage("log", "the log is nearly full") == capacity.shortage("the log is nearly full")


def test_one_late_turn_of_the_loop_refuses_nobody():
    capacity = Capacity(CapacityLimits(lag_ms_max=100))
    for _ in range(50):
        capacity.measured_lag(5000)
        capacity.measured_lag(80)

    assert None is capacity.shortage()


def test_lasting_lag_refuses_until_it_is_well_over():
    capacity = Capacity(CapacityLimits(lag_ms_max=100))
    found = []
    for lag_ms in [200] * LAG_MEASURES + [80, 60, 50, 80]:
        capacity.measured_lag(lag_ms)
        found.append(capacity.shortage() is not None)

    assert [False] * (LAG_MEASURES - 1) + [True] * 3 + [False] * 2 == found


def test_who_counts_nothing_has_one_slot_for_all():
    UNLIMITED.release()

    assert None is UNLIMITED.shortage
