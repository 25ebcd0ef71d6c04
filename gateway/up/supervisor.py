"""Which processes a node has, when one that died starts again, and in which order they end. Pure.

Told what happened and what time it is, it says what to do. `node.py` does it.

Processes of another generation live beside those that hold the node's places: newer ones until
they are promoted, older ones until they have left. They are ended like the others, and never
started again.

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
from gateway.up.budget import Budget
from gateway.wire.topology import FINISH_POOL

DELAY_US_MIN = 100_000
DELAY_US_MAX = 10_000_000
#: Who lived so long begins again with the shortest delay.
LIFE_US_MIN = 30_000_000

#: A second signal ends everything within this.
HURRY_US = 3_000_000
#: Between a stage's SIGKILL and going on without it.
KILL_US_MAX = 500_000

#: Tells a process that another one is there in its place. A gateway takes no new calls and leaves
#: after its last one; told again it closes those that are left. A worker hands over and leaves.
RETIRE = signal.SIGUSR1

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


@dataclass(slots=True, eq=False)
class Child:
    """The process at a place, or the wait for the next one (then `pid` is None)."""

    place: Place
    #: Which upgrade brought it; 1: none.
    generation: int = 1
    pid: int | None = None
    #: It said READY: it accepts.
    accepts: bool = False
    #: It was told to end.
    told: bool = False
    #: When a gateway that leaves must close the calls that it still has; None: never.
    until_us: int | None = None
    #: What the last process at the place ended with.
    code: int | None = None
    started_us: int = 0
    #: When to start; of no meaning while it lives.
    due_us: int = 0
    delay_us: int = DELAY_US_MIN
    starts: int = 0

    @property
    def restarts(self) -> int:
        """How often it had to be started again."""
        return max(0, self.starts - 1)

    @property
    def stage(self) -> int:
        """Which stage of a drain ends it."""
        if self.place.role == "gateway":
            return 0
        return 2 if self.place.pool == FINISH_POOL else 1


@dataclass(slots=True)
class _Stage:
    """A part of the drain."""

    deadline_us: int = 0
    killed: bool = False


class Supervisor:
    """The node's processes. Times are monotonic, in us."""

    def __init__(self, places: Iterable[Place], budget: Budget) -> None:
        self.children = {place: Child(place) for place in places}
        #: Live processes that hold no place: they are being tried, or leave.
        self.beside: list[Child] = []
        #: Of processes that are started from now on.
        self.generation = 1
        self._budget = budget
        self._stages = [_Stage() for _ in budget.deadlines_s]
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
        for child in self.beside:
            if child.until_us is not None and child.until_us <= now_us and child.pid is not None:
                child.until_us = None
                decided.append(Signal(child.place, child.pid, RETIRE))
        decided.extend(
            Start(child.place)
            for child in self._watched()
            if child.pid is None and child.due_us <= now_us
        )
        return decided

    def next_us(self) -> int | None:
        """When `decide` has something to say though nothing happened; None: never."""
        times = [child.due_us for child in self._watched() if child.pid is None]
        times += [child.until_us for child in self.beside if child.until_us is not None]
        if self._stage is not None and not self.is_done:
            stage = self._stages[self._stage]
            times.append(stage.deadline_us + (KILL_US_MAX if stage.killed else 0))
        return min(times, default=None)

    def started(self, place: Place, pid: int, now_us: int) -> None:
        """There is a process."""
        child = self.children[place]
        child.pid, child.accepts, child.told, child.started_us = pid, False, False, now_us
        child.generation, child.code = self.generation, None
        child.starts += 1

    def failed(self, place: Place, now_us: int) -> int:
        """No process could be made. Returns the delay until the next try, in us."""
        child = self.children[place]
        return _postpone(child, now_us, child.delay_us)

    def accepts(self, pid: int) -> None:
        """The process says that it accepts."""
        for child in self._live():
            child.accepts = child.accepts or child.pid == pid

    def exited(self, pid: int, code: int, now_us: int) -> int | None:
        """The process is gone. Returns the delay until the next in us; None if there is none."""
        [child] = [child for child in self._live() if child.pid == pid]
        child.pid, child.accepts, child.code, child.until_us = None, False, code, None
        if child in self.beside:
            self.beside.remove(child)
            return None
        if now_us - child.started_us >= LIFE_US_MIN:
            child.delay_us = DELAY_US_MIN
        # Nothing but a change of the file helps a process that refuses its configuration.
        delay_us = _postpone(child, now_us, DELAY_US_MAX if code == EX_CONFIG else child.delay_us)
        return delay_us if child in self._watched() else None

    def tries(self, place: Place, pid: int, now_us: int) -> Child:
        """There is a process of the newest generation beside the one that holds the place."""
        child = Child(place, self.generation, pid, started_us=now_us)
        self.beside.append(child)
        return child

    def promote(self, child: Child) -> tuple[Child, Signal | None]:
        """A process that was tried takes its place, if it lives.

        Returns whom it replaces, and what tells that one to leave; see `dismiss`.
        """
        old = self.children[child.place]
        if child.pid is None:
            return old, None
        self.beside.remove(child)
        self.children[child.place] = child
        child.starts = old.starts
        if old.pid is None:
            return old, None
        self.beside.append(old)
        return old, self.dismiss(old)

    def dismiss(self, child: Child) -> Signal | None:
        """Have a process that holds no place leave; a gateway when its calls are over.

        One that has just started does not hear the signal and dies of it: it has nothing yet.
        """
        if child.pid is None or child not in self.beside or self.is_draining:
            return None  # a drain tells it in its turn
        return Signal(child.place, child.pid, RETIRE)

    def bound(self, until_us: int) -> None:
        """Have gateways that leave close the calls that they still have then."""
        for child in self.beside:
            if child.place.role == "gateway":
                child.until_us = min(until_us, child.until_us or until_us)

    def drain(self, now_us: int) -> None:
        """End the node; a second call ends it at once, further ones change nothing."""
        if self._stage is None:
            self._stage = 0
            for child in self.beside:
                child.until_us = None  # the drain is shorter
            deadlines_s = self._budget.deadlines_s
            self._set_deadlines([now_us + int(each * 1_000_000) for each in deadlines_s])
        elif not self._hurried and not self.is_done:
            self._hurried = True
            # The stage under way is told again; later ones end in order, but soon.
            for child in self._live():
                child.told = child.told and child.stage != self._stage
            last_us = now_us + HURRY_US - KILL_US_MAX
            self._set_deadlines([now_us + HURRY_US // 2, last_us - 250_000, last_us])

    def _set_deadlines(self, deadlines: Sequence[int]) -> None:
        for stage, deadline_us in zip(self._stages, deadlines, strict=True):
            if not self._hurried or deadline_us < stage.deadline_us:
                stage.deadline_us = deadline_us

    def _live(self) -> list[Child]:
        """Everyone that lives, in the order of places."""
        return [child for child in (*self.children.values(), *self.beside) if child.pid is not None]

    def _watched(self) -> list[Child]:
        """Those that start again when they die."""
        first = 0 if self._stage is None else self._stage + 1
        return [child for child in self.children.values() if child.stage >= first]

    def _end(self, now_us: int) -> list[Signal]:
        """Go on with the drain, past every stage that is over."""
        assert self._stage is not None
        while not self.is_done:
            stage = self._stages[self._stage]
            live = [child for child in self._live() if child.stage == self._stage]
            if untold := [child for child in live if not child.told]:
                for child in untold:
                    child.told = True
                return _signals(untold, signal.SIGTERM)
            if live and not stage.killed and now_us >= stage.deadline_us:
                stage.killed = True
                return _signals(live, signal.SIGKILL)
            if live and now_us < stage.deadline_us + (KILL_US_MAX if stage.killed else 0):
                return []
            self._stage += 1
        return []


def _signals(children: Iterable[Child], number: int) -> list[Signal]:
    return [Signal(child.place, child.pid, number) for child in children if child.pid is not None]


def _postpone(child: Child, now_us: int, delay_us: int) -> int:
    child.due_us = now_us + delay_us
    child.delay_us = min(2 * child.delay_us, DELAY_US_MAX)
    return delay_us
