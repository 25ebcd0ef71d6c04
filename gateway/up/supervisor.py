"""Which processes a node has, when one that died starts again, and in which order they end. Pure.

Told what happened and what time it is, it says what to do. `node.py` does it.

A drain has three stages, each with a deadline after which what is left of it is killed: gateways
(they run their calls out), workers (every gateway has released them by then or is gone), `finish`
workers (recorders are gone, so nothing more becomes due). A place whose stage has not come is still
watched: a recorder that dies while gateways drain starts again.
"""

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gateway.errors import EX_CONFIG
from gateway.wire.topology import FINISH_POOL

DELAY_US_MIN = 100_000
DELAY_US_MAX = 10_000_000
#: Who lived so long begins again with the shortest delay.
LIFE_US_MIN = 30_000_000

#: What workers and `finish` need after the gateways' last call was closed.
WORKERS_S = 12.0
#: A second signal ends everything within this.
HURRY_US = 3_000_000
#: Between a stage's SIGKILL and going on without it.
KILL_US_MAX = 500_000

Role = Literal["gateway", "worker"]


@dataclass(frozen=True, slots=True)
class Place:
    """A process that the node should have."""

    role: Role
    pool: str | None
    index: int

    @property
    def name(self) -> str:
        """`gateway-0`, `record-1`."""
        return f"{self.pool or self.role}-{self.index}"


class Start(NamedTuple):
    """Start a process at `place`, and answer with `started` or `failed`."""

    place: Place


class Signal(NamedTuple):
    """Send `number` to the process at `place`."""

    place: Place
    pid: int
    number: int


@dataclass(slots=True)
class Child:
    """The process at a place, or the wait for the next one (then `pid` is None)."""

    place: Place
    pid: int | None = None
    #: It said READY: it accepts.
    accepts: bool = False
    started_us: int = 0
    #: When to start; of no meaning while it lives.
    due_us: int = 0
    delay_us: int = DELAY_US_MIN
    starts: int = 0

    @property
    def restarts(self) -> int:
        """How often it had to be started again."""
        return max(0, self.starts - 1)


@dataclass(slots=True)
class _Stage:
    """A part of the drain."""

    children: list[Child]
    deadline_us: int = 0
    told: bool = False
    killed: bool = False

    def live(self) -> list[tuple[Place, int]]:
        return [(child.place, child.pid) for child in self.children if child.pid is not None]


def gateway_drain_s(drain_s: float) -> float:
    """How much of `drain_s` gateways may use for running calls."""
    return max(drain_s - WORKERS_S, drain_s / 2)


class Supervisor:
    """The node's processes. Times are monotonic, in us."""

    def __init__(self, places: Iterable[Place], *, drain_s: float) -> None:
        self.children = {place: Child(place) for place in places}
        self._drain_us = int(drain_s * 1_000_000)
        self._gateways_us = int(gateway_drain_s(drain_s) * 1_000_000)
        self._stages = _stages(list(self.children.values()))
        #: Index of the stage under way; None while nothing ends.
        self._stage: int | None = None
        self._hurried = False

    @property
    def is_draining(self) -> bool:
        """Whether the node ends."""
        return self._stage is not None

    @property
    def is_done(self) -> bool:
        """Whether every stage of the drain is over."""
        return self._stage == len(self._stages)

    def decide(self, now_us: int) -> list[Start | Signal]:
        """What is to be done now. Calling it again gives nothing twice."""
        decided: list[Start | Signal] = []
        if self._stage is not None:
            decided.extend(self._end(now_us))
        decided.extend(
            Start(child.place)
            for child in self._watched()
            if child.pid is None and child.due_us <= now_us
        )
        return decided

    def next_us(self) -> int | None:
        """When `decide` has something to say though nothing happened; None: never."""
        times = [child.due_us for child in self._watched() if child.pid is None]
        if self._stage is not None and not self.is_done:
            stage = self._stages[self._stage]
            times.append(stage.deadline_us + (KILL_US_MAX if stage.killed else 0))
        return min(times, default=None)

    def started(self, place: Place, pid: int, now_us: int) -> None:
        """There is a process."""
        child = self.children[place]
        child.pid, child.accepts, child.started_us = pid, False, now_us
        child.starts += 1

    def failed(self, place: Place, now_us: int) -> int:
        """No process could be made. Returns the delay until the next try, in us."""
        child = self.children[place]
        return _postpone(child, now_us, child.delay_us)

    def accepts(self, place: Place, pid: int) -> None:
        """The process says that it accepts."""
        child = self.children[place]
        child.accepts = child.pid == pid

    def exited(self, place: Place, code: int, now_us: int) -> int | None:
        """The process is gone. Returns the delay until the next in us; None if there is none."""
        child = self.children[place]
        child.pid, child.accepts = None, False
        if now_us - child.started_us >= LIFE_US_MIN:
            child.delay_us = DELAY_US_MIN
        # Nothing but a change of the file helps a process that refuses its configuration.
        delay_us = _postpone(child, now_us, DELAY_US_MAX if code == EX_CONFIG else child.delay_us)
        return delay_us if child in self._watched() else None

    def drain(self, now_us: int) -> None:
        """End the node; a second call ends it at once, further ones change nothing."""
        if self._stage is None:
            self._stage = 0
            self._set_deadlines(_drain_deadlines(now_us, self._drain_us, self._gateways_us))
        elif not self._hurried and not self.is_done:
            self._hurried = True
            # The stage under way is told again; later ones end in order, but soon.
            self._stages[self._stage].told = False
            last_us = now_us + HURRY_US - KILL_US_MAX
            self._set_deadlines((now_us + HURRY_US // 2, last_us - 250_000, last_us))

    def _set_deadlines(self, deadlines: Sequence[int]) -> None:
        for stage, deadline_us in zip(self._stages, deadlines, strict=True):
            if not self._hurried or deadline_us < stage.deadline_us:
                stage.deadline_us = deadline_us

    def _watched(self) -> list[Child]:
        """Those that start again when they die."""
        first = 0 if self._stage is None else self._stage + 1
        return [child for stage in self._stages[first:] for child in stage.children]

    def _end(self, now_us: int) -> list[Signal]:
        """Go on with the drain, past every stage that is over."""
        assert self._stage is not None
        while not self.is_done:
            stage = self._stages[self._stage]
            live = stage.live()
            if live and not stage.told:
                stage.told = True
                return [Signal(place, pid, signal.SIGTERM) for place, pid in live]
            if live and not stage.killed and now_us >= stage.deadline_us:
                stage.killed = True
                return [Signal(place, pid, signal.SIGKILL) for place, pid in live]
            if live and now_us < stage.deadline_us + (KILL_US_MAX if stage.killed else 0):
                return []
            self._stage += 1
        return []


def _stages(children: list[Child]) -> list[_Stage]:
    gateways = [child for child in children if child.place.role == "gateway"]
    finish = [child for child in children if child.place.pool == FINISH_POOL]
    others = [child for child in children if child not in gateways and child not in finish]
    return [_Stage(gateways), _Stage(others), _Stage(finish)]


def _drain_deadlines(now_us: int, drain_us: int, gateways_us: int) -> tuple[int, int, int]:
    """When what is left of each stage is killed; the last leaves time to be gone by `drain_us`.

    Gateways get most of it: after their part they still wait for close frames and acknowledgements,
    and what a stage does not use the next one has.
    """
    last_us = now_us + drain_us - min(KILL_US_MAX, drain_us // 10)
    rest_us = last_us - (now_us + gateways_us)
    return last_us - rest_us // 4, last_us - rest_us // 8, last_us


def _postpone(child: Child, now_us: int, delay_us: int) -> int:
    child.due_us = now_us + delay_us
    child.delay_us = min(2 * child.delay_us, DELAY_US_MAX)
    return delay_us
