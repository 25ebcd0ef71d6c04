"""`acs-ingest simulate`: live calls as ACS makes them, without Azure and without a phone."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("url")
@click.option("--calls", type=click.IntRange(1, 20_000), default=1, show_default=True)
@click.option(
    "--participants", type=click.IntRange(1, 16), default=2, show_default=True, help="Of each call."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.02, 86_400),
    default=10,
    show_default=True,
    help="Length of each call.",
)
@click.option(
    "--rate", type=click.Choice(["16000", "24000"]), default="16000", show_default=True,
    help="Samples a second.",
)  # fmt: skip
@click.option("--mixed", is_flag=True, help="One stream of all participants, without their ids.")
@click.option(
    "--jitter-ms",
    type=click.FloatRange(0, 200),
    default=0,
    show_default=True,
    help="Send and stamp each packet up to so much early or late.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 1000),
    default=1.0,
    show_default=True,
    help="Send so many times faster than real time; stamps stay at real speed.",
)
@click.option("--dtmf", is_flag=True, help="Press a few keys in each call.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of voices, jitter and keys; call ids are always fresh.",
)
@click.option(
    "--audio",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="WAV or FLAC to speak, looped; may be repeated.  [default: synthetic voices]",
)
@click.option(
    "--verify",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare the recordings in this data folder with what was sent.",
)
@click.option(
    "--verify-timeout",
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    help="Seconds to wait for recordings to be finished.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--tls-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust the certificates in this PEM file.",
)
@click.option("--insecure-tls", is_flag=True, help="Do not check the server's certificate.")
def simulate(
    *,
    url: str,
    calls: int,
    participants: int,
    seconds: float,
    rate: str,
    mixed: bool,
    jitter_ms: float,
    speed: float,
    dtmf: bool,
    seed: int,
    audio: tuple[Path, ...],
    verify: Path | None,
    verify_timeout: float,
    as_json: bool,
    tls_ca: Path | None,
    insecure_tls: bool,
) -> None:
    """Dial URL (ws://HOST:PORT/PATH or wss://...) as ACS does and speak.

    Each call is a socket of its own: metadata, then 50 packets a second for every participant,
    then a proper close. With --verify the recordings are compared with what was sent, sample by
    sample.

    Exit status: 0 done; 1 a socket was refused or broken, or a recording differs; 2 usage; 69 the
    server cannot be reached.
    """
    from bench.simulator.calls import TICKS_A_SECOND, Scenario
    from bench.simulator.perform import Order, perform

    scenario = Scenario(
        calls=calls,
        participants=participants,
        ticks=max(round(seconds * TICKS_A_SECOND), 1),
        rate=int(rate),
        mixed=mixed,
        jitter_ms=jitter_ms,
        dtmf=dtmf,
        seed=seed,
    )
    order = Order(scenario, url, speed, audio, tls_ca, insecure_tls)
    click.get_current_context().exit(perform(order, verify, verify_timeout, as_json=as_json))
