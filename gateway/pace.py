"""How long packets may gather before a socket is read, and in a tick: by the load. Pure.

The load is packets a second, not CPU time: that falls by the very thing it would bring about.
"""

from math import floor
from typing import NamedTuple

#: A shorter interval gains nothing: that is one packet of a participant.
INTERVAL_MS_MIN = 20


class Step(NamedTuple):
    """From so many packets a second on, so much of the longest interval."""

    packets_a_second: int
    share: float


#: The first is some 3 % of a core, the last a quarter of it and more.
LADDER = (Step(2_000, 1 / 8), Step(4_000, 1 / 4), Step(8_000, 1 / 2), Step(16_000, 1.0))
#: Of what a worker can bear, so much may pass between two ticks.
PATIENT_SHARE = 0.3
PATIENT_FLUSH_MS_MAX = 60
#: Packets are counted over this long, so that the ends of an interval do not matter.
MEASURE_S = 1.0
#: A step is left when the load has been under this share of its threshold for `CALM_S`.
CALM_SHARE = 0.5
CALM_S = 5.0


class Pace:
    """The read interval that the load of the process asks for.

    It is lengthened as soon as a measure asks for it, by as many steps as it asks for; it is
    shortened step by step, after a calm that has lasted.
    """

    def __init__(self, interval_ms_max: float, ladder: tuple[Step, ...] = LADDER) -> None:
        """`interval_ms_max`: 0 for none. Intervals under `INTERVAL_MS_MIN` come out as 0."""
        self.interval_ms_max = interval_ms_max
        #: In force now; 0: sockets are read at once.
        self.interval_ms = 0.0
        self._ladder = ladder
        self._level = 0
        self._packets = 0
        self._since_s: float | None = None
        self._calm_since_s: float | None = None

    def measure(self, packets: int, now_s: float) -> float:
        """Take how many packets the process has read in all; returns the interval, in ms."""
        if self._since_s is None:
            self._packets, self._since_s = packets, now_s
        elapsed_s = now_s - self._since_s
        if elapsed_s >= MEASURE_S:
            self._follow((packets - self._packets) / elapsed_s, now_s)
            self._packets, self._since_s = packets, now_s
        return self.interval_ms

    def _follow(self, rate: float, now_s: float) -> None:
        """Climb to where `rate` packets a second belong, or come down a step."""
        asked = sum(step.packets_a_second <= rate for step in self._ladder)
        is_calm = bool(self._level) and (
            rate < self._ladder[self._level - 1].packets_a_second * CALM_SHARE
        )
        if not is_calm:
            self._level = max(self._level, asked)
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now_s
        elif now_s - self._calm_since_s >= CALM_S:
            self._level -= 1
            self._calm_since_s = None
        share = self._ladder[self._level - 1].share if self._level else 0.0
        interval_ms = self.interval_ms_max * share
        self.interval_ms = interval_ms if interval_ms >= INTERVAL_MS_MIN else 0.0


def patient_flush_ms(flush_ms: float, latency_ms: float) -> float:
    """The time between two ticks where packets gather anyhow, for who can bear `latency_ms`.

    Much of what a tick costs, it costs once: measured at 400 sockets, ticks of 60 ms in place of 20
    save a tenth of all.
    """
    return max(flush_ms, min(PATIENT_FLUSH_MS_MAX, latency_ms * PATIENT_SHARE))


def next_turn_s(now_s: float, interval_s: float, phase: float) -> float:
    """The next time, after `now_s` and at most an interval later, at which a socket is read.

    `phase`, 0 to 1, is its own: whoever has the same interval is spread over it, however often
    intervals change.
    """
    turn_s = (floor(now_s / interval_s - phase) + 1 + phase) * interval_s
    # Rounding can put it at `now_s` itself.
    return turn_s if turn_s > now_s else turn_s + interval_s
