"""What one call has sent, for the checker: sockets, packets, and how each socket ended. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

#: Ends of a socket after which everything that the kernel took must be recorded.
WHOLE = frozenset(("closed", "half-closed", "vanished"))
#: Ends after which the last packets may be missing: nobody can have read, or kept, them.
TORN = frozenset(("killed", "cut"))
#: A gateway that is killed so soon after a socket's end may not have logged all of it.
SETTLE_S = 10.0


@dataclass(slots=True)
class SentSocket:
    """One accepted socket. Packets are numbered on the call's clock, one in 20 ms."""

    gateway: int
    first: int
    #: Numbers said on it, for each participant.
    packets: int = 0
    #: Of all participants' packets, how many were wholly handed to the kernel.
    handed: int = 0
    #: `closed` (properly), `half-closed`, `vanished`, `killed` (its gateway was), `cut` (by us);
    #: anything else is something that nobody has done.
    end: str = "open"
    #: By the system's monotonic clock.
    dialled_s: float = 0.0
    over_s: float = 0.0

    def handed_of(self, place: int, participants: int) -> int:
        """How many of one participant's packets were."""
        return (self.handed - place + participants - 1) // participants


@dataclass(slots=True)
class SentCall:
    """A call that is over. `base_ms`: stamp of packet 0, Unix ms."""

    number: int
    call_id: str
    participants: int
    base_ms: int
    sockets: list[SentSocket] = field(default_factory=list)

    @property
    def packets(self) -> int:
        """Of all participants."""
        return self.participants * sum(each.packets for each in self.sockets)

    def mark_killed(self, kills: list[tuple[int, float]]) -> None:
        """Sockets whose gateway was killed (number, when), and not long after their end."""
        for each in self.sockets:
            for gateway, at_s in kills:
                is_soon = each.dialled_s <= at_s <= each.over_s + SETTLE_S
                if is_soon and gateway == each.gateway and each.end in WHOLE | TORN:
                    each.end = "killed"

    def as_json(self) -> dict[str, Any]:
        """To keep as evidence."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> SentCall:
        """What `as_json` gave."""
        sockets = [SentSocket(**each) for each in found["sockets"]]
        return cls(**{**found, "sockets": sockets})
