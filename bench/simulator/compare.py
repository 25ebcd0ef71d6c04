"""Compares a recorded track with what was sent, sample by sample and in place.

Pure: arrays in, counts out. What differs is named by what became of it: lost (sent, but not
there, or silence instead), displaced (sent audio at a place or in a track where it does not
belong), altered (audio that was never sent), extra (audio where nothing was sent).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]

#: Places looked for in one track before the rest counts as altered: bounds the time of a wreck.
SEARCHES_MAX = 64


@dataclass(slots=True)
class SentTrack:
    """What one participant sent. `participant` is its raw id, None for the mixed stream."""

    participant: str | None
    #: All its samples in place; what lies in holes is not looked at.
    pcm: Pcm
    #: Where `pcm` begins, in samples after the call's start.
    start: int = 0
    #: Runs (first, count) of `pcm` that were not sent: exact silence must stand there.
    holes: list[tuple[int, int]] = field(default_factory=list)
    #: Packets sent, and how many of them were flagged silent; None: not to be checked.
    packets: int | None = None
    silent: int | None = None

    def expected(self) -> Pcm:
        """What the track must hold."""
        if not self.holes:
            return self.pcm
        pcm = self.pcm.copy()
        for first, count in self.holes:
            pcm[first : first + count] = 0
        return pcm


@dataclass(slots=True)
class Differences:
    """Samples, by what became of them."""

    lost: int = 0
    altered: int = 0
    displaced: int = 0
    extra: int = 0
    #: The first difference, in samples after the call's start, or None.
    first_at: int | None = None

    def add(self, other: Differences) -> None:
        """Count another track's differences, too."""
        self.lost += other.lost
        self.altered += other.altered
        self.displaced += other.displaced
        self.extra += other.extra

    @property
    def total(self) -> int:
        """All samples that are not as they should be."""
        return self.lost + self.altered + self.displaced + self.extra


def compare(
    sent: SentTrack, recorded: Pcm, start: int, packet: int, others: Sequence[SentTrack] = ()
) -> Differences:
    """Compare `recorded`, whose first sample lies `start` after the call's, with `sent`.

    `packet` is the samples of one packet; `others` are the call's other tracks, in which audio
    that is at the wrong place is looked for.
    """
    expected = sent.expected()
    found = Differences()
    low = max(start, sent.start)
    high = max(min(start + len(recorded), sent.start + len(expected)), low)
    found.extra = len(recorded) - (high - low)
    _count_outside(found, sent, low, high)
    here = recorded[low - start : high - start]
    there = expected[low - sent.start : high - sent.start]
    wrong = np.flatnonzero(here != there)
    places = [low + int(wrong[0])] if len(wrong) else []
    if found.extra:
        places.append(start if start < sent.start else high)
    if found.lost:
        places.append(sent.start if low > sent.start else high)
    found.first_at = min(places, default=None)
    if len(wrong):
        # In whole packets of what was sent, so that a packet is one thing's fault.
        blocks = np.unique((low - sent.start + wrong) // packet)
        _Sorter(found, sent, expected, others).sort(recorded, start, blocks.tolist(), packet)
    return found


def _count_outside(found: Differences, sent: SentTrack, low: int, high: int) -> None:
    """What was sent before the recording begins and after it ends is lost, but not its holes."""
    was_sent = np.ones(len(sent.pcm), bool)
    for first, count in sent.holes:
        was_sent[first : first + count] = False
    inside = was_sent[low - sent.start : high - sent.start]
    found.lost = int(np.count_nonzero(was_sent)) - int(np.count_nonzero(inside))


class _Sorter:
    """Says for each wrong packet what became of it."""

    def __init__(
        self, found: Differences, sent: SentTrack, expected: Pcm, others: Sequence[SentTrack]
    ) -> None:
        self._found = found
        self._sent = sent
        self._expected = expected
        sources = [expected] + [other.pcm for other in others]
        self._sources = [(pcm, pcm.astype("<i2").tobytes()) for pcm in sources]
        self._searches_left = SEARCHES_MAX
        #: Which source and how far off the last displaced packet was: the next is likely so, too.
        self._known: tuple[int, int] | None = None
        self._is_hole = np.zeros(len(expected), bool)
        for first, count in sent.holes:
            self._is_hole[first : first + count] = True

    def sort(self, recorded: Pcm, start: int, blocks: list[int], packet: int) -> None:
        shift = start - self._sent.start
        for block in blocks:
            low = max(block * packet, shift)
            high = min((block + 1) * packet, len(self._expected), shift + len(recorded))
            self._count(recorded[low - shift : high - shift], low, high)

    def _count(self, here: Pcm, low: int, high: int) -> None:
        wrong = int(np.count_nonzero(here != self._expected[low:high]))
        found = self._found
        if self._is_hole[low:high].all():
            found.extra += wrong
        elif self._is_at_known(here, low):
            found.displaced += len(here)
        elif not here.any():
            found.lost += len(here)
        elif wrong * 4 > len(here) and self._find(here, low):
            found.displaced += len(here)
        else:
            found.altered += wrong

    def _is_at_known(self, here: Pcm, low: int) -> bool:
        if self._known is None:
            return False
        source, off = self._known
        begin = low + off
        if begin < 0:
            return False
        return np.array_equal(self._sources[source][0][begin : begin + len(here)], here)

    def _find(self, here: Pcm, low: int) -> bool:
        if not self._searches_left:
            return False
        self._searches_left -= 1
        needle = here.astype("<i2").tobytes()
        for source, (_, raw) in enumerate(self._sources):
            at = raw.find(needle)
            while at % 2 and at >= 0:
                at = raw.find(needle, at + 1)
            if at >= 0:
                self._known = (source, at // 2 - low)
                return True
        return False
