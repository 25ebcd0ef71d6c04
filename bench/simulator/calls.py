"""Who speaks when in one call: the plan of its packets. Pure; reads no clock and no socket.

Times are microseconds after the call's start at real speed. A plan is a function of the scenario
(with its seed) and the call's number alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

TICK_US = 20_000
TICKS_A_SECOND = 50
RESOURCE = "5a3f1c52-8d0b-4c0e-9a43-6e2f7d1b9c10"
DIGITS = "0123456789"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What all calls of a run have in common."""

    calls: int = 1
    participants: int = 2
    #: Length of a call in packets of 20 ms for each participant.
    ticks: int = 500
    rate: int = 16_000
    mixed: bool = False
    jitter_ms: float = 0.0
    dtmf: bool = False
    seed: int = 0

    @property
    def packet_samples(self) -> int:
        """Samples in one packet of one participant."""
        return self.rate // TICKS_A_SECOND


@dataclass(frozen=True, slots=True)
class Track:
    """One stream on the socket: its raw id (None: mixed) and the speakers heard in it."""

    participant: str | None
    speakers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tone:
    """One key pressed at `tick`. `bare` is the documented form: neither stamp nor participant."""

    tick: int
    tone: str
    participant: str | None
    bare: bool


@dataclass(frozen=True, slots=True)
class CallPlan:
    """One call of the scenario."""

    number: int
    scenario: Scenario
    tracks: tuple[Track, ...]
    tones: tuple[Tone, ...]


class Emission(NamedTuple):
    """One packet to send: when, whose, which; either audio (`tone` is None) or a tone."""

    due_us: int
    stamp_us: int
    track: int
    tick: int
    tone: Tone | None


def plan_call(scenario: Scenario, number: int) -> CallPlan:
    """The plan of call `number` of the scenario."""
    first = number * scenario.participants
    speakers = tuple(range(first, first + scenario.participants))
    if scenario.mixed:
        tracks: tuple[Track, ...] = (Track(None, speakers),)
    else:
        tracks = tuple(
            Track(raw_id(scenario.seed, speaker, place), (speaker,))
            for place, speaker in enumerate(speakers)
        )
    tones = _tones(scenario, number, tracks) if scenario.dtmf else ()
    return CallPlan(number, scenario, tracks, tones)


def raw_id(seed: int, speaker: int, place: int) -> str:
    """The raw id of a speaker; the families alternate with its place in the call."""
    one, two = np.random.default_rng([seed, 3, speaker]).integers(0, 1 << 48, 2)
    guid = f"{one >> 16:08x}-{one & 0xFFFF:04x}-4{two >> 36:03x}-8{two >> 24 & 0xFFF:03x}"
    guid += f"-{speaker:012x}"
    family = place % 4
    if family == 0:
        return f"8:acs:{RESOURCE}_{guid}"
    if family == 1:
        return f"4:+1555{speaker % 10_000_000:07d}"
    return f"8:orgid:{guid}" if family == 2 else f"28:{guid}"


def block_ticks(number: int, first_tick: int) -> int:
    """How many ticks to plan from `first_tick` on: a second, the first time a part of one.

    The part differs from call to call, so that the work for a second's audio of all calls does
    not fall on one instant.
    """
    return number * 7 % TICKS_A_SECOND + 1 if first_tick == 0 else TICKS_A_SECOND


def emissions(plan: CallPlan, first_tick: int, count: int) -> list[Emission]:
    """The packets of `count` ticks in the order of sending; each track's own order is its ticks'.

    With jitter a packet is sent, and stamped, up to `jitter_ms` before or after its true instant;
    all instants are moved by `jitter_ms`, so that none lies before the call's start.
    """
    scenario = plan.scenario
    count = max(min(count, scenario.ticks - first_tick), 0)
    shape = (count, len(plan.tracks))
    grid = np.arange(first_tick, first_tick + count, dtype=np.int64)[:, None] * TICK_US
    off_us = np.zeros(shape, np.int64)
    if scenario.jitter_ms:
        rng = np.random.default_rng([scenario.seed, 4, plan.number, first_tick])
        off_ms = rng.uniform(-scenario.jitter_ms, scenario.jitter_ms, shape)
        off_us = np.rint(off_ms).astype(np.int64) * 1000  # a stamp has whole milliseconds
    stamps = (grid + off_us).tolist()
    lead_us = int(scenario.jitter_ms * 1000)
    dues = np.maximum.accumulate(grid + off_us + lead_us, axis=0).tolist()
    out = [
        Emission(dues[row][track], stamps[row][track], track, first_tick + row, None)
        for row in range(count)
        for track in range(shape[1])
    ]
    for tone in plan.tones:
        if first_tick <= tone.tick < first_tick + count:
            at_us = tone.tick * TICK_US
            out.append(Emission(at_us + lead_us, at_us, -1, tone.tick, tone))
    out.sort(key=_due)
    return out


def _due(emission: Emission) -> int:
    return emission.due_us


def _tones(scenario: Scenario, number: int, tracks: tuple[Track, ...]) -> tuple[Tone, ...]:
    """Two to four digits, then star and pound, at instants of their own; the first one is bare."""
    rng = np.random.default_rng([scenario.seed, 5, number])
    keys = [DIGITS[digit] for digit in rng.integers(0, 10, rng.integers(2, 5))] + ["*", "#"]
    keys = keys[: scenario.ticks]
    ticks = np.sort(rng.choice(scenario.ticks, len(keys), replace=False)).tolist()
    whose = rng.integers(0, len(tracks), len(keys)).tolist()
    return tuple(
        Tone(tick, key, None if place == 0 else tracks[track].participant, bare=place == 0)
        for place, (tick, key, track) in enumerate(zip(ticks, keys, whose, strict=True))
    )
