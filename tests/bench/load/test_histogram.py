import json

from hypothesis import given
from hypothesis import strategies as st

from bench.load.histogram import Histogram

VALUES = st.lists(st.floats(0, 50_000), max_size=50)


def of(*values: float) -> Histogram:
    histogram = Histogram()
    histogram.add_ms(values)
    return histogram


def test_percentiles_are_a_tenth_of_a_millisecond_above_the_value_at_most() -> None:
    histogram = of(*range(1, 101))

    assert (50.1, 99.1, 100.1) == tuple(histogram.percentile_ms(part) for part in (0.5, 0.99, 1))


def test_nothing_has_no_percentiles() -> None:
    assert {None} == set(Histogram().summary().values())


def test_what_is_negative_or_longer_than_a_minute_counts_at_the_ends() -> None:
    assert (0.1, 60_000.1) == (of(-3).percentile_ms(1), of(1e9).percentile_ms(1))


@given(VALUES, VALUES)
def test_what_was_there_before_can_be_subtracted(before: list[float], after: list[float]) -> None:
    one, both = of(*before), of(*before, *after)

    assert of(*after).pairs() == (both - one).pairs()
    assert len(both) == len(one + of(*after))


@given(VALUES)
def test_histogram_goes_through_json(values: list[float]) -> None:
    histogram = of(*values)

    assert histogram.pairs() == Histogram(json.loads(json.dumps(histogram.pairs()))).pairs()
