"""What is in flight on a link, against a plain list."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.in_flight import InFlight

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from([None, "other"]), st.integers(1, 30)),
        st.tuples(st.just("ack"), st.integers(0, 60), st.integers(0, 60)),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_oldest_tick_that_is_not_safe_is_that_of_a_plain_list(steps):
    flight, batches = InFlight(0), {}
    taken = safe = 0
    for kind, one, two in steps:
        if kind == "add":
            flight.add(one, two, 10, b"", 0)
            batches[len(batches) + 1] = (one, two)
        else:
            flight.acknowledge(one, two, 0)
            taken = max(taken, min(two, len(batches)))
            safe = max(safe, min(one, taken))
        for source in (None, "other"):
            left = [
                tick for number, (of, tick) in batches.items() if number > safe and of == source
            ]
            assert min(left, default=None) == flight.oldest_tick(source)
        assert (len(batches), taken, safe) == (flight.sent, flight.taken, flight.safe)
        assert 10 * (len(batches) - taken) == flight.untaken_bytes


def test_waiting_begins_with_the_first_batch_and_begins_anew_when_something_becomes_safe():
    flight = InFlight(0)
    idle_us = flight.waits_us(1_000)
    for at_us in (1_000, 2_000, 3_000):
        flight.add(None, 1, 10, b"", at_us)
    before_us = flight.waits_us(5_000)
    flight.acknowledge(0, 3, 6_000)
    only_taken_us = flight.waits_us(6_000)
    flight.acknowledge(2, 3, 7_000)

    assert (0, 4_000, 5_000, 1_000) == (
        idle_us,
        before_us,
        only_taken_us,
        flight.waits_us(8_000),
    )
    flight.acknowledge(3, 3, 9_000)
    assert 0 == flight.waits_us(99_000)


def test_the_heads_of_what_was_not_taken_are_kept_and_no_others():
    flight = InFlight(0)
    for heads in (b"1", b"2", b"3"):
        flight.add(None, 1, 10, heads, 0)
    flight.acknowledge(0, 1, 0)

    assert [b"2", b"3"] == flight.untaken_heads()
