"""Sessions whose end nobody will tell: their gateway is dead, and nothing of its log is left.

Whoever delivers a dead gateway's log closes the sessions in it. One that had only just begun may
not be in it, though the recorder has heard of it; it would stay open for ever.
"""

import os
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path

from gateway.wire.descriptor import SessionClose
from gateway.wire.frame import SESSION_STREAM
from workers.recordings import due
from workers.recordings.contents import SessionContents, read_contents
from workers.recordings.descriptions import CLOSE, append, pack_line
from workers.recordings.durable import make_folders, open_file, sync_file
from workers.recordings.folder import claimed_folders
from workers.recordings.manifest import Manifest, read_manifest
from workers.recordings.names import MANIFEST, STREAMS, stream_name

US = 1_000_000
#: After a gateway has gone: until its last words, if there are any, are in the recordings.
SETTLE_US = 15 * US
#: What a recorder had to keep in memory meanwhile is found later.
LOOK_US = 600 * US
_FOLDERS_A_TURN = 20


class Orphans:
    """Looks a while after a gateway has gone, and now and then. Times are Unix us."""

    def __init__(self, recordings: Path, boots: Callable[[], Collection[str]]) -> None:
        """`boots()`: boot ids of the gateways that live, or whose log is not yet delivered."""
        self._recordings = recordings
        self._boots = boots
        self._known: set[str] = set()
        self._asked_us = 0
        #: When gateways have gone whose last words may still come.
        self._gone_us: dict[str, int] = {}
        #: When to look, the next time first.
        self._due_us: list[int] = []
        self._looking: Iterator[Path] = iter(())
        #: Sessions that were ended here.
        self.ended = 0

    def turn(self, now_us: int, *, sync: bool) -> None:
        """Look through some folders, where it is time. Raises OSError."""
        if abs(now_us - self._asked_us) >= US:
            self._asked_us = now_us
            self._ask(now_us)
        for folder in islice(self._looking, _FOLDERS_A_TURN):
            manifest = read_manifest(folder)
            if manifest is None or manifest.state == "open":
                self._end_in(folder, manifest, now_us, sync=sync)

    def _ask(self, now_us: int) -> None:
        """See who is there, and begin to look where it is time."""
        present = set(self._boots())
        gone = self._known - present
        self._gone_us.update(dict.fromkeys(gone, now_us))
        self._gone_us = {
            boot: at_us
            for boot, at_us in self._gone_us.items()
            if boot not in present and 0 <= now_us - at_us < SETTLE_US
        }
        self._known = present
        if gone or not self._due_us or self._due_us[0] > now_us + LOOK_US:
            # The first look of all; or a gateway has gone; or the clock was set back.
            due_us = [at for at in self._due_us if at <= now_us + LOOK_US]
            self._due_us = sorted([*due_us, now_us + SETTLE_US])
        if now_us >= self._due_us[0]:
            self._due_us = [at for at in self._due_us if at > now_us] or [now_us + LOOK_US]
            self._looking = claimed_folders(self._recordings)

    def _end_in(self, folder: Path, manifest: Manifest | None, now_us: int, *, sync: bool) -> None:
        """End the sessions of one recording that have nobody.

        Their gateway must be gone before the folder is read, for its last words come before it
        goes, and still be gone after: else it has just come. Of a session whose OPEN is gone, with
        the power, nobody can say whose it was: it is over when nothing has come for a while.
        """
        sessions = read_contents(folder).sessions
        sessions += _never_written(manifest, {session.id for session in sessions})
        orphans = [
            session for session in sessions if _is_left(session, self._known | self._gone_us.keys())
        ]
        if orphans:
            present = self._boots()
            orphans = [session for session in orphans if _is_left(session, present)]
        orphans += [
            session
            for session in sessions
            if session.opened is None
            and session.closed is None
            and now_us - _last_written_us(folder, session) >= SETTLE_US
        ]
        for session in orphans:
            _close(folder, session, sync=sync)
            self.ended += 1
        if orphans:
            due.mark_due(self._recordings, folder, sync=sync)


def _never_written(manifest: Manifest | None, present: Collection[str]) -> list[SessionContents]:
    """Sessions of which a manifest that was never finished is all that a loss of power left."""
    if manifest is None or manifest.revision:
        return []
    gone = [session.id for session in manifest.sessions if session.id not in present]
    return [SessionContents(session, None, None, []) for session in gone]


def _is_left(session: SessionContents, present: Collection[str]) -> bool:
    if session.closed is not None or session.opened is None:
        return False
    boot_id = session.opened.boot_id
    return bool(boot_id) and boot_id not in present


def _close(folder: Path, session: SessionContents, *, sync: bool) -> None:
    name = stream_name(session.id, SESSION_STREAM)
    path = folder / STREAMS / f"{name}.json"
    closed = SessionClose(
        closed_at_us=_last_written_us(folder, session),
        close_code=None,
        proper=False,
        cause="gateway_died",
    )
    make_folders(folder, STREAMS, sync=sync)
    descriptor = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        append(descriptor, [pack_line(CLOSE, closed)])
    finally:
        os.close(descriptor)
    if sync:
        sync_file(path)


def _last_written_us(folder: Path, session: SessionContents) -> int:
    """When the recorder wrote the last of a session, and not before it was opened."""
    files = [*(folder / STREAMS).glob(f"{session.id}-*")] or [*folder.glob(MANIFEST)]
    written_us = max((file.stat().st_mtime_ns // 1000 for file in files), default=0)
    return max(written_us, session.opened_at_us)
