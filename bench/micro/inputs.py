"""What the micro benches are fed with: packets as the service sends them, ticks, batches."""

from __future__ import annotations

import random
from collections.abc import Callable

from bench.load.frames import PCM_BYTES, TICK_MS, audio_frames
from bench.simulator.packets import AudioPacket
from gateway.front import Front, SocketLimits
from gateway.log.ticks import Tick
from gateway.route import Route
from gateway.session import Identity, Limits, Session
from gateway.wire import descriptor
from gateway.wire.frame import FRAME, FrameKind, batch_header, pack_batch

PARTICIPANT = "8:acs:5b1e7c5e-7f5d-4f0a-9d3b-8c2f3f1f6f10_0000-micro"
BEGIN_MS = 1_731_698_172_925
RATE = 16_000
SAMPLES = PCM_BYTES // 2


def pcm(number: int) -> bytes:
    """20 ms of noise."""
    return random.Random(number).randbytes(PCM_BYTES)


def packets(count: int) -> list[bytes]:
    """`count` packets of one participant, 20 ms apart."""
    packet = AudioPacket(PARTICIPANT)
    return [
        packet.of(pcm(number), BEGIN_MS + number * TICK_MS, silent=False) for number in range(count)
    ]


def masked_packets(count: int) -> list[bytes]:
    """The same as frames of a client."""
    frames = audio_frames(BEGIN_MS)
    return [next(frames) for _ in range(count)]


def route(overflow: Callable[[], None] = lambda: None) -> Route:
    """A route that nobody hears."""
    return Route((), overflow, lambda *_: None)


def session(to: Route) -> Session:
    """A session whose frames go to `to`."""
    identity = Identity(1, "call", None, "gateway-0", "boot-1", BEGIN_MS * 1000)
    return Session(identity, to, Limits(), lambda: BEGIN_MS * 1000, lambda _: None)


def front(handler: object) -> Front:
    """A front that hands every socket to `handler`."""
    return Front(lambda _: handler, SocketLimits())  # type: ignore[arg-type, return-value]


def tick(number: int, streams: int, begun: int = 1) -> Tick:
    """One packet of each of `streams` sessions; tick `begun` is the first that has audio."""
    seq = number - begun
    fields = (int(FrameKind.AUDIO), 0, 1, PCM_BYTES)
    heads = b"".join(
        FRAME.pack(*fields, session_id, seq, SAMPLES, BEGIN_MS * 1000, seq * SAMPLES)
        for session_id in range(1, streams + 1)
    )
    return Tick(number, BEGIN_MS * 1000 + number * 20_000, heads, pcm(number) * streams)


def batch(of: Tick, number: int) -> bytes:
    """A tick as a batch."""
    header = batch_header(1, number, of.sent_us, frames=of.frames, payload_bytes=len(of.payload))
    return pack_batch(header, (of.heads,), (of.payload,))


def opening_batch(streams: int) -> bytes:
    """A batch with the OPENs of `streams` sessions of one stream each, as number 1."""
    heads, payloads = [], []
    for session_id in range(1, streams + 1):
        of_session = descriptor.SessionOpen(
            call_id=f"call-{session_id}",
            session=f"{session_id:016x}",
            gateway="gateway-0",
            opened_at_us=BEGIN_MS * 1000,
        )
        of_stream = descriptor.StreamOpen(
            participant=PARTICIPANT,
            sample_rate=RATE,
            zero_us=BEGIN_MS * 1000,
            first_position=0,
        )
        for stream, body in ((0, of_session), (1, of_stream)):
            payload = descriptor.pack(body)
            fields = (int(FrameKind.OPEN), 0, stream, len(payload), session_id, 0, 0, 0, 0)
            heads.append(FRAME.pack(*fields))
            payloads.append(payload)
    header = batch_header(1, 1, 0, frames=len(heads), payload_bytes=sum(map(len, payloads)))
    return pack_batch(header, heads, payloads)


def batches(streams: int, ticks: int) -> list[bytes]:
    """The OPENs, then a batch for each tick: of streams that all speak."""
    return [
        opening_batch(streams),
        *(batch(tick(number, streams, begun=2), number) for number in range(2, ticks + 2)),
    ]
