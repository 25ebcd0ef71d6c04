"""`acs-ingest bench compare`: what has got slower, by stored results.

A result is compared with earlier ones of the same bench, settings and kind of machine. How far
those lie apart is noise, and so is less than --noise.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import click

from bench.results import HIGHER_IS_BETTER, Result, read_lines

HISTORY = Path(__file__).parent / "history"
EARLIER_MAX = 5
SLOWER, UNAVAILABLE = 1, 69


class Change(NamedTuple):
    """A figure of the last result, and the median of those before it."""

    bench: str
    figure: str
    before: float
    now: float
    #: How many times worse: 1.2 is 20 % slower, whether the figure should be low or high.
    worse: float
    noise: float

    @property
    def is_slower(self) -> bool:
        """Beyond noise."""
        return self.worse > 1 + self.noise

    @property
    def is_faster(self) -> bool:
        """Beyond noise."""
        return self.worse < 1 / (1 + self.noise)


def changes(results: Iterable[Result], noise: float) -> list[Change]:
    """Every figure of the last valid result of each kind that has earlier ones."""
    kinds: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda each: str(each["at"])):
        if result.get("valid", True):
            kinds.setdefault(_kind(result), []).append(result)
    found = []
    for alike in kinds.values():
        *earlier, last = alike
        for figure, now in last["figures"].items():
            values = [each["figures"][figure] for each in earlier if figure in each["figures"]]
            if values:
                found.append(_change(last["bench"], figure, values[-EARLIER_MAX:], now, noise))
    return found


def _kind(result: Result) -> str:
    machine = {name: result["machine"][name] for name in ("cpu", "cpus")}
    return json.dumps([result["bench"], result["settings"], machine], sort_keys=True)


def _change(bench: str, figure: str, values: list[float], now: float, noise: float) -> Change:
    before = statistics.median(values)
    spread = (max(values) - min(values)) / before if before else 0.0
    one, two = (before, now) if figure in HIGHER_IS_BETTER else (now, before)
    worse = one / two if two else (1.0 if one == two else float("inf"))
    return Change(bench, figure, before, now, worse, max(noise, spread))


def table(found: list[Change]) -> str:
    """What is slower, the worst first; what is faster; and how many figures are as they were."""
    slower = sorted((each for each in found if each.is_slower), key=lambda each: -each.worse)
    faster = sorted((each for each in found if each.is_faster), key=lambda each: each.worse)
    lines = [f"slower: {_line(each)}" for each in slower]
    lines += [f"faster: {_line(each)}" for each in faster]
    same = len(found) - len(slower) - len(faster)
    return "\n".join([*lines, f"{same} of {len(found)} figures are as they were, within noise"])


def _line(change: Change) -> str:
    return (
        f"{change.bench} {change.figure}: {change.before:.3g} -> {change.now:.3g}, "
        f"{change.worse:.2f} times (noise {change.noise:.0%})"
    )


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=HISTORY)
@click.option(
    "--noise",
    type=click.FloatRange(0, 10),
    default=0.1,
    show_default=True,
    help="Changes of less do not count; 0.1 is 10 %.",
)
def compare(*, path: Path, noise: float) -> None:
    """Compare the last results in PATH with those before them.

    PATH is a file of JSON lines, as `--json` and `--history` write them, or a folder of *.jsonl.
    [default: bench/history of the checkout]

    Exit status: 0 nothing is slower; 1 something is; 69 there is nothing to compare.
    """
    try:
        found = changes(read_lines(path), noise)
    except (OSError, ValueError) as fault:
        raise _Unavailable(str(fault)) from fault
    if not found:
        raise _Unavailable(f"{path} has no two results of one bench with the same settings")
    click.echo(table(found))
    if any(change.is_slower for change in found):
        raise click.exceptions.Exit(SLOWER)


class _Unavailable(click.ClickException):
    exit_code = UNAVAILABLE
