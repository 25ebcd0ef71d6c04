"""The compiled part of the hot path, where there is one, and what stands in for it. HOT.

`_kernel` takes the usual packet from a socket's bytes to a frame in its route in one call. Without
it (no compiler where this was installed, or ACS_INGEST_KERNEL=off) everything takes the way that
unusual packets take in any case, and nothing else differs.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

#: (data, at, bytes_max, layouts, streams, session, heads, payloads, room)
#: -> (at, packets, room, stream); see `_kernel.pyi`.
Take = Callable[..., tuple[int, int, int, Any]]

#: None where there is no compiled part.
take: Take | None = None

if TYPE_CHECKING:
    from gateway._kernel import AxisState, PlaceState, StreamState
else:
    try:
        if os.environ.get("ACS_INGEST_KERNEL") == "off":
            raise ImportError("not wanted")
        from gateway._kernel import AxisState, PlaceState, StreamState, take
    except ImportError:

        class AxisState:
            """What both parts know of an `Axis`."""

            __slots__ = ("base_us", "baseline_us", "grain_us", "head_us", "settled", "zero_us")

        class PlaceState:
            """What both parts know of a `Place`."""

            __slots__ = (
                "_axis",
                "_count",
                "_median_us",
                "_window",
                "_window_end",
                "base_us",
                "first_position",
                "is_clock_jump",
                "is_late",
                "owed",
                "packet_samples",
                "position",
                "rate",
                "seq",
            )

        class StreamState:
            """What both parts know of a `Stream`."""

            __slots__ = ("held", "index", "place", "silent")


__all__ = ["AxisState", "PlaceState", "StreamState", "take"]
