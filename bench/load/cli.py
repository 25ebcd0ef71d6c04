"""The command line of the load benches."""

from __future__ import annotations

from pathlib import Path

import click

SERVERS = (
    "do-nothing",
    "gateway",
    "gateway-at-once",
    "gateway-no-log",
    "gateway-recorder",
    "quickstart",
)
DEFAULT = ("do-nothing", "gateway", "gateway-at-once", "gateway-no-log", "gateway-recorder")


@click.group()
def main() -> None:
    """Measure what a packet costs under a load of real sockets, on loopback."""


@main.command()
@click.option("--sockets", type=click.IntRange(1, 10_000), default=1000, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    help="Of load on one server in one round.",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option(
    "--server",
    "servers",
    type=click.Choice(SERVERS),
    multiple=True,
    default=DEFAULT,
    show_default=True,
    help="What to measure; may be repeated.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append the result to this file, one JSON object in a line.",
)
def front(
    *,
    sockets: int,
    seconds: float,
    rounds: int,
    servers: tuple[str, ...],
    json_path: Path | None,
) -> None:
    """CPU time of server processes for one packet, 50 packets a second on every socket.

    Every server has its own sockets; one is loaded at a time, in turn, round by round.

    Exit status: 0 done; 1 a round was invalid (packets lost, or the rig was late); 69 a server
    did not start, or there are too few descriptors.
    """
    from bench.load.processes import RigError
    from bench.load.report import result, table, write_line
    from bench.load.rounds import Settings, measure

    settings = Settings(sockets, seconds, rounds, tuple(dict.fromkeys(servers)))
    try:
        measured = measure(settings, lambda line: click.echo(line, err=True))
    except RigError as fault:
        click.echo(f"Error: {fault}", err=True)
        raise click.exceptions.Exit(69) from fault
    found = result(settings, measured)
    click.echo(table(found))
    if json_path is not None:
        write_line(json_path, found)
    if not found["valid"]:
        raise click.exceptions.Exit(1)
