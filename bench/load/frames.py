"""The bytes that the rigs send: masked text frames, made once for many sockets. Pure.

Nothing here comes from the gateway, so that a fault of its cannot hide behind the same fault here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from bench.simulator.packets import AudioPacket, metadata

TICK_MS = 20
PCM_BYTES = 640
PARTICIPANT = "8:acs:5b1e7c5e-7f5d-4f0a-9d3b-8c2f3f1f6f10_0000-load"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
#: Calls whose numbers differ modulo this say different things, so that a mix-up shows.
VARIANTS = 4


def masked(opcode: int, payload: bytes, key: bytes) -> bytes:
    """A whole frame as a client sends it; `key` has four bytes."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    else:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2)
    pad = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)


def opening(rate: int = 16_000) -> bytes:
    """The first frame of a socket: metadata."""
    return masked(TEXT, metadata("load", rate), b"\x01\x02\x03\x04")


def closing() -> bytes:
    """A proper end."""
    return masked(CLOSE, (1000).to_bytes(2), b"\x05\x06\x07\x08")


def audio_frames(begin_ms: int, seed: int = 0) -> Iterator[bytes]:
    """One frame of audio for each tick; `begin_ms` is the stamp of the first, in Unix ms.

    They are all of one length.
    """
    chance = random.Random(seed)
    pcm = chance.randbytes(PCM_BYTES)
    packet = AudioPacket(PARTICIPANT)
    at_ms = begin_ms
    while True:
        yield masked(TEXT, packet.of(pcm, at_ms, silent=False), chance.randbytes(4))
        at_ms += TICK_MS


@dataclass(frozen=True, slots=True)
class Speech:
    """What calls say: a function of tick, variant and stream, so that it can be made again."""

    streams: int  # sockets' streams: one for each participant, or one that is mixed
    rate: int = 16_000
    mixed: bool = False
    seed: int = 0

    def participant(self, stream: int) -> str | None:
        """The raw id of a stream; it ends in the stream's number. None for the mixed one."""
        return None if self.mixed else f"{PARTICIPANT}-{stream}"

    def pcm(self, tick: int, variant: int, stream: int) -> bytes:
        """20 ms of noise, no two of them alike."""
        number = ((self.seed << 40 | tick) * VARIANTS + variant) * self.streams + stream
        return random.Random(number).randbytes(self.rate // 50 * 2)

    def frames(self, tick: int, stamp_ms: int) -> list[list[bytes]]:
        """The frames of one tick: by variant, then by stream."""
        key = (tick & 0xFFFFFFFF).to_bytes(4)
        packets = [AudioPacket(self.participant(stream)) for stream in range(self.streams)]
        return [
            [
                masked(TEXT, packet.of(self.pcm(tick, variant, n), stamp_ms, silent=False), key)
                for n, packet in enumerate(packets)
            ]
            for variant in range(VARIANTS)
        ]


def pings(data: bytes) -> list[bytes]:
    """What the pings hold among the whole frames, short and unmasked, that a server has sent."""
    return [payload for opcode, payload in short_frames(data) if opcode == PING]


def short_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of the whole frames, short and unmasked, that a server has sent."""
    found = []
    at = 0
    while len(data) - at >= 2:
        end = at + 2 + (data[at + 1] & 0x7F)
        found.append((data[at] & 0x0F, data[at + 2 : end]))
        at = end
    return found
