import json

from bench.load.node import Figures, Pools, read_figures


def snapshot(pool: str | None, *series: dict[str, object]) -> str:
    filled = [{"labels": {}, **each} for each in series]
    return json.dumps({"pool": pool, "series": filled})


def test_figures_are_summed_over_processes_and_by_pool() -> None:
    gateway = snapshot(
        None,
        {"name": "messages", "value": 12},
        {"name": "workers", "value": 1, "labels": {"pool": "record"}},
        {"name": "batches_in_flight", "value": 2, "labels": {"pool": "record"}},
        {"name": "dropped_frames", "value": 3, "labels": {"pool": "slow", "reason": "queue_full"}},
        {"name": "dropped_frames", "value": 4, "labels": {"pool": "slow", "reason": "no_worker"}},
    )
    worker = snapshot("ages", {"name": "calls_frames", "value": 9})

    found = read_figures([gateway, gateway, worker])

    assert Figures(24, {"slow": 14}, {"ages": 9}, {"record": 2}, 4) == found


def test_snapshot_that_is_just_being_written_is_left_out() -> None:
    assert Figures(0, {}, {}, {}, 0) == read_figures(['{"pool": nu'])


def test_pools_are_those_that_are_asked_for() -> None:
    assert "bench-age" in Pools("live").config()
    assert "[pools." not in Pools("recording").config()
    assert {"record", "ages", "slow"} == Pools("live", slow_hold_ms=2.0).names()
