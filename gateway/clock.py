"""The one clock of a process: Unix time that never jumps."""

import time


class Clock:
    """Microseconds since 1970: the wall clock at the start plus monotonic time since."""

    __slots__ = ("_offset_ns",)

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def __call__(self) -> int:
        return (self._offset_ns + time.monotonic_ns()) // 1000
