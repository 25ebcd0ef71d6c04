"""The node's admin address: `/healthz`, `/readyz`, `/metrics`. Shows state, changes nothing."""

import platform
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import version

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

from gateway.up.state import State
from gateway.up.supervisor import Child
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
        page = generate_latest(_Families(families(self._state())))
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
    names = {child.pid: child.place.name for child in state.children}
    names |= {child.pid: _name_beside(child) for child in state.beside}
    for snapshot in state.snapshots.values():
        _add_snapshot(found, snapshot, names.get(snapshot.pid, snapshot.process))
    return list(found.values())


def _add_own(found: dict[str, Metric], state: State) -> None:
    build = _family(found, "build_info", "gauge", "Version of the software; always 1.")
    labels = {"version": version("acs-ingest"), "python": platform.python_version()}
    build.add_sample(build.name, labels, 1.0)
    lives = _family(found, "up", "gauge", "Whether the process lives.")
    restarts: Counter[tuple[str, str]] = Counter()
    for child in state.children:
        kind = (child.place.role, child.place.pool or "")
        labels = {"process": child.place.name, "role": kind[0], "pool": kind[1]}
        lives.add_sample(lives.name, labels, float(child.pid is not None))
        restarts[kind] += child.restarts
    for child in state.beside:
        labels = {"process": _name_beside(child), "role": child.place.role}
        labels["pool"] = child.place.pool or ""
        lives.add_sample(lives.name, labels, float(child.pid is not None))
    total = _family(found, "restarts", "counter", "Processes that were started again.")
    for (role, pool), number in restarts.items():
        total.add_sample(f"{total.name}_total", {"role": role, "pool": pool}, float(number))


def _name_beside(child: Child) -> str:
    """The label of a process whose place another one has: `gateway-0@1`, of generation 1."""
    return f"{child.place.name}@{child.generation}"


def _add_snapshot(found: dict[str, Metric], snapshot: Snapshot, name: str) -> None:
    process = {"process": name}
    ready = _family(found, "ready", "gauge", "Whether the process says that it is ready.")
    ready.add_sample(ready.name, process, float(snapshot.ready))
    for series in snapshot.series:
        family = _family(found, series.name, series.kind, series.help)
        suffix = "_total" if family.type == "counter" else ""
        family.add_sample(family.name + suffix, {**series.labels, **process}, series.value)


def _family(found: dict[str, Metric], name: str, kind: str, text: str) -> Metric:
    name = PREFIX + name
    return found.setdefault(name, Metric(name, text, kind))
