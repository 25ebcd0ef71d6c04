"""What lies in a recording's folder: sessions with their streams, as the recorder left them.

Reading never fails for damage: what nothing describes any more is left out, counted in `faults`.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from gateway.wire.descriptor import Event, SessionClose, SessionOpen, StreamClose, StreamOpen
from gateway.wire.frame import SESSION_STREAM
from workers.recordings import wave_file
from workers.recordings.descriptions import CLOSE, OPEN, Descriptions, read_descriptions
from workers.recordings.index import Entries, read_index
from workers.recordings.manifest import Manifest, read_manifest
from workers.recordings.names import STREAMS, parse_stream_file, stream_name


@dataclass(slots=True)
class StreamContents:
    """One stream. `samples` are those of its audio file, 0 where there is none."""

    number: int
    audio: Path
    opened: StreamOpen
    closed: StreamClose | None
    samples: int
    #: (first seq, frames) of what the gateway has dropped.
    dropped: list[tuple[int, int]]

    def entries(self) -> Entries:
        """What is known of each frame, by `seq`."""
        return read_index(self.audio.with_suffix(".idx"))

    @property
    def first(self) -> int:
        """Position of the first sample on the session's axis."""
        return self.opened.first_position

    @property
    def end(self) -> int:
        """Position after the last sample."""
        return self.first + self.samples


@dataclass(slots=True)
class SessionContents:
    """One session. `closed` is None while nobody has said how it ended."""

    id: str
    opened: SessionOpen | None
    closed: SessionClose | None
    events: list[tuple[int, Event]]
    streams: list[StreamContents] = field(default_factory=list)
    #: (first seq, frames) of events that the gateway has dropped.
    dropped: list[tuple[int, int]] = field(default_factory=list)

    @property
    def has_every_event(self) -> bool:
        """Whether none is known to be missing."""
        seqs = [seq for seq, _ in self.events]
        ends = [first + frames for first, frames in self.dropped]
        return seqs == list(range(max([len(seqs), *ends])))

    @property
    def opened_at_us(self) -> int:
        """When the socket was accepted; if that is not known, its streams' zero."""
        if self.opened is not None:
            return self.opened.opened_at_us
        return min((stream.opened.zero_us for stream in self.streams), default=0)

    @property
    def broke_off(self) -> bool:
        """Its gateway died, or nobody can say how it ended."""
        return self.closed is None or self.closed.cause is not None


@dataclass(slots=True)
class Contents:
    """A recording's folder, its sessions in order of (accept time, id)."""

    folder: Path
    manifest: Manifest | None
    sessions: list[SessionContents]
    faults: int

    @property
    def call_id(self) -> str:
        """The call's raw id; empty where nothing tells it."""
        for session in self.sessions:
            if session.opened is not None:
                return session.opened.call_id
        return self.manifest.call_id if self.manifest is not None else ""

    @property
    def correlation_id(self) -> str | None:
        """The first that any session knows."""
        for session in self.sessions:
            if session.opened is not None and session.opened.correlation_id is not None:
                return session.opened.correlation_id
        return None

    @property
    def is_ended(self) -> bool:
        """Whether every session has its CLOSE."""
        return all(session.closed is not None for session in self.sessions)


def session_ids(folder: Path) -> set[str]:
    """The sessions that have files in a folder. Raises OSError."""
    return {found[0] for found in map(parse_stream_file, _names(folder)) if found is not None}


def read_contents(folder: Path) -> Contents:
    """Everything but the audio. Raises OSError."""
    streams: dict[str, set[int]] = {}
    for found in map(parse_stream_file, _names(folder)):
        if found is not None:
            streams.setdefault(found[0], set()).add(found[1])
    contents = Contents(folder, read_manifest(folder), [], 0)
    for session, numbers in streams.items():
        contents.sessions.append(_read_session(contents, session, numbers))
    contents.sessions.sort(key=lambda session: (session.opened_at_us, session.id))
    return contents


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder / STREAMS)
    except FileNotFoundError:
        return []


def _read_session(contents: Contents, session: str, numbers: set[int]) -> SessionContents:
    said = _said(contents, session, SESSION_STREAM)
    read = SessionContents(
        session, said.first(OPEN, SessionOpen), said.last(CLOSE, SessionClose), said.events()
    )
    read.dropped = said.gaps()
    contents.faults += read.opened is None
    for number in sorted(numbers - {SESSION_STREAM}):
        stream = _read_stream(contents, session, number)
        if stream is None:
            contents.faults += 1
        else:
            read.streams.append(stream)
    return read


def _read_stream(contents: Contents, session: str, number: int) -> StreamContents | None:
    """None where nothing says what the audio is, or nothing can be read."""
    said = _said(contents, session, number)
    opened = said.first(OPEN, StreamOpen)
    closed = said.last(CLOSE, StreamClose)
    if opened is None or opened.sample_rate <= 0:
        return None
    audio = contents.folder / STREAMS / f"{stream_name(session, number)}.wav"
    try:
        samples = wave_file.samples_in(audio.stat().st_size)
    except FileNotFoundError:
        samples = 0
    return StreamContents(number, audio, opened, closed, samples, said.gaps())


def _said(contents: Contents, session: str, number: int) -> Descriptions:
    return read_descriptions(contents.folder / STREAMS / f"{stream_name(session, number)}.json")
