from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from gateway.address import Address, bind, bound_address
from gateway.up.admin import Admin
from gateway.up.state import State
from gateway.up.supervisor import Child, Place
from gateway.wire.counters import Series, Snapshot

NOW_US = 1_900_000_000_000_000


def snapshot(process: str, pid: int, *series: Series, ready: bool = True) -> Snapshot:
    role, pool = ("gateway", None) if process.startswith("gateway") else ("worker", "record")
    return Snapshot(
        process=process,
        role=role,
        pool=pool,
        index=0,
        pid=pid,
        at_us=NOW_US,
        ready=ready,
        series=list(series),
    )


def node(*snapshots: Snapshot) -> State:
    return State(
        children=[
            Child(Place("gateway", None, 0), pid=10, accepts=True, starts=3),
            Child(Place("worker", "record", 0), pid=11, starts=1),
            Child(Place("worker", "record", 1)),
        ],
        snapshots={each.pid: each for each in snapshots},
        replay_pools=frozenset(["record"]),
        is_draining=False,
        now_us=NOW_US,
    )


Get = Callable[[str], "aiohttp.client._RequestContextManager"]


@asynccontextmanager
async def served(state: State) -> AsyncIterator[Get]:
    listener = bind(Address("127.0.0.1", 0), "--admin")
    address = bound_address(listener)
    admin = Admin(listener, lambda: state)
    await admin.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
            yield lambda path: session.get(f"http://{address}{path}")
    finally:
        await admin.close()


async def answer(state: State, path: str) -> SimpleNamespace:
    async with served(state) as get, get(path) as response:
        return SimpleNamespace(status=response.status, text=await response.text())


async def figures(state: State) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    page = await answer(state, "/metrics")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


async def test_health_is_the_loop_that_answers() -> None:
    found = await answer(node(), "/healthz")
    assert (200, "ok\n") == (found.status, found.text)


async def test_ready_node_says_ok() -> None:
    found = await answer(node(snapshot("gateway-0", 10), snapshot("record-0", 11)), "/readyz")
    assert (200, "ok\n") == (found.status, found.text)


async def test_unready_node_says_why_line_by_line() -> None:
    found = await answer(node(), "/readyz")
    expected = (
        "gateway-0: is starting\n"
        "pool record: no worker is ready (record-0: is starting; record-1: is not running)\n"
    )
    assert (503, expected) == (found.status, found.text)


async def test_unknown_path_is_not_found() -> None:
    assert 404 == (await answer(node(), "/")).status


async def test_metrics_show_lives_and_restarts() -> None:
    found = await figures(node())
    gateway = [("process", "gateway-0"), ("role", "gateway"), ("pool", "")]
    dead = [("process", "record-1"), ("role", "worker"), ("pool", "record")]
    assert 1 == found["acs_ingest_up", frozenset(gateway)]
    assert 0 == found["acs_ingest_up", frozenset(dead)]
    assert 2 == found["acs_ingest_restarts_total", frozenset(gateway[1:])]
    assert 0 == found["acs_ingest_restarts_total", frozenset(dead[1:])]
    assert [1] == [value for (name, _), value in found.items() if name == "acs_ingest_build_info"]


async def test_metrics_tell_two_generations_of_one_name_apart() -> None:
    waiting = Series(name="waiting_bytes", kind="gauge", help="Bytes.", value=1.5)
    old = Child(Place("gateway", None, 0), generation=2, pid=9, accepts=True)
    state = replace(
        node(snapshot("gateway-0", 10, waiting)),
        beside=[old],
        snapshots={10: snapshot("gateway-0", 10, waiting), 9: snapshot("gateway-0", 9, waiting)},
    )
    found = await figures(state)
    for name in ("gateway-0", "gateway-0@2"):
        assert 1.5 == found["acs_ingest_waiting_bytes", frozenset([("process", name)])]
        labels = [("process", name), ("role", "gateway"), ("pool", "")]
        assert 1 == found["acs_ingest_up", frozenset(labels)]


async def test_metrics_hold_every_process_of_one_name_in_one_family() -> None:
    lost = Series(name="packets", kind="counter", help="Packets.", labels={"kind": "lost"}, value=3)
    waiting = Series(name="waiting_bytes", kind="gauge", help="Bytes.", value=1.5)
    state = node(
        snapshot("gateway-0", 10, lost, waiting), snapshot("record-0", 11, waiting, ready=False)
    )
    found = await figures(state)
    gateway, record = ("process", "gateway-0"), ("process", "record-0")
    assert 3 == found["acs_ingest_packets_total", frozenset([("kind", "lost"), gateway])]
    assert 1.5 == found["acs_ingest_waiting_bytes", frozenset([gateway])]
    assert 1.5 == found["acs_ingest_waiting_bytes", frozenset([record])]
    assert 1 == found["acs_ingest_ready", frozenset([gateway])]
    assert 0 == found["acs_ingest_ready", frozenset([record])]
    page = (await answer(state, "/metrics")).text
    assert 1 == page.count("# TYPE acs_ingest_waiting_bytes gauge")
