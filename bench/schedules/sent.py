"""What a world's calls say, and what became of it at the gateways: for the checker. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

RATE = 8_000
PACKET_SAMPLES = 800
PACKET_US = 100_000


@dataclass(slots=True)
class Packet:
    """A packet that a gateway has read. Its first sample is -`number`, all others are `number`."""

    number: int
    participant: str
    #: When it was said: Unix us.
    stamp_us: int
    #: The gateway's tick that has it; None while it has none.
    tick: int | None = None
    #: The gateway has died with it, or had no room for it: it may be missing.
    may_miss: bool = False


@dataclass(slots=True)
class Tone:
    """A key that a gateway has read: as `Packet`."""

    name: str
    tick: int | None = None
    may_miss: bool = False


@dataclass(slots=True)
class SentSession:
    """What one socket has brought, and how it ended."""

    id: str
    call_id: str
    packets: list[Packet] = field(default_factory=list)
    tones: list[Tone] = field(default_factory=list)
    #: Its end, once its gateway has seen it; `name` is of no meaning.
    end: Tone | None = None


@dataclass(slots=True)
class SentCall:
    """A call and its sessions."""

    call_id: str
    sessions: list[SentSession] = field(default_factory=list)
