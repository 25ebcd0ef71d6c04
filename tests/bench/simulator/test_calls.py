"""The plan of a call: who, when, in which order."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.calls import (
    TICK_US,
    CallPlan,
    Emission,
    Scenario,
    block_ticks,
    emissions,
    plan_call,
)


def whole(plan: CallPlan) -> list[Emission]:
    """All blocks of a call, in the order of sending."""
    out: list[Emission] = []
    first = 0
    while first < plan.scenario.ticks:
        count = block_ticks(plan.number, first)
        out += emissions(plan, first, count)
        first += count
    return out


def audio(plan: CallPlan) -> list[Emission]:
    return [emission for emission in whole(plan) if emission.tone is None]


@pytest.mark.parametrize("number", [0, 1, 49])
def test_every_participant_has_one_packet_each_20_ms(number: int) -> None:
    plan = plan_call(Scenario(participants=3, ticks=170), number)
    for track in range(3):
        mine = [emission for emission in audio(plan) if emission.track == track]
        assert list(range(170)) == [emission.tick for emission in mine]
        assert [tick * TICK_US for tick in range(170)] == [emission.stamp_us for emission in mine]


def test_packets_of_participants_are_interleaved() -> None:
    tracks = [emission.track for emission in audio(plan_call(Scenario(ticks=4), 0))]
    assert tracks == [0, 1] * 4


@given(st.integers(0, 60), st.integers(1, 130), st.integers(1, 4))
def test_jitter_moves_stamps_no_further_than_it_may(number: int, ticks: int, people: int) -> None:
    plan = plan_call(Scenario(participants=people, ticks=ticks, jitter_ms=15), number)
    sent = audio(plan)
    assert people * ticks == len(sent)
    assert all(abs(one.stamp_us - one.tick * TICK_US) <= 15_000 for one in sent)
    assert all(one.stamp_us % 1000 == 0 for one in sent)
    assert all(one.due_us - one.tick * TICK_US >= 0 for one in sent)


@given(st.integers(0, 60), st.floats(0, 200))
def test_jitter_never_changes_the_order_of_one_participant(number: int, jitter_ms: float) -> None:
    plan = plan_call(Scenario(participants=2, ticks=120, jitter_ms=jitter_ms), number)
    for track in range(2):
        assert list(range(120)) == [one.tick for one in audio(plan) if one.track == track]


def test_jitter_is_each_packet_s_own() -> None:
    plan = plan_call(Scenario(ticks=50, jitter_ms=15), 0)
    assert len({one.stamp_us - one.tick * TICK_US for one in audio(plan)}) > 15


def test_mixed_call_has_one_stream_of_nobody_with_all_speakers() -> None:
    plan = plan_call(Scenario(participants=3, mixed=True), 2)
    assert [(track.participant, track.speakers) for track in plan.tracks] == [(None, (6, 7, 8))]


def test_families_of_raw_ids_alternate() -> None:
    plan = plan_call(Scenario(participants=4), 0)
    families = [(track.participant or "").split(":", 2)[:2] for track in plan.tracks]
    assert families[:3] == [["8", "acs"], ["4", "+15550000001"], ["8", "orgid"]]
    assert families[3][0] == "28"


def test_no_two_participants_of_a_run_have_one_id_or_one_speaker() -> None:
    scenario = Scenario(participants=8)
    tracks = [track for number in range(50) for track in plan_call(scenario, number).tracks]
    assert len({track.participant for track in tracks}) == 400
    assert len({track.speakers for track in tracks}) == 400


def test_tones_are_digits_and_star_and_pound_the_first_one_bare() -> None:
    tones = plan_call(Scenario(dtmf=True), 0).tones
    assert [tone.tone for tone in tones[-2:]] == ["*", "#"]
    assert all(tone.tone in "0123456789" for tone in tones[:-2])
    assert [True] + [False] * (len(tones) - 1) == [tone.bare for tone in tones]


@given(st.integers(0, 60), st.integers(1, 130), st.sampled_from([0.0, 15.0]))
def test_every_tone_is_sent_once_and_in_order(number: int, ticks: int, jitter_ms: float) -> None:
    plan = plan_call(Scenario(ticks=ticks, dtmf=True, jitter_ms=jitter_ms), number)
    assert list(plan.tones) == [one.tone for one in whole(plan) if one.tone is not None]


def test_without_dtmf_no_key_is_pressed() -> None:
    assert plan_call(Scenario(), 0).tones == ()


def test_seed_decides_plan_and_jitter() -> None:
    def made(seed: int) -> tuple[CallPlan, list[Emission]]:
        plan = plan_call(Scenario(dtmf=True, jitter_ms=10, seed=seed), 1)
        return plan, whole(plan)

    assert made(4) == made(4)
    assert made(4)[1] != made(5)[1]


def test_first_blocks_of_calls_differ_in_length_so_that_their_work_is_spread() -> None:
    lengths = sorted(block_ticks(number, 0) for number in range(50))
    assert list(range(1, 51)) == [length for length, _ in groupby(lengths)]
