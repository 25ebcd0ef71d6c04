"""The read interval follows the load: up at once, down after a calm, never to and fro."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pace import (
    CALM_S,
    INTERVAL_MS_MIN,
    LADDER,
    MEASURE_S,
    Pace,
    next_turn_s,
    patient_flush_ms,
)

MAX_MS = 200
STEPS_MS = [step.share * MAX_MS for step in LADDER]


class Load:
    """So many packets a second for so long, looked at four times a second."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._now_s = 1000.0
        self._packets = 0.0
        pace.measure(0, self._now_s)

    def last(self, rate: float, seconds: float) -> list[float]:
        """The intervals in force meanwhile, in ms."""
        intervals = []
        for _ in range(round(seconds * 4)):
            self._now_s += 0.25
            self._packets += rate / 4
            intervals.append(self.pace.measure(int(self._packets), self._now_s))
        return intervals


@pytest.fixture
def load() -> Load:
    return Load(Pace(MAX_MS))


def test_a_process_with_little_to_do_reads_at_once(load):
    assert {0} == set(load.last(LADDER[0].packets_a_second - 100, 30))


@pytest.mark.parametrize(("step", "interval_ms"), [*zip(LADDER, STEPS_MS, strict=True)])
def test_the_interval_is_there_after_one_measure_however_long_it_is(load, step, interval_ms):
    intervals = load.last(step.packets_a_second * 1.1, MEASURE_S)

    assert [0, 0, 0, interval_ms] == intervals


def test_more_load_never_gives_a_shorter_interval(load):
    intervals = [load.last(rate, 2)[-1] for rate in range(0, 60_000, 500)]

    assert sorted(intervals) == intervals
    assert [0, *STEPS_MS] == sorted(set(intervals))


def test_a_load_around_a_threshold_changes_nothing(load):
    load.last(11_000, 2)

    assert {100} == {ms for rate in (9_000, 11_000, 5_100, 10_500) for ms in load.last(rate, 10)}


def test_a_short_lull_changes_nothing(load):
    load.last(30_000, 2)

    assert {MAX_MS} == {
        interval for _ in range(5) for rate in (0, 30_000) for interval in load.last(rate, 4)
    }


def test_after_a_calm_the_interval_comes_down_step_by_step(load):
    load.last(30_000, 2)
    intervals = load.last(0, 6 * (CALM_S + 2 * MEASURE_S))

    assert [MAX_MS, 100, 50, 25, 0] == list(dict.fromkeys(intervals))
    assert intervals.count(100) >= CALM_S * 4


def test_it_comes_down_no_further_than_the_load_allows(load):
    load.last(30_000, 2)

    assert 50 == load.last(3_000, 60)[-1]


@pytest.mark.parametrize("interval_ms_max", [0, INTERVAL_MS_MIN - 1])
def test_switched_off_it_is_off_under_any_load(interval_ms_max):
    assert {0} == set(Load(Pace(interval_ms_max)).last(100_000, 10))


def test_an_interval_that_gains_nothing_is_none():
    load = Load(Pace(100))

    assert 0 == load.last(3_000, 2)[-1]
    assert 25 == load.last(6_000, 2)[-1]


phases = st.floats(0, 1, exclude_max=True)
intervals = st.floats(0.02, 1)
times = st.floats(0, 1e7)


@given(now_s=times, interval_s=intervals, phase=phases)
def test_the_next_turn_comes_within_an_interval(now_s, interval_s, phase):
    turn_s = next_turn_s(now_s, interval_s, phase)

    assert now_s < turn_s <= now_s + interval_s + 1e-6


@given(now_s=times, interval_s=intervals, phase=phases)
def test_turns_lie_an_interval_apart(now_s, interval_s, phase):
    first_s = next_turn_s(now_s, interval_s, phase)
    second_s = next_turn_s(first_s + interval_s / 2, interval_s, phase)

    assert interval_s == pytest.approx(second_s - first_s, abs=1e-6)


def test_turns_of_many_are_spread_over_the_interval():
    turns = sorted(next_turn_s(77.7, 0.2, number / 10) for number in range(10))

    assert [0.02] * 9 == pytest.approx([later - earlier for earlier, later in pairwise(turns)])


@pytest.mark.parametrize(
    ("latency_ms", "between_ms"), [(0, 20), (20, 20), (100, 30), (200, 60), (float("inf"), 60)]
)
def test_ticks_are_as_rare_as_the_least_patient_worker_can_bear(latency_ms, between_ms):
    assert between_ms == patient_flush_ms(20, latency_ms)


def test_ticks_never_come_more_often_than_they_are_asked_for():
    assert 100 == patient_flush_ms(100, 200)
