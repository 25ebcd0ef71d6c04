"""`acs-ingest bench run`: a scenario against a real node, on loopback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import click

from bench.load.scenarios import SCENARIOS

if TYPE_CHECKING:
    from bench.load.run import Settings

INVALID, UNAVAILABLE = 1, 69
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class Options(TypedDict):
    """What the command line gives; None: as the scenario says."""

    calls: int | None
    participants: int | None
    seconds: float | None
    call_s: float | None
    ages: str | None
    gateways: int
    live_workers: int
    rigs: int
    steps: int
    verify: int
    verify_timeout: float
    age_p99_ms: float | None
    process_share: float
    data: Path | None
    json_path: Path | None


def _scenarios() -> str:
    width = max(map(len, SCENARIOS))
    lines = [f"  {name:<{width}}  {each.about}" for name, each in SCENARIOS.items()]
    return "\n".join(["\b", "Scenarios:", *lines])


HELP = f"""Play a scenario against a node of its own, on loopback, and say what it is worth.

{_scenarios()}

Exit status: 0 valid, and no limit was broken (`capacity` looks for the limit); 1 the run does not
count, or a limit was broken; 69 it cannot be run here.
"""


@click.command(help=HELP)
@click.argument("name", type=click.Choice(list(SCENARIOS)), metavar="NAME")
@click.option("--calls", type=click.IntRange(1, 20_000), help="Of a step, with `capacity`.")
@click.option("--participants", type=click.IntRange(1, 16), help="Of each call.")
@click.option("--seconds", type=click.FloatRange(0.1, 1e6), help="Measured; of each step.")
@click.option("--call-s", type=click.FloatRange(0.1, 3600), help="Length of calls of `churn`.")
@click.option(
    "--ages",
    type=click.Choice(["live", "recording"]),
    help="Where frame age is taken: a processor that bears 20 ms, or a worker that bears 200.",
)
@click.option("--gateways", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--live-workers", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option(
    "--rigs",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Processes of the generator.",
)
@click.option(
    "--steps", type=click.IntRange(1), default=100, show_default=True, help="Of `capacity`."
)
@click.option(
    "--verify",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Compare the recordings of so many calls, chosen by chance, with what was sent.",
)
@click.option("--verify-timeout", type=click.FloatRange(1), default=120, show_default=True)
@click.option("--age-p99-ms", type=float, help="Limit.  [default: 100, with --ages recording 400]")
@click.option(
    "--process-share",
    type=float,
    default=0.95,
    show_default=True,
    help="Limit: of one CPU, each process.",
)
@click.option("--data", type=_FOLDER, help="Where the node's data may lie meanwhile.")
@click.option("--json", "json_path", type=_FILE, help="Append the result to this file, as a line.")
def run(name: str, **options: Unpack[Options]) -> None:
    """See `HELP`."""
    from bench.load.processes import RigError
    from bench.load.run import run as play
    from bench.load.show import Show, table
    from bench.results import write_line

    show = Show()
    try:
        found = play(_settings(name, options), show)
    except RigError as fault:
        raise _Unavailable(str(fault)) from fault
    finally:
        show.close()
    click.echo(table(found))
    if options["json_path"] is not None:
        write_line(options["json_path"], found)
    if not found["valid"] or found["broken"]:
        raise click.exceptions.Exit(INVALID)


class _Unavailable(click.ClickException):
    exit_code = UNAVAILABLE


def _settings(name: str, options: Options) -> Settings:
    from bench.load.run import Settings

    given: dict[str, Any] = {
        key: options[key]
        for key in ("calls", "participants", "seconds", "call_s", "ages")
        if options[key] is not None
    }
    return Settings(
        replace(SCENARIOS[name], **given),
        gateways=options["gateways"],
        rigs=options["rigs"],
        live_workers=options["live_workers"],
        steps=options["steps"],
        verify=options["verify"],
        verify_s=options["verify_timeout"],
        age_p99_ms=options["age_p99_ms"],
        process_share=options["process_share"],
        folder=options["data"],
    )
