"""`acs-ingest bench schedules`: many worlds, or one of them again."""

from __future__ import annotations

import os
import sys
import time

import click

#: How many failing seeds are told in full; of the others only the number.
TOLD_MAX = 3


@click.command()
@click.option("--count", default=1000, show_default=True, type=click.IntRange(1), help="Schedules.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="The first one.")
@click.option(
    "--processes", type=click.IntRange(1), help="How many run at a time.  [default: one per CPU]"
)
@click.option("--replay", metavar="SEED", type=click.IntRange(0), help="Play this one and tell it.")
def schedules(count: int, seed: int, processes: int | None, replay: int | None) -> None:
    """Play whole nodes by a clock of their own: kills, pauses, lost messages, bad disks.

    Afterwards every packet that a gateway has read must be in its recording once, or the recording
    must say where it is missing. Exit status 1 where one is not.
    """
    if replay is not None:
        sys.exit(_replay(replay))
    sys.exit(_play(range(seed, seed + count), processes or len(os.sched_getaffinity(0))))


def _replay(seed: int) -> int:
    from bench.schedules.run import play, told

    outcome = play(seed)
    if outcome.faults:
        click.echo(told(outcome))
        return 1
    for at_us, who, what in outcome.trace:
        click.echo(f"  {at_us / 1e6:10.6f}  {who:<12} {what}")
    click.echo(f"seed {seed} holds (trace {outcome.digest})")
    return 0


def _play(seeds: range, processes: int) -> int:
    from bench.schedules.run import play_all, told

    began_s = time.monotonic()
    failed: list[int] = []
    packets = missing = 0
    for done, outcome in enumerate(play_all(seeds, processes), 1):
        packets += outcome.packets
        missing += outcome.missing
        if outcome.faults:
            failed.append(outcome.seed)
            if len(failed) <= TOLD_MAX:
                click.echo(("\r" if sys.stderr.isatty() else "") + told(outcome))
        if sys.stderr.isatty() and (done % 50 == 0 or done == len(seeds)):
            rate = done / (time.monotonic() - began_s)
            progress = (
                f"\r{done} of {len(seeds)} schedules, {rate:.0f} a second, {len(failed)} failed"
            )
            click.echo(progress, err=True, nl=done == len(seeds))
    length_s = time.monotonic() - began_s
    click.echo(
        f"{len(seeds)} schedules in {length_s:.0f} s ({len(seeds) / length_s:.0f} a second, "
        f"{processes} at a time): {packets} packets read, {missing} of them in nothing that was "
        f"safe when their process died or the disk was full; {len(failed)} schedules failed"
    )
    if failed:
        click.echo("failed: " + " ".join(map(str, sorted(failed))))
    return 1 if failed else 0
