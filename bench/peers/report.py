"""The figures of the peers side by side: medians, ratios, a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bench.peers.rounds import Opening, Settings, Turn
from bench.results import Result, head


class Ratio(NamedTuple):
    """Two figures to compare, and how much the first may be of the second, if anybody says."""

    name: str
    of: tuple[str, str]  # server, figure
    to: tuple[str, str]
    aim: float | None = None


RATIOS = (
    Ratio("gateway / do-nothing", ("gateway", "server_us"), ("do-nothing", "server_us"), 1.0),
    Ratio(
        "at once / do-nothing", ("gateway-at-once", "server_us"), ("do-nothing", "server_us"), 1.6
    ),
    Ratio("log threads / do-nothing", ("gateway", "log_us"), ("do-nothing", "server_us"), 0.15),
    Ratio(
        "recorder / do-nothing", ("gateway-recorder", "worker_us"), ("do-nothing", "server_us"), 1.0
    ),
    Ratio("gateway / quickstart", ("gateway", "server_us"), ("quickstart", "server_us"), 0.2),
    Ratio("gateway / node-ws", ("gateway", "server_us"), ("node-ws", "server_us"), 0.6),
    Ratio("python / compiled", ("gateway-python", "server_us"), ("gateway", "server_us")),
    Ratio(
        "python / compiled, at once",
        ("gateway-python-at-once", "server_us"),
        ("gateway-at-once", "server_us"),
    ),
    *(
        Ratio(f"{peer} / do-nothing", (peer, "server_us"), ("do-nothing", "server_us"))
        for peer in ("quickstart", "aiohttp", "node-ws", "picows")
    ),
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


def opening_us(
    openings: Iterable[Opening], figures: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """By server, what opening one session costs: without its packets, at what they cost later."""
    found: dict[str, dict[str, float]] = {}
    for each in openings:
        steady = figures.get(each.server)
        if steady is None:
            continue
        found[each.server] = {}
        for figure, cpu_s in (("server_us", each.server_s), ("worker_us", each.worker_s)):
            if cpu_s is not None:
                us = cpu_s * 1e6 - each.packets * steady[figure]
                found[each.server][figure] = us / each.sockets
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


def result(settings: Settings, turns: list[Turn], openings: Sequence[Opening] = ()) -> Result:
    """Everything there is to say about a run, as JSON values."""
    figures = medians(turns)
    found = ratios(figures)
    return {
        **head("peers", settings._asdict()),
        "valid": not any(turn.fault for turn in turns),
        "figures": {ratio["name"]: ratio["ratio"] for ratio in found},
        "medians": figures,
        "opening": opening_us(openings, figures),
        "ratios": found,
        "turns": [{**turn._asdict(), "load": turn.load._asdict()} for turn in turns],
    }


def table(found: dict[str, Any]) -> str:
    """The result for people."""
    title = f"us a packet, {found['settings']['sockets']} sockets"
    lines = [f"{title:24} {'median':>7} {'least':>7} {'most':>7}  {'CPU':>5}"]
    for name, figures in found["medians"].items():
        lines.append(
            f"{name:24} {figures['server_us']:7.2f} {figures['server_us_min']:7.2f} "
            f"{figures['server_us_max']:7.2f}  {figures['server_share']:5.0%}"
        )
        if "worker_us" in figures:
            both_us = figures["server_us"] + figures["worker_us"]
            lines.append(f"  {'with its worker':22} {both_us:7.2f}")
        for figure, label in (("log_us", "of which log threads"), ("worker_us", "its worker")):
            if figure in figures:
                lines.append(f"  {label:22} {figures[figure]:7.2f}")
    for name, opening in found["opening"].items():
        figures = ", its worker ".join(f"{us:.0f}" for us in opening.values())
        lines.append(f"to open a session, us: {name} {figures}")
    lines.append("")
    for ratio in found["ratios"]:
        aim = "" if ratio["aim"] is None else f"   (aim: at most {ratio['aim']})"
        lines.append(f"{ratio['name']:24} {ratio['ratio']:7.2f}{aim}")
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
