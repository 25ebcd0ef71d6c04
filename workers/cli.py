"""`acs-ingest worker`: one worker process of a pool."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from workers.errors import EX_CONFIG, EX_SOFTWARE, EX_UNAVAILABLE, ConfigError

log = logging.getLogger(__name__)


@click.command()
@click.option("--pool", "pool_name", required=True, help="Name of the worker's pool.")
@click.option(
    "--index", type=click.IntRange(0), default=0, show_default=True, help="Number in the pool."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    help="The node's data folder.",
)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="The configuration, TOML."
)
@click.option(
    "--parent-fd",
    type=click.IntRange(0),
    help="Read end of a pipe; leave, as on SIGTERM, when its other end is closed.",
)
def worker(
    *, pool_name: str, index: int, data: Path, config_path: Path | None, parent_fd: int | None
) -> None:
    """Run one worker of a pool until SIGTERM; a second signal ends it at once.

    It attaches to every gateway of the data folder, and leaves when they have released it.
    """
    # numpy's own threads would spin for nothing: our arrays are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from gateway.wire import logs
    from gateway.wire.layout import Layout
    from workers.config import load
    from workers.pools import build_worker

    logs.start(f"{pool_name}-{index}")
    if parent_fd is not None:
        _check_descriptor(parent_fd)
    try:
        running = build_worker(pool_name, index, Layout(data), load(config_path), parent_fd)
    except ConfigError as fault:
        _refuse(EX_CONFIG, str(fault))
    except OSError as fault:
        _refuse(EX_UNAVAILABLE, f"cannot use the data folder {data}: {fault.strerror or fault}")
    _drain_on_signals(running.drain)
    log.info("worker started")
    try:
        running.run()
    except Exception:  # our fault: said once, and the gateways replay
        log.exception("worker failed")
        sys.exit(EX_SOFTWARE)
    log.info("worker stopped")


def _check_descriptor(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        raise click.BadParameter(
            f"{descriptor} is no open descriptor", param_hint="--parent-fd"
        ) from None


def _refuse(code: int, reason: str) -> NoReturn:
    click.echo(f"acs-ingest worker: {reason}", err=True)
    sys.exit(code)


def _drain_on_signals(drain: Callable[[], None]) -> None:
    def on_signal(number: int, frame: FrameType | None) -> None:
        # The second one ends the process as if nobody had asked for more.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        drain()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
