"""Does to a node and its calls what a schedule says, and undoes it in time."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.faults.callers import Callers
from bench.faults.clock import JUMPS_S, Clock
from bench.faults.disks import Disk, limit_files
from bench.faults.node import GATEWAYS, RECORDERS, Actor, Node
from bench.faults.schedule import Fault, between, pick
from bench.faults.tracing import INJECTIONS, Tracer

TRACE_S = 1.0


class Done(NamedTuple):
    """A fault that has happened; `at_s` by the monotonic clock."""

    at_s: float
    kind: str
    what: str


class Idle(NamedTuple):
    """What grew while there was no recorder."""

    seconds: float
    streams: int
    log_bytes: int
    rss_bytes: int


class Injector:
    """`done` lists what has happened, `missed` counts what found nothing to happen to."""

    def __init__(
        self, node: Node, callers: Callers, disks: dict[str, Disk], clock: Clock | None, notes: Path
    ) -> None:
        self.done: list[Done] = []
        self.missed: Counter[str] = Counter()
        self.idle: list[Idle] = []
        self._node = node
        self._callers = callers
        self._disks = disks
        self._clock = clock
        self._notes = notes
        self._undos: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        #: Kinds of trouble that are there at most once.
        self._present: set[str] = set()
        self._classes: dict[str, Callable[[Fault], str]] = {
            "worker-kill": lambda fault: self._kill(fault, RECORDERS),
            "worker-stop": lambda fault: self._stop(fault, RECORDERS, 5.0),
            "gateway-kill": lambda fault: self._kill(fault, GATEWAYS),
            "gateway-stop": lambda fault: self._stop(fault, GATEWAYS, 4.0),
            "finish-kill": lambda fault: self._kill(fault, ("finish-0",)),
            "recordings-full": lambda fault: self._fill(fault, "recordings"),
            "log-full": lambda fault: self._fill(fault, "log"),
            "syscall-error": self._trace,
            "syscall-delay": self._trace,
            "clock-jump": self._jump,
            "slow-socket": self._slow,
            "half-close": self._half_close,
            "socket-cut": self._cut,
            "no-worker": self._no_worker,
        }

    def inject(self, fault: Fault) -> None:
        """Do it, if there is whom to do it to."""
        at_s = time.monotonic()
        what = self._classes[fault.kind](fault)
        if what:
            self._happened(at_s, fault.kind, what)
        elif not fault.kind.startswith("syscall"):
            self.missed[fault.kind] += 1

    def turn(self) -> None:
        """Undo what is over."""
        while self._undos and self._undos[0][0] <= time.monotonic():
            heapq.heappop(self._undos)[2]()

    def mend(self) -> None:
        """Undo everything."""
        while self._undos:
            heapq.heappop(self._undos)[2]()

    def _happened(self, at_s: float, kind: str, what: str) -> None:
        self.done.append(Done(at_s, kind, what))

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        heapq.heappush(self._undos, (time.monotonic() + seconds, next(self._numbers), undo))

    def _choose(self, names: tuple[str, ...], die: float, *, is_calm: bool) -> Actor | None:
        """One of the processes that are there; `is_calm`: nothing has been done to it."""
        actors = [self._node.actors[name] for name in names]
        names_left = [
            actor.name
            for actor in actors
            if not actor.is_held and not (is_calm and (actor.is_stopped or actor.is_traced))
        ]
        return self._node.actors[pick(names_left, die)] if names_left else None

    def _kill(self, fault: Fault, names: tuple[str, ...]) -> str:
        actor = self._choose(names, fault.dice[0], is_calm=False)
        if actor is None:
            return ""
        if actor.name in GATEWAYS:
            self._callers.gateway_killed(GATEWAYS.index(actor.name))
        self._node.kill(actor.name)
        self._node.start(actor.name)
        return actor.name

    def _stop(self, fault: Fault, names: tuple[str, ...], seconds_max: float) -> str:
        actor = self._choose(names, fault.dice[0], is_calm=True)
        if actor is None:
            return ""
        seconds = between(seconds_max / 5, seconds_max, fault.dice[1])
        self._node.stop(actor.name)
        self._later(seconds, lambda: self._node.wake(actor))
        return f"{actor.name} for {seconds:.1f} s"

    def _fill(self, fault: Fault, name: str) -> str:
        if name in self._present:
            return ""
        seconds = between(0.3, 2.5, fault.dice[0])
        disk = self._disks.get(name)
        if disk is None:
            names = GATEWAYS if name == "log" else (*RECORDERS, "finish-0")
            pids = [self._node.actors[each].pid for each in names]
            limited = [limit_files(pid, is_full=True) for pid in pids]
            if not any(limited):
                return ""
            mend: Callable[[], None] = _Unlimited(pids)
        else:
            if not disk.fill():
                return ""
            mend = disk.mend
        self._present.add(name)

        def undo() -> None:
            mend()
            self._present.discard(name)

        self._later(seconds, undo)
        return f"for {seconds:.1f} s"

    def _trace(self, fault: Fault) -> str:
        """Counted when it is over, for only then it is known whether it has met a call."""
        role = pick(("gateway", "record"), fault.dice[0])
        names = GATEWAYS if role == "gateway" else RECORDERS
        actor = self._choose(names, fault.dice[1], is_calm=True)
        if actor is None or "trace" in self._present:
            self.missed[fault.kind] += 1
            return ""
        choices = INJECTIONS[role, fault.kind]
        injection = choices[int(fault.dice[2] * len(choices))]
        try:
            tracer = Tracer(actor.pid, injection, self._notes)
        except (LookupError, OSError):
            self.missed[fault.kind] += 1
            return ""
        at_s = time.monotonic()
        actor.is_traced = True
        self._present.add("trace")

        def undo() -> None:
            if tracer.end():
                what = f"{actor.name} {injection.calls} {injection.how}"
                self._happened(at_s, fault.kind, what)
            else:
                self.missed[fault.kind] += 1
            actor.is_traced = False
            self._present.discard("trace")

        self._later(TRACE_S, undo)
        return ""

    def _jump(self, fault: Fault) -> str:
        if self._clock is None or "clock" in self._present:
            return ""
        clock = self._clock
        off_s = JUMPS_S[int(fault.dice[0] * len(JUMPS_S))]
        seconds = between(2.0, 5.0, fault.dice[1])
        clock.jump(off_s)
        self._present.add("clock")

        def undo() -> None:
            clock.jump(0)
            self._present.discard("clock")

        self._later(seconds, undo)
        return f"by {off_s} s for {seconds:.1f} s"

    def _slow(self, fault: Fault) -> str:
        with self._callers.lock:
            calls = self._callers.open_calls()
            if not calls:
                return ""
            call = calls[int(fault.dice[0] * len(calls))]
            seconds = between(0.5, 3.0, fault.dice[1])
            call.stall(time.monotonic() + seconds)
            return f"call {call.number} for {seconds:.1f} s"

    def _half_close(self, fault: Fault) -> str:
        with self._callers.lock:
            calls = self._callers.open_calls()
            if not calls:
                return ""
            call = calls[int(fault.dice[0] * len(calls))]
            if fault.dice[1] < 0.25:
                call.vanish()
                return f"call {call.number} vanishes"
            redials = fault.dice[1] < 0.75
            call.half_close(redials=redials)
            return f"call {call.number}, which dials again: {redials}"

    def _cut(self, fault: Fault) -> str:
        with self._callers.lock:
            calls = self._callers.open_calls()
            if not calls:
                return ""
            call = calls[int(fault.dice[0] * len(calls))]
            call.cut(time.monotonic(), between(0.0, 2.0, fault.dice[1]))
            return f"call {call.number}"

    def _no_worker(self, fault: Fault) -> str:
        node = self._node
        if any(node.actors[name].is_held for name in RECORDERS):
            return ""
        seconds = between(3.0, 8.0, fault.dice[0])
        for name in RECORDERS:
            node.actors[name].is_held = True
            node.kill(name)
        gateways = [node.actors[name] for name in GATEWAYS]
        begin_s, log, rss = time.monotonic(), node.log_bytes(), self._rss(gateways)
        streams = self._callers.streams()

        def undo() -> None:
            if all(node.actors[actor.name] is actor for actor in gateways):
                grown = (node.log_bytes() - log, self._rss(gateways) - rss)
                self.idle.append(Idle(time.monotonic() - begin_s, streams, *grown))
            for name in RECORDERS:
                node.start(name)

        self._later(seconds, undo)
        return f"for {seconds:.1f} s"

    def _rss(self, gateways: list[Actor]) -> int:
        return sum(self._node.rss_bytes(actor.name) for actor in gateways)


class _Unlimited:
    """Lets the files of processes grow again."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids

    def __call__(self) -> None:
        for pid in self._pids:
            limit_files(pid, is_full=False)
