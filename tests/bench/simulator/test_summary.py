"""The tables: what a reader must find in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.simulator.calls import Scenario, plan_call
from bench.simulator.checker import CallReport, SentCall, check_call
from bench.simulator.drive import CallOutcome, End, Lateness
from bench.simulator.summary import check_facts, check_table, run_facts, run_table


def outcome(end: End, detail: str) -> CallOutcome:
    return CallOutcome(plan_call(Scenario(ticks=50), 0), "c", "d", end, detail, sent=[50, 50])


def test_run_is_counted_with_the_causes_of_what_went_wrong() -> None:
    outcomes = [
        outcome(End.DONE, ""),
        outcome(End.BROKEN, "1011"),
        outcome(End.BROKEN, "1011"),
        outcome(End.REFUSED, "HTTP 503"),
    ]
    lateness = Lateness()
    lateness.add(0.002)
    facts = run_facts(outcomes, lateness, 1.5)
    assert (facts["calls"], facts["packets"], facts["audio_s"]) == (4, 400, 8.0)
    assert facts["broken"] == {"1011": 2}
    assert facts["refused"] == {"HTTP 503": 1}
    table = run_table(facts)
    assert "2 (1011: 2)" in table
    assert "1 (HTTP 503: 1)" in table
    assert "p50 2.0 ms, p99 2.0 ms, max 2.0 ms" in table


def test_check_of_few_calls_has_a_line_for_each_and_the_totals(
    sent: SentCall, recording: Any
) -> None:
    reports = [check_call(sent, recording.folder) for _ in range(3)]
    lines = check_table(reports).splitlines()
    assert len(lines) == 1 + 3 + 1
    assert lines[1].split() == (
        ["6a1b", "2/2", "128000", "128000", "0", "0", "0", "0", "0"] + ["right"] * 4 + ["complete"]
    )
    assert "3 of 3 right" in lines[-1]


def test_check_of_many_calls_lists_the_bad_ones_only(
    sent: SentCall, recording: Any, tmp_path: Path
) -> None:
    good = check_call(sent, recording.folder)
    bad = check_call(sent, tmp_path / "nowhere")
    lines = check_table([good] * 30 + [bad]).splitlines()
    assert [line.split()[0] for line in lines] == ["call", "6a1b", "all", "6a1b:"]
    assert "missing" in lines[1]
    assert "30 of 31 right" in lines[2]


def test_faults_beyond_a_few_are_counted() -> None:
    report = CallReport("c", faults=[f"fault {number}" for number in range(20)])
    assert check_table([report]).splitlines()[-1] == "c: and 12 more faults"


def test_facts_of_the_check_name_the_wrong_calls(sent: SentCall, recording: Any) -> None:
    good = check_call(sent, recording.folder)
    recording.change(state="incomplete")
    bad = check_call(sent, recording.folder)
    facts = check_facts([good, bad])
    assert (facts["calls"], facts["right"], facts["samples_sent"]) == (2, 1, 256_000)
    faults = ["the state is incomplete, not complete"]
    assert facts["wrong"] == [{"call_id": "6a1b", "state": "incomplete", "faults": faults}]
