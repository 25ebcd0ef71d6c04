"""One bench, measured: `run` deals with many packets at a call, the figure is for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from pytest_benchmark.fixture import BenchmarkFixture

Setup = Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]


@dataclass
class Row:
    """One bench, in us of CPU for one packet (or frame)."""

    group: str
    name: str
    us: float
    is_baseline: bool


@dataclass
class Measure:
    """Runs one bench."""

    benchmark: BenchmarkFixture
    rows: list[Row]

    def __call__(
        self,
        run: Callable[..., int],
        packets: int,
        *,
        baseline: bool = False,
        setup: Setup | None = None,
        rounds: int = 20,
    ) -> None:
        """`run` deals with `packets` packets and returns a checksum of what it made of them.

        `setup` makes its arguments anew for each of `rounds` calls. A baseline is what the other
        benches of its module are compared with.
        """
        info = self.benchmark.extra_info
        if setup is None:
            info["checksum"] = self.benchmark(run)
        else:
            pedantic = cast("Callable[..., int]", self.benchmark.pedantic)
            info["checksum"] = pedantic(run, setup=setup, rounds=rounds)
        info["packets_a_call"] = packets
        if self.benchmark.stats is None:  # benches are disabled: it ran once
            return
        info["us_a_packet"] = us = self.benchmark.stats.stats.median / packets * 1e6
        group = self.benchmark.fullname.partition("::")[0]
        self.rows.append(Row(group, self.benchmark.name, us, baseline))
