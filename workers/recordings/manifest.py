"""`manifest.json`: what a recording is made of. The types, and the file as a whole.

`manifest.schema.json` beside this file says the same to the rest of the world.
"""

import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.wire.descriptor import Packets, SessionOpen
from gateway.wire.shortage import is_shortage
from workers.recordings import durable
from workers.recordings.names import MANIFEST, iso
from workers.recordings.touched import Touched

Schema = Literal["acs-ingest.recording/1"]
State = Literal["open", "complete", "incomplete"]
GapCause = Literal["not_received", "clock", "dropped", "gateway_died", "damaged", "masked"]


class TrackGap(msgspec.Struct, frozen=True, kw_only=True):
    """Silence in a track that nobody sent. `start_us` counts from the track's first sample.

    `length_us` is 0 for audio that was left out with no place kept for it, null where nobody can
    know.
    """

    start_us: int
    length_us: int | None
    cause: GapCause


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One participant at one rate. `offset_us`: its start after the call's start."""

    participant: str | None
    file: str
    sample_rate: int
    started_at: str
    offset_us: int
    samples: int
    packets: Packets
    gaps: tuple[TrackGap, ...]
    sha256: str


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """All tracks in one file, from the call's start to its latest end."""

    file: str
    samples: int
    sha256: str


class CallEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`offset_us`: after the call's start, below 0 before it; null for a call without audio."""

    kind: str
    at: str
    offset_us: int | None
    participant: str | None
    data: dict[str, Any]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted socket. `closed_at` is null while it is open, or when nobody saw it close.

    `dropped`: frames that other pools were not given, by pool and reason; the recording has them.
    """

    id: str
    gateway: str | None
    opened_at: str
    closed_at: str | None = None
    close_code: int | None = None
    proper: bool = False
    cause: Literal["gateway_died"] | None = None
    metadata: dict[str, Any] | None = None
    transcription_metadata: dict[str, Any] | None = None
    bad_packets: dict[str, int] = {}
    dropped: dict[str, dict[str, int]] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    schema: Schema = "acs-ingest.recording/1"
    state: State
    call_id: str
    correlation_id: str | None
    started_at: str
    ended_at: str | None
    sample_rate: int | None
    tracks: tuple[Track, ...] = ()
    mixed: Mix | None = None
    events: tuple[CallEvent, ...] = ()
    sessions: tuple[Session, ...] = ()
    revision: int = 0


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in a folder; None where there is none, or none that can be read.

    Raises OSError where it cannot be looked at just now.
    """
    try:
        descriptor = durable.open_file(folder / MANIFEST, os.O_RDONLY)
        with open(descriptor, "rb") as file:
            return msgspec.json.decode(file.read(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    except OSError as fault:
        if is_shortage(fault):
            raise
        return None


def write_manifest(folder: Path, manifest: Manifest, *, sync: bool) -> None:
    """Replace the manifest. Raises OSError."""
    durable.replace_file(folder / MANIFEST, _pack(manifest), sync=sync)


def write_open_manifest(folder: Path, opened: SessionOpen, touched: Touched) -> None:
    """Say that a recording is under way, on its first session or on one that opens it again.

    A first manifest is there once all of `touched` is safe.
    Never touches a manifest that says so already, or that knows this session. Raises OSError.
    """
    present = read_manifest(folder)
    if present is None:
        touched.create(folder / MANIFEST, _pack(_first_manifest(opened)))
    elif present.state != "open" and all(opened.session != known.id for known in present.sessions):
        write_manifest(folder, msgspec.structs.replace(present, state="open"), sync=touched.sync)


def _first_manifest(opened: SessionOpen) -> Manifest:
    at = iso(opened.opened_at_us)
    return Manifest(
        state="open",
        call_id=opened.call_id,
        correlation_id=opened.correlation_id,
        started_at=at,
        ended_at=None,
        sample_rate=None,
        sessions=(Session(id=opened.session, gateway=opened.gateway, opened_at=at),),
    )


def _pack(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
