"""Whether there is room for a new call: a slot is taken when a connection is accepted. Pure.

Every connection is accepted, so that one without a slot gets an answer; it is refused when it has
said which call it is. Between the two nobody else can take the slot.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

#: Descriptors that are not for connections: the listening socket, the bus, the log, certificates.
DESCRIPTORS_RESERVED = 128
#: Lag counts when it lasts: so many measures in a row must be over the limit to refuse calls.
LAG_MEASURES = 5
RETRY_AFTER_S = 5


class CapacityLimits(NamedTuple):
    """From where on no new calls are taken. 0 switches a limit off."""

    sessions_max: int = 0
    #: Of the process's own memory.
    memory_bytes_max: int = 0
    #: Of the memory of the machine, or of its container, that must be left, 0 to 1.
    memory_free_min: float = 0.0
    #: What connections may take of the process's file descriptors.
    descriptors_max: int = 0
    #: How late the event loop may be.
    lag_ms_max: float = 0.0


class Shortage(NamedTuple):
    """What there is too little of: the limit's name, and a sentence with its figures."""

    name: str
    reason: str
    retry_after_s: int = RETRY_AFTER_S


#: Of the process's time.
STOPPING = Shortage("stopping", "the server stops", 1)


class Slot:
    """One connection's claim. `shortage` says why it has none; `release` it when it is gone."""

    __slots__ = ("_capacity", "_holds", "shortage")

    def __init__(self, capacity: "Capacity | None", shortage: Shortage | None = None) -> None:
        self._capacity = capacity
        self.shortage = shortage
        self._holds = shortage is None

    def give_up(self) -> None:
        """The connection is no call's; it is still there."""
        if self._capacity is not None:
            self._capacity.slots -= self._holds
            self._holds = False
            self._capacity.on_release()

    def release(self) -> None:
        """Give it back; more than once does no harm."""
        if self._capacity is not None:
            self._capacity.connections -= 1
            self.give_up()
            self._capacity = None


#: For who counts nothing.
UNLIMITED = Slot(None)


class Capacity:
    """What the process has room for. Whoever measures writes the figures."""

    def __init__(
        self, limits: CapacityLimits, on_release: Callable[[], object] = lambda: None
    ) -> None:
        """`on_release()` is called when a connection is gone, and its slot with it."""
        self.limits = limits
        self.on_release = on_release
        #: Connections with a slot, and all that there are.
        self.slots = 0
        self.connections = 0
        #: Refused, by the name of what there was too little of.
        self.refused: Counter[str] = Counter()
        self.memory_bytes = 0
        self.memory_free = 1.0
        self.lag_ms = 0.0
        self._late = 0
        self._is_late = False

    @property
    def is_crowded(self) -> bool:
        """Whether there is not even a descriptor to refuse with: half of the reserve is gone."""
        descriptors_max = self.limits.descriptors_max
        spare = min(DESCRIPTORS_RESERVED, descriptors_max) // 2
        return 0 < descriptors_max <= self.connections - spare

    def take(self, log_refuses: str = "") -> Slot:
        """For a connection that was accepted just now. `log_refuses`: why the log wants no more."""
        shortage = self.shortage(log_refuses)
        self.connections += 1
        self.slots += shortage is None
        return Slot(self, shortage)

    def measured_lag(self, lag_ms: float) -> None:
        """Take a measure of how late the loop was. Back to half of the limit, calls are taken."""
        self.lag_ms = lag_ms
        limit_ms = self.limits.lag_ms_max
        self._late = self._late + 1 if lag_ms > limit_ms else 0
        if self._late >= LAG_MEASURES:
            self._is_late = bool(limit_ms)
        elif lag_ms <= limit_ms / 2:
            self._is_late = False

    def shortage(self, log_refuses: str = "") -> Shortage | None:
        """Why a new call would be refused now; None where there is room."""
        limits = self.limits
        if 0 < limits.sessions_max <= self.slots:
            return Shortage("sessions", f"{self.slots} calls are as many as `sessions_max` allows")
        if 0 < limits.descriptors_max <= self.connections:
            reason = f"{self.connections} connections are all that file descriptors allow"
            return Shortage("descriptors", reason)
        if 0 < limits.memory_bytes_max <= self.memory_bytes:
            taken_mib = self.memory_bytes >> 20
            return Shortage("memory", f"{taken_mib} MiB of memory are over `memory_bytes_max`")
        if self.memory_free < limits.memory_free_min:
            left = f"{100 * self.memory_free:.0f} %"
            return Shortage("memory", f"{left} of the memory is left: `memory_free_min`")
        if self._is_late:
            reason = f"the event loop is {self.lag_ms:.0f} ms late: `lag_ms_max`"
            return Shortage("lag", reason)
        return Shortage("log", log_refuses) if log_refuses else None
