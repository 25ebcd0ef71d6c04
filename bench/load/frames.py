"""The bytes that the rig sends: one masked text frame for all sockets, another for each tick. Pure.

Nothing here comes from the gateway, so that a fault of its cannot hide behind the same fault here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from bench.simulator.packets import AudioPacket, metadata

TICK_MS = 20
PCM_BYTES = 640
PARTICIPANT = "8:acs:5b1e7c5e-7f5d-4f0a-9d3b-8c2f3f1f6f10_0000-load"
TEXT, PING, PONG = 0x1, 0x9, 0xA


def masked(opcode: int, payload: bytes, key: bytes) -> bytes:
    """A whole frame as a client sends it; `key` has four bytes."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    else:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2)
    pad = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)


def opening() -> bytes:
    """The first frame of a socket: metadata."""
    return masked(TEXT, metadata("load", 16_000), b"\x01\x02\x03\x04")


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


def pings(data: bytes) -> list[bytes]:
    """What the pings hold among the whole frames, short and unmasked, that a server has sent."""
    found = []
    at = 0
    while len(data) - at >= 2:
        end = at + 2 + (data[at + 1] & 0x7F)
        if data[at] & 0x0F == PING:
            found.append(data[at + 2 : end])
        at = end
    return found
