"""The tables of the configuration that the workers own, from the one TOML file of a node.

Everything is checked while starting: what is refused is refused with the path to it.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.wire.topology import FINISH_POOL, RECORD_POOL, Pool, default_pools
from workers.errors import ConfigError
from workers.plugins import load_processor, load_sink
from workers.recordings.settings import RecordingSettings
from workers.tables import convert

__all__ = ["RecordingSettings", "WorkersConfig", "check", "load", "workers_config"]

#: Tables that this side decodes; `pools` is read by both sides of the bus.
TABLES = frozenset(("pools", "processors", "recording", "sinks"))
#: A pool's name stands in file names, process names and labels of metrics.
_POOL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

Table = Mapping[str, Any]


class WorkersConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What workers need of the configuration. Tables of plug-ins stay raw until they are loaded."""

    pools: dict[str, Pool]
    recording: RecordingSettings
    processors: dict[str, Table]
    sinks: dict[str, Table]


def load(path: Path | None) -> dict[str, Any]:
    """The whole document; an empty one without a file. Raises `ConfigError`."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else fault
        raise ConfigError(str(path), f"cannot be read: {reason}", is_file=True) from fault


def workers_config(document: Table) -> WorkersConfig:
    """Decode the tables that the workers own. Raises `ConfigError`."""
    recording = convert(_table(document, "recording"), RecordingSettings, "recording")
    return WorkersConfig(
        pools=_pools(_table(document, "pools")),
        recording=recording,
        processors=_tables(document, "processors"),
        sinks=_tables(document, "sinks"),
    )


def check(document: Table) -> set[str]:
    """Decode the tables and load every plug-in that they name; returns which tables those were.

    Raises `ConfigError`.
    """
    config = workers_config(document)
    pools = config.pools.values()
    for name in sorted({*config.processors, *(name for pool in pools for name in pool.processors)}):
        load_processor(name, config.processors.get(name, {}))
    for name in sorted({*config.sinks, *(name for pool in pools for name in pool.sinks)}):
        load_sink(name, config.sinks.get(name, {}))
    return set(TABLES & document.keys())


def _table(document: Table, name: str, within: str = "") -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{within}{name}", f"expected a table, got {type(table).__name__}")
    return table


def _tables(document: Table, name: str) -> dict[str, Table]:
    tables = _table(document, name)
    return {key: _table(tables, key, f"{name}.") for key in tables}


def _pools(tables: dict[str, Any]) -> dict[str, Pool]:
    """The default pools, changed and joined by those of the file."""
    pools = default_pools()
    for name in tables:
        if not _POOL_NAME.fullmatch(name):
            raise ConfigError(f"pools.{name}", "a name has up to 32 of a-z, 0-9, - and _")
        defaults = msgspec.structs.asdict(pools[name]) if name in pools else {}
        pools[name] = _pool(name, {**defaults, **_table(tables, name, "pools.")})
    return pools


def _pool(name: str, table: Table) -> Pool:
    path = f"pools.{name}"
    pool = convert(table, Pool, path)
    for key, least in (("processes", 0), ("queue_ms_max", 1), ("block_ms", 1), ("latency_ms", 0)):
        if getattr(pool, key) < least:
            raise ConfigError(f"{path}.{key}", f"must be {least} or more")
    if name in (RECORD_POOL, FINISH_POOL) and (pool.processors or pool.sinks):
        raise ConfigError(path, "this pool runs no plug-ins; give them a pool of their own")
    if name == RECORD_POOL and pool.delivery != "replay":
        raise ConfigError(f"{path}.delivery", "recordings need `replay`")
    return pool
