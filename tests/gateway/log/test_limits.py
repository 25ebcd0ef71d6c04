from hypothesis import given
from hypothesis import strategies as st

from gateway.log.limits import LogLimits, fill

LIMITS = LogLimits(bytes_max=1000, reserve_bytes=0, retain_bytes_max=100)
BYTES = st.integers(0, 5000)


def test_an_empty_log_is_empty_and_one_at_its_limits_is_full():
    assert 0 == fill(LIMITS, kept_bytes=0, room_bytes=10**9, pending_bytes=0)
    assert 1 == fill(LIMITS, kept_bytes=1000, room_bytes=10**9, pending_bytes=100)


def test_what_a_disk_has_no_room_for_does_not_count_as_room():
    assert 0.5 == fill(LIMITS, kept_bytes=100, room_bytes=0, pending_bytes=0)


def test_memory_counts_by_itself_for_a_disk_that_hangs():
    assert 0.9 == fill(LIMITS, kept_bytes=0, room_bytes=10**9, pending_bytes=90)


@given(BYTES, BYTES, BYTES, st.integers(1, 100))
def test_more_in_memory_never_makes_it_emptier(kept, room, pending, more):
    before = fill(LIMITS, kept_bytes=kept, room_bytes=room, pending_bytes=pending)
    after = fill(LIMITS, kept_bytes=kept, room_bytes=room, pending_bytes=pending + more)

    assert 0 <= before <= after <= 1
