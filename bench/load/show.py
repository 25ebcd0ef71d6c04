"""What people see of a run: a line that changes on a terminal, and a table at the end."""

from __future__ import annotations

import sys
from typing import Any

import click

from bench.load.verdict import Measure
from bench.results import Result

NOTHING = "-"


class Show:
    """Progress on stderr: one changing line on a terminal, elsewhere a line for each phase."""

    def __init__(self) -> None:
        self._status: Any = None
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

            self._console = Console(stderr=True)
            self._status = self._console.status("")
            self._status.start()

    def phase(self, text: str) -> None:
        """Something new begins."""
        if self._status is None:
            click.echo(text, err=True)
        else:
            self._status.update(text)

    def second(self, what: str, left_s: float, sample: Measure) -> None:
        """A sample was taken."""
        if self._status is None:
            return
        used = sum(sample["cpu"].values())
        self._status.update(
            f"{what}, {left_s:.0f} s to go: {sample['calls']} calls, age p99 "
            f"{_ms(sample['age']['p99_ms'])}, node {used:.0%} of a CPU, rig "
            f"{sum(sample['rig_shares']):.0%}, late p99 {_ms(sample['late']['p99_ms'])}"
        )

    def line(self, text: str) -> None:
        """Say something that stays."""
        if self._status is None:
            click.echo(text, err=True)
        else:
            self._console.print(text, highlight=False)

    def close(self) -> None:
        """No more progress."""
        if self._status is not None:
            self._status.stop()


def table(found: Result) -> str:
    """A result for people."""
    measured, recordings = found["measured"], found["recordings"]
    dropped = measured["dropped"].items()
    rows = [
        ("calls", f"{measured['calls']} at the end, {found['totals']['calls']} in all"),
        ("packets", f"{measured['packets']:,} in {measured['seconds']:.1f} s"),
        ("frame age", _percentiles(measured["age"])),
        ("accept", _percentiles(measured["accept"])),
        *((name, f"{share:.0%} of a CPU") for name, share in measured["cpu"].items()),
        *((name, f"{value:g}") for name, value in found["figures"].items() if "_us_" in name),
        ("rigs", ", ".join(f"{share:.0%}" for share in measured["rig_shares"]) + " of a CPU"),
        ("rigs' lateness", _percentiles(measured["late"])),
        ("others", f"{measured['elsewhere_share']:.0%} of a CPU"),
        ("machine", f"{measured['machine_share']:.0%} of all CPUs"),
        ("not given", ", ".join(f"{n} to `{pool}`" for pool, n in dropped) or "0"),
        (
            "recordings",
            f"{recordings['right']} of {recordings['checked']} checked are right, "
            f"of {recordings['calls']} calls",
        ),
    ]  # fmt: skip
    refused = found["totals"]["refused"].items()
    rows += [("refused", ", ".join(f"{why}: {count}" for why, count in refused) or NOTHING)]
    rows += [("kills", f"{found['kills']} of the recorder")] if found["kills"] else []
    rows = [(name, value) for name, value in rows if value != NOTHING]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += [f"recording {fault}" for fault in recordings["faults"]]
    return "\n".join([*lines, *_verdict(found)])


def _verdict(found: Result) -> list[str]:
    lines = [f"INVALID: {fault}" for fault in found["faults"]]
    lines += [f"broken: {limit}" for limit in found["broken"]]
    if found["steps"]:
        last = found["steps"][-1]
        why = "; ".join(last["broken"] or last["invalid"]) or "no limit was broken"
        lines.append(f"knee: {found['figures']['knee_calls']} calls; at {last['target']}: {why}")
    return lines


def _percentiles(of: Measure) -> str:
    if of["max_ms"] is None:
        return NOTHING
    names = (("p50", "p50_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms"), ("most", "max_ms"))
    return ", ".join(f"{label} {_ms(of[name])}" for label, name in names)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
