"""A catch-up: sessions of one link that are served from a log until they have reached its end."""

from collections.abc import Callable, Iterable

from gateway.links import Link
from gateway.log.adoption import Adopted
from gateway.log.reader import Cursor
from gateway.log.ticks import Tick, of_sessions
from gateway.log.writer import Log

#: Bytes of ticks that are read, and sent, at a time.
READ_BYTES = 1024 * 1024

Read = Callable[[], list[Tick]]
#: Runs a read where it may wait for a disk; hands its ticks back in the loop, None if it failed.
RunRead = Callable[[Read, Callable[[list[Tick] | None], None]], None]


class CatchUp:
    """Where the delivery of one log (`source`; None: our own) to one link stands.

    `sessions` maps a session to the first tick that it needs; `next` is the first tick that has
    not been delivered; `greeted` says that the OPENs have been sent.
    """

    __slots__ = ("_cursor", "greeted", "is_reading", "link", "next", "sessions", "source", "ticks")

    def __init__(self, source: Adopted | None, link: Link) -> None:
        self.source = source
        self.link = link
        self.sessions: dict[int, int] = {}
        self.next = 0
        self.greeted = False
        self.is_reading = False
        #: Read and not yet sent, oldest first.
        self.ticks: list[Tick] = []
        self._cursor: Cursor | None = None

    def add(self, session: int, since: int) -> None:
        """Serve a session, too; what the others have had already they may get once more."""
        if not self.sessions or since < self.next:
            self.next = since
            self._cursor = None
            self.ticks = []
        self.sessions[session] = since
        self.greeted = False

    def reader(self, log: Log | None) -> Read:
        """A function that reads the next ticks from disk."""
        if self._cursor is None:
            source = self.source or log
            if source is None:
                raise AssertionError("a catch-up needs a log")
            self._cursor = source.cursor(self.next)
        cursor = self._cursor
        return lambda: cursor.read(READ_BYTES)

    def restart(self) -> None:
        """Forget what was read ahead."""
        self._cursor = None
        self.ticks = []

    def wanted(self, tick: Tick) -> Tick:
        """The frames of a tick that are due to the sessions."""
        return of_sessions(tick, [s for s, since in self.sessions.items() if since <= tick.number])


def run_at_once(read: Read, done: Callable[[list[Tick] | None], None]) -> None:
    """A `RunRead` for tests and benches: reads where it is called."""
    done(read())


def frames_tick(number: int, now_us: int, frames: Iterable[tuple[bytes, bytes]]) -> Tick:
    """A tick of single (head, payload) frames."""
    pairs = list(frames)
    heads = b"".join(head for head, _ in pairs)
    return Tick(number, now_us, heads, b"".join(payload for _, payload in pairs))
