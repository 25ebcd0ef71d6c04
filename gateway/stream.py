"""A stream of a session: one participant at one rate, and the packet that it may hold back."""

from typing import NamedTuple

from gateway.kernel import StreamState
from gateway.ledger import Place


class Held(NamedTuple):
    """An audio packet that the ledger holds until the stream's next one is here."""

    stamp_us: int | None
    pcm: bytes
    silent: bool


class Stream(StreamState):
    """One participant at one rate in this session."""

    __slots__ = ("bad", "participant")

    def __init__(self, index: int, participant: str | None, place: Place) -> None:
        self.index = index
        self.participant = participant
        self.place = place
        self.silent = 0
        self.bad = 0
        self.held: Held | None = None
