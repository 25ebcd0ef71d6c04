"""How the seconds of a drain are shared: first calls, then gateways, workers, `finish`. Pure."""

from typing import NamedTuple

#: What a gateway wants for acknowledgements when its last socket is gone.
ACKNOWLEDGE_S = 5.0
#: What it wants for a socket whose peer does not answer a close frame, beyond `close_s`.
CUT_S = 1.0
#: What workers and `finish` want when the gateways are gone.
AFTER_S = 6.0
#: A drain shorter than this has no time for calls that go on.
SHORT_S = 3.0
#: Left over at the end, for a process that even SIGKILL does not end at once.
SPARE_S_MAX = 0.5


class Budget(NamedTuple):
    """Seconds. What a part does not use, the next one has."""

    drain_s: float
    #: For how long running calls go on.
    calls_s: float
    #: What a gateway then has for close frames and acknowledgements.
    leave_s: float
    #: When what is left of gateways, of workers and of `finish` is killed, from the start.
    deadlines_s: tuple[float, float, float]


def budget(drain_s: float, close_s: float) -> Budget:
    """Share `drain_s`, where a peer has `close_s` to answer a close frame.

    Calls have what nobody else wants, at least half; a short drain is shared by those who want it
    for what was received.
    """
    spare_s = min(SPARE_S_MAX, drain_s / 10)
    wanted_s = close_s + CUT_S + ACKNOWLEDGE_S + AFTER_S + spare_s
    calls_s = max(drain_s - wanted_s, min(drain_s / 2, drain_s - SHORT_S), 0.0)
    end_s = drain_s - spare_s
    after_s = min(AFTER_S, (end_s - calls_s) * 2 / 3)
    return Budget(
        drain_s=drain_s,
        calls_s=calls_s,
        leave_s=end_s - after_s - calls_s,
        deadlines_s=(end_s - after_s / 2, end_s - after_s / 4, end_s),
    )
