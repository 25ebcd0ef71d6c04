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
    cuts = those.tolist()
    firsts = np.searchsorted(those[:, 1], these[:, 0], side="right").tolist()
    pieces: list[tuple[int, int]] = []
    for (begin, end), index in zip(these.tolist(), firsts, strict=True):
        at = begin
        while index < len(cuts) and cuts[index][0] < end:
            if cuts[index][0] > at:
                pieces.append((at, cuts[index][0]))
            at = cuts[index][1]
            index += 1
        if at < end:
            pieces.append((at, end))
    return np.array(pieces, np.int64).reshape(-1, 2)
