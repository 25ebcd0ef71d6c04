import json

import pytest

from bench.peers.servers import Counts, missing, read_counts


def test_counts_are_summed_over_labels() -> None:
    series = [
        {"name": "messages", "value": 12},
        {"name": "workers", "value": 1, "labels": {"pool": "record"}},
        {"name": "batches_in_flight", "value": 2, "labels": {"pool": "record"}},
        {"name": "batches_in_flight", "value": 3, "labels": {"pool": "live"}},
        {"name": "dropped_frames", "value": 4},
        {"name": "log_cpu_seconds", "value": 0.5},
        {"name": "something_else", "value": 9},
    ]

    counts = read_counts(json.dumps({"at_us": 7, "series": series}))

    assert Counts(7, 12, workers=1, in_flight=5, dropped=4, log_cpu_s=0.5) == counts


def test_what_comes_with_the_product_is_not_missing() -> None:
    assert {""} == {missing(name) for name in ("do-nothing", "quickstart", "aiohttp", "gateway")}


def test_peer_without_its_runtime_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert "there is no `node`" == missing("node-ws")
