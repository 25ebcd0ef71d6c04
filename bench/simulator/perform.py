"""One run of `acs-ingest simulate`: the calls, the check, what is printed, the exit status."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import uvloop

from bench.simulator.calls import Scenario
from bench.simulator.drive import CallOutcome, End, Run
from bench.simulator.peer import Unreachable, origin_of, parse_url
from bench.simulator.summary import Facts, check_facts, check_table, run_facts, run_table
from bench.simulator.verify import verify
from bench.simulator.voices import VoiceError, Voices, synthetic_voices, voices_of_files

DONE, DIFFERENT, UNAVAILABLE = 0, 1, 69
#: Descriptors that the process needs besides its sockets.
SPARE_DESCRIPTORS = 64
PROGRESS_S = 0.2


@dataclass(frozen=True, slots=True)
class Order:
    """What to play, and to whom."""

    scenario: Scenario
    url: str
    speed: float = 1.0
    #: Files to speak; none: synthetic voices.
    audio: tuple[Path, ...] = ()
    tls_ca: Path | None = None
    is_tls_insecure: bool = False


def perform(order: Order, data: Path | None, verify_s: float, *, as_json: bool) -> int:
    """Play the calls, check them against the recordings in `data` if given, print what came of it.

    Returns the exit status; raises click's UsageError for what the user gave wrongly.
    """
    try:
        uri = parse_url(order.url)
    except ValueError:
        raise click.UsageError("URL is not a ws:// or wss:// URL.") from None
    tls = _tls_context(order, is_secure=uri.secure)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = order.scenario.calls + SPARE_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and limit < needed:
        _say(f"{order.scenario.calls} calls need {needed} open files, the limit is {limit}: "
             f"raise it with `ulimit -n {needed}`")  # fmt: skip
        return UNAVAILABLE
    run = Run(uri, tls, order.scenario, _voices(order), order.speed)
    began_s = time.monotonic()
    try:
        outcomes = uvloop.run(_play(run))
    except Unreachable as error:
        _say(f"no server at {origin_of(uri)}: {error}. Start one with `acs-ingest up`")
        return UNAVAILABLE
    facts = run_facts(outcomes, run.lateness, time.monotonic() - began_s)
    if not as_json:
        click.echo(run_table(facts))
    if run.lateness.is_generator_limited:
        click.echo(
            "Warning: packets were sent late by this process, not by the server: the generator was "
            "the limit; use fewer calls or a faster machine",
            err=True,
        )
    is_right = all(outcome.end is End.DONE for outcome in outcomes)
    if data is not None:
        is_right = _check(run, outcomes, data, verify_s, facts, as_json=as_json) and is_right
    if as_json:
        click.echo(json.dumps(facts))
    return DONE if is_right else DIFFERENT


def _check(
    run: Run,
    outcomes: list[CallOutcome],
    data: Path,
    verify_s: float,
    facts: Facts,
    *,
    as_json: bool,
) -> bool:
    """Add what the check found to `facts`, or print it; returns whether all was right."""
    try:
        reports = verify(outcomes, run.voices, data, verify_s)
    except KeyboardInterrupt:
        _say("interrupted: the recordings were not checked to the end")
        return False
    if as_json:
        facts["verify"] = check_facts(reports)
    elif reports:
        click.echo(f"\n{check_table(reports)}")
    if not reports:
        _say("there was nothing to verify: no call sent audio")
    return bool(reports) and all(report.is_right for report in reports)


async def _play(run: Run) -> list[CallOutcome]:
    """Play the run: SIGINT and SIGTERM end its calls properly; a terminal sees its progress."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, run.stop)
    watching = asyncio.create_task(_show_progress(run)) if sys.stderr.isatty() else None
    try:
        return await run.play()
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        for number in signals:
            loop.remove_signal_handler(number)


async def _show_progress(run: Run) -> None:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    scenario = run.scenario
    streams = 1 if scenario.mixed else scenario.participants
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} packets"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        bar = progress.add_task("", total=scenario.calls * scenario.ticks * streams)
        while True:
            text = f"{run.over} of {scenario.calls} calls over"
            progress.update(bar, completed=run.packets_sent, description=text, refresh=True)
            await asyncio.sleep(PROGRESS_S)


def _voices(order: Order) -> Voices:
    scenario = order.scenario
    if not order.audio:
        return synthetic_voices(scenario.rate, scenario.seed)
    try:
        return voices_of_files(order.audio, scenario.rate, scenario.seed)
    except VoiceError as error:
        raise click.UsageError(f"--audio: {error}.") from None


def _tls_context(order: Order, *, is_secure: bool) -> ssl.SSLContext | None:
    if order.tls_ca is not None and order.is_tls_insecure:
        raise click.UsageError("--tls-ca and --insecure-tls exclude one another.")
    if not is_secure:
        if order.tls_ca is not None or order.is_tls_insecure:
            raise click.UsageError("--tls-ca and --insecure-tls are for wss:// only.")
        return None
    try:
        context = ssl.create_default_context(cafile=order.tls_ca)
    except ssl.SSLError:
        raise click.UsageError(f"--tls-ca: {order.tls_ca} holds no certificate.") from None
    if order.is_tls_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _say(text: str) -> None:
    click.echo(f"Error: {text}", err=True)
