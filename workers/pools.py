"""What the workers of each pool are made of: the one place that knows all the parts."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from gateway.bus.rendezvous import live_endpoints
from gateway.bus.zmq import ZmqSpokes
from gateway.wire.counters import Series, Snapshot, publish
from gateway.wire.layout import Layout, make_private
from gateway.wire.topology import FINISH_POOL, RECORD_POOL, Pool
from workers.calls import Calls
from workers.config import Table, WorkersConfig, workers_config
from workers.errors import ConfigError
from workers.links import Consumer, WorkerIdentity
from workers.metrics import CallsCounters, LinkCounters, series
from workers.plugins import pipelines
from workers.processors.base import Place
from workers.worker import RoundsWorker, Worker, unix_us


class CountingConsumer(Consumer, Protocol):
    """A consumer, and its figures: a dataclass of integers."""

    @property
    def counters(self) -> object: ...


@runtime_checkable
class Storing(Protocol):
    """What needs a disk."""

    def storage_fault(self) -> str:
        """What is wrong with it; empty if nothing is."""


def build_worker(
    pool_name: str, index: int, layout: Layout, document: Table, parent_fd: int | None = None
) -> Worker | RoundsWorker:
    """A worker of a pool, ready to run. Raises `ConfigError`, and OSError of the data folder."""
    config = workers_config(document)
    if pool_name not in config.pools:
        raise ConfigError(f"pools.{pool_name}", f"no such pool; there are {sorted(config.pools)}")
    make_private(layout.run)
    reporter = Reporter(pool_name, index, layout)
    if pool_name == FINISH_POOL:
        return _finish(config, layout, reporter, parent_fd)
    pool = config.pools[pool_name]
    consumer = build_consumer(pool_name, pool, config, layout)
    if isinstance(consumer, Storing):
        reporter.storage_fault = consumer.storage_fault
    counters = LinkCounters()
    prefix = "recorder" if pool_name == RECORD_POOL else "calls"
    reporter.figures = [("worker", counters), (prefix, consumer.counters)]
    return Worker(
        layout,
        WorkerIdentity(
            pool_name,
            f"{pool_name}-{index}",
            secrets.token_hex(8),
            latency_ms=pool.latency_ms,
            delivery=pool.delivery,
        ),
        consumer,
        ZmqSpokes(),
        counters=counters,
        report=reporter,
        parent_fd=parent_fd,
    )


def build_consumer(
    pool_name: str, pool: Pool, config: WorkersConfig, layout: Layout
) -> CountingConsumer:
    """What a pool does with batches. Raises `ConfigError`, OSError."""
    if pool_name == RECORD_POOL:
        from workers.recorder import Recorder  # noqa: PLC0415 - no other pool needs it

        return Recorder(layout.recordings, config.recording)
    counters = CallsCounters()
    place = Place(data=layout.data, pool=pool_name)
    opener = pipelines(pool, place, config.processors, config.sinks, counters)
    return Calls(opener, counters, block_ms=pool.block_ms, has_sinks=bool(pool.sinks))


def _finish(
    config: WorkersConfig, layout: Layout, reporter: "Reporter", parent_fd: int | None
) -> RoundsWorker:
    from workers.recordings.finish import FinishLoop  # noqa: PLC0415 - no other pool needs it
    from workers.recordings.orphans import Orphans  # noqa: PLC0415

    orphans = Orphans(layout.recordings, lambda: gateways_to_come(layout))
    finish = FinishLoop(layout.recordings, config.recording, orphans=orphans)
    reporter.figures = [("finish", finish.counters)]
    reporter.storage_fault = finish.storage_fault
    return RoundsWorker(
        # Nobody dials again into a node that stops: what waits for that is finished now.
        lambda now_us, is_draining: finish.turn(now_us, drain=is_draining),
        report=reporter,
        parent_fd=parent_fd,
    )


def gateways_to_come(layout: Layout) -> set[str]:
    """Boot ids of the gateways that live, or whose log is still to be delivered.

    Raises OSError where that cannot be told just now.
    """
    gateways = _folders(layout.log)
    # Without its lock a folder is what a removal that was cut short has left.
    logs = {log.name for each in gateways for log in _folders(each) if (log / "lock").exists()}
    return logs | live_endpoints(layout).keys()


def _folders(parent: Path) -> list[Path]:
    # Not `Path.glob`, which takes a folder that cannot be read for an empty one.
    try:
        return [parent / name for name in os.listdir(parent)]
    except (FileNotFoundError, NotADirectoryError):
        return []


class Reporter:
    """Publishes a worker's figures and readiness for the node's metrics."""

    def __init__(self, pool: str, index: int, layout: Layout) -> None:
        self._pool = pool
        self._index = index
        self._folder = layout.metrics
        #: (prefix of the names, a dataclass of counters).
        self.figures: list[tuple[str, object]] = []
        self.storage_fault: Callable[[], str] = str
        self.failures = 0

    def __call__(self, worker: Worker | RoundsWorker) -> None:
        reason = worker.not_ready or self.storage_fault()
        snapshot = Snapshot(
            process=f"{self._pool}-{self._index}",
            role="worker",
            pool=self._pool,
            index=self._index,
            pid=os.getpid(),
            at_us=unix_us(),
            ready=not reason,
            reason=reason,
            series=self._series(),
        )
        try:
            publish(self._folder, snapshot)
        except OSError:
            self.failures += 1  # a full disk; the next report says so, once there is room

    def _series(self) -> list[Series]:
        found = [figure for prefix, counters in self.figures for figure in series(prefix, counters)]
        failures = Series(
            name="worker_report_failures",
            kind="counter",
            help="Reports that could not be written.",
            value=self.failures,
        )
        return [*found, failures]
