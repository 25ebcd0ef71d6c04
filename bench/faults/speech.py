"""What calls say: every packet is unlike all others, names itself, and can be made again. Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

RATE = 16_000
PACKET_MS = 20
PACKET_SAMPLES = RATE * PACKET_MS // 1000
PACKET_BYTES = PACKET_SAMPLES * 2
PARTICIPANTS = 2

Pcm = npt.NDArray[np.int16]

_MAGIC = 0x6E5A
_NAME = struct.Struct("<HHHHII")  # magic, place, 1, 1, call, number
_NOISE_SAMPLES = PACKET_SAMPLES - _NAME.size // 2
_POOL_SAMPLES = 65_521


class Name(NamedTuple):
    """Which packet it is."""

    call: int
    place: int
    number: int


class Speech:
    """The packets of one seed: 16 bytes of name, then noise without a zero."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        pool = rng.integers(1, 32_000, _POOL_SAMPLES + _NOISE_SAMPLES, np.int16)
        pool[rng.random(len(pool)) < 0.5] *= -1
        self._noise: Pcm = pool
        self._windows = np.lib.stride_tricks.sliding_window_view(pool, _NOISE_SAMPLES)
        self._raw = pool.astype("<i2").tobytes()

    def pcm(self, name: Name) -> bytes:
        """One packet."""
        at = 2 * _offset(name.call, name.place, name.number)
        head = _NAME.pack(_MAGIC, name.place, 1, 1, name.call, name.number)
        return head + self._raw[at : at + 2 * _NOISE_SAMPLES]

    def packets(self, call: int, place: int, first: int, count: int) -> Pcm:
        """Packets in a row, one in each line of the array."""
        found = np.empty((count, PACKET_SAMPLES), np.int16)
        numbers = np.arange(first, first + count, dtype=np.int64)
        heads = b"".join(
            _NAME.pack(_MAGIC, place, 1, 1, call, number) for number in range(first, first + count)
        )
        found[:, : _NAME.size // 2] = np.frombuffer(heads, "<i2").reshape(count, -1)
        offsets = (call * 7_919 + place * 104_729 + numbers * 613) % _POOL_SAMPLES
        found[:, _NAME.size // 2 :] = self._windows[offsets]
        return found


def _offset(call: int, place: int, number: int) -> int:
    return (call * 7_919 + place * 104_729 + number * 613) % _POOL_SAMPLES


def name_in(packet: Pcm) -> Name | None:
    """What a packet's samples say that they are."""
    head = packet[: _NAME.size // 2].astype("<i2").tobytes()
    if len(head) < _NAME.size:
        return None
    magic, place, _, _, call, number = _NAME.unpack(head)
    return Name(call, place, number) if magic == _MAGIC else None


def participant(call: int, place: int) -> str:
    """The raw id of who speaks at a place of a call."""
    return f"8:acs:faults-{call}-{place}"
