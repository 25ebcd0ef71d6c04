"""What a node and the generator do, read again and again, and what that makes between two times."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any, NamedTuple

from bench.load.ages import read
from bench.load.fleet import Fleet, Seen, shares
from bench.load.histogram import Histogram
from bench.load.node import Figures, Node, Process, cpu_s
from bench.load.processes import machine_busy_s


class Reading(NamedTuple):
    """All clocks and counters at one moment."""

    at_s: float
    seen: Seen
    figures: Figures
    ages: Histogram
    cpu_s: dict[Process, float]  # so far
    machine_s: float


class Watch:
    """Reads a node and its load."""

    def __init__(self, node: Node, fleet: Fleet) -> None:
        self._node = node
        self._fleet = fleet

    def read(self, seconds: float = 0.0) -> Reading:
        """Let so much time pass, then read. Raises `RigError`."""
        seen = self._fleet.listen(seconds)
        processes = self._node.processes()
        used = {each: found for each in processes if (found := cpu_s(each.pid)) is not None}
        return Reading(
            time.monotonic(),
            seen,
            self._node.figures(),
            read(self._node.data),
            used,
            machine_busy_s(),
        )


def between(one: Reading, two: Reading) -> dict[str, Any]:
    """What happened from one reading to the next, as JSON values."""
    wall_s = two.at_s - one.at_s
    cpu: Counter[str] = Counter()
    for process, used_s in two.cpu_s.items():
        cpu[process.name] += used_s - one.cpu_s.get(process, 0.0)  # type: ignore[assignment]  # s
    dropped = Counter(two.figures.dropped)
    dropped.subtract(one.figures.dropped)
    rig_shares = shares(one.seen.cpu, two.seen.cpu)
    ours_s = sum(cpu.values()) + sum(rig_shares) * wall_s
    return {
        "seconds": round(wall_s, 3),
        "calls": two.seen.open,
        "packets": two.seen.packets - one.seen.packets,
        "age": (two.ages - one.ages).summary(),
        "late": (two.seen.late - one.seen.late).summary(),
        "accept": (two.seen.accept - one.seen.accept).summary(),
        "dialled": two.seen.dialled - one.seen.dialled,
        "rig_shares": [round(share, 3) for share in rig_shares],
        "cpu": {name: round(used_s / wall_s, 3) for name, used_s in sorted(cpu.items())},
        "elsewhere_share": round(max(0.0, two.machine_s - one.machine_s - ours_s) / wall_s, 3),
        "machine_share": round((two.machine_s - one.machine_s) / wall_s / (os.cpu_count() or 1), 3),
        "dropped": {pool: count for pool, count in dropped.items() if count},
        "unsent": two.seen.unsent - one.seen.unsent,
        "refused": sum(two.seen.refused.values()) - sum(one.seen.refused.values()),
        "lost": two.seen.lost - one.seen.lost,
    }
