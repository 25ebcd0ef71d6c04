import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Unavailable
from gateway.up.control import Request, ask
from gateway.wire.layout import Layout

WAIT_S = 20


async def upgrade(node: Any, **options: Any) -> tuple[int, list[str]]:
    """Exit code and lines of an upgrade."""
    lines: list[str] = []
    asked = asyncio.to_thread(ask, Layout(node.data), Request(**options), lines.append)
    return await asyncio.wait_for(asked, WAIT_S), lines


@asynccontextmanager
async def under_way(node: Any) -> AsyncIterator["asyncio.Task[tuple[int, list[str]]]"]:
    """An upgrade that waits for its last new worker."""
    node.behave("finish-0", "unready")
    task = asyncio.create_task(upgrade(node))
    await node.until(lambda: "finish-0" in node.pids(2))
    hears = node.data / "run" / "metrics" / f"finish-0.{node.pids(2)['finish-0']}.json"
    await node.until(hears.exists)
    yield task
    await asyncio.gather(task, return_exceptions=True)


async def test_every_process_is_replaced_and_the_old_ones_leave_from_gateways_to_finish(
    node: Any,
) -> None:
    await node.start(gateways=2)
    await node.settle()
    before = node.pids()
    code, lines = await upgrade(node, wait=True)
    after = node.pids()
    assert before.pop("up-0") == after.pop("up-0")
    assert (0, "done: every process is new") == (code, lines[-1])
    assert set(before) == set(after) == set(node.pids(2))
    assert not set(before.values()) & set(after.values())
    told = [event for event in node.events() if "SIG" in event]
    assert {f"{name} SIGUSR1" for name in before} == set(told)
    assert told.index("record-0 SIGUSR1") < told.index("finish-0 SIGUSR1")
    steps = [
        "the configuration can be used",
        *(f"{name}: process {pid} is ready" for name, pid in after.items()),
        *(
            f"{name}: process {before[name]} takes no new calls; it leaves when its calls are "
            "over, 2 now"
            for name in ("gateway-0", "gateway-1")
        ),
        *(f"{name}: process {before[name]} has left" for name in ("record-0", "finish-0")),
    ]
    assert steps == lines[:-1]


@pytest.mark.parametrize(
    ("behaviour", "code", "reason"),
    [
        ("exit 3", 70, "the new finish-0 has ended with code 3"),
        ("exit 78", 78, "the new finish-0 has ended with code 78"),
        ("unready", 69, "the new finish-0 is not ready after 1 s: it was told so"),
    ],
)
async def test_generation_that_cannot_start_leaves_every_process_as_it_was(
    node: Any, behaviour: str, code: int, reason: str
) -> None:
    await node.start(ready_s=1)
    await node.settle()
    before = node.pids()
    node.behave("finish-0", behaviour)
    found, lines = await upgrade(node)
    assert code == found
    assert f"failed: {reason}" in lines[-1]
    assert "every process that was not replaced goes on" in lines[-1]
    await node.until(lambda: not node.pids(2))
    assert before == node.pids()
    node.behave("finish-0", "")
    assert 0 == (await upgrade(node))[0]


async def test_configuration_that_cannot_be_used_starts_nothing(node: Any, tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("")
    await node.start(config=str(config))
    await node.settle()
    config.write_text("[up]\ngateways = 0\n")
    code, lines = await upgrade(node)
    assert (78, 1) == (code, len(lines))
    assert f"`acs-ingest check`: {config}: [up] gateways: Expected int >= 1" in lines[0]
    assert 4 == sum("started" in event for event in node.events()) + 1


async def test_old_gateway_with_calls_is_told_again_after_drain_s(node: Any) -> None:
    node.behave("gateway-0", "talks")
    await node.start()
    await node.settle()
    old = node.pids()["gateway-0"]
    node.behave("gateway-0", "")
    code, _ = await upgrade(node)
    assert 0 == code
    assert old in [line["pid"] for line in node.processes()]
    code, _ = await upgrade(node, drain_s=0.5, wait=True)
    assert (0, False) == (code, old in [line["pid"] for line in node.processes()])
    node.process.terminate()
    assert 0 == (await node.end())[0]
    told = [event for event in node.events() if "gateway-0 SIG" in event]
    assert [*["gateway-0 SIGUSR1"] * 3, "gateway-0 SIGTERM"] == told


async def test_second_upgrade_at_the_same_time_is_refused(node: Any) -> None:
    await node.start()
    await node.settle()
    async with under_way(node) as first:
        assert (69, ["failed: an upgrade is under way"]) == await upgrade(node)
        node.process.terminate()
        await node.end()
    assert first.done()


async def test_drain_in_the_middle_ends_both_generations_in_order(node: Any) -> None:
    await node.start()
    await node.settle()
    async with under_way(node) as asked:
        node.process.terminate()
        code, _, _ = await node.end()
    assert 0 == code
    told = [event for event in node.events() if "SIGTERM" in event]
    assert ["gateway-0", "gateway-0", "record-0", "record-0", "finish-0", "finish-0"] == [
        event.split()[0] for event in told
    ]
    fault = asked.exception()
    if fault is None:
        assert 69 == asked.result()[0]
    else:
        assert isinstance(fault, Unavailable)


async def test_death_of_the_parent_in_the_middle_ends_both_generations(node: Any) -> None:
    await node.start()
    await node.settle()
    async with under_way(node) as asked:
        pids = [line["pid"] for line in node.processes()][1:]
        assert 6 == len(pids)
        os.kill(node.process.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="has ended before the upgrade"):
            await asked
    await node.until(lambda: sum("orphaned" in event for event in node.events()) == len(pids))
    await node.start()
    node.behave("finish-0", "")
    assert (await node.line()).startswith("ready ")
