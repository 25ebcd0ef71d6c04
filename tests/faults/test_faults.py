"""Real processes under every class of fault that this machine allows, for a short while."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.faults.schedule import CLASSES, schedule

ROOT = Path(__file__).parents[2]
#: Of this seed each class comes within the time, and no call vanishes, which would take half a
#: minute to be noticed.
SEED = 6
SECONDS = 14.4

pytestmark = pytest.mark.timeout(120)


def bench_faults(*arguments: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "gateway", "bench", "faults", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        line, capture_output=True, text=True, timeout=110, check=False, env=environment
    )


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_the_short_run_has_every_class_and_nobody_vanishes():
    faults = schedule(SEED, 0, SECONDS, tuple(CLASSES))

    assert set(CLASSES) == {fault.kind for fault in faults}
    assert all(fault.dice[1] >= 0.25 for fault in faults if fault.kind == "half-close")


def test_faults_of_every_class_leave_no_difference(tmp_path):
    out = tmp_path / "out.jsonl"
    done = bench_faults(
        *("--minutes", str(SECONDS / 60), "--seed", str(SEED), "--calls", "6", "--out", str(out))
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    [found] = read(out)
    counts = found["counts"]

    assert [] == found["differences"]
    assert set(CLASSES) == {*found["faults"], *found["missed"], *found["skipped"]}
    assert counts["sent"] == counts["written"] + counts["declared"] + counts["unread"] > 1000
    assert counts["samples"] >= counts["written"] * 320
    if os.environ.get("CI") == "true":
        # What this machine does not allow may be left out, but nothing that was not installed.
        assert [] == [each for each in found["skipped"].values() if "there is no" in each]


def test_a_run_goes_on_with_the_next_part_and_sums_all(tmp_path):
    out = tmp_path / "out.jsonl"
    line = ["--minutes", "0.05", "--calls", "2", "--class", "finish-kill", "--class", "socket-cut"]
    first = bench_faults(*line, "--seed", "3", "--out", str(out))
    second = bench_faults(*line, "--seed", "3", "--out", str(out), "--resume")
    parts = read(out)
    sent = sum(part["counts"]["sent"] for part in parts)

    assert (0, 0) == (first.returncode, second.returncode), first.stdout + second.stdout
    assert [0, 1] == [part["settings"]["part"] for part in parts]
    assert f"{sent:,}" in second.stdout
