import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from gateway.address import Address, bind, bound_address

WAIT_S = 20


async def test_ready_line_comes_once_with_the_real_port_and_stdout_has_nothing_else(
    node: Any,
) -> None:
    await node.start()
    assert re.fullmatch(r"ready ws://127\.0\.0\.1:[1-9]\d*/media\n", await node.line())
    node.process.terminate()
    code, stdout, _ = await node.end()
    assert (0, "") == (code, stdout)


async def test_ready_line_waits_for_a_worker_of_each_replay_pool(node: Any) -> None:
    node.behave("record-0", "exit 3")
    node.behave("record-1", "unready")
    await node.start(processes={"record_processes": 2})
    await node.until(lambda: node.events().count("record-0 started") > 2)
    assert list((node.data / "run/metrics").glob("gateway-0.*.json"))
    node.behave("record-0", "")
    assert (await node.line()).startswith("ready ws://")


async def test_processes_are_listed_with_the_parent(node: Any) -> None:
    before = datetime.now(UTC)
    await node.start(gateways=2)
    await node.line()
    listed = node.processes()
    expected = [
        ("up", None, 0),
        ("gateway", None, 0),
        ("gateway", None, 1),
        ("worker", "record", 0),
        ("worker", "finish", 0),
    ]
    assert expected == [(line["role"], line["pool"], line["index"]) for line in listed]
    assert node.process.pid == listed[0]["pid"]
    for line in listed:
        assert abs((datetime.fromisoformat(line["started_at"]) - before).total_seconds()) < 60


async def test_children_have_sessions_of_their_own(node: Any) -> None:
    await node.start()
    await node.line()
    children = node.processes()[1:]
    assert [line["pid"] for line in children] == [os.getsid(line["pid"]) for line in children]


async def test_killed_gateway_starts_again_behind_the_same_socket_and_nothing_else_does(
    node: Any,
) -> None:
    await node.start(gateways=2)
    url = await node.line()
    before = node.pids()
    os.kill(before["gateway-1"], signal.SIGKILL)
    await node.until(lambda: node.pids().get("gateway-1") not in (None, before["gateway-1"]))
    after = node.pids()
    assert {**before, "gateway-1": after["gateway-1"]} == after
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), WAIT_S)
    writer.close()
    await writer.wait_closed()


async def test_process_that_refuses_its_configuration_is_logged_with_the_way_out(
    node: Any,
) -> None:
    node.behave("finish-0", "exit 78")
    await node.start()
    await node.line()
    await node.until(lambda: "finish-0" not in node.pids())
    node.process.terminate()
    _, _, stderr = await node.end()
    lines = [json.loads(line)["message"] for line in stderr.splitlines() if line.startswith("{")]
    expected = (
        "finish-0 refuses its configuration; mend it and try `acs-ingest check`; next start in 10 s"
    )
    assert expected in lines


async def test_drain_goes_from_gateways_over_recorders_to_finish(node: Any) -> None:
    await node.start()
    await node.settle()
    node.process.send_signal(signal.SIGINT)
    code, _, _ = await node.end()
    assert 0 == code
    told = [event for event in node.events() if "started" not in event]
    assert ["gateway-0 SIGTERM", "record-0 SIGTERM", "finish-0 SIGTERM"] == told
    assert [] == node.processes()


async def test_process_that_does_not_end_is_killed_and_the_exit_is_still_orderly(
    node: Any,
) -> None:
    node.behave("gateway-0", "stubborn")
    node.behave("finish-0", "stubborn")
    await node.start(drain_s=1)
    await node.settle()
    pids = node.pids()
    node.process.terminate()
    code, _, stderr = await node.end()
    assert 0 == code
    assert "gateway-0 has not ended in time: killed" in stderr
    assert "record-0 has not ended" not in stderr
    for pid in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_second_signal_ends_at_once(node: Any) -> None:
    node.behave("gateway-0", "twice")
    await node.start(drain_s=3600)
    await node.settle()
    node.process.terminate()
    await node.until(lambda: "gateway-0 SIGTERM" in node.events())
    node.process.terminate()
    code, _, _ = await node.end()
    assert 0 == code
    assert "finish-0 SIGTERM" == node.events()[-1]


async def test_socket_is_closed_when_a_drain_begins(node: Any) -> None:
    node.behave("record-0", "stubborn")  # so that there is a time after the gateways' end
    await node.start(drain_s=60)
    port = int((await node.settle()).rsplit(":", 1)[1].split("/")[0])
    node.process.terminate()
    await node.until(lambda: "gateway-0" not in node.pids())
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_death_of_the_parent_ends_its_children_and_the_next_one_waits_for_them(
    node: Any,
) -> None:
    node.behave("gateway-0", "lingers")
    await node.start()
    await node.settle()
    before = len(node.events())
    node.process.kill()
    killed = node.process  # its `wait` would also wait for stderr, which the children hold
    await node.until(lambda: killed.returncode is not None)
    await node.start()
    assert (await node.line()).startswith("ready ")
    told = node.events()[before:]
    assert {"finish-0 orphaned", "record-0 orphaned"} == set(told[:2])
    assert "gateway-0 orphaned" == told[2]


async def test_second_up_on_the_folder_is_one_line_with_the_first_ones_pid(
    node: Any,
) -> None:
    await node.start()
    await node.line()
    refused = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-P", "-m", "gateway", "up", "--data", node.data, "--listen", "[::1]:0"],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (69, "", 1) == (refused.returncode, refused.stdout, refused.stderr.count("\n"))
    assert f"already runs on the data folder {node.data} (process {node.process.pid})" in (
        refused.stderr
    )


@pytest.mark.parametrize(("tls", "expected"), [(True, ["gateway-0", "gateway-1"]), (False, [])])
async def test_hangup_is_forwarded_to_gateways_with_a_certificate(
    node: Any, *, tls: bool, expected: list[str]
) -> None:
    await node.start(gateways=2, tls=tls)
    assert (await node.line()).startswith("ready wss://" if tls else "ready ws://")
    node.process.send_signal(signal.SIGHUP)
    hangups = [f"{name} SIGHUP" for name in expected]
    await node.until(lambda: set(hangups) <= set(node.events()))
    node.process.terminate()
    await node.end()
    assert hangups == sorted(event for event in node.events() if "SIGHUP" in event)


async def test_admin_address_follows_the_node(node: Any) -> None:
    with bind(Address("127.0.0.1", 0), "--admin") as reserved:
        admin = bound_address(reserved)
    await node.start(admin=str(admin))
    await node.line()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(WAIT_S)) as session:
        async with session.get(f"http://{admin}/readyz") as response:
            assert 200 == response.status
        node.behave("record-0", "exit 78")
        os.kill(node.pids()["record-0"], signal.SIGKILL)
        await node.until(lambda: "record-0" not in node.pids())
        async with session.get(f"http://{admin}/readyz") as response:
            assert 503 == response.status
        async with session.get(f"http://{admin}/metrics") as response:
            text = await response.text()
    assert 'acs_ingest_turns_total{process="gateway-0"} 7.0' in text
    assert 'process="record-0"} 7.0' not in text
