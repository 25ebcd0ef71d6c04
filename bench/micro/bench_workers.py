"""What a worker does with batches of many streams: the recorder, and `Calls` with its blocks.

The baseline writes the same audio to one file, a batch at a time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bench.micro.inputs import batches
from bench.micro.measure import Measure
from gateway.wire.topology import Pool
from workers.calls import Calls
from workers.metrics import CallsCounters
from workers.plugins import pipelines
from workers.processors.base import Place
from workers.recorder import Recorder
from workers.recordings.settings import RecordingSettings

STREAMS, TICKS = 100, 100
FRAMES = STREAMS * TICKS
ROUNDS = 10
LINK = ("gateway", 1)
_BATCHES = batches(STREAMS, TICKS)


def bench_baseline_one_file(measure: Measure, tmp_path: Path) -> None:
    def run() -> int:
        with (tmp_path / "all").open("wb", buffering=0) as file:
            for message in _BATCHES[1:]:
                file.write(message)
        return os.path.getsize(tmp_path / "all")

    measure(run, FRAMES, baseline=True)


def bench_recorder(measure: Measure, tmp_path: Path) -> None:
    """Receive, write, close; without syncs. The thread's time counts."""
    folders = (tmp_path / str(number) for number in range(ROUNDS + 1))

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        folder = next(folders)
        folder.mkdir()
        return (folder,), {}

    def run(folder: Path) -> int:
        recorder = Recorder(folder, RecordingSettings(durability="process"))
        for number, message in enumerate(_BATCHES, 1):
            recorder.receive(LINK, number, message, number * 20_000)
        recorder.close(TICKS * 20_000)
        return sum(path.stat().st_size for path in folder.rglob("*.wav"))

    measure(run, FRAMES, setup=setup, rounds=ROUNDS)


def bench_calls_without_plugins(measure: Measure, tmp_path: Path) -> None:
    """Blocks of 20 ms that nobody wants."""
    _calls(measure, tmp_path, 20)


def bench_calls_without_plugins_500_ms(measure: Measure, tmp_path: Path) -> None:
    """Blocks of 500 ms that nobody wants."""
    _calls(measure, tmp_path, 500)


def _calls(measure: Measure, folder: Path, block_ms: int) -> None:
    place = Place(data=folder, pool="bench")

    def run() -> int:
        counters = CallsCounters()
        opener = pipelines(Pool(block_ms=block_ms), place, {}, {}, counters)
        calls = Calls(opener, counters, block_ms=block_ms, has_sinks=False)
        for number, message in enumerate(_BATCHES, 1):
            calls.receive(LINK, number, message, number * 20_000)
        calls.close(TICKS * 20_000)
        return counters.frames

    measure(run, FRAMES)
