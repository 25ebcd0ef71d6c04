"""Half-open intervals of samples as sorted arrays of (begin, end) rows. Pure."""

import numpy as np
from numpy.typing import NDArray

Intervals = NDArray[np.int64]  # shape (n, 2), sorted, not empty, not touching

NONE: Intervals = np.zeros((0, 2), np.int64)


def union(rows: NDArray[np.int64]) -> Intervals:
    """What any of the rows (n, 2) covers, in any order."""
    rows = rows[rows[:, 1] > rows[:, 0]]
    if not len(rows):
        return NONE
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    ends = np.maximum.accumulate(rows[:, 1])
    firsts = np.flatnonzero(np.concatenate(([True], rows[1:, 0] > ends[:-1])))
    lasts = np.concatenate((firsts[1:] - 1, [len(rows) - 1]))
    return np.stack((rows[firsts, 0], ends[lasts]), axis=1)


def subtract(these: Intervals, those: Intervals) -> Intervals:
    """What these cover and those do not."""
    pieces: list[tuple[int, int]] = []
    for begin, end in these.tolist():
        at = begin
        first = int(np.searchsorted(those[:, 1], begin, side="right"))
        for cut_begin, cut_end in those[first:].tolist():
            if cut_begin >= end:
                break
            if cut_begin > at:
                pieces.append((at, cut_begin))
            at = max(at, cut_end)
        if at < end:
            pieces.append((at, end))
    return np.array(pieces, np.int64).reshape(-1, 2)
