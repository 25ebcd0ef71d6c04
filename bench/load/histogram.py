"""A histogram of milliseconds in steps of a tenth: small as JSON, added up and subtracted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

STEPS_A_MS = 10
#: What lies beyond counts as this: a minute.
STEP_MAX = 60_000 * STEPS_A_MS

Pairs = list[list[int]]


class Histogram:
    """Counts by tenths of a millisecond; what is negative counts as 0."""

    def __init__(self, pairs: Iterable[Iterable[int]] = ()) -> None:
        self._counts: Counter[int] = Counter(dict(pairs))  # type: ignore[arg-type]  # of two each

    def __len__(self) -> int:
        return self._counts.total()

    def add_ms(self, values_ms: Iterable[float]) -> None:
        """Count these."""
        tenths = np.clip(np.asarray(list(values_ms)) * STEPS_A_MS, 0, STEP_MAX).astype(np.int64)
        steps, counts = np.unique(tenths, return_counts=True)
        for step, count in zip(steps.tolist(), counts.tolist(), strict=True):
            self._counts[step] += count

    def __add__(self, other: Histogram) -> Histogram:
        found = Histogram()
        found._counts = self._counts + other._counts
        return found

    def __sub__(self, earlier: Histogram) -> Histogram:
        """What has come since `earlier`, a copy of this one as it was."""
        found = Histogram()
        found._counts = self._counts - earlier._counts
        return found

    def percentile_ms(self, part: float) -> float | None:
        """What `part` (0 to 1) of the values do not exceed; None where there are none."""
        left = part * len(self)
        for step in sorted(self._counts):
            left -= self._counts[step]
            if left <= 0:
                return (step + 1) / STEPS_A_MS
        return None

    def summary(self) -> dict[str, float | None]:
        """The usual percentiles, and the greatest."""
        parts = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
        return {name: self.percentile_ms(part) for name, part in parts.items()}

    def pairs(self) -> Pairs:
        """As JSON: [step, count] in order; `Histogram(pairs)` is the same again."""
        return [list(pair) for pair in sorted(self._counts.items())]
