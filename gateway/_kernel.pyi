from array import array
from collections.abc import Mapping
from typing import Any

from gateway.ledger import Place

NEAR_US: int
WINDOW: int

class AxisState:
    zero_us: int
    baseline_us: int
    grain_us: int
    base_us: int
    head_us: int
    settled: bool

class PlaceState:
    _axis: Any
    _window: array[int]
    first_position: int | None
    rate: int
    position: int
    seq: int
    packet_samples: int
    base_us: int
    owed: int
    _median_us: int
    _count: int
    _window_end: int
    is_late: bool
    is_clock_jump: bool

class StreamState:
    place: Place
    held: Any
    index: int
    silent: int

def take(
    data: bytes | bytearray,
    at: int,
    bytes_max: int,
    layouts: Mapping[int, Any],
    streams: Mapping[str | None, Any],
    session: int,
    heads: list[bytes],
    payloads: list[bytes],
    room: int,
    /,
) -> tuple[int, int, int, Any]: ...
