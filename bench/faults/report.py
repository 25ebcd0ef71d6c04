"""What came of one part, as a line of JSON; and of all parts in a file, as a table. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bench.faults.injector import Done, Idle
from bench.faults.inspector import Totals
from bench.faults.schedule import CLASSES
from bench.results import Result, head

#: Only a fault of these makes a gateway read its log for somebody.
_REPLAYING = frozenset(("worker-kill", "worker-stop", "gateway-kill", "gateway-stop", "no-worker"))
_CALM_S = 3.0
_RECOVERY_S_MAX = 5.0
#: Its successor notes when a batch comes out of the log.
_VICTIM = "record-0"
COUNTS = ("calls", "sent", "written", "declared", "unread", "unplaced", "samples")


def recovery_ms(done: Sequence[Done], notes: str) -> list[float]:
    """From the SIGKILL of a recorder to the first batch out of the log that its successor got.

    Taken where nothing else within 3 s before, or until then, makes a gateway read its log.
    """
    noted = [float(line.split()[0]) for line in notes.splitlines() if " " in line]
    causes = sorted(each for each in done if each.kind in _REPLAYING)
    found = []
    for number, each in enumerate(causes):
        if each.kind != "worker-kill" or each.what != _VICTIM:
            continue
        if number and each.at_s - causes[number - 1].at_s < _CALM_S:
            continue
        first = next((at_s for at_s in noted if at_s >= each.at_s), None)
        if first is None or first - each.at_s > _RECOVERY_S_MAX:
            continue
        if number + 1 < len(causes) and causes[number + 1].at_s < first:
            continue
        found.append(round((first - each.at_s) * 1000, 1))
    return found


def part_result(
    *,
    settings: dict[str, Any],
    wall_s: float,
    done: Sequence[Done],
    missed: dict[str, int],
    skipped: dict[str, str],
    idle: Sequence[Idle],
    totals: Totals,
    refused: int,
    recovery: list[float],
    strange: list[str],
) -> Result:
    """One line of a file of results. `differences` is empty if all is right."""
    differences = [
        {"call_id": each["call"]["call_id"], "faults": each["faults"]}
        for each in totals.differences
    ]
    differences += [{"call_id": None, "faults": [text]} for text in strange]
    lost = [ms for end, ms in totals.torn_ms if end == "killed"]
    cut = [ms for end, ms in totals.torn_ms if end == "cut"]
    found = head("faults", settings)
    found["wall_s"] = round(wall_s, 1)
    found["faults"] = dict(Counter(each.kind for each in done))
    found["missed"] = missed
    found["skipped"] = skipped
    found["counts"] = {name: getattr(totals, name) for name in COUNTS} | {"refused": refused}
    found["differences"] = differences
    found["recovery_ms"] = recovery
    found["killed_ms"], found["cut_ms"] = lost, cut
    found["idle"] = [each._asdict() for each in idle]
    found["right_after_s_max"] = max(totals.right_after_s, default=0.0)
    found["figures"] = figures(recovery, lost, found["idle"])
    return found


def figures(recovery: list[float], lost: list[int], idle: list[dict[str, Any]]) -> dict[str, float]:
    """Percentiles, and what grows for each stream and second while there is no recorder."""
    found: dict[str, float] = {}
    for name, values in (("recovery", recovery), ("killed_gateway_lost", lost)):
        if values:
            p50, p99, most = np.percentile(values, (50, 99, 100)).tolist()
            found |= {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99, f"{name}_max_ms": most}
    stream_s = sum(each["seconds"] * each["streams"] for each in idle)
    if stream_s:
        for name in ("log_bytes", "rss_bytes"):
            found[f"no_worker_{name}_a_stream_s"] = sum(each[name] for each in idle) / stream_s
    return {name: round(value, 1) for name, value in found.items()}


def total(results: Iterable[Result]) -> Result:
    """All parts together, in the form of one."""
    lines = list(results)
    found: Result = {"parts": len(lines), "seeds": sorted({e["settings"]["seed"] for e in lines})}
    found["wall_s"] = round(sum(each["wall_s"] for each in lines), 1)
    found["right_after_s_max"] = max((each["right_after_s_max"] for each in lines), default=0.0)
    for name in ("faults", "missed", "counts"):
        counter: Counter[str] = Counter()
        for each in lines:
            counter.update(each[name])
        found[name] = dict(counter)
    found["skipped"] = {name: why for each in lines for name, why in each["skipped"].items()}
    for name in ("differences", "recovery_ms", "killed_ms", "cut_ms", "idle"):
        found[name] = [item for each in lines for item in each[name]]
    found["figures"] = figures(found["recovery_ms"], found["killed_ms"], found["idle"])
    return found


def table(found: Result) -> str:
    """A total for people."""
    counts = found["counts"]
    rows = [
        (name, _times(found, name))
        for name in CLASSES
        if name in found["faults"] or name in found["missed"] or name in found["skipped"]
    ]
    rows += [
        ("faults", f"{sum(found['faults'].values()):,} in {found['wall_s'] / 60:.1f} minutes"),
        ("calls", f"{counts['calls']:,}, {counts['refused']} refused meanwhile"),
        ("packets sent", f"{counts['sent']:,}"),
        ("= written", f"{counts['written']:,}"),
        ("+ declared missing", f"{counts['declared']:,}"),
        ("+ never read", f"{counts['unread']:,}"),
        ("+ of sessions without audio", f"{counts['unplaced']:,}"),
        ("samples compared", f"{counts['samples']:,}"),
        ("recoveries timed", f"{len(found['recovery_ms'])}"),
        ("streams of killed gateways", f"{len(found['killed_ms'])}"),
    ]
    rows += [(name, f"{value:,.1f}") for name, value in found["figures"].items()]
    rows.append(("recordings right after, at most", f"{found['right_after_s_max']:.0f} s"))
    rows.append(("differences", str(len(found["differences"]))))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _times(found: Result, name: str) -> str:
    if name in found["skipped"]:
        return f"skipped: {found['skipped'][name]}"
    missed = found["missed"].get(name, 0)
    text = f"{found['faults'].get(name, 0):,}"
    return f"{text} ({missed} more met nothing)" if missed else text
