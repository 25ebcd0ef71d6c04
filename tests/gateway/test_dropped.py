"""Counting what is thrown away."""

from gateway.dropped import Dropped
from gateway.links import PoolState
from gateway.seats import Routed
from gateway.wire.frame import FRAME, NO_STAMP, FrameKind
from gateway.wire.topology import Pool

EARS = PoolState("ears", Pool(), is_configured=True)


def heads(*sessions: int, kind: FrameKind = FrameKind.AUDIO) -> bytes:
    return b"".join(FRAME.pack(kind, 0, 1, 0, each, 0, 0, NO_STAMP, 0) for each in sessions)


def test_audio_is_counted_by_pool_and_reason_and_for_each_session_that_is_known():
    sessions = {number: Routed(number, f"call-{number}", None) for number in (1, 2)}
    dropped = Dropped(sessions)
    dropped.count(EARS, heads(1, 2, 1, 9), "queue_full")
    dropped.count(EARS, heads(1), "queue_full")
    dropped.count(EARS, heads(2), "no_worker")

    assert {"ears": {"queue_full": 5, "no_worker": 1}} == dropped.frames
    assert {"ears": {"queue_full": 3}} == sessions[1].dropped
    assert {"ears": {"queue_full": 1, "no_worker": 1}} == sessions[2].dropped


def test_what_is_no_audio_is_not_counted():
    dropped = Dropped({})
    dropped.count(EARS, heads(1, 2, kind=FrameKind.OPEN), "queue_full")
    dropped.count(EARS, b"", "queue_full")

    assert {} == dropped.frames
