"""The log of a gateway that is dead: what was in it, and how its sessions end.

Whoever adopts it delivers its ticks as they are, and then a last one that closes every session the
dead process had open. Counters are left to whoever has the frames: the CLOSE says `null`.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.log.folder import RESERVE_NAME, parts_of, remove_log, take
from gateway.log.reader import Cursor, Damages
from gateway.log.ticks import Control, Tick, controls_of
from gateway.wire import descriptor
from gateway.wire.errors import WireError
from gateway.wire.frame import FRAME, NO_STAMP, SESSION_STREAM, FrameKind

logger = logging.getLogger(__name__)

READ_BYTES = 4 * 1024 * 1024


@dataclass
class LoggedSession:
    """A session as the log shows it."""

    call_id: str
    opens: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # by stream
    closed: set[int] = field(default_factory=set)


class Adopted:
    """A dead log that is ours now. Made and removed in a thread that may wait for the disk."""

    def __init__(self, folders: Sequence[Path], locks: Sequence[int]) -> None:
        """Read it through once. Raises OSError."""
        self.folders = folders
        self.damages = Damages()
        self.sessions: dict[int, LoggedSession] = {}
        self._locks = locks
        self._free_reserves()
        self.first, self.last, self.frames, sent_us = self._scan()
        self.last_words = self._last_words(self.last + 1, sent_us)

    def cursor(self, first: int) -> Cursor:
        """A place to read its ticks from."""
        return Cursor(self.folders, first, self.damages)

    def remove(self) -> list[Tick]:
        """Take it away: everything in it is safe elsewhere. Returns nothing more to read."""
        try:
            remove_log(self.folders)
        except OSError as fault:
            # Its locks stay ours, or it would be delivered again and again.
            logger.error("adopted log: cannot be removed: %s; the next process tries again", fault)
            return []
        for lock in self._locks:
            os.close(lock)
        return []

    def _free_reserves(self) -> None:
        """Who is dead needs no room."""
        for folder in self.folders:
            with suppress(OSError):
                (folder / RESERVE_NAME).unlink(missing_ok=True)

    def _scan(self) -> tuple[int, int, int, int]:
        """First tick, last tick, frames, and when the last tick was sent."""
        first, last, frames, sent_us = 0, 0, 0, 0
        cursor = Cursor(self.folders, 0, self.damages)
        while ticks := cursor.read(READ_BYTES):
            first = first or ticks[0].number
            for tick in ticks:
                last, sent_us = max(last, tick.number), max(sent_us, tick.sent_us)
                frames += 0 if tick.snapshot else tick.frames
                self._note(tick)
        return first, last, frames, sent_us

    def _note(self, tick: Tick) -> None:
        """Remember the OPENs and CLOSEs of a tick."""
        for control in controls_of(tick):
            if control.kind == FrameKind.OPEN:
                self._note_open(control)
            elif control.session in self.sessions:
                self.sessions[control.session].closed.add(control.stream)

    def _note_open(self, control: Control) -> None:
        if control.stream == SESSION_STREAM:
            try:
                opened = descriptor.unpack(control.payload, descriptor.SessionOpen)
            except WireError as fault:
                logger.warning("adopted log: an OPEN cannot be read: %s", fault)
                return
            self.sessions.setdefault(control.session, LoggedSession(opened.call_id))
        if control.session in self.sessions:
            self.sessions[control.session].opens[control.stream] = control.head, control.payload

    def _last_words(self, number: int, sent_us: int) -> Tick:
        """The CLOSEs that the dead process could not send."""
        heads, payloads = [], []
        end = descriptor.SessionClose(
            closed_at_us=sent_us, close_code=None, proper=False, cause="gateway_died"
        )
        for session, logged in self.sessions.items():
            streams = sorted(set(logged.opens) - logged.closed - {SESSION_STREAM})
            bodies: list[tuple[int, descriptor.Body]] = [
                (stream, descriptor.StreamClose(packets=None)) for stream in streams
            ]
            if SESSION_STREAM not in logged.closed:
                bodies.append((SESSION_STREAM, end))
            for stream, body in bodies:
                payload = descriptor.pack(body)
                fields = (int(FrameKind.CLOSE), 0, stream, len(payload), session, 0, 0, NO_STAMP, 0)
                heads.append(FRAME.pack(*fields))
                payloads.append(payload)
        return Tick(number, sent_us, b"".join(heads), b"".join(payloads))


def adopt(folder: Path, roots: Sequence[Path] = ()) -> Adopted | None:
    """Take a dead log over, with what it has in other roots' folders.

    None where somebody else was faster or it cannot be read.
    """
    folders = parts_of(folder, roots)
    locks: list[int] = []
    try:
        for each in folders:
            lock = take(each)
            if lock is None:
                raise BlockingIOError
            locks.append(lock)
        return Adopted(folders, locks)
    except OSError as fault:
        if not isinstance(fault, BlockingIOError):
            logger.error("log: cannot adopt %s: %s; it stays where it is", folder, fault)
        for lock in locks:
            os.close(lock)
        return None
