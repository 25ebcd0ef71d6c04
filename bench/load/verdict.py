"""Whether a run counts, and whether it broke a limit. Pure: figures in, sentences out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from bench.load.fleet import Seen
from bench.load.node import Figures

#: The generator was the limit itself where it was later than this, or busier.
LATE_P99_MS_MAX = 5.0
RIG_SHARE_MAX = 0.8
#: Of all CPUs, by anybody, and of one, by others: beyond both a limit that breaks says nothing.
MACHINE_SHARE_MAX = 0.95
OTHERS_SHARE_MAX = 0.2
SLOW_POOL = "slow"

Measure = dict[str, Any]


class Limits(NamedTuple):
    """What a node has to keep."""

    age_p99_ms: float
    process_share: float  # of one CPU, each of its processes


def rig_faults(measured: Measure) -> list[str]:
    """Why figures do not count: the generator was the limit."""
    late_ms, share = measured["late"]["p99_ms"] or 0.0, max(measured["rig_shares"])
    faults = {
        f"the rig was late: p99 {late_ms:.1f} ms": late_ms > LATE_P99_MS_MAX,
        f"a rig used {share:.0%} of a CPU": share > RIG_SHARE_MAX,
    }
    return [what for what, is_so in faults.items() if is_so]


def crowd_faults(measured: Measure) -> list[str]:
    """Why a broken limit says nothing of the node: others had the machine."""
    busy, others = measured["machine_share"], measured["elsewhere_share"]
    if busy > MACHINE_SHARE_MAX and others > OTHERS_SHARE_MAX:
        return [f"the machine was full ({busy:.0%}), and others used {others:.0%} of a CPU"]
    return []


def broken_limits(measured: Measure, limits: Limits) -> list[str]:
    """The limits that a node has broken in a part of a run."""
    age_ms = measured["age"]["p99_ms"] or 0.0
    broken = {f"frame age: p99 {age_ms:.1f} ms": age_ms > limits.age_p99_ms}
    for name, share in measured["cpu"].items():
        broken[f"CPU: {name} used {share:.0%} of one"] = share > limits.process_share
    for pool, count in measured["dropped"].items():
        broken[f"loss: the pool `{pool}` was not given {count} frames"] = pool != SLOW_POOL
    counts = {
        "loss: {} packets were not taken": "unsent",
        "loss: {} calls were refused": "refused",
        "loss: {} calls were cut": "lost",
    }
    for text, name in counts.items():
        broken[text.format(measured[name])] = measured[name] > 0
    return [what for what, is_so in broken.items() if is_so]


def uncounted(seen: Seen, figures: Figures, ages: int, pools: Iterable[str]) -> list[str]:
    """What was lost at the end of a run without being counted anywhere.

    `ages` is the number of frames whose age was taken, `pools` those with processors.
    """
    faults = []
    if seen.messages != figures.messages:
        faults.append(f"{seen.messages} packets were sent and {figures.messages} received")
    for pool in pools:
        taken, dropped = figures.frames.get(pool, 0), figures.dropped.get(pool, 0)
        if seen.packets != taken + dropped:
            faults.append(
                f"of {seen.packets} packets the pool `{pool}` took {taken} frames and was not "
                f"given {dropped}"
            )
    if ages + figures.dropped.get("ages", 0) != seen.packets:
        faults.append(f"of {seen.packets} packets {ages} have come to where ages are taken")
    return faults
