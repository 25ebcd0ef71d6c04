"""Batches packed by hand, and a gateway that speaks the bus by hand, for tests of the workers."""

import numpy as np

from gateway.bus.base import Hub
from gateway.wire import descriptor, messages
from gateway.wire.frame import FRAME, NO_STAMP, FrameFlag, FrameKind, batch_header, pack_batch

SESSION = 0xA1
RATE = 16000
PACKET = 320


def ramp(position, samples=PACKET):
    """Audio that says where it belongs: each sample is its position, wrapped."""
    return (np.arange(position, position + samples) % 30000 + 1).astype("<i2")


def frame(kind, stream, payload=b"", session=SESSION, *, seq=0, samples=0, position=0, flags=0):
    head = FRAME.pack(kind, flags, stream, len(payload), session, seq, samples, NO_STAMP, position)
    return head, payload


def open_session(session=SESSION, call_id="call-1"):
    body = descriptor.SessionOpen(
        call_id=call_id, session=f"{session:016x}", gateway="gateway-0", opened_at_us=0
    )
    return frame(FrameKind.OPEN, 0, descriptor.pack(body), session)


def open_stream(stream=1, session=SESSION, rate=RATE, participant="8:alice", zero_us=0):
    body = descriptor.StreamOpen(
        participant=participant, sample_rate=rate, zero_us=zero_us, first_position=0
    )
    return frame(FrameKind.OPEN, stream, descriptor.pack(body), session)


def audio(seq, position=None, stream=1, session=SESSION, *, samples=PACKET, flags=0):
    position = seq * samples if position is None else position
    payload = ramp(position, samples).tobytes()
    if flags & (FrameFlag.DROPPED | FrameFlag.NO_DATA):
        payload = b""
    return frame(
        FrameKind.AUDIO,
        stream,
        payload,
        session,
        seq=seq,
        samples=samples,
        position=position,
        flags=flags,
    )


def event(seq, session=SESSION, kind="dtmf"):
    body = descriptor.Event(kind=kind, at_us=5)
    return frame(FrameKind.EVENT, 0, descriptor.pack(body), session, seq=seq)


def close_stream(stream=1, session=SESSION):
    body = descriptor.StreamClose(packets=descriptor.Packets())
    return frame(FrameKind.CLOSE, stream, descriptor.pack(body), session)


def close_session(session=SESSION):
    body = descriptor.SessionClose(closed_at_us=1, close_code=1000, proper=True)
    return frame(FrameKind.CLOSE, 0, descriptor.pack(body), session)


def batch(*frames, link=1, number=1):
    heads = [head for head, _ in frames]
    payloads = [payload for _, payload in frames]
    header = batch_header(
        link, number, 0, frames=len(frames), payload_bytes=sum(map(len, payloads))
    )
    return pack_batch(header, heads, payloads)


class HandGateway:
    """Says what it is told to say over a hub, and keeps what its one worker says."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.peer = b""
        self.heard = []
        self.number = 0

    def listen(self):
        """Take what has come; returns the new messages."""
        new = []
        while (received := self.hub.receive()) is not None:
            self.peer, message = received
            new.append(messages.unpack_from_worker(message))
        self.heard += new
        return new

    def of(self, kind):
        """Everything heard so far of one kind of message."""
        return [message for message in self.heard if isinstance(message, kind)]

    def say(self, message):
        self.hub.send(self.peer, messages.pack(message))

    def beat(self, link=1):
        self.say(messages.Heartbeat(link=link))

    def send(self, *frames, link=1):
        self.number += 1
        self.hub.send(self.peer, batch(*frames, link=link, number=self.number))
