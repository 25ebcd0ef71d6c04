"""The node's admin address: `/healthz`, `/readyz`, `/metrics`. Shows state, changes nothing."""

import platform
import socket
from collections.abc import Callable, Iterable
from importlib.metadata import version

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

from gateway.up.state import State
from gateway.wire.counters import Snapshot

PREFIX = "acs_ingest_"


class Admin:
    """An HTTP server on a socket that listens already; it closes the socket."""

    def __init__(self, listener: socket.socket, state: Callable[[], State]) -> None:
        """`state()` is asked at each request."""
        self._listener = listener
        self._state = state
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Answer from now on."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    async def close(self) -> None:
        """Stop answering."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._listener.close()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        faults = self._state().faults()
        if faults:
            return web.Response(status=503, text="".join(f"{fault}\n" for fault in faults))
        return web.Response(text="ok\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        page = generate_latest(_Families(families(self._state())))  # type: ignore[arg-type]
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Families:
    """What `generate_latest` asks of a registry."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def families(state: State) -> list[Metric]:
    """Everything that the node counts; each process's figures with the label `process`."""
    found: dict[str, Metric] = {}
    _add_own(found, state)
    for snapshot in state.snapshots.values():
        _add_snapshot(found, snapshot)
    return list(found.values())


def _add_own(found: dict[str, Metric], state: State) -> None:
    build = {"version": version("acs-ingest"), "python": platform.python_version()}
    _add(found, "build_info", "gauge", "Version of the software; always 1.", build, 1)
    restarts: dict[tuple[str, str], int] = {}
    for child in state.children:
        role, pool = child.place.role, child.place.pool or ""
        labels = {"process": child.place.name, "role": role, "pool": pool}
        _add(found, "up", "gauge", "Whether the process lives.", labels, child.pid is not None)
        restarts[role, pool] = restarts.get((role, pool), 0) + child.restarts
    text = "Processes that were started again."
    for (role, pool), number in restarts.items():
        _add(found, "restarts", "counter", text, {"role": role, "pool": pool}, number)


def _add_snapshot(found: dict[str, Metric], snapshot: Snapshot) -> None:
    process = {"process": snapshot.process}
    text = "Whether the process says that it is ready."
    _add(found, "ready", "gauge", text, process, snapshot.ready)
    for series in snapshot.series:
        labels = {**series.labels, **process}
        _add(found, series.name, series.kind, series.help, labels, series.value)


def _add(
    found: dict[str, Metric], name: str, kind: str, text: str, labels: dict[str, str], value: float
) -> None:
    name = PREFIX + name
    family = found.setdefault(name, Metric(name, text, kind))
    suffix = "_total" if family.type == "counter" else ""
    family.add_sample(name + suffix, labels, float(value))
