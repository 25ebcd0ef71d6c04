"""`acs-ingest bench peers`: this gateway and other servers, side by side in the same run."""

from __future__ import annotations

from pathlib import Path

import click

SERVERS = (
    "do-nothing",
    "quickstart",
    "aiohttp",
    "node-ws",
    "picows",
    "gateway",
    "gateway-at-once",
    "gateway-python",
    "gateway-python-at-once",
    "gateway-no-log",
    "gateway-recorder",
)


@click.command()
@click.option(
    "--sockets",
    type=click.IntRange(1, 10_000),
    default=(400,),
    multiple=True,
    show_default=True,
    help="May be repeated, from few to many: what cannot bear the next number is left out.",
)
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
    default=SERVERS,
    help="What to measure; may be repeated.  [default: all]",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append a result for each number of sockets to this file, one JSON object in a line.",
)
def peers(
    *,
    sockets: tuple[int, ...],
    seconds: float,
    rounds: int,
    servers: tuple[str, ...],
    json_path: Path | None,
) -> None:
    """CPU time of server processes for one packet, 50 packets a second on every socket.

    Every server has its own sockets; one is loaded at a time, in turn, round by round. Peers that
    are not installed here are left out.

    Exit status: 0 done; 1 a round was invalid (packets lost, or the rig was late); 69 a server
    did not start, or there are too few descriptors.
    """
    from bench.load.processes import RigError
    from bench.peers.report import result, table
    from bench.peers.rounds import Settings, measure, too_slow
    from bench.results import write_line

    left = _installed(servers)
    is_valid = True
    figures: dict[str, dict[str, float]] = {}
    for number in sorted(set(sockets)):
        for name, share in too_slow(figures, number).items():
            if name in left:
                left.remove(name)
                _say(f"{name} is left out: {number} sockets would need {share:.0%} of a CPU")
        settings = Settings(number, seconds, rounds, tuple(left))
        try:
            openings, turns = measure(settings, _say)
            found = result(settings, turns, openings)
        except RigError as fault:
            click.echo(f"Error: {fault}", err=True)
            raise click.exceptions.Exit(69) from fault
        click.echo(table(found))
        figures = found["medians"]
        is_valid = is_valid and found["valid"]
        if json_path is not None:
            write_line(json_path, found)
    if not is_valid:
        raise click.exceptions.Exit(1)


def _installed(servers: tuple[str, ...]) -> list[str]:
    from bench.peers.servers import missing

    left = []
    for name in dict.fromkeys(servers):
        why = missing(name)
        if why:
            _say(f"{name} is left out: {why}")
        else:
            left.append(name)
    return left


def _say(line: str) -> None:
    click.echo(line, err=True)
