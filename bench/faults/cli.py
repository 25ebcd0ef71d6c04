"""`acs-ingest bench faults`: real processes, a schedule of faults, an independent checker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.faults.schedule import CLASSES

if TYPE_CHECKING:
    from bench.results import Result

DIFFERENT, UNAVAILABLE = 1, 69
_CLASSES = "\n".join(f"  {name:<16} {about}" for name, about in CLASSES.items())
HELP = f"""Break a node of real processes by a schedule, and compare what it records with what was
sent.

\b
Classes of faults:
{_CLASSES}

Exit status: 0 no differences; 1 differences; 69 it cannot be run here.
"""


@click.command(help=HELP)
@click.option(
    "--minutes",
    type=click.FloatRange(0.01, 1440),
    default=1.0,
    show_default=True,
    help="Of faults.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of schedule and calls.")
@click.option("--calls", type=click.IntRange(1, 1000), default=24, show_default=True)
@click.option(
    "--class",
    "classes",
    type=click.Choice(list(CLASSES)),
    multiple=True,
    help="May be repeated.  [default: all]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append the part to this file, one JSON object in a line; the table sums all of them.",
)
@click.option("--resume", is_flag=True, help="Go on with the part after the seed's last in --out.")
@click.option("--part", type=click.IntRange(0), help="Play this part of the seed.  [default: 0]")
def faults(
    *,
    minutes: float,
    seed: int,
    calls: int,
    classes: tuple[str, ...],
    out: Path | None,
    resume: bool,
    part: int | None,
) -> None:
    """See `HELP`."""
    from bench.faults.report import table, total
    from bench.faults.run import Settings, Stage, run_part
    from bench.faults.show import Show
    from bench.load.processes import RigError
    from bench.results import write_line

    if resume and out is None:
        raise click.UsageError("--resume needs --out")
    earlier = _earlier(out)
    if part is None:
        part = _next_part(earlier, seed) if resume else 0
    settings = Settings(seed, minutes * 60, calls, classes or tuple(CLASSES))
    stage = Stage(settings.classes)
    show = Show()
    try:
        found = run_part(settings, part, stage, show.say)
    except (RigError, OSError) as fault:
        raise _Unavailable(str(fault)) from fault
    finally:
        show.close()
    if out is not None:
        write_line(out, found)
    click.echo(table(total([*earlier, found])))
    if found["differences"]:
        click.echo(_told(found))
        raise click.exceptions.Exit(DIFFERENT)


class _Unavailable(click.ClickException):
    exit_code = UNAVAILABLE


def _earlier(out: Path | None) -> list[Result]:
    from bench.results import read_lines

    if out is None or not out.exists():
        return []
    try:
        return [found for found in read_lines(out) if found["bench"] == "faults"]
    except ValueError as fault:
        raise click.UsageError(str(fault)) from fault


def _next_part(earlier: list[Result], seed: int) -> int:
    parts = [each["settings"]["part"] for each in earlier if each["settings"]["seed"] == seed]
    return max(parts, default=-1) + 1


def _told(found: Result) -> str:
    """What differs, and how to have it again."""
    settings = found["settings"]
    lines = []
    for each in found["differences"]:
        who = f"call {each['call_id']}" if each["call_id"] else "the node"
        lines += [f"{who}: {text}" for text in each["faults"]]
    again = f"acs-ingest bench faults --minutes {settings['seconds'] / 60:g}"
    again += f" --seed {settings['seed']} --part {settings['part']} --calls {settings['calls']}"
    if len(settings["classes"]) < len(CLASSES):
        again += "".join(f" --class {name}" for name in settings["classes"])
    return "\n".join([*lines, f"evidence: {found['evidence']}", f"again: {again}"])
