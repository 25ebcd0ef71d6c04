import sys
from dataclasses import replace
from pathlib import Path

from gateway.address import Address
from gateway.up.plan import Inherited, Plan, check_line, command_line
from gateway.up.supervisor import Place
from gateway.wire.topology import Pool, default_pools

PLAN = Plan(
    data=Path("/data"),
    listen=Address("127.0.0.1", 8080),
    admin=None,
    gateways=2,
    pools=default_pools(record_processes=2),
    drain_s=30,
)
INHERITED = Inherited(listener=3, parent=4, ready=5)
PROGRAM = [sys.executable, "-P", "-m", "gateway"]


def test_gateways_come_before_workers_and_each_pool_has_its_processes() -> None:
    expected = ["gateway-0", "gateway-1", "record-0", "record-1", "finish-0"]
    assert expected == [place.name for place in PLAN.places()]


def test_pool_that_somebody_else_starts_is_not_waited_for() -> None:
    pools = {"record": Pool(processes=0, delivery="replay"), "b": Pool(delivery="replay")}
    plan = replace(PLAN, gateways=1, pools=pools)
    assert frozenset(["b"]) == plan.replay_pools()
    assert ["gateway-0", "b-0"] == [place.name for place in plan.places()]


def test_gateway_gets_listener_pipes_and_its_part_of_the_drain() -> None:
    expected = [*PROGRAM, "gateway", "--index", "1", "--data", "/data", "--parent-fd", "4"]
    expected += ["--listen", "fd:3", "--ready-fd", "5", "--drain-s", "15", "--leave-s", "8.5"]
    assert expected == command_line(PLAN, Place("gateway", None, 1), INHERITED)


def test_gateway_gets_what_the_operator_said() -> None:
    tls = (Path("/c"), Path("/k"))
    plan = replace(PLAN, config=Path("/f"), tls=tls, insecure=True)
    line = command_line(plan, Place("gateway", None, 0), INHERITED)
    assert "/f" == line[line.index("--config") + 1]
    assert ["--tls-cert", "/c", "--tls-key", "/k", "--insecure"] == line[-5:]


def test_worker_gets_pool_and_parent() -> None:
    expected = [*PROGRAM, "worker", "--index", "0", "--data", "/data", "--parent-fd", "4"]
    expected += ["--pool", "record"]
    assert expected == command_line(PLAN, Place("worker", "record", 0), INHERITED)


def test_the_software_that_is_installed_is_asked_about_the_same_file() -> None:
    assert [*PROGRAM, "check"] == check_line(PLAN)
    assert [*PROGRAM, "check", "--config", "/f"] == check_line(replace(PLAN, config=Path("/f")))


def test_url_names_scheme_address_and_path() -> None:
    assert "ws://[::1]:8080/media" == PLAN.url(Address("::1", 8080))
    assert "wss://h:1/media" == replace(PLAN, tls=(Path("c"), Path("k"))).url(Address("h", 1))
