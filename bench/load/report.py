"""The figures of a load bench: medians, ratios, a table, a line of JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from bench.load.rounds import Settings, Turn

PACKAGES = ("uvloop", "websockets", "orjson", "pybase64", "numpy", "pyzmq")


class Ratio(NamedTuple):
    """Two figures to compare, and how much the first may be of the second."""

    name: str
    of: tuple[str, str]  # server, figure
    to: tuple[str, str]
    aim: float


RATIOS = (
    Ratio("gateway / do-nothing", ("gateway", "server_us"), ("do-nothing", "server_us"), 1.0),
    Ratio(
        "at once / do-nothing", ("gateway-at-once", "server_us"), ("do-nothing", "server_us"), 1.6
    ),
    Ratio("log threads / do-nothing", ("gateway", "log_us"), ("do-nothing", "server_us"), 0.15),
    Ratio(
        "recorder / do-nothing", ("gateway-recorder", "worker_us"), ("do-nothing", "server_us"), 1.0
    ),
    Ratio("gateway / quickstart", ("gateway", "server_us"), ("quickstart", "server_us"), 0.3),
)


def medians(turns: Iterable[Turn]) -> dict[str, dict[str, float]]:
    """By server, the medians of the valid turns; a server without one is left out."""
    found: dict[str, dict[str, float]] = {}
    valid = [turn for turn in turns if not turn.fault]
    for name in dict.fromkeys(turn.server for turn in valid):
        mine = [turn for turn in valid if turn.server == name]
        found[name] = {
            "server_us_min": min(turn.server_us for turn in mine),
            "server_us_max": max(turn.server_us for turn in mine),
        }
        for figure in ("server_us", "worker_us", "log_us", "server_share"):
            values = [value for turn in mine if (value := getattr(turn, figure)) is not None]
            if values:
                found[name][figure] = statistics.median(values)
    return found


def ratios(figures: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """The ratios for which both figures are there."""
    found = []
    for ratio in RATIOS:
        value = figures.get(ratio.of[0], {}).get(ratio.of[1])
        base = figures.get(ratio.to[0], {}).get(ratio.to[1])
        if value is not None and base:
            found.append({"name": ratio.name, "ratio": value / base, "aim": ratio.aim})
    return found


def result(settings: Settings, turns: list[Turn]) -> dict[str, Any]:
    """Everything there is to say about a run, as JSON values."""
    figures = medians(turns)
    return {
        "bench": "load/front",
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "settings": settings._asdict(),
        "valid": not any(turn.fault for turn in turns),
        "medians": figures,
        "ratios": ratios(figures),
        "turns": [{**turn._asdict(), "load": turn.load._asdict()} for turn in turns],
    }


def machine() -> dict[str, Any]:
    """What the figures hang on."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit that is checked out, `+` behind it where files differ; empty without git."""
    argv = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    folder = Path(__file__).parent
    try:
        described = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return described.stdout.strip()


def table(found: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{'us of CPU for a packet':24} {'median':>7} {'least':>7} {'most':>7}  {'CPU':>5}"]
    for name, figures in found["medians"].items():
        lines.append(
            f"{name:24} {figures['server_us']:7.2f} {figures['server_us_min']:7.2f} "
            f"{figures['server_us_max']:7.2f}  {figures['server_share']:5.0%}"
        )
        for figure, label in (("log_us", "of which log threads"), ("worker_us", "its worker")):
            if figure in figures:
                lines.append(f"  {label:22} {figures[figure]:7.2f}")
    lines.append("")
    lines += [
        f"{ratio['name']:24} {ratio['ratio']:7.2f}   (aim: at most {ratio['aim']})"
        for ratio in found["ratios"]
    ]
    lines += [
        f"round {turn['round']} of {turn['server']} is invalid: {turn['fault']}"
        for turn in found["turns"]
        if turn["fault"]
    ]
    late = max(turn["load"]["late_p99_ms"] for turn in found["turns"])
    share = max(turn["rig_share"] for turn in found["turns"])
    away = statistics.median(turn["elsewhere_share"] for turn in found["turns"])
    lines.append(
        f"rig: at most {share:.0%} of a CPU, late p99 {late:.2f} ms; others used {away:.0%} of one"
    )
    return "\n".join(lines)


def write_line(path: Path, found: dict[str, Any]) -> None:
    """Append the result to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(found) + "\n")
