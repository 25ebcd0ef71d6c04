"""The log of a gateway that is dead: what was in it, and how its sessions end.

Whoever adopts it delivers its ticks as they are, and then a last one that closes every session the
dead process had open. Counters are left to whoever has the frames: the CLOSE says `null`.
"""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gateway.log.folder import remove_log, take
from gateway.log.reader import Cursor, Damages
from gateway.log.ticks import Tick, heads_of
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

    def __init__(self, folder: Path, lock: int) -> None:
        """Read it through once. Raises OSError."""
        self.folder = folder
        self.damages = Damages()
        self.sessions: dict[int, LoggedSession] = {}
        self._lock = lock
        self.first, self.last, self.frames, sent_us = self._scan()
        self.last_words = self._last_words(self.last + 1, sent_us)

    def cursor(self, first: int) -> Cursor:
        """A place to read its ticks from."""
        return Cursor(self.folder, first, self.damages)

    def remove(self) -> list[Tick]:
        """Take it away: everything in it is safe elsewhere. Returns nothing more to read."""
        remove_log(self.folder)
        os.close(self._lock)
        return []

    def _scan(self) -> tuple[int, int, int, int]:
        """First tick, last tick, frames, and when the last tick was sent."""
        first, last, frames, sent_us = 0, 0, 0, 0
        cursor = Cursor(self.folder, 0, self.damages)
        while ticks := cursor.read(READ_BYTES):
            first = first or ticks[0].number
            for tick in ticks:
                last, sent_us = tick.number, max(sent_us, tick.sent_us)
                frames += 0 if tick.snapshot else tick.frames
                self._note(tick)
        return first, last, frames, sent_us

    def _note(self, tick: Tick) -> None:
        """Remember the OPENs and CLOSEs of a tick."""
        heads = heads_of(tick.heads)
        control = (heads["kind"] == FrameKind.OPEN) | (heads["kind"] == FrameKind.CLOSE)
        ends = np.cumsum(heads["length"], dtype=np.int64)
        for index in np.flatnonzero(control):
            head = heads[index]
            payload = tick.payload[int(ends[index]) - int(head["length"]) : int(ends[index])]
            stream = int(head["stream"])
            if head["kind"] == FrameKind.OPEN:
                self._note_open(int(head["session"]), stream, head.tobytes(), payload)
            elif int(head["session"]) in self.sessions:
                self.sessions[int(head["session"])].closed.add(stream)

    def _note_open(self, session: int, stream: int, head: bytes, payload: bytes) -> None:
        if stream == SESSION_STREAM:
            try:
                opened = descriptor.unpack(payload, descriptor.SessionOpen)
            except WireError as fault:
                logger.warning("adopted log: an OPEN cannot be read: %s", fault)
                return
            self.sessions.setdefault(session, LoggedSession(opened.call_id))
        if session in self.sessions:
            self.sessions[session].opens[stream] = (head, payload)

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


def adopt(folder: Path) -> Adopted | None:
    """Take a dead log over; None where somebody else was faster or it cannot be read."""
    lock = take(folder)
    if lock is None:
        return None
    try:
        return Adopted(folder, lock)
    except OSError as fault:
        logger.error("log: cannot adopt %s: %s; it stays where it is", folder, fault)
        os.close(lock)
        return None
