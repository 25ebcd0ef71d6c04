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
    event_name,
    gap_name,
    pack_line,
)
from workers.recordings.due import mark_all_due
from workers.recordings.folder import claim_folder, find_folder, make_links
from workers.recordings.gather import Described, Gather, LinkKey
from workers.recordings.index import ENTRY_BYTES
from workers.recordings.manifest import write_open_manifest
from workers.recordings.names import STREAMS, stream_name
from workers.recordings.scatter import Discarded, StreamKey, StreamRuns
from workers.recordings.touched import Touched
from workers.recordings.wave_file import HEADER_BYTES, SAMPLE_BYTES

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


#: A stream's index entries, in runs by first `seq`.
_Indexed = tuple[int, str, list[tuple[int, bytes]]]


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
        #: Sessions whose folder went away under us: the next try finds or makes it again.
        self._homeless: set[int] = set()
        #: There are new ones: what this try wrote in their folders is to be written again.
        self._has_moved = False

    def write(self, gather: Gather) -> None:
        """Make all of a gather safe. Raises OSError; then call it again with the same gather."""
        made: list[_Stream] = []
        self._has_moved = False
        try:
            with Touched(sync=self._sync) as touched:
                self._open(gather, touched)
                index = self._write_audio(gather, touched, made)
                self._append(gather, FrameKind.EVENT, touched)
                self._append(gather, FrameKind.GAP, touched)
                self._make_safe(touched)
                self._write_index(index, touched)
                self._append(gather, FrameKind.CLOSE, touched)
                self._make_safe(touched)
                self._mark_ended(gather, touched)
        except OSError:
            self._distrust(gather)
            raise
        self._homeless.clear()
        for stream in made:
            stream.is_made = True
        self._forget(gather)

    def _make_safe(self, touched: Touched) -> None:
        if self._has_moved:
            raise FileNotFoundError("folders of recordings went away")
        touched.make_safe()

    def _mark_ended(self, gather: Gather, touched: Touched) -> None:
        folders: dict[Path, None] = {}
        for each in gather.described:
            session = self._sessions.get(each.session)
            if _ends_session(each) and session is not None and session.folder is not None:
                folders[session.folder] = None
        if folders:
            mark_all_due(self._recordings, folders, touched)

    def _distrust(self, gather: Gather) -> None:
        """What this gather wrote may be gone though it can be read back: all of it comes again."""
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

    def _open(self, gather: Gather, touched: Touched) -> None:
        sessions = [
            (each.link, each.session, each.descriptor)
            for each in gather.described
            if each.kind == FrameKind.OPEN and isinstance(each.descriptor, SessionOpen)
        ]
        new = [opened for _, key, opened in sessions if self._has_to_claim(key)]
        if new:
            make_links(self._recordings, new, touched)
        for link, key, opened in sessions:
            self._open_session(link, key, opened, touched)
        for key in self._homeless & self._sessions.keys():
            self._find_home(key, self._sessions[key], touched)
        for each in gather.described:
            if each.kind == FrameKind.OPEN and isinstance(each.descriptor, StreamOpen):
                self._open_stream(each, each.descriptor, touched)

    def _has_to_claim(self, key: int) -> bool:
        session = self._sessions.get(key)
        return session is None or not session.is_written

    def _open_session(self, link: LinkKey, key: int, opened: SessionOpen, touched: Touched) -> None:
        session = self._sessions.get(key)
        if session is None:
            self._sessions[key] = _Session(link, opened, self._claim(opened, touched))
            return
        session.link = link
        if not session.is_written:
            session.folder = self._claim(opened, touched)
            session.is_written = True

    def _claim(self, opened: SessionOpen, touched: Touched) -> Path | None:
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
                touched,
            )
            if folder is None:
                return None
            path = folder / STREAMS / f"{stream_name(opened.session, SESSION_STREAM)}.json"
            try:
                touched.append(path, [pack_line(OPEN, opened)])
            except FileNotFoundError:
                continue
            if find_folder(self._recordings, opened.call_id) == folder:
                write_open_manifest(folder, opened, touched)
                return folder
        raise FileNotFoundError(f"the recording of session {opened.session} has no folder")

    def _open_stream(self, each: Described, opened: StreamOpen, touched: Touched) -> None:
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

    def _write_audio(self, gather: Gather, touched: Touched, made: list[_Stream]) -> list[_Indexed]:
        """Returns what is to be said of it once it is safe."""
        discarded: list[Discarded] = []
        index: list[_Indexed] = []
        for runs in gather.scatter(self._first_positions, discarded):
            session = runs.key[0]
            stream = self._streams[runs.key]
            path = stream.path
            if path is None:
                self._counters.frames_sealed += runs.frames
                continue
            with self._folder_of(session):
                self._write_stream(stream, path, runs, touched)
            made.append(stream)
            index.append((session, path, [(seq, bytes(entries)) for seq, entries in runs.entries]))
            self._counters.frames += runs.frames
        for reason in discarded:
            self._counters.frames_bad += reason.bad
            self._counters.frames_unknown += reason.unknown
        return index

    def _write_index(self, index: list[_Indexed], touched: Touched) -> None:
        """After the audio is safe: what a loss of power leaves must not tell of what it took."""
        for session, path, runs in index:
            touched.make_room()
            with self._folder_of(session):
                index_file = touched.open(f"{path}.idx", os.O_RDWR)
                for seq, entries in runs:
                    durable.write_all(index_file, entries, seq * ENTRY_BYTES)

    def _write_stream(self, stream: _Stream, path: str, runs: StreamRuns, touched: Touched) -> None:
        rate, first = stream.opened.sample_rate, stream.opened.first_position
        touched.make_room()
        if not stream.is_made:
            wave_file.create(Path(f"{path}.wav"), rate, sync=False)
            # Its name is made safe together with that of the audio; it says nothing yet.
            touched.open(f"{path}.idx", os.O_RDWR | os.O_CREAT)
            touched.add_folder(os.path.dirname(path))
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
            self._homeless.add(session)
            self._has_moved = True

    def _find_home(self, key: int, known: _Session, touched: Touched) -> None:
        """The folder went away under us: find or make it again, from the OPENs that we know."""
        known.folder = self._claim(known.opened, touched)
        for number in known.streams:
            stream = self._streams[key, number]
            stream.is_made = False
            stream.path = None if known.folder is None else self._path(known.folder, (key, number))
            if stream.path is not None:
                line = self._said.get((key, number)) or pack_line(OPEN, stream.opened)
                touched.append(Path(f"{stream.path}.json"), [line])

    # What is no audio

    def _append(self, gather: Gather, kind: FrameKind, touched: Touched) -> None:
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
                # What has said its OPEN has a name that is safe, or becomes so with the gather.
                has_name = stream == SESSION_STREAM or (number, stream) in self._said
                with self._folder_of(number):
                    touched.append(Path(path), said, may_be_new=not has_name)
            elif session is None:
                self._counters.frames_unknown += len(said)


def _line_name(each: Described) -> str:
    if each.kind == FrameKind.CLOSE:
        return CLOSE
    return gap_name(each.seq) if each.kind == FrameKind.GAP else event_name(each.seq)


def _ends_session(each: Described) -> bool:
    return each.kind == FrameKind.CLOSE and each.stream == SESSION_STREAM
