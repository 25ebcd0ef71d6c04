import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bench.compare import changes, compare, table


def result(at: int, us: float, *, cpus: int = 2, **changes: Any) -> dict[str, Any]:
    return {
        "bench": "peers",
        "at": f"2026-01-01T00:00:{at:02}Z",
        "machine": {"cpu": "some", "cpus": cpus, "commit": str(at)},
        "settings": {"sockets": 400},
        "figures": {"gateway / do-nothing": us},
        "valid": True,
        **changes,
    }


def test_last_result_is_compared_with_the_median_of_those_before() -> None:
    (found,) = changes([result(3, 3.0), result(1, 1.9), result(2, 2.1)], 0.1)

    assert (2.0, 3.0, 1.5) == (found.before, found.now, found.worse)
    assert found.is_slower


def test_change_within_the_spread_of_earlier_results_is_noise() -> None:
    (found,) = changes([result(1, 1.0), result(2, 2.0), result(3, 2.0)], 0.1)

    assert not found.is_slower
    assert not found.is_faster


def test_fewer_calls_at_the_knee_are_worse() -> None:
    knees = [result(at, 1.0, figures={"knee_calls": calls}) for at, calls in ((1, 400), (2, 300))]

    (found,) = changes(knees, 0.1)

    assert found.is_slower


def test_results_of_other_machines_and_settings_and_invalid_ones_are_not_compared() -> None:
    others = [
        result(1, 1.0, cpus=64),
        result(2, 1.0, settings={"sockets": 1000}),
        result(3, 1.0, valid=False),
    ]

    assert [] == changes([*others, result(4, 9.0)], 0.1)


def test_what_got_slower_is_printed_with_by_how_much(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in (result(1, 2.0), result(2, 3.0))))

    done = CliRunner().invoke(compare, [str(path)])

    assert 1 == done.exit_code
    assert "slower: peers gateway / do-nothing: 2 -> 3, 1.50 times (noise 10%)" in done.output


def test_nothing_slower_is_said_and_is_success(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(result(at, 2.0)) + "\n" for at in (1, 2)))

    done = CliRunner().invoke(compare, [str(path)])

    assert (0, "1 of 1 figures are as they were, within noise\n") == (done.exit_code, done.output)


def test_history_of_one_run_cannot_be_compared(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps(result(1, 2.0)) + "\n")

    done = CliRunner().invoke(compare, [str(path)])

    assert 69 == done.exit_code
    assert "has no two results" in done.output


def test_faster_figures_are_told_after_slower_ones() -> None:
    one = result(1, 1.0, figures={"a": 1.0, "b": 1.0, "c": 1.0})
    two = result(2, 1.0, figures={"a": 0.5, "b": 2.0, "c": 1.0})

    lines = table(changes([one, two], 0.1)).splitlines()

    assert ["slower: peers b", "faster: peers a"] == [
        line.split(":")[0] + ":" + line.split(":")[1] for line in lines[:2]
    ]
