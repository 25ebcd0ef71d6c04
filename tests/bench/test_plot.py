import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.plot import plot

HEAD = {"bench": "peers", "at": "2026-01-01T00:00:00Z", "machine": {"cpu": "some"}, "settings": {}}
MEASURE = {
    "at_s": 1.0,
    "target": 50,
    "calls": 50,
    "age": {"p50_ms": 10.0, "p99_ms": 20.0, "p999_ms": None},
    "cpu": {"gateway-0": 0.5},
    "rig_shares": [0.1],
}


def stored(path: Path, *results: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps({**HEAD, "figures": {}, **each}) + "\n" for each in results))
    return path


@pytest.mark.parametrize(
    "result",
    [
        {"steps": [MEASURE], "figures": {"knee_calls": 50}},
        {"samples": [MEASURE, MEASURE], "steps": []},
        {"medians": {"gateway": {"server_us": 9.0}}},
        {"us": {"bench_parse": 1.0}},
    ],
    ids=["capacity", "run", "peers", "micro"],
)
def test_results_of_every_kind_are_drawn(tmp_path: Path, result: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib")
    path = stored(tmp_path / "results.jsonl", result)

    done = CliRunner().invoke(plot, [str(path)], catch_exceptions=False)

    assert 0 == done.exit_code
    assert "<svg" in (tmp_path / "results.svg").read_text()


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    path = stored(tmp_path / "results.jsonl", {"us": {"bench_parse": 1.0}})

    done = CliRunner().invoke(plot, [str(path)])

    assert 69 == done.exit_code
    assert "pip install 'acs-ingest[bench]'" in done.output


def test_line_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(plot, [str(stored(tmp_path / "results.jsonl", {})), "--line", "2"])

    assert 69 == done.exit_code
    assert "has 1 results" in done.output
