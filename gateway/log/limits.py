"""How much a log may hold, where, and how full it is. Pure."""

from typing import NamedTuple

#: From this share of what there is on, new calls are refused: what is left is for running ones.
REFUSE_AT = 0.8
#: Over this share of its memory a log that dropped audio goes on dropping: no gap for each tick.
RESUME_AT = 0.9


class LogLimits(NamedTuple):
    """Of one gateway's log; the same names in the table `[log]`."""

    #: On disk, in all its folders together.
    bytes_max: int = 16 * 1024**3
    #: In each folder, taken from the disk beforehand and written to when the disk is full.
    reserve_bytes: int = 64 * 1024**2
    #: In memory: what no disk has taken yet, and what is written and not yet synced.
    retain_bytes_max: int = 256 * 1024**2


def fill(limits: LogLimits, *, kept_bytes: int, room_bytes: int, pending_bytes: int) -> float:
    """How much of what a log may hold it holds: 0 to 1.

    `kept_bytes` lie on disk, `room_bytes` more would find room there; `pending_bytes` are in memory
    alone. Memory counts by itself, too: a disk that hangs has room and takes nothing.
    """
    disk_bytes_max = min(limits.bytes_max, kept_bytes + room_bytes)
    whole = (kept_bytes + pending_bytes) / (disk_bytes_max + limits.retain_bytes_max)
    return min(1.0, max(whole, pending_bytes / limits.retain_bytes_max))
