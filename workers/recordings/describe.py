"""The manifest of a finished recording, from its contents and the files that were made. Pure."""

from collections import Counter
from fractions import Fraction
from typing import Any

import msgspec

from gateway.wire.descriptor import Event
from workers.recordings.contents import Contents, SessionContents
from workers.recordings.gaps import in_time, track_gaps, track_packets
from workers.recordings.manifest import CallEvent, Manifest, Mix, Session, State, Track
from workers.recordings.names import iso
from workers.recordings.placing import US, Piece
from workers.recordings.tracks import TrackPlan

_METADATA = "audio_metadata"
_TRANSCRIPTION = "transcription_metadata"
_BAD = "bad_packet"
_TOO_MANY_STREAMS = "too_many_streams"
_NO_EVENTS = frozenset((_METADATA, _TRANSCRIPTION, _BAD))


def call_start(plans: list[TrackPlan]) -> Fraction:
    """The earliest sample of a call, in seconds on its axis."""
    heard = [plan for plan in plans if plan.samples] or plans
    return min((plan.starts for plan in heard), default=Fraction(0))


def describe(
    contents: Contents,
    pieces: list[Piece],
    plans: list[TrackPlan],
    sums: dict[str, str],
    mix: Mix | None,
) -> Manifest:
    """The manifest, with revision 0. `sums`: SHA-256 of each track's file by its name."""
    zero_us = pieces[0].stream.opened.zero_us if pieces else 0
    start = call_start(plans)
    start_us = zero_us + round(start * US) if plans else None
    tracks = tuple(_track(plan, zero_us, start, sums[plan.file]) for plan in plans)
    return Manifest(
        state=_state(contents, pieces),
        call_id=contents.call_id,
        correlation_id=contents.correlation_id,
        started_at=iso(_first_accept_us(contents) if start_us is None else start_us),
        ended_at=_ended_at(contents, plans, zero_us),
        sample_rate=max((plan.sample_rate for plan in plans), default=None),
        tracks=tracks,
        mixed=mix,
        events=_events(contents, start_us),
        sessions=tuple(map(_session, contents.sessions)),
    )


def _state(contents: Contents, pieces: list[Piece]) -> State:
    whole = (
        not contents.faults
        and not any(session.broke_off for session in contents.sessions)
        and all(piece.stream.closed is not None and piece.facts.is_whole for piece in pieces)
        and all(piece.facts.end == piece.stream.end for piece in pieces)
        and all(session.has_every_event for session in contents.sessions)
        and not any(_was_too_wide(session) for session in contents.sessions)
    )
    return "complete" if whole else "incomplete"


def _was_too_wide(session: SessionContents) -> bool:
    """Whether there were more streams than a gateway keeps: audio was received and left out."""
    return session.closed is not None and _TOO_MANY_STREAMS in session.closed.bad_packets


def _track(plan: TrackPlan, zero_us: int, start: Fraction, sha256: str) -> Track:
    gaps = track_gaps(plan.pieces, plan.begin, plan.end)
    return Track(
        participant=plan.participant,
        file=plan.file,
        sample_rate=plan.sample_rate,
        started_at=iso(zero_us + round(plan.starts * US)),
        offset_us=max(0, round((plan.starts - start) * US)),
        samples=plan.samples,
        packets=track_packets(plan.pieces, gaps),
        gaps=tuple(in_time(gap, plan.sample_rate) for gap in gaps),
        sha256=sha256,
    )


def _first_accept_us(contents: Contents) -> int:
    return min((session.opened_at_us for session in contents.sessions), default=0)


def _ended_at(contents: Contents, plans: list[TrackPlan], zero_us: int) -> str | None:
    """The end of the latest track; of a call without audio, when its last socket closed."""
    if plans:
        return iso(zero_us + round(max(plan.ends for plan in plans) * US))
    closed = [session.closed.closed_at_us for session in contents.sessions if session.closed]
    return iso(max(closed)) if closed else None


def _session(session: SessionContents) -> Session:
    closed = session.closed
    bad = Counter(
        str(event.data.get("error", "unknown")) for _, event in session.events if event.kind == _BAD
    )
    is_counted = closed is not None and closed.cause is None
    return Session(
        id=session.id,
        gateway=session.opened.gateway if session.opened else None,
        opened_at=iso(session.opened_at_us),
        closed_at=iso(closed.closed_at_us) if closed else None,
        close_code=closed.close_code if closed else None,
        proper=closed.proper if closed else False,
        cause="gateway_died" if session.broke_off else None,
        metadata=_last_of(session, _METADATA),
        transcription_metadata=_last_of(session, _TRANSCRIPTION),
        bad_packets=dict(sorted((closed.bad_packets if closed and is_counted else bad).items())),
        dropped=closed.dropped if closed else {},
    )


def _last_of(session: SessionContents, kind: str) -> dict[str, Any] | None:
    found = [event.data for _, event in session.events if event.kind == kind]
    return found[-1] if found else None


def _events(contents: Contents, start_us: int | None) -> tuple[CallEvent, ...]:
    """By time, then as they came. What two sockets brought counts once."""
    ordered: list[tuple[int, int, int, Event]] = []
    brought: set[bytes] = set()
    for number, session in enumerate(contents.sessions):
        new: set[bytes] = set()
        for seq, event in session.events:
            if event.kind in _NO_EVENTS:
                continue
            key = msgspec.json.encode(event, order="deterministic")
            new.add(key)
            if key not in brought:
                ordered.append((event.at_us, number, seq, event))
        brought |= new
    ordered.sort(key=lambda each: each[:3])
    return tuple(
        CallEvent(
            kind=event.kind,
            at=iso(at_us),
            offset_us=None if start_us is None else at_us - start_us,
            participant=event.participant,
            data=event.data,
        )
        for at_us, _, _, event in ordered
    )
