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
@click.option("--pool", "pool_name", help="Name of the worker's pool.")
@click.option(
    "--index", type=click.IntRange(0), default=0, show_default=True, help="Number in the pool."
)
@click.option(
    "--instance", metavar="POOL-INDEX", help="Both in one, as units of systemd are named."
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
    *,
    pool_name: str | None,
    index: int,
    instance: str | None,
    data: Path,
    config_path: Path | None,
    parent_fd: int | None,
) -> None:
    """Run one worker of a pool until SIGTERM; a second signal ends it at once.

    SIGUSR1: leave, for another process is there in its place.

    It attaches to every gateway of the data folder, and leaves when they have released it.
    """
    # numpy's own threads would spin for nothing: our arrays are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from gateway.wire import logs
    from gateway.wire.layout import Layout
    from workers.config import load
    from workers.pools import build_worker

    pool_name, index = _place(pool_name, index, instance)
    logs.start(f"{pool_name}-{index}")
    if parent_fd is not None:
        _check_descriptor(parent_fd)
    try:
        running = build_worker(pool_name, index, Layout(data), load(config_path), parent_fd)
    except ConfigError as fault:
        _refuse(
            EX_CONFIG, str(fault) if fault.is_file or not config_path else f"{config_path}: {fault}"
        )
    except OSError as fault:
        _refuse(EX_UNAVAILABLE, f"cannot use the data folder {data}: {fault.strerror or fault}")
    _drain_on_signals(running.drain)
    signal.signal(signal.SIGUSR1, lambda number, frame: running.retire())
    log.info("worker started")
    try:
        running.run()
    except Exception:  # our fault: said once, and the gateways replay
        log.exception("worker failed")
        sys.exit(EX_SOFTWARE)
    log.info("worker stopped")


def _place(pool: str | None, index: int, instance: str | None) -> tuple[str, int]:
    """Pool and index, from their own options or from `record-0`."""
    if instance is not None:
        pool, _, number = instance.rpartition("-")
        if not pool or not (number.isascii() and number.isdigit()):
            raise click.BadParameter("expected POOL-INDEX, as in record-0", param_hint="--instance")
        return pool, int(number)
    if pool is None:
        raise click.UsageError("Missing option '--pool'.")
    return pool, index


def _check_descriptor(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        raise click.BadParameter(
            f"{descriptor} is no open descriptor", param_hint="--parent-fd"
        ) from None


def _refuse(code: int, reason: str) -> NoReturn:
    click.echo(f"Error: {reason}", err=True)
    sys.exit(code)


def _drain_on_signals(drain: Callable[[], None]) -> None:
    def on_signal(number: int, frame: FrameType | None) -> None:
        # The second one ends the process as if nobody had asked for more.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        drain()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
