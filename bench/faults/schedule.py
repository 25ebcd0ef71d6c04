"""Which fault comes when: a function of seed and part alone. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

#: Every class of fault, and what is done.
CLASSES = {
    "worker-kill": "SIGKILL to a recorder",
    "worker-stop": "SIGSTOP to a recorder for 1 to 5 s",
    "gateway-kill": "SIGKILL to a gateway; its calls dial again",
    "gateway-stop": "SIGSTOP to a gateway for 0.5 to 4 s",
    "finish-kill": "SIGKILL to `finish`",
    "recordings-full": "no room for recordings for 0.3 to 2.5 s",
    "log-full": "no room for the log for 0.3 to 2.5 s",
    "syscall-error": "a write or sync of a gateway or a recorder fails",
    "syscall-delay": "writes or syncs of a gateway or a recorder take long",
    "clock-jump": "the wall clock jumps by up to an hour, and back",
    "slow-socket": "a call says nothing for a while, then all of it in dribbles",
    "half-close": "a call's socket ends without a close frame, or falls silent for good",
    "socket-cut": "a call's socket is reset; it dials again",
    "no-worker": "no recorder is there for 3 to 8 s",
}
#: It takes long: in one of so many rounds.
NO_WORKER_EVERY = 4
PAUSE_S = (0.5, 1.3)


class Fault(NamedTuple):
    """`dice` decide, each from 0 to under 1, what the class leaves open."""

    at_s: float
    kind: str
    dice: tuple[float, float, float]


def between(low: float, high: float, die: float) -> float:
    """What a die says about a range."""
    return low + (high - low) * die


def pick(sorted_things: Sequence[str], die: float) -> str:
    """What a die says about a choice."""
    return sorted_things[int(die * len(sorted_things))]


def schedule(seed: int, part: int, seconds: float, classes: Sequence[str]) -> list[Fault]:
    """The faults of one part of a run: rounds, each of every class once, in some order."""
    chance = random.Random(f"{seed}/{part}")
    found: list[Fault] = []
    at_s = chance.uniform(*PAUSE_S)
    rounds = 0
    while at_s < seconds:
        kinds = [
            kind
            for kind in classes
            if kind != "no-worker" or not rounds % NO_WORKER_EVERY or len(classes) == 1
        ]
        chance.shuffle(kinds)
        for kind in kinds:
            dice = (chance.random(), chance.random(), chance.random())
            found.append(Fault(round(at_s, 3), kind, dice))
            at_s += chance.uniform(*PAUSE_S)
        rounds += 1
    return [fault for fault in found if fault.at_s < seconds]
