"""Who hears a session: one seat in each pool. Pure."""

from typing import Protocol

from gateway.links import Link
from gateway.log.adoption import Adopted
from gateway.route import Route


class Routable(Protocol):
    """What sends a session's frames: the router exchanges its route between two ticks.

    `dropped` is the router's, too: frames that were thrown away so far, by pool and reason.
    """

    route: Route
    dropped: dict[str, dict[str, int]]


class Seat:
    """A session's place in one pool.

    `link` is None while the pool has no worker; then `since` is the first tick that it must still
    be given. `is_live`: frames go to the link with each tick; else a catch-up brings them.
    """

    __slots__ = ("is_live", "link", "since")

    def __init__(self, link: Link | None, since: int, *, is_live: bool) -> None:
        self.link = link
        self.since = since
        self.is_live = is_live


class Routed:
    """A session as the router knows it, until nobody needs anything of it any more."""

    __slots__ = ("call_id", "closed_tick", "dropped", "id", "opens", "owner", "seats", "source")

    def __init__(self, session: int, call_id: str, source: Adopted | None) -> None:
        self.id = session
        self.call_id = call_id
        #: The adopted log that has its frames; None: our own.
        self.source = source
        self.owner: Routable | None = None
        self.seats: dict[str, Seat] = {}
        #: Its OPEN frames so far, by stream: what a worker must be told first.
        self.opens: dict[int, tuple[bytes, bytes]] = {}
        #: Frames of it that were thrown away, by pool and reason.
        self.dropped: dict[str, dict[str, int]] = {}
        #: The tick that has its last frame.
        self.closed_tick: int | None = None

    def live_links(self) -> frozenset[Link]:
        """The links that get its frames with each tick."""
        return frozenset(
            seat.link for seat in self.seats.values() if seat.link is not None and seat.is_live
        )

    @property
    def is_over(self) -> bool:
        """Whether no frame of it will come any more."""
        return self.closed_tick is not None
