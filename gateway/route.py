"""A route: the frames that gather until the next tick for one set of workers. HOT.

Sessions append to the lists themselves; the router takes what is there at each tick.
"""

from collections.abc import Callable

from gateway.links import Link
from gateway.log.ticks import Tick
from gateway.wire.frame import FRAME, FrameKind

#: A route asks for a tick at this size. A tick costs the same whatever it holds, so it may be
#: larger than a batch, but not so large that the log's thread finds none of it in a cache.
ROUTE_BYTES_MAX = 1024 * 1024

OnControl = Callable[[FrameKind, int, bytes, bytes], None]


class Route:
    """Frame heads and payloads, in order. `room` is what is left before `overflow` is due.

    `links` are the live links of the sessions that use the route, in no particular order.
    """

    __slots__ = ("_on_control", "heads", "links", "overflow", "payloads", "room")

    def __init__(
        self, links: tuple[Link, ...], overflow: Callable[[], None], on_control: OnControl
    ) -> None:
        """`overflow()` flushes every route; `on_control` hears of OPEN and CLOSE as they pass."""
        self.links = links
        self.heads: list[bytes] = []
        self.payloads: list[bytes] = []
        self.room = ROUTE_BYTES_MAX
        self.overflow = overflow
        self._on_control = on_control

    def add(self, head: bytes, payload: bytes) -> None:
        """Append one frame."""
        self.heads.append(head)
        self.payloads.append(payload)
        self.room -= FRAME.size + len(payload)
        if self.room <= 0:
            self.overflow()

    def add_control(self, kind: FrameKind, session: int, head: bytes, payload: bytes) -> None:
        """Append a frame that the router must know of."""
        self._on_control(kind, session, head, payload)
        self.add(head, payload)

    def take(self, number: int, now_us: int) -> Tick:
        """What has gathered, as (a part of) tick `number`; the route is empty afterwards."""
        tick = Tick(number, now_us, b"".join(self.heads), b"".join(self.payloads))
        self.heads.clear()
        self.payloads.clear()
        self.room = ROUTE_BYTES_MAX
        return tick


class Routes:
    """A route for each set of live links that some session has."""

    def __init__(self, overflow: Callable[[], None], on_control: OnControl) -> None:
        """See `Route`."""
        self._overflow = overflow
        self._on_control = on_control
        self._all: dict[frozenset[Link], Route] = {}

    def to(self, links: frozenset[Link]) -> Route:
        """The route to these links."""
        route = self._all.get(links)
        if route is None:
            route = Route(tuple(links), self._overflow, self._on_control)
            self._all[links] = route
        return route

    def filled(self) -> list[Route]:
        """The routes in which something has gathered."""
        return [route for route in self._all.values() if route.heads]

    def forget(self, link: Link) -> None:
        """A link is over; its routes are empty, and their sessions get others."""
        self._all = {links: route for links, route in self._all.items() if link not in links}
