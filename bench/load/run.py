"""A run of a scenario: a real node, a load, what was measured, and what that is worth."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.load.ages import read
from bench.load.check import check
from bench.load.fleet import Fleet
from bench.load.frames import Speech
from bench.load.node import Node, Pools
from bench.load.processes import RigError
from bench.load.scenarios import Scenario
from bench.load.show import Show
from bench.load.verdict import (
    SLOW_POOL,
    Limits,
    Measure,
    broken_limits,
    crowd_faults,
    rig_faults,
    uncounted,
)
from bench.load.watch import Reading, Watch, between
from bench.results import Result, head

#: Of a load before it is measured: a gateway needs two seconds of it to find its read interval.
LEAD_IN_S = 2.4
RAMP_CALLS_A_SECOND = 100
OPEN_S_MAX = 30.0
SETTLE_S_MAX = 30.0
SAMPLES_MAX = 600
PACKETS_A_SECOND = 50
SPARE_DESCRIPTORS = 200
#: A second of audio is in the log, in a stream's file and in the mix.
COPIES = 3


class Settings(NamedTuple):
    """What was asked for."""

    scenario: Scenario
    gateways: int = 1
    rigs: int = 2
    live_workers: int = 1
    steps: int = 100
    verify: int = 20
    verify_s: float = 120.0
    age_p99_ms: float | None = None
    process_share: float = 0.95
    folder: Path | None = None  # for the data; a new one within it is removed at the end

    def limits(self) -> Limits:
        """With the default for where ages are taken."""
        default_ms = 100.0 if self.scenario.ages == "live" else 400.0
        return Limits(self.age_p99_ms or default_ms, self.process_share)

    def facts(self) -> Result:
        """As JSON values; what makes two runs comparable."""
        scenario = self.scenario
        return {
            "calls": scenario.calls,
            "participants": scenario.participants,
            "rate": scenario.rate,
            "mixed": scenario.mixed,
            "seconds": scenario.seconds,
            "call_s": scenario.call_s,
            "ages": scenario.ages,
            "gateways": self.gateways,
            "live_workers": self.live_workers,
            "rigs": self.rigs,
            "limits": self.limits()._asdict(),
        }


def run(settings: Settings, show: Show) -> Result:
    """Play a scenario to its end. Raises `RigError` where it cannot be."""
    scenario = settings.scenario
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="acs-ingest-bench-", dir=settings.folder)
            )
        )
        _require_room(settings, folder)
        rig_cpus, node_cpus = _split_cpus()
        speech = Speech(scenario.streams, scenario.rate, scenario.mixed)
        show.phase("starting a node")
        pools = Pools(scenario.ages, settings.live_workers, _hold_ms(scenario))
        node = Node(folder, pools, gateways=settings.gateways, cpus=node_cpus)
        stack.callback(node.end)
        fleet = Fleet(settings.rigs, node.port, speech, folder, rig_cpus)
        stack.callback(fleet.end)
        return _Run(settings, speech, node, fleet, show).play()


class _Run:
    """One run under way."""

    def __init__(
        self, settings: Settings, speech: Speech, node: Node, fleet: Fleet, show: Show
    ) -> None:
        self._settings = settings
        self._scenario = settings.scenario
        self._limits = settings.limits()
        self._speech = speech
        self._node = node
        self._fleet = fleet
        self._show = show
        self._watch = Watch(node, fleet)
        self._began_s = time.monotonic()
        self._samples: list[Measure] = []
        self._steps: list[Measure] = []
        self._kills = 0

    def play(self) -> Result:
        """From the first call to the verdict."""
        first = self._watch.read()
        shapes = {"hold": self._hold, "burst": self._burst, "churn": self._churn}
        if self._scenario.shape == "steps":
            measured = self._climb()
        else:
            measured = shapes[self._scenario.shape]()
        self._hang_up()
        whole = between(first, self._watch.read())
        recordings = self._check()
        self._show.phase("stopping the node")
        status = self._node.end()
        return self._result(measured, whole, recordings, status)

    def _hold(self) -> Measure:
        self._dial(self._scenario.calls)
        self._lead_in()
        return self._measure("measuring")

    def _burst(self) -> Measure:
        since = self._watch.read()
        self._dial(self._scenario.calls, over_s=0.0)
        self._sample("holding", self._scenario.seconds)
        return between(since, self._watch.read())

    def _churn(self) -> Measure:
        call_s = self._scenario.call_s or 2.0
        since = self._watch.read()
        self._fleet.dial(self._scenario.calls, call_s, call_s)
        self._sample("churning", self._scenario.seconds)
        return between(since, self._watch.read())

    def _climb(self) -> Measure:
        """Step by step; returns what the last good step has measured, or the first one."""
        for number in range(1, self._settings.steps + 1):
            calls = number * self._scenario.calls
            _require_descriptors(calls + SPARE_DESCRIPTORS)
            self._dial(self._scenario.calls)
            self._lead_in()
            step = self._measure(f"{calls} calls")
            step["target"] = calls
            step["broken"] = broken_limits(step, self._limits)
            step["invalid"] = rig_faults(step) + (crowd_faults(step) if step["broken"] else [])
            self._steps.append(step)
            self._show.line(_step_line(step))
            if step["broken"] or step["invalid"]:
                break
        return (self._good_steps() or self._steps[:1])[-1]

    def _good_steps(self) -> list[Measure]:
        return [step for step in self._steps if not step["broken"] and not step["invalid"]]

    def _dial(self, calls: int, over_s: float | None = None) -> None:
        """Dial, and wait until all have been answered."""
        ramp_s = min(calls / RAMP_CALLS_A_SECOND, self._scenario.seconds)
        self._show.phase(f"dialling {calls} calls")
        wanted = self._fleet.seen().dialled + calls
        self._fleet.dial(calls, ramp_s if over_s is None else over_s)
        until_s = time.monotonic() + ramp_s + OPEN_S_MAX
        refused = sum(self._fleet.seen().refused.values())
        while time.monotonic() < until_s:
            seen = self._fleet.listen(0.2)
            if seen.dialled + sum(seen.refused.values()) - refused >= wanted:
                return
        raise RigError(f"{wanted - seen.dialled} calls were not answered in {OPEN_S_MAX:g} s")

    def _lead_in(self) -> None:
        self._show.phase("letting it settle")
        self._fleet.listen(min(LEAD_IN_S, self._scenario.seconds))

    def _measure(self, what: str) -> Measure:
        since = self._watch.read()
        self._sample(what, self._scenario.seconds)
        return between(since, self._watch.read())

    def _sample(self, what: str, seconds: float) -> None:
        """A sample every second, or less often in long runs."""
        until_s = time.monotonic() + seconds
        every_s = max(1.0, seconds / SAMPLES_MAX)
        kill_every_s = self._scenario.kill_every_s and min(self._scenario.kill_every_s, seconds)
        kill_s = time.monotonic() + (kill_every_s or 0.0) / 2
        before = self._watch.read()
        while (left_s := until_s - time.monotonic()) > 0:
            now = self._watch.read(min(every_s, left_s))
            sample = {"at_s": round(now.at_s - self._began_s, 2), **between(before, now)}
            self._samples.append(sample)
            self._show.second(what, max(0.0, until_s - now.at_s), sample)
            before = now
            if not self._node.is_up:
                raise self._node.fault("has ended")
            if kill_every_s is not None and time.monotonic() >= kill_s:
                kill_s += kill_every_s
                self._kills += self._node.kill("record-0")

    def _hang_up(self) -> None:
        """End all calls, and wait until the node has dealt with what it was sent."""
        self._show.phase("hanging up")
        self._fleet.hang_up()
        until_s = time.monotonic() + SETTLE_S_MAX
        while time.monotonic() < until_s:
            reading = self._watch.read(0.2)
            is_quiet = not reading.seen.open and not reading.seen.pending
            if is_quiet and _is_dealt_with(reading):
                return

    def _check(self) -> Result:
        self._show.phase("comparing recordings with what was sent")
        return check(
            list(self._fleet.calls()),
            self._speech,
            self._node.data,
            sample=self._settings.verify,
            timeout_s=self._settings.verify_s,
        )

    def _result(self, measured: Measure, whole: Measure, recordings: Result, status: int) -> Result:
        seen, figures = self._fleet.seen(), self._node.figures()
        ages = len(read(self._node.data))
        pools = ["ages"] if self._scenario.ages == "live" else []
        pools += [SLOW_POOL] if self._scenario.has_slow_pool else []
        # Calls may be refused, or cut, before and after what is measured.
        lost = {name: whole[name] for name in ("unsent", "refused", "lost", "dropped")}
        broken = [] if self._steps else broken_limits({**measured, **lost}, self._limits)
        faults = self._steps[-1]["invalid"] if self._steps else rig_faults(measured)
        faults = faults + (crowd_faults(measured) if broken else [])
        faults += uncounted(seen, figures, ages, pools)
        wrong = recordings["checked"] - recordings["right"]
        faults += [f"{wrong} of {recordings['checked']} recordings differ"] if wrong else []
        faults += [f"the node has ended with status {status}"] if status else []
        faults += [] if recordings["checked"] or not self._settings.verify else ["nothing to check"]
        return {
            **head(f"load/{self._scenario.name}", self._settings.facts()),
            "valid": not faults,
            "faults": faults,
            "broken": broken,
            "figures": self._figures(measured),
            "measured": measured,
            "steps": self._steps,
            "samples": self._samples,
            "recordings": recordings,
            "kills": self._kills,
            "totals": {
                "packets": seen.packets,
                "calls": seen.dialled,
                "dropped": figures.dropped,
                "refused": dict(seen.refused),
                "seconds": whole["seconds"],
            },
        }

    def _figures(self, measured: Measure) -> dict[str, float]:
        """What is compared with other runs."""
        found = {f"age_{name}": value for name, value in measured["age"].items()}
        if self._scenario.shape in ("burst", "churn"):
            found |= {f"accept_{name}": value for name, value in measured["accept"].items()}
        packets_a_second = measured["packets"] / measured["seconds"]
        if packets_a_second:
            # What a killed process has used is gone with it.
            names = ("gateway", "ages") if self._kills else ("gateway", "record", "ages")
            for name in names:
                shares = [share for each, share in measured["cpu"].items() if _is_of(each, name)]
                found[f"{name}_us_a_packet"] = round(sum(shares) * 1e6 / packets_a_second, 2)
        if self._steps:
            found["knee_calls"] = max((step["target"] for step in self._good_steps()), default=0)
        return {name: value for name, value in found.items() if value is not None}


def _is_of(process: str, name: str) -> bool:
    return process.rpartition("-")[0] == name


def _is_dealt_with(reading: Reading) -> bool:
    return reading.figures.messages == reading.seen.messages and not reading.figures.in_flight


def _step_line(step: Measure) -> str:
    why = "; ".join(step["broken"] + [f"INVALID: {fault}" for fault in step["invalid"]])
    return f"{step['target']} calls: age p99 {step['age']['p99_ms']} ms{why and f'; {why}'}"


def _hold_ms(scenario: Scenario) -> float | None:
    """For a pool that takes one frame where two come."""
    if not scenario.has_slow_pool:
        return None
    return 2000 / (PACKETS_A_SECOND * scenario.calls * scenario.streams)


def _split_cpus() -> tuple[set[int], set[int]]:
    """A quarter of the CPUs for the rigs, the rest for the node; below four all for both."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 4:
        return set(), set()
    cut = len(cpus) - len(cpus) // 4
    return set(cpus[cut:]), set(cpus[:cut])


def _require_room(settings: Settings, folder: Path) -> None:
    """Raises `RigError` where descriptors or the disk cannot be enough."""
    scenario = settings.scenario
    _require_descriptors(scenario.calls + SPARE_DESCRIPTORS)
    seconds = scenario.seconds + LEAD_IN_S
    needed = scenario.calls * scenario.streams * scenario.rate * 2 * seconds * COPIES
    free = shutil.disk_usage(folder).free
    if needed > free * 0.9:
        raise RigError(
            f"{needed / 1e9:.1f} GB are needed in {folder.parent} and {free / 1e9:.1f} free: fewer "
            "calls, less time, or another --data"
        )


def _require_descriptors(needed: int) -> None:
    """Raise the soft limit; children inherit it. Raises `RigError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise RigError(f"{needed} descriptors are needed and {hard} allowed: fewer calls, please")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
