import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.up.budget import AFTER_S, SPARE_S_MAX, budget


@pytest.mark.parametrize(
    ("drain_s", "expected"), [(1, 0), (3, 0), (4, 1), (10, 5), (30, 15), (60, 42.5), (3600, 3582.5)]
)
def test_calls_have_what_nobody_else_wants_or_half(drain_s: float, expected: float) -> None:
    assert expected == budget(drain_s, close_s=5).calls_s


def test_long_drain_gives_a_gateway_its_close_and_its_acknowledgements() -> None:
    assert 5 + 1 + 5 == budget(60, close_s=5).leave_s
    assert 20 + 1 + 5 == budget(120, close_s=20).leave_s


@given(st.floats(1, 86_400), st.floats(0.1, 3600))
def test_every_stage_has_time_before_it_is_killed_and_all_end_in_time(
    drain_s: float, close_s: float
) -> None:
    shared = budget(drain_s, close_s)
    gateways_s, workers_s, finish_s = shared.deadlines_s
    after_s = finish_s - shared.calls_s - shared.leave_s
    assert 0 <= shared.calls_s
    assert 0 < shared.leave_s
    assert min(AFTER_S, drain_s / 4) <= after_s + 1e-6
    assert shared.calls_s + shared.leave_s + after_s / 2 <= gateways_s + 1e-6
    assert gateways_s < workers_s < finish_s <= drain_s - min(SPARE_S_MAX, drain_s / 10)
