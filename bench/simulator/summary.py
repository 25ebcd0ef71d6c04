"""What a run prints: tables of plain text, or the same facts as one JSON object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.simulator.calls import TICKS_A_SECOND
from bench.simulator.checker import CallReport
from bench.simulator.drive import CallOutcome, End, Lateness

#: Up to so many calls have a line each in the table of the check.
LINES_MAX = 20
FAULTS_MAX = 8

Facts = dict[str, object]


def run_facts(outcomes: Sequence[CallOutcome], lateness: Lateness, wall_s: float) -> Facts:
    """The figures of a run; what a call sent is counted whether it ended well or not."""
    packets = sum(sum(outcome.sent) for outcome in outcomes)
    return {
        "calls": len(outcomes),
        "packets": packets,
        "audio_s": round(packets / TICKS_A_SECOND, 2),
        "tones": sum(len(outcome.tones) for outcome in outcomes),
        "refused": _counted(outcomes, End.REFUSED),
        "broken": _counted(outcomes, End.BROKEN),
        "heard": {
            "texts": sum(outcome.texts_heard for outcome in outcomes),
            "bytes": sum(outcome.bytes_heard for outcome in outcomes),
        },
        "lateness_ms": {
            "p50": round(lateness.percentile_ms(0.5), 1),
            "p99": round(lateness.percentile_ms(0.99), 1),
            "max": round(lateness.max_ms, 1),
        },
        "held_packets": lateness.held,
        "generator_was_the_limit": lateness.is_generator_limited,
        "wall_s": round(wall_s, 2),
    }


def run_table(facts: Facts) -> str:
    """The facts of a run, a line each."""
    lateness, heard = facts["lateness_ms"], facts["heard"]
    assert isinstance(lateness, dict)
    assert isinstance(heard, dict)
    rows = [
        ("calls", f"{facts['calls']}"),
        ("packets sent", f"{facts['packets']:,}"),
        ("audio sent", f"{facts['audio_s']} s"),
        ("tones sent", f"{facts['tones']}"),
        ("refused", _causes(facts["refused"])),
        ("broken", _causes(facts["broken"])),
        ("texts heard", f"{heard['texts']} ({heard['bytes']:,} bytes)"),
        ("lateness", "p50 {p50} ms, p99 {p99} ms, max {max} ms".format(**lateness)),
        ("held by the server", f"{facts['held_packets']:,} packets"),
        ("took", f"{facts['wall_s']} s"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def check_facts(reports: Sequence[CallReport]) -> Facts:
    """What the check found: totals, and every call that is not right."""
    return {
        "calls": len(reports),
        "right": sum(report.is_right for report in reports),
        **_totals(reports),
        "wrong": [
            {"call_id": report.call_id, "state": report.state, "faults": report.faults}
            for report in reports
            if not report.is_right
        ],
    }


def check_table(reports: Sequence[CallReport]) -> str:
    """A line for each call, or with many calls for the bad ones; the totals; then the faults."""
    bad = [report for report in reports if not report.is_right]
    listed = (reports if len(reports) <= LINES_MAX else bad)[:LINES_MAX]
    head = (
        "call", "tracks", "sent", "recorded", "lost", "altered", "displaced", "extra",
        "gaps", "mix", "sha256", "events", "received", "state",
    )  # fmt: skip
    rows = [head, *(_row(report) for report in listed), _total_row(reports)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    for report in bad[:LINES_MAX]:
        lines += [f"{report.call_id[:8]}: {fault}" for fault in report.faults[:FAULTS_MAX]]
        if len(report.faults) > FAULTS_MAX:
            lines.append(f"{report.call_id[:8]}: and {len(report.faults) - FAULTS_MAX} more faults")
    if len(bad) > LINES_MAX:
        lines.append(f"and {len(bad) - LINES_MAX} more calls that are not right")
    return "\n".join(lines)


def _row(report: CallReport) -> tuple[str, ...]:
    found = report.differences
    verdicts = (
        report.is_mix_right,
        report.are_sums_right,
        report.are_events_right,
        report.are_counters_right,
    )
    return (
        report.call_id[:8],
        f"{report.tracks_found}/{report.tracks_expected}",
        str(report.samples_sent),
        str(report.samples_recorded),
        *(str(n) for n in (found.lost, found.altered, found.displaced, found.extra)),
        f"{report.gaps_declared}{'' if report.are_gaps_right else ' wrong'}",
        *(_verdict(is_right, report) for is_right in verdicts),
        report.state,
    )


def _verdict(is_right: bool, report: CallReport) -> str:
    if report.state == "missing":
        return "-"
    return "right" if is_right else "wrong"


def _total_row(reports: Sequence[CallReport]) -> tuple[str, ...]:
    totals = _totals(reports)
    right = sum(report.is_right for report in reports)
    figures = ("samples_sent", "samples_recorded", "lost", "altered", "displaced", "extra", "gaps")
    return (
        "all",
        f"{totals['tracks_found']}/{totals['tracks_expected']}",
        *(str(totals[name]) for name in figures),
        *("",) * 4,
        f"{right} of {len(reports)} right",
    )


def _totals(reports: Iterable[CallReport]) -> dict[str, int]:
    totals = dict.fromkeys(
        (
            "tracks_expected", "tracks_found", "samples_sent", "samples_recorded",
            "lost", "altered", "displaced", "extra", "gaps",
        ),
        0,
    )  # fmt: skip
    for report in reports:
        for name in ("tracks_expected", "tracks_found", "samples_sent", "samples_recorded"):
            totals[name] += getattr(report, name)
        for name in ("lost", "altered", "displaced", "extra"):
            totals[name] += getattr(report.differences, name)
        totals["gaps"] += report.gaps_declared
    return totals


def _counted(outcomes: Iterable[CallOutcome], end: End) -> dict[str, int]:
    return dict(Counter(outcome.detail for outcome in outcomes if outcome.end is end))


def _causes(counted: object) -> str:
    assert isinstance(counted, dict)
    if not counted:
        return "0"
    causes = ", ".join(f"{cause}: {count}" for cause, count in sorted(counted.items()))
    return f"{sum(counted.values())} ({causes})"
