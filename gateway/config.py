"""The configuration: one TOML file for a node. This side owns `[up] [gateway] [log] [pools.NAME]`.

Every key is described in `systemd/acs-ingest.toml`. The command line wins over the file.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from gateway.address import parse_address
from gateway.errors import ConfigError
from gateway.log.limits import LogLimits
from gateway.wire.messages import Delivery
from gateway.wire.topology import Pool, default_pools

#: Functions `check(document) -> names of the tables that it owns`, one for each side.
CHECKS_GROUP = "acs_ingest.checks"

#: Stands in file names, process names and labels.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
#: Names of processes that no pool may take.
_TAKEN_NAMES = frozenset(("gateway", "up"))

Document = Mapping[str, Any]
Name = Annotated[str, Meta(pattern=f"^{_NAME.pattern}$")]
#: Of timeouts on a socket.
Seconds = Annotated[float, Meta(ge=0.1, le=3600)]


class UpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[up]`: the parent process."""

    gateways: Annotated[int, Meta(ge=1, le=256)] = 1
    listen: str = "127.0.0.1:8080"
    data: Annotated[str, Meta(min_length=1)] = "data"
    admin: str = "127.0.0.1:9464"  # or `off`
    drain_s: Annotated[float, Meta(ge=1, le=86_400)] = 30.0


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[gateway]`: each front process."""

    name: Name = "gateway"
    flush_ms: Annotated[int, Meta(ge=1, le=1000)] = 20
    coalesce_ms_max: Annotated[int, Meta(ge=0, le=1000)] = 200
    sessions_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 5000
    memory_bytes_max: Annotated[int, Meta(ge=0)] = 0
    memory_free_min: Annotated[float, Meta(ge=0, le=0.9)] = 0.05
    lag_ms_max: Annotated[int, Meta(ge=0, le=60_000)] = 500
    bad_packets_run_max: Annotated[int, Meta(ge=1)] = 50
    streams_max: Annotated[int, Meta(ge=1, le=65_535)] = 256
    message_bytes_max: Annotated[int, Meta(ge=1024, le=65_536)] = 65_536
    handshake_s: Seconds = 5.0
    ping_s: Seconds = 20.0
    pong_s: Seconds = 20.0
    close_s: Seconds = 5.0
    tls_cert: str | None = None
    tls_key: str | None = None

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[log]`: what a gateway keeps until every `replay` worker has made it safe."""

    sync_ms: Annotated[int, Meta(ge=1, le=10_000)] = 50
    durability: Literal["power", "process"] = "power"
    segment_s: Annotated[float, Meta(ge=0.5, le=600)] = 4.0
    #: Further folders for when the data folder's disk takes nothing, in order.
    dirs: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    bytes_max: Annotated[int, Meta(ge=1024**2)] = LogLimits().bytes_max
    reserve_bytes: Annotated[int, Meta(ge=0)] = LogLimits().reserve_bytes
    retain_bytes_max: Annotated[int, Meta(ge=1024**2)] = LogLimits().retain_bytes_max

    @property
    def limits(self) -> LogLimits:
        """How much each gateway's log may hold."""
        return LogLimits(self.bytes_max, self.reserve_bytes, self.retain_bytes_max)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of this side, with defaults where the file says nothing."""

    up: UpSettings = UpSettings()
    gateway: GatewaySettings = GatewaySettings()
    log: LogSettings = LogSettings()
    pools: dict[str, Pool]


class _PoolTable(Pool, frozen=True, forbid_unknown_fields=True):
    """`Pool` with the bounds that a file must keep."""

    processes: Annotated[int, Meta(ge=0, le=256)] = 1
    delivery: Delivery = "newest"
    queue_ms_max: Annotated[int, Meta(ge=1, le=600_000)] = 2000
    block_ms: Annotated[int, Meta(ge=1, le=10_000)] = 20
    latency_ms: Annotated[int, Meta(ge=0, le=10_000)] = 20


Table = TypeVar("Table", bound=msgspec.Struct)


def load(path: Path | None) -> Config:
    """What `path` says; the defaults without one. Tables of other sides are not looked at.

    Raises `ConfigError`.
    """
    document = read(path)
    return _in_file(path, lambda: decode(document))


def load_checked(path: Path | None) -> Config:
    """`load`, after every side has checked its own tables and every table has an owner.

    Raises `ConfigError`.
    """
    document = read(path)
    config = _in_file(path, lambda: decode(document))
    owned = _in_file(path, lambda: check(document))
    for entry_point in entry_points(group=CHECKS_GROUP):
        owned |= _in_file(path, partial(entry_point.load(), document))
    for name in document:
        if name not in owned:
            raise ConfigError(f"{path}: [{name}]", "unknown table")
    return config


def check(document: Document) -> set[str]:
    """The names of the tables that this side owns, after decoding them. Raises `ConfigError`."""
    decode(document)
    return {"up", "gateway", "log", "pools"} & document.keys()


def read(path: Path | None) -> dict[str, Any]:
    """The whole document, undecoded; empty without a file. Raises `ConfigError`."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(str(path), f"cannot be read: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise ConfigError(str(path), f"is not UTF-8 text: {fault.reason}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(str(path), f"is not TOML: {fault}") from fault
    except RecursionError as fault:
        raise ConfigError(str(path), "is not TOML that we read: nested too deep") from fault


def decode(document: Document) -> Config:
    """The tables of this side. Raises `ConfigError`."""
    up = _table(document, "up", UpSettings)
    for key, text in (("listen", up.listen), ("admin", up.admin)):
        if text != "off" or key == "listen":
            _check_address(key, text)
    return Config(
        up=up,
        gateway=_table(document, "gateway", GatewaySettings),
        log=_table(document, "log", LogSettings),
        pools=_pools(document.get("pools", {})),
    )


def _check_address(key: str, text: str) -> None:
    try:
        parse_address(text)
    except ValueError as fault:
        raise ConfigError(f"[up] {key}", str(fault)) from fault


def _table(document: Document, name: str, kind: type[Table]) -> Table:
    return _convert(document.get(name, {}), kind, name)


def _pools(tables: object) -> dict[str, Pool]:
    """The default pools with what the file changes, and the pools that it adds."""
    pools = default_pools()
    if not isinstance(tables, dict):
        raise ConfigError("[pools]", f"Expected a table, got {type(tables).__name__}")
    for name, table in tables.items():
        path = f"pools.{name}"
        if not _NAME.fullmatch(name) or name in _TAKEN_NAMES:
            raise ConfigError(
                f"[{path}]", "a pool's name is 1 to 32 of a-z, 0-9, - and _; not `gateway` or `up`"
            )
        if not isinstance(table, dict):
            raise ConfigError(f"[{path}]", f"Expected a table, got {type(table).__name__}")
        defaults = msgspec.structs.asdict(pools[name]) if name in pools else {}
        checked = _convert({**defaults, **table}, _PoolTable, path)
        pools[name] = Pool(**msgspec.structs.asdict(checked))
    return pools


def _convert(table: object, kind: type[Table], path: str) -> Table:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as fault:
        raise _located(path, str(fault)) from fault


def _located(path: str, message: str) -> ConfigError:
    """A fault of msgspec (`REASON - at `$.KEY``) with the path that the operator knows."""
    reason, _, inner = message.partition(" - at `$")
    key = inner.rstrip("`").removeprefix(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", reason)
    if unknown:
        key, reason = unknown[1], "unknown key"
    reason = reason.replace("`", "").replace("object", "a table")
    return ConfigError(f"[{path}] {key}".rstrip(), reason)


Found = TypeVar("Found")


def _in_file(path: Path | None, decide: Callable[[], Found]) -> Found:
    """`decide()`, whose faults also name the file.

    Other sides have a `ConfigError` of their own, with the same two attributes.
    """
    try:
        return decide()
    except Exception as fault:
        place, reason = getattr(fault, "path", None), getattr(fault, "reason", None)
        if not isinstance(place, str) or not isinstance(reason, str):
            raise
        if not place.startswith("["):
            table, _, key = place.rpartition(".")
            place = f"[{table}] {key}" if table else f"[{key}]"
        raise ConfigError(f"{path}: {place}" if path else place, reason) from fault
