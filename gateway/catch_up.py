"""Catching up: sessions that are served from a log until they have reached its end. Pure.

Who reads, and where that may wait for a disk, is handed in. What is delivered twice does no harm.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gateway.bus.base import Sent
from gateway.links import Link, Send
from gateway.log.adoption import Adopted
from gateway.log.reader import Cursor
from gateway.log.ticks import Tick, frames_tick, of_sessions
from gateway.log.writer import Log
from gateway.seats import Routed
from gateway.wire.frame import BatchFlag

#: Bytes of ticks that are read, and sent to one link, at a time.
READ_BYTES = 1024 * 1024

Read = Callable[[], list[Tick]]
#: Runs a read where it may wait for a disk; hands its ticks back in the loop, None if it failed.
RunRead = Callable[[Read, Callable[[list[Tick] | None], None]], None]

REPLAYED = int(BatchFlag.REPLAYED)


class _Begun(NamedTuple):
    """How things were when a read began."""

    cursor: Cursor
    #: Nothing had been read with the cursor.
    is_fresh: bool
    #: The first tick that was in memory alone.
    written: int
    sync_errors: int


class CatchUp:
    """Where the delivery of one log (`source`; None: our own) to one link stands.

    `sessions` maps a session to the first tick that it needs; `next` is the first tick that has
    not been delivered; `greeted` says that the OPENs have been sent.
    """

    __slots__ = (
        "_cursor",
        "greeted",
        "is_fresh",
        "is_reading",
        "link",
        "next",
        "sessions",
        "source",
        "ticks",
    )

    def __init__(self, source: Adopted | None, link: Link) -> None:
        self.source = source
        self.link = link
        self.sessions: dict[int, int] = {}
        self.next = 0
        self.greeted = False
        self.is_reading = False
        #: Nothing has been read with the present cursor.
        self.is_fresh = True
        #: Read and not yet sent, oldest first.
        self.ticks: list[Tick] = []
        self._cursor: Cursor | None = None

    def add(self, session: int, since: int) -> None:
        """Serve a session, too; what the others have had already they may get once more."""
        if not self.sessions or since < self.next:
            self.next = since
            self.restart()
        self.sessions[session] = since
        self.greeted = False

    def cursor(self, log: Log | None) -> Cursor:
        """Where the next ticks are read from."""
        if self._cursor is None:
            source = self.source or log
            if source is None:
                raise AssertionError("a catch-up needs a log")
            self._cursor = source.cursor(self.next)
            self.is_fresh = True
        return self._cursor

    def reads(self, cursor: Cursor) -> bool:
        """Whether what comes from `cursor` is what is due: no, if it began anew meanwhile."""
        return cursor is self._cursor

    def restart(self) -> None:
        """Forget what was read ahead."""
        self._cursor = None
        self.ticks = []

    def wanted(self, tick: Tick) -> Tick:
        """The frames of a tick that are due to the sessions."""
        return of_sessions(tick, [s for s, since in self.sessions.items() if since <= tick.number])


class CatchUps:
    """Every catch-up of a gateway."""

    def __init__(
        self, log: Log | None, send: Send, run_read: RunRead, sessions: Mapping[int, Routed]
    ) -> None:
        self.replayed_frames = 0
        self._log = log
        self._send = send
        self._run_read = run_read
        self._sessions = sessions
        self._all: list[CatchUp] = []
        self._unreachable: list[Link] = []
        self._now_us = 0

    def __len__(self) -> int:
        return len(self._all)

    def serve(self, source: Adopted | None, link: Link, session: int, since: int) -> None:
        """Bring a link everything of a session from tick `since` of a log on."""
        for catch_up in self._all:
            if catch_up.source is source and catch_up.link is link:
                break
        else:
            catch_up = CatchUp(source, link)
            self._all.append(catch_up)
        catch_up.add(session, since)

    def drop(self, link: Link) -> None:
        """A link is over."""
        self._all = [catch_up for catch_up in self._all if catch_up.link is not link]

    def next_tick(self, link: Link, source: Adopted | None) -> int | None:
        """The first tick of a log that has not been delivered to a link; None: nothing is due."""
        for catch_up in self._all:
            if catch_up.link is link and catch_up.source is source:
                return catch_up.next
        return None

    def advance(self, tick: int, now_us: int) -> tuple[list[CatchUp], list[Link]]:
        """Go on, with `tick` being the one that gathers now.

        Returns the catch-ups that have reached it, which are over, and the links that are.
        """
        self._now_us = now_us
        present = [catch_up for catch_up in tuple(self._all) if self._advance(catch_up, tick)]
        unreachable, self._unreachable = self._unreachable, []
        return present, unreachable

    def _advance(self, catch_up: CatchUp, tick: int) -> bool:
        """Send what has been read, or see to it that more is. True: the present is reached."""
        if catch_up.is_reading or not catch_up.link.has_credit():
            return False
        if not catch_up.greeted and not self._greet(catch_up):
            return False
        if not catch_up.ticks and catch_up.source is None:
            catch_up.ticks = (self._log.pending_from(catch_up.next) if self._log else None) or []
        if catch_up.ticks:
            self._deliver(catch_up)
        if catch_up.source is not None and catch_up.next > catch_up.source.last:
            self._end(catch_up, catch_up.source)
            return False
        if catch_up.source is None and catch_up.next == tick:
            self._all.remove(catch_up)
            return True
        if not catch_up.ticks:
            self._read(catch_up, tick)
        return False

    def _read(self, catch_up: CatchUp, tick: int) -> None:
        catch_up.is_reading = True
        # Taken before the read: what it does not find below is not to be found at all.
        written = self._written_up_to(tick)
        cursor = catch_up.cursor(self._log)
        begun = _Begun(cursor, catch_up.is_fresh, written, self._sync_errors())
        catch_up.is_fresh = False
        self._run_read(
            lambda: cursor.read(READ_BYTES), lambda ticks: self._has_read(catch_up, ticks, begun)
        )

    def _has_read(self, catch_up: CatchUp, ticks: list[Tick] | None, begun: _Begun) -> None:
        """Ticks have come from the disk; None where it failed, and is asked again."""
        catch_up.is_reading = False
        if not catch_up.reads(begun.cursor):
            return  # a session has joined that needs older ones
        if ticks is None:
            catch_up.restart()
            return
        found = [read for read in ticks if read.number >= catch_up.next]
        written = min(begun.written, self._written_up_to(begun.written))
        first = found[0].number if found else written
        if catch_up.source is not None:
            catch_up.ticks = found
            if not ticks:
                catch_up.next = catch_up.source.last + 1
        elif first > catch_up.next and not (written > catch_up.next and self._is_sure(begun)):
            catch_up.restart()
        elif found:
            catch_up.ticks = found
        elif not ticks and first > catch_up.next:
            catch_up.next = first
            catch_up.restart()

    def _is_sure(self, begun: _Begun) -> bool:
        """Whether what a read has not found on disk is nowhere: damaged.

        What a failed sync may have lost is written again: it is in no file for a while, and then
        may lie behind a cursor that has passed its place.
        """
        return begun.is_fresh and begun.sync_errors == self._sync_errors()

    def _sync_errors(self) -> int:
        return self._log.sync_errors if self._log else 0

    def _written_up_to(self, otherwise: int) -> int:
        """The first tick that is in memory alone. It goes back when a sync fails."""
        first = self._log.written_up_to() if self._log else None
        return otherwise if first is None else first

    def _greet(self, catch_up: CatchUp) -> bool:
        """Send the OPENs of the sessions that are to be served."""
        opens = [
            frame
            for session in catch_up.sessions
            if session in self._sessions
            for frame in self._sessions[session].opens.values()
        ]
        catch_up.greeted = self._post(catch_up, frames_tick(catch_up.next, self._now_us, opens))
        return catch_up.greeted

    def _deliver(self, catch_up: CatchUp) -> None:
        """Send ticks that were read, as many as one turn bears."""
        room = READ_BYTES
        ticks, catch_up.ticks = catch_up.ticks, []
        for index, tick in enumerate(ticks):
            if tick.number < catch_up.next:
                continue
            if not tick.snapshot:
                wanted = catch_up.wanted(tick)
                if room <= 0 or not self._post(catch_up, wanted):
                    catch_up.ticks = ticks[index:]
                    return
                room -= len(wanted.heads) + len(wanted.payload)
            catch_up.next = tick.number + 1

    def _end(self, catch_up: CatchUp, adopted: Adopted) -> None:
        """An adopted log is delivered to this link: close what its process could not close."""
        if self._post(catch_up, catch_up.wanted(adopted.last_words)):
            self._all.remove(catch_up)

    def _post(self, catch_up: CatchUp, tick: Tick) -> bool:
        if not tick.heads:
            return True
        self.replayed_frames += tick.frames
        sent = catch_up.link.send(self._send, catch_up.source, tick, self._now_us, REPLAYED)
        if sent is Sent.UNREACHABLE:
            self._unreachable.append(catch_up.link)
        return sent is Sent.DONE


def run_at_once(read: Read, done: Callable[[list[Tick] | None], None]) -> None:
    """A `RunRead` for tests and benches: reads where it is called."""
    done(read())
