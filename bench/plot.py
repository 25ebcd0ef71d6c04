"""`acs-ingest bench plot`: a stored result as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.results import Result, read_lines

UNAVAILABLE = 69
PERCENTILES = (("p50", "p50_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms"))
Axes = Any  # of matplotlib, which is imported only where something is drawn


@click.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SVG, PNG or PDF, by its name.  [default: PATH with .svg]",
)
@click.option(
    "--line", type=click.IntRange(1), help="Which result of the file.  [default: the last]"
)
def plot(*, path: Path, out: Path | None, line: int | None) -> None:
    """Draw a result that `--json` or `--history` has written.

    Needs matplotlib, which comes with `acs-ingest[bench]`.
    """
    try:
        results = list(read_lines(path))
    except (OSError, ValueError) as fault:
        raise _Unavailable(str(fault)) from fault
    if not results or (line or 1) > len(results):
        raise _Unavailable(f"{path} has {len(results)} results")
    out = out or path.with_suffix(".svg")
    draw(results[line - 1 if line else -1], out)
    click.echo(out)


class _Unavailable(click.ClickException):
    exit_code = UNAVAILABLE


def draw(result: Result, out: Path) -> None:
    """Into a file. Raises `ClickException` without matplotlib."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as fault:
        raise _Unavailable(
            "matplotlib is not installed: pip install 'acs-ingest[bench]'"
        ) from fault
    parts = _parts(result)
    figure = Figure(figsize=(9, 3 * len(parts)), layout="constrained")
    figure.suptitle(f"{result['bench']}, {result['at']}, {result['machine']['cpu']}")
    for axes, part in zip(figure.subplots(len(parts), squeeze=False)[:, 0], parts, strict=True):
        part(axes, result)
        axes.grid(alpha=0.3)
    figure.savefig(out)


def _parts(result: Result) -> list[Callable[[Axes, Result], None]]:
    if result.get("steps"):
        return [_step_ages, _step_cpu]
    if result.get("samples"):
        return [_sample_ages, _sample_cpu, _sample_calls]
    return [_bars]


def _step_ages(axes: Axes, result: Result) -> None:
    calls = [step["target"] for step in result["steps"]]
    _draw_ages(axes, calls, result["steps"])
    axes.set_xlabel("calls")
    axes.axvline(result["figures"]["knee_calls"], linestyle=":", color="black")


def _step_cpu(axes: Axes, result: Result) -> None:
    _draw_cpu(axes, [step["target"] for step in result["steps"]], result["steps"])
    axes.set_xlabel("calls")


def _sample_ages(axes: Axes, result: Result) -> None:
    _draw_ages(axes, _times(result), result["samples"])


def _sample_cpu(axes: Axes, result: Result) -> None:
    _draw_cpu(axes, _times(result), result["samples"])


def _sample_calls(axes: Axes, result: Result) -> None:
    axes.plot(_times(result), [sample["calls"] for sample in result["samples"]])
    axes.set_xlabel("s")
    axes.set_ylabel("calls")


def _times(result: Result) -> list[float]:
    return [sample["at_s"] for sample in result["samples"]]


def _draw_ages(axes: Axes, at: list[float], measures: list[Result]) -> None:
    for label, name in PERCENTILES:
        ages = [
            float("nan") if each["age"][name] is None else each["age"][name] for each in measures
        ]
        axes.plot(at, ages, marker=".", label=label)
    axes.set_ylabel("frame age, ms")
    axes.legend()


def _draw_cpu(axes: Axes, at: list[float], measures: list[Result]) -> None:
    names = sorted({name for each in measures for name in each["cpu"]} - {"up"})
    for name in names:
        axes.plot(at, [100 * each["cpu"].get(name, 0.0) for each in measures], label=name)
    rigs = [100 * max(each["rig_shares"]) for each in measures]
    axes.plot(at, rigs, linestyle="--", color="grey", label="busiest rig")
    axes.set_ylabel("% of a CPU")
    axes.legend()


def _bars(axes: Axes, result: Result) -> None:
    """us of CPU for a packet, or what figures there are."""
    medians = {name: of["server_us"] for name, of in result.get("medians", {}).items()}
    bars = medians or result.get("us") or result["figures"]
    axes.barh(list(bars), list(bars.values()))
    axes.invert_yaxis()
    axes.set_xlabel("us of CPU for a packet" if bars is not result["figures"] else "")
