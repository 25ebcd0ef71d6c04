"""`<session>-<stream>.idx`: one entry for each frame of a stream, at `seq * ENTRY_BYTES`.

Written in place beside the audio, so a frame that is written twice leaves the same bytes. With it
everything about a stream can be told again without its CLOSE. A frame that never came leaves zeros.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.wire.frame import FrameFlag
from workers.recordings.durable import open_file

ENTRY = np.dtype(
    [
        ("stamp_us", "<i8"),  # NO_STAMP where the packet had none
        ("position", "<i8"),  # of the first sample, on the session's axis
        ("samples", "<u4"),  # 0 for a packet that was left out
        ("flags", "u1"),  # of the frame
        ("written", "u1"),  # 1: so no entry is all zeros
        ("reserved", "<u2"),
    ]
)
ENTRY_BYTES = ENTRY.itemsize
Entries = NDArray[np.void]


def pack_entries(heads: Entries) -> Entries:
    """The entries of frames, given their headers (`FRAME_DTYPE`), in the same order."""
    entries = np.zeros(len(heads), ENTRY)
    for name in ("stamp_us", "position", "flags"):
        entries[name] = heads[name]
    entries["samples"] = np.where(is_dropped(heads), 0, heads["samples"])
    entries["written"] = 1
    return entries


def read_index(path: Path) -> Entries:
    """All entries of a stream by `seq`, those that were never written included.

    A file that is not there has none; a torn last entry is left out. Raises OSError.
    """
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return np.zeros(0, ENTRY)
    with open(descriptor, "rb") as file:
        data = file.read()
    return np.frombuffer(data[: len(data) // ENTRY_BYTES * ENTRY_BYTES], ENTRY)


def is_dropped(frames: Entries) -> NDArray[np.bool_]:
    """Which of these frames or entries were left out by the ledger."""
    dropped: NDArray[np.bool_] = (frames["flags"] & FrameFlag.DROPPED) != 0
    return dropped
