"""What a recorder writes: audio, index and descriptions of every stream, in place.

Each step may be done again, by this process or another one, and leaves the same bytes. The order
is the promise: audio is safe before its index and the CLOSE of its stream are written, those before
`finish` hears of it, and only then `write` returns.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.wire.descriptor import SessionOpen, StreamOpen
from gateway.wire.frame import SESSION_STREAM, FrameKind
from workers.recordings import durable, wave_file
from workers.recordings.counters import RecorderCounters
from workers.recordings.descriptions import (
    CLOSE,
    OPEN,
    append,
    event_name,
    gap_name,
    pack_line,
)
from workers.recordings.due import mark_due
from workers.recordings.folder import claim_folder, find_folder, sync_names
from workers.recordings.gather import Described, Gather, LinkKey
from workers.recordings.index import ENTRY_BYTES
from workers.recordings.manifest import write_open_manifest
from workers.recordings.names import STREAMS, stream_name
from workers.recordings.scatter import Discarded, StreamKey, StreamRuns
from workers.recordings.wave_file import HEADER_BYTES, SAMPLE_BYTES

_OPEN_FILES_MAX = 256
#: A stream's index entries, in runs by first `seq`.
_Indexed = tuple[StreamKey, list[tuple[int, bytes]]]
_TRIES_MAX = 10


@dataclass(slots=True)
class _Session:
    """A session whose OPEN came. `folder` is None for one that is part of a closed recording."""

    link: LinkKey
    opened: SessionOpen
    folder: Path | None
    #: Whether its OPEN is safe: not so after a failed write.
    is_written: bool = True
    streams: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Stream:
    """Where a stream lies. `path` goes without its suffix."""

    opened: StreamOpen
    path: str | None
    #: Whether its files are there for good, names included.
    is_made: bool = False


class StreamFiles:
    """All streams of one recorder process. Not safe for two threads."""

    def __init__(self, recordings: Path, counters: RecorderCounters, *, sync: bool) -> None:
        self._recordings = recordings
        self._counters = counters
        self._sync = sync
        self._sessions: dict[int, _Session] = {}
        self._streams: dict[StreamKey, _Stream] = {}
        self._first_positions: dict[StreamKey, int] = {}
        #: What each stream's OPENs have said already: they come again with every segment.
        self._said: dict[StreamKey, bytes] = {}
        #: A sync has failed since the last gather that is safe: names may be lost, too.
        self._is_distrustful = False
        #: Folders went away under this try: what it wrote in them is to be written again.
        self._has_moved = False

    def write(self, gather: Gather) -> None:
        """Make all of a gather safe. Raises OSError; then call it again with the same gather."""
        touched = _Touched(sync=self._sync)
        made: list[_Stream] = []
        self._has_moved = False
        try:
            self._open(gather, touched)
            index = self._write_audio(gather, touched, made)
            self._append(gather, FrameKind.EVENT, touched)
            self._append(gather, FrameKind.GAP, touched)
            self._make_safe(touched)
            self._write_index(index, touched)
            self._append(gather, FrameKind.CLOSE, touched)
            self._make_safe(touched)
            self._mark_ended(gather)
        except OSError:
            self._distrust(gather)
            raise
        finally:
            touched.close()
        self._is_distrustful = False
        for stream in made:
            stream.is_made = True
        self._forget(gather)

    def _make_safe(self, touched: "_Touched") -> None:
        if self._has_moved:
            raise FileNotFoundError("folders of recordings went away and were made again")
        touched.make_safe()

    def _mark_ended(self, gather: Gather) -> None:
        for each in gather.described:
            session = self._sessions.get(each.session)
            if _ends_session(each) and session is not None and session.folder is not None:
                mark_due(self._recordings, session.folder, sync=self._sync)

    def _distrust(self, gather: Gather) -> None:
        """What this gather wrote may be gone though it can be read back: all of it comes again."""
        self._is_distrustful = self._sync
        for each in gather.described:
            session = self._sessions.get(each.session)
            if each.kind == FrameKind.OPEN and session is not None:
                session.is_written = False
                self._said.pop((each.session, each.stream), None)

    def _forget(self, gather: Gather) -> None:
        for each in gather.described:
            if _ends_session(each):
                self._drop(each.session)
        for link in gather.forgotten:
            for key in [key for key, known in self._sessions.items() if known.link == link]:
                self._drop(key)

    def _drop(self, session: int) -> None:
        known = self._sessions.pop(session, None)
        for stream in (SESSION_STREAM, *(known.streams if known else ())):
            self._streams.pop((session, stream), None)
            self._first_positions.pop((session, stream), None)
            self._said.pop((session, stream), None)

    # Opening

    def _open(self, gather: Gather, touched: "_Touched") -> None:
        for each in gather.described:
            if each.kind == FrameKind.OPEN and isinstance(each.descriptor, SessionOpen):
                self._open_session(each.link, each.session, each.descriptor, touched)
        for each in gather.described:
            if each.kind == FrameKind.OPEN and isinstance(each.descriptor, StreamOpen):
                self._open_stream(each, each.descriptor, touched)

    def _open_session(
        self, link: LinkKey, key: int, opened: SessionOpen, touched: "_Touched"
    ) -> None:
        session = self._sessions.get(key)
        if session is None:
            self._sessions[key] = _Session(link, opened, self._claim(opened, touched))
            return
        session.link = link
        if not session.is_written:
            session.folder = self._claim(opened, touched)
            session.is_written = True

    def _claim(self, opened: SessionOpen, touched: "_Touched") -> Path | None:
        """The session's folder, with the session in it.

        The recording may be closed for good while we write: then its link is gone, and the session
        belongs elsewhere.
        """
        for _ in range(_TRIES_MAX):
            folder = claim_folder(
                self._recordings,
                opened.call_id,
                opened.session,
                opened.opened_at_us,
                sync=self._sync,
            )
            if folder is None:
                return None
            path = folder / STREAMS / f"{stream_name(opened.session, SESSION_STREAM)}.json"
            try:
                touched.append(path, [pack_line(OPEN, opened)])
            except FileNotFoundError:
                continue
            if find_folder(self._recordings, opened.call_id) == folder:
                if self._is_distrustful:
                    sync_names(self._recordings, folder)
                write_open_manifest(folder, opened, sync=self._sync)
                return folder
        raise FileNotFoundError(f"the recording of session {opened.session} has no folder")

    def _open_stream(self, each: Described, opened: StreamOpen, touched: "_Touched") -> None:
        key = each.session, each.stream
        session = self._sessions.get(each.session)
        if session is None:
            return
        if key not in self._streams:
            path = None if session.folder is None else self._path(session.folder, key)
            self._streams[key] = _Stream(opened, path)
            self._first_positions[key] = opened.first_position
            session.streams.add(each.stream)
        stream = self._streams[key]
        line = pack_line(OPEN, opened)
        if stream.path is not None and self._said.get(key) != line:
            with self._folder_of(each.session):
                touched.append(Path(f"{stream.path}.json"), [line])
                self._said[key] = line

    def _path(self, folder: Path, key: StreamKey) -> str:
        return str(folder / STREAMS / stream_name(f"{key[0]:016x}", key[1]))

    # Audio

    def _write_audio(
        self, gather: Gather, touched: "_Touched", made: list[_Stream]
    ) -> list[_Indexed]:
        """Returns what is to be said of it once it is safe."""
        discarded: list[Discarded] = []
        index: list[_Indexed] = []
        for runs in gather.scatter(self._first_positions, discarded):
            stream = self._streams[runs.key]
            if stream.path is None:
                self._counters.frames_sealed += runs.frames
                continue
            with self._folder_of(runs.key[0]):
                self._write_stream(stream, stream.path, runs, touched)
            made.append(stream)
            index.append((runs.key, [(seq, bytes(entries)) for seq, entries in runs.entries]))
            self._counters.frames += runs.frames
        for reason in discarded:
            self._counters.frames_bad += reason.bad
            self._counters.frames_unknown += reason.unknown
        return index

    def _write_index(self, index: list[_Indexed], touched: "_Touched") -> None:
        """After the audio is safe: what a loss of power leaves must not tell of what it took."""
        for key, runs in index:
            stream = self._streams[key]
            if stream.path is None:
                continue  # the folder went away, and the call's recording was closed for good
            with self._folder_of(key[0]):
                self._write_entries(stream, stream.path, runs, touched)

    def _write_entries(
        self, stream: _Stream, path: str, runs: list[tuple[int, bytes]], touched: "_Touched"
    ) -> None:
        touched.make_room()
        if not stream.is_made:
            touched.add_folder(path)
        index_file = touched.open(f"{path}.idx", os.O_RDWR | os.O_CREAT)
        for seq, entries in runs:
            durable.write_all(index_file, entries, seq * ENTRY_BYTES)

    def _write_stream(
        self, stream: _Stream, path: str, runs: StreamRuns, touched: "_Touched"
    ) -> None:
        rate, first = stream.opened.sample_rate, stream.opened.first_position
        touched.make_room()
        if not stream.is_made:
            wave_file.create(Path(f"{path}.wav"), rate, sync=False)
            touched.add_folder(path)
        audio_file = touched.open(f"{path}.wav", os.O_RDWR)
        for position, audio in runs.audio:
            durable.write_all(audio_file, audio, HEADER_BYTES + (position - first) * SAMPLE_BYTES)
            self._counters.bytes_written += len(audio)
        wave_file.settle_header(audio_file, rate)

    @contextmanager
    def _folder_of(self, session: int) -> Iterator[None]:
        """Around what uses a session's folder: should it have gone, the next try has another.

        This one goes on, to find all that have: else each would cost a try, and its delay.
        """
        try:
            yield
        except FileNotFoundError:
            self._forget_folder(session)
            self._has_moved = True

    def _forget_folder(self, session: int) -> None:
        """The folder went away under us: find or make it again, from the OPENs that we know."""
        known = self._sessions[session]
        touched = _Touched(sync=self._sync)
        try:
            known.folder = self._claim(known.opened, touched)
            for number in known.streams:
                key = session, number
                stream = self._streams[key]
                stream.is_made = False
                stream.path = None if known.folder is None else self._path(known.folder, key)
                if stream.path is not None:
                    line = self._said.get(key) or pack_line(OPEN, stream.opened)
                    touched.append(Path(f"{stream.path}.json"), [line])
            touched.make_safe()
        finally:
            touched.close()

    # What is no audio

    def _append(self, gather: Gather, kind: FrameKind, touched: "_Touched") -> None:
        lines: dict[StreamKey, list[bytes]] = {}
        for each in gather.described:
            if each.kind == kind:
                name = _line_name(each)
                key = each.session, each.stream
                lines.setdefault(key, []).append(pack_line(name, each.descriptor))
        # A session's CLOSE after those of its streams.
        for (number, stream), said in sorted(lines.items(), key=lambda item: -item[0][1]):
            session = self._sessions.get(number)
            if session is not None and session.folder is not None:
                path = f"{self._path(session.folder, (number, stream))}.json"
                with self._folder_of(number):
                    touched.append(Path(path), said)
            elif session is None:
                self._counters.frames_unknown += len(said)


class _Touched:
    """Files that were written to and are not safe yet; few enough to stay open until they are."""

    def __init__(self, *, sync: bool) -> None:
        self._sync = sync
        self._descriptors: list[int] = []
        self._folders: dict[str, None] = {}

    def make_room(self) -> None:
        """Have room for the files of one stream, so that they stay open together."""
        if len(self._descriptors) >= _OPEN_FILES_MAX:
            self.make_safe()

    def open(self, path: str, flags: int) -> int:
        descriptor = durable.open_file(path, flags)
        self._descriptors.append(descriptor)
        return descriptor

    def add_folder(self, path: str) -> None:
        """There is a new name beside `path`."""
        self._folders[os.path.dirname(path)] = None

    def append(self, path: Path, lines: list[bytes]) -> None:
        """Append to a file, which may be new."""
        self.make_room()
        append(self.open(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT), lines)
        self.add_folder(str(path))

    def make_safe(self) -> None:
        """Sync everything and close it."""
        if self._sync:
            for descriptor in self._descriptors:
                durable.start_writing(descriptor)
            for descriptor in self._descriptors:
                os.fdatasync(descriptor)
            for folder in self._folders:
                durable.sync_folder(Path(folder))
        self._folders.clear()
        self.close()

    def close(self) -> None:
        """Close everything; what was not made safe is written again by the next try."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _line_name(each: Described) -> str:
    if each.kind == FrameKind.CLOSE:
        return CLOSE
    return gap_name(each.seq) if each.kind == FrameKind.GAP else event_name(each.seq)


def _ends_session(each: Described) -> bool:
    return each.kind == FrameKind.CLOSE and each.stream == SESSION_STREAM
