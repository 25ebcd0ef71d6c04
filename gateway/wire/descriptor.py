"""What OPEN, EVENT, CLOSE and GAP frames carry: JSON objects, a struct each. Plug-ins see them too.

A member that a receiver does not know is ignored, a missing one has its default: so version n
reads what version n - 1 wrote.
"""

from typing import Any, Literal, TypeVar

import msgspec

from gateway.wire.errors import WireError
from gateway.wire.frame import pad_json


class SessionOpen(msgspec.Struct, frozen=True, kw_only=True):
    """OPEN on stream 0: one accepted socket of a call."""

    call_id: str
    session: str  # 16 hex digits: the frame header's `session`
    gateway: str  # name of the front process
    boot_id: str = ""  # of this start of it
    opened_at_us: int  # Unix us by the gateway's wall clock
    correlation_id: str | None = None


class Packets(msgspec.Struct, kw_only=True):
    """Counters of one stream, in packets."""

    received: int = 0  # every packet that could be read, left out or not
    silent: int = 0  # ACS said so
    lost: int = 0  # never arrived: the length of the gaps
    late: int = 0  # arrived with a stamp further behind its place than jitter explains
    dropped: int = 0  # received and left out
    filled: int = 0  # silence that was put in: gaps, clock corrections, packets without data
    bad: int = 0  # could not be read


class StreamOpen(msgspec.Struct, frozen=True, kw_only=True):
    """OPEN on a stream: one participant at one rate in one session.

    Sent before the stream's first frame, and again whenever another worker takes the call over or a
    segment of the log begins.
    """

    participant: str | None  # raw id; null for a mixed stream
    sample_rate: int  # Hz
    zero_us: int  # Unix us of position 0 of the session's axis
    first_position: int  # of the stream's first sample


class StreamClose(msgspec.Struct, frozen=True, kw_only=True):
    """CLOSE on a stream: the last frame of it.

    `packets` is null where the gateway that counted is dead: all but `bad` follows from the frames,
    `bad` from the events. What is missing shows in the frames' positions, so it is not told again.
    """

    packets: Packets | None


class SessionClose(msgspec.Struct, frozen=True, kw_only=True):
    """CLOSE on stream 0, after the CLOSE of each stream.

    `proper`: a close frame came from the peer, so nobody will dial again. `bad_packets` counts by
    error class. `dropped` counts the AUDIO frames that pools were not given before the session
    closed, by pool and reason. `cause` is null for a socket that closed, `gateway_died` where the
    gateway did; then bad packets are counted in the events, and what was dropped is not known.
    """

    closed_at_us: int
    close_code: int | None
    proper: bool
    cause: Literal["gateway_died"] | None = None
    bad_packets: dict[str, int] = {}
    dropped: dict[str, dict[str, int]] = {}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """EVENT, always on stream 0 and numbered by its `seq`: everything of a call that is no audio.

    `kind` is the packet's (`audio_metadata`, `dtmf`, `transcription`, ..., `unknown`) or
    `bad_packet`. `data` is the packet as `acs-ingest parse` prints it.
    """

    kind: str
    at_us: int  # Unix us: the packet's own stamp, else the gateway's wall clock
    participant: str | None = None
    data: dict[str, Any] = {}


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """GAP: so many frames of a stream, from the header's `seq` on, that the gateway has dropped.

    On stream 0 they are events. Some of them may have come all the same, before they were dropped.
    """

    frames: int
    reason: Literal["log_full"]


Body = SessionOpen | StreamOpen | StreamClose | SessionClose | Event | Gap
Descriptor = TypeVar("Descriptor", SessionOpen, StreamOpen, StreamClose, SessionClose, Event, Gap)


def pack(body: Body) -> bytes:
    """A descriptor as the payload of a frame."""
    return pad_json(msgspec.json.encode(body))


def unpack(payload: bytes, kind: type[Descriptor]) -> Descriptor:
    """The descriptor in a frame's payload. Raises `WireError` with the path to the fault."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.DecodeError as fault:  # ValidationError is one
        raise WireError(f"{kind.__name__}: {fault}") from fault
