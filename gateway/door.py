"""The door of a front process: what there is room for, measured, and told to who shares its socket.

The shell around `capacity` and `placement`.
"""

import logging
import resource
import time
from collections.abc import Callable
from contextlib import suppress

from gateway.admission import Refusal
from gateway.capacity import DESCRIPTORS_RESERVED, Capacity, CapacityLimits, Shortage, Slot
from gateway.memory import free_share, own_memory_bytes
from gateway.placement import Gate

MEASURE_S = 0.1
#: How long nothing is accepted where not even a refusal has a descriptor.
CROWDED_S = 0.1
#: Memory is looked at with every so many measures.
_MEMORY_EVERY = 5
#: Refusals that are logged one by one; of those beyond it the log has the number.
LINES_A_SECOND_MAX = 10

logger = logging.getLogger(__name__)


class SharedDoor:
    """Decides on connections before anything is known of them; see `listener.Door`."""

    def __init__(self, limits: CapacityLimits, gate: Gate, log_refuses: Callable[[], str]) -> None:
        """`log_refuses()` says why the log wants no new calls; empty where it does."""
        self.capacity = Capacity(limits, self._tell)
        self.gate = gate
        #: No new calls are wanted, whatever room there is.
        self.is_closing = False
        self._is_failing = False
        self._log_refuses = log_refuses
        self._due_s = time.monotonic() + MEASURE_S
        self._measures = 0
        self._lines = self._unsaid = 0
        self._lines_until_s = 0.0
        self._tell()

    @property
    def shortage(self) -> Shortage | None:
        """Why a new call would be refused now."""
        return self.capacity.shortage(self._log_refuses())

    @property
    def is_accepting(self) -> bool:
        """Whether a new call would be taken now, by this process."""
        return not self.is_closing and not self._is_failing and self.shortage is None

    @property
    def fault(self) -> str:
        """Why no call comes in here, through no other process on the socket either; else empty."""
        shortage = self.shortage
        if shortage is None or self.gate.others_accept(_now_us()):
            return ""
        return f"takes no new calls: {shortage.reason}"

    def wait_s(self) -> float:
        """Seconds to leave the next connection to another process; 0: accept it."""
        if self.capacity.is_crowded:
            return CROWDED_S
        is_full = self.shortage is not None
        return self.gate.wait_s(self.capacity.slots, is_full=is_full, now_us=_now_us())

    def take(self) -> Slot:
        """A connection was accepted: its slot."""
        slot = self.capacity.take(self._log_refuses())
        self._is_failing = False
        self.gate.accepted()
        self._tell()
        return slot

    def missed(self) -> None:
        """There is none to accept: somebody else was faster."""
        self.gate.missed()

    def failed(self) -> None:
        """None can be accepted for now: who is full shall not wait for this process."""
        self._is_failing = True
        self._tell()

    def refuse(self, call_id: str, shortage: Shortage) -> Refusal:
        """The answer to a call without a slot; counted, and logged."""
        self.capacity.refused[shortage.name] += 1
        now_s = time.monotonic()
        if now_s >= self._lines_until_s:
            self._lines, self._lines_until_s = 0, now_s + 1.0
        self._lines += 1
        if self._lines <= LINES_A_SECOND_MAX:
            logger.warning("call %s was refused: %s", call_id, shortage.reason)
        else:
            self._unsaid += 1
        return Refusal(503, shortage.reason, (("Retry-After", str(shortage.retry_after_s)),))

    def measure(self) -> None:
        """Every `MEASURE_S`: how late the loop is, how much memory there is; tell the others."""
        now_s = time.monotonic()
        self.capacity.measured_lag(max(0.0, now_s - self._due_s) * 1000)
        self._due_s = now_s + MEASURE_S
        if self._measures % _MEMORY_EVERY == 0:
            self.capacity.memory_bytes = own_memory_bytes()
            self.capacity.memory_free = free_share()
        self._measures += 1
        if self._unsaid and now_s >= self._lines_until_s:
            logger.warning("%d more calls were refused", self._unsaid)
            self._unsaid = 0
        self._tell()

    def close(self) -> None:
        """Leave the socket to the others."""
        self.gate.close()

    def _tell(self) -> None:
        calls, is_accepting = self.capacity.slots, self.is_accepting
        self.gate.tell(calls, is_accepting=is_accepting, now_us=_now_us())


def descriptors_max() -> int:
    """How many connections file descriptors allow, once their limit is as high as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # some systems have no such high limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return soft - min(DESCRIPTORS_RESERVED, soft // 2)


def _now_us() -> int:
    """The machine's monotonic clock, which all its processes share."""
    return time.monotonic_ns() // 1000
