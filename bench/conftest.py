"""What every bench of `micro` and `topology` is given, and the table that they end in."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.measure import Measure, Row
from bench.results import head, write_line

ROWS = pytest.StashKey[list[Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--history",
        type=Path,
        help="Append the ratios of each module to this file, as a line for `acs-ingest bench "
        "compare`.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.fixture
def measure(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Measure:
    """Call it with what to run and the number of packets that one call deals with."""
    return Measure(benchmark, request.config.stash[ROWS])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """us of CPU a packet, and how many times the baseline of the same module and run that is."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in config.stash[ROWS]:
        groups[row.group].append(row)
    for group, rows in groups.items():
        terminalreporter.write_line(f"\n{group}: us of CPU a packet")
        base = next((row.us for row in rows if row.is_baseline), None)
        for row in rows:
            ratio = f"{row.us / base:8.2f} x baseline" if base else ""
            terminalreporter.write_line(f"  {row.name:44} {row.us:8.3f}{ratio}")
        history: Path | None = config.getoption("--history")
        if history is not None and base:
            found = head(group.removeprefix("bench/").removesuffix(".py"), {})
            found["figures"] = {row.name: row.us / base for row in rows if not row.is_baseline}
            found["us"] = {row.name: row.us for row in rows}
            write_line(history, {**found, "valid": True})
