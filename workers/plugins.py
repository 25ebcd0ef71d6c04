"""Processors and sinks by name: found through entry points, ours as a customer's.

A package offers its own in `pyproject.toml`:

    [project.entry-points."acs_ingest.processors"]
    my-processor = "my_package:MyProcessor"
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Generic, NamedTuple, TypeVar

from gateway.wire.topology import Pool
from workers.errors import ConfigError
from workers.metrics import CallsCounters
from workers.pipeline import NamedProcessor, NamedSink, Pipeline
from workers.processors.base import Place, Processor
from workers.sinks.base import Sink
from workers.tables import convert

PROCESSORS = "acs_ingest.processors"
SINKS = "acs_ingest.sinks"

Kind = TypeVar("Kind", Processor, Sink)


class Plugin(NamedTuple, Generic[Kind]):
    """A plug-in that is ready to be made for each call."""

    name: str
    make: type[Kind]
    settings: Any  # of `make.Settings`


def load_processor(name: str, table: Mapping[str, Any]) -> Plugin[Processor]:
    """The processor `name` with its settings from `[processors.NAME]`. Raises `ConfigError`."""
    return _load(PROCESSORS, "processors", Processor, name, table)


def load_sink(name: str, table: Mapping[str, Any]) -> Plugin[Sink]:
    """The sink `name` with its settings from `[sinks.NAME]`. Raises `ConfigError`."""
    return _load(SINKS, "sinks", Sink, name, table)


def pipelines(
    pool: Pool,
    place: Place,
    processors: Mapping[str, Mapping[str, Any]],
    sinks: Mapping[str, Mapping[str, Any]],
    counters: CallsCounters,
) -> Callable[[str, str | None], Pipeline]:
    """What opens a pipeline for each call of a pool. Raises `ConfigError`, now and not then."""
    stages = [load_processor(name, processors.get(name, {})) for name in pool.processors]
    outlets = [load_sink(name, sinks.get(name, {})) for name in pool.sinks]

    named_stages = [
        NamedProcessor(
            stage.name, partial(stage.make, stage.settings, place), stage.settings.on_error
        )
        for stage in stages
    ]
    named_outlets = [
        NamedSink(outlet.name, partial(outlet.make, outlet.settings, place)) for outlet in outlets
    ]

    def open_pipeline(call_id: str, correlation_id: str | None) -> Pipeline:
        return Pipeline(call_id, correlation_id, named_stages, named_outlets, counters)

    return open_pipeline


def _load(
    group: str, tables: str, base: type[Kind], name: str, table: Mapping[str, Any]
) -> Plugin[Kind]:
    path = f"{tables}.{name}"
    make = _find(group, path, name)
    if not (isinstance(make, type) and issubclass(make, base)):
        raise ConfigError(path, f"{make!r} is no subclass of workers.{base.__name__}")
    if not issubclass(make.Settings, base.Settings):
        raise ConfigError(path, f"its Settings do not inherit from {base.__name__}.Settings")
    return Plugin(name, make, convert(table, make.Settings, path))


def _find(group: str, path: str, name: str) -> object:
    found = entry_points(group=group, name=name)
    if not found:
        installed = ", ".join(sorted({entry.name for entry in entry_points(group=group)}))
        raise ConfigError(path, f"no such plug-in; installed are: {installed or 'none'}")
    targets = sorted({entry.value for entry in found})
    if len(targets) > 1:
        raise ConfigError(path, f"more than one package offers it: {', '.join(targets)}")
    try:
        return next(iter(found)).load()
    except Exception as fault:  # an import runs the plug-in's code, which may raise anything
        reason = f"cannot import {targets[0]}: {type(fault).__name__}: {fault}"
        raise ConfigError(path, reason) from fault
