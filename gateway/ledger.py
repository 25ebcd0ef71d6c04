"""The ledger: where in time does a packet belong? Pure. HOT; guarded by `bench/micro`.

A session has one axis: position 0 is its *zero*, its first believable stamp. Every stream of the
session counts its positions on that axis, in samples at its own rate, so that the jitter of stamps
never pulls participants apart. Stamps order nothing and move nothing by themselves; a packet is
placed right behind its predecessor unless its stamp says, beyond doubt, that something is missing.

The *deviation* of a packet is how far its stamp lies ahead of its place, less what is usual in the
session (`baseline`) and in the last second of the stream (`median`):

    within 40 ms and the stamps' grain       contiguous
    further ahead, up to 10 s                a gap, in whole packets
    further ahead, up to 24 h                held until the next packet says: a gap, or not
    further behind, or beyond belief         contiguous, counted as late (behind) or wild

Once a second the stream's own median is looked at. If it has stayed 20 ms to 1 s ahead, places are
moved forward by whole packets at once; behind, the stream *owes* packets, which are paid by leaving
out silence, never speech. Further behind, or beyond belief for a whole second, it is the clock that
has changed: the stream is re-based and nothing is left out.
"""

from array import array
from bisect import insort

from gateway.kernel import AxisState, PlaceState

US = 1_000_000
NEAR_US = 40_000
CORRECT_US_MIN = 20_000
CORRECT_US_MAX = 1_000_000
BELIEVE_US_MAX = 10_000_000
JUMP_US_MAX = 24 * 3600 * US
GRID_US_MIN = 10_000
STAMP_US_MIN = 1_420_070_400 * US  # 2015
STAMP_US_MAX = 4_102_444_800 * US  # 2100
#: Deviations that a window holds; a second of packets of 10 ms or longer fits.
WINDOW = 100
#: Peak of a packet that may be left out: -42 dBFS.
QUIET_PEAK = 256

_GRAINS_US = (1_000_000, 100_000, 0)


class Axis(AxisState):
    """The time of one session, shared by its streams."""

    __slots__ = ("_first", "_settle_us")

    def __init__(self, zero_us: int) -> None:
        """`zero_us`: Unix us of position 0: the first believable stamp, else the wall clock."""
        self.zero_us = zero_us
        #: Median of stamp - place over the first second that has stamps; moves until `settled`.
        self.baseline_us = 0
        self.settled = False
        #: The coarsest grain that all stamps so far have: 0 once one had a fine fraction.
        self.grain_us = _GRAINS_US[0]
        #: `Place.base_us` of the stream that was re-based last: a clock that others may share.
        self.base_us = 0
        #: Place of the packet that was placed last, in us after zero.
        self.head_us = 0
        #: The deviations that the baseline is the median of, sorted; freed when settled.
        self._first = array("q")
        self._settle_us = 0

    def refine(self, stamp_us: int) -> None:
        """See a stamp, as long as there is a grain."""
        while self.grain_us and stamp_us % self.grain_us:
            self.grain_us = _GRAINS_US[_GRAINS_US.index(self.grain_us) + 1]

    def observe(self, ahead_us: int, place_us: int) -> None:
        """Take one packet into the baseline, while it is not settled. A gap is no jitter."""
        if abs(ahead_us - self.baseline_us) > NEAR_US + self.grain_us:
            return
        first = self._first
        if not first:
            self._settle_us = place_us + US
        insort(first, ahead_us)
        self.baseline_us = first[(len(first) - 1) // 2]
        if place_us >= self._settle_us or len(first) >= 4 * WINDOW:
            self.settled = True
            self._first = array("q")


class Place(PlaceState):
    """One stream of a session: its next position, and what its stamps have been like. Fixed size.

    Invariants: positions never decrease; every packet gets the next `seq`, left out or not.
    """

    __slots__ = ("_held_us", "dropped", "filled", "late", "lost", "rebased", "wild")

    def __init__(self, axis: Axis, rate: int) -> None:
        self._axis = axis
        self.rate = rate
        #: Where the next packet goes if nothing is missing.
        self.position = 0
        self.first_position: int | None = None
        self.seq = 0
        #: Samples of the last packet that had any.
        self.packet_samples = rate // 50
        #: What this stream's clock is ahead of the session's, after it was seen to change.
        self.base_us = 0
        #: Packets of silence to leave out, so that places fall back to where the stamps are.
        self.owed = 0
        # What was said of the packet that was placed last.
        self.is_late = False
        self.is_clock_jump = False
        # Counters, in packets.
        self.lost = 0
        self.filled = 0
        self.late = 0
        self.dropped = 0
        self.wild = 0
        self.rebased = 0
        self._median_us = 0
        #: Stamp of the packet that is held.
        self._held_us: int | None = None
        #: Deviations of the last packets, at most a second of them; a ring.
        self._window = array("q", bytes(8 * WINDOW))
        self._count = 0
        self._window_end = 0

    def place(self, stamp_us: int | None, samples: int) -> int | None:
        """Position of a packet of `samples` samples, by its stamp (Unix us) if it has one.

        Sets `is_late` and `is_clock_jump`. None: the packet is to be held until the stream's next
        one is here, or until the stream ends, and then placed by `place_held` before it.
        """
        self.is_late = self.is_clock_jump = False
        position: int | None
        if self.first_position is None:
            position = self._begin(stamp_us, samples)
        elif stamp_us is None:
            position = self.position
        else:
            axis = self._axis
            if axis.grain_us:
                axis.refine(stamp_us)
            position = self.position
            place_us = position * US // self.rate
            ahead_us = stamp_us - axis.zero_us - place_us - self.base_us
            if not axis.settled:
                axis.observe(ahead_us, place_us)
            ahead_us -= axis.baseline_us
            if -NEAR_US <= ahead_us - self._median_us <= NEAR_US and position < self._window_end:
                self._window[self._count % WINDOW] = ahead_us
                self._count += 1
            else:
                position = self._weigh(stamp_us, ahead_us, position)
        if position is None:
            self._held_us = stamp_us
            return None
        return self._take(position, samples)

    def place_held(self, samples: int, next_stamp_us: int | None) -> int:
        """Position of the packet that was held, now that the next one's stamp is known."""
        self.is_late = self.is_clock_jump = False
        held_us, self._held_us = self._held_us, None
        if held_us is None:
            raise AssertionError("no packet of this stream is held")
        step_us = samples * US // self.rate
        if next_stamp_us is None or abs(next_stamp_us - held_us - step_us) > NEAR_US + step_us:
            self.wild += 1
            if self.first_position is None:
                return self._take(self._first(self._axis.head_us, samples), samples)
            return self._take(self.position, samples)
        ahead_us = held_us - self._axis.zero_us - self._axis.baseline_us - self.base_us
        if self.first_position is None:
            return self._take(self._first(ahead_us, samples), samples)
        deviation_us = ahead_us - self.position * US // self.rate - self._median_us
        return self._take(self.position + self._gap(deviation_us), samples)

    def leave_out(self) -> int:
        """Count a packet of silence that the stream owes; returns the place it would have had.

        Only for packets that ACS calls silent and that are `is_quiet`, and only while `owed`.
        """
        self.is_late = self.is_clock_jump = False
        self.seq += 1
        self.owed -= 1
        self.dropped += 1
        packet_us = self._packet_us()
        self._median_us += packet_us
        for index in range(min(self._count, WINDOW)):
            self._window[index] += packet_us
        return self.position

    def _take(self, position: int, samples: int) -> int:
        self.seq += 1
        self._axis.head_us = position * US // self.rate
        self.position = position + samples
        if samples:
            self.packet_samples = samples
        return position

    def _begin(self, stamp_us: int | None, samples: int) -> int | None:
        """Place the stream's first packet: by its stamp, else beside the one placed last."""
        axis = self._axis
        if stamp_us is None or not STAMP_US_MIN <= stamp_us < STAMP_US_MAX:
            return self._first(axis.head_us, samples)
        axis.refine(stamp_us)
        at_us = stamp_us - axis.zero_us - axis.baseline_us
        if abs(at_us - axis.base_us - axis.head_us) < abs(at_us - axis.head_us):
            self.base_us = axis.base_us
            at_us -= axis.base_us
        ahead_us = at_us - axis.head_us
        if not -CORRECT_US_MAX <= ahead_us <= BELIEVE_US_MAX:
            if 0 < ahead_us <= JUMP_US_MAX:
                return None
            self.wild += 1
            return self._first(axis.head_us, samples)
        if not axis.settled:
            axis.observe(at_us + axis.baseline_us - axis.head_us, axis.head_us)
        if abs(at_us) <= NEAR_US:
            return self._first(0, samples)
        if axis.grain_us and abs(ahead_us) <= NEAR_US + axis.grain_us:
            return self._first(axis.head_us, samples)
        return self._first(at_us, samples)

    def _first(self, at_us: int, samples: int) -> int:
        """The first position: `at_us` after zero, on the nearest whole packet of the axis."""
        grid = max(samples, GRID_US_MIN * self.rate // US)
        at = at_us * self.rate // US
        self.first_position = position = (2 * at + grid) // (2 * grid) * grid
        self._window_end = position + self.rate
        return position

    def _weigh(self, stamp_us: int, ahead_us: int, position: int) -> int | None:
        """Place a packet that is not where it should be, or that ends a window."""
        grain_us = self._axis.grain_us
        deviation_us = ahead_us - self._median_us
        if not -NEAR_US - grain_us <= deviation_us <= NEAR_US + grain_us:
            if not self._is_believable(stamp_us, deviation_us):
                self.wild += 1
            elif deviation_us < 0:
                self.is_late = True
                self.late += 1
            elif deviation_us > BELIEVE_US_MAX:
                return None
            else:
                position += self._gap(deviation_us)
                return position
        self._window[self._count % WINDOW] = ahead_us
        self._count += 1
        return position if position < self._window_end else self._turn(position)

    @staticmethod
    def _is_believable(stamp_us: int, deviation_us: int) -> bool:
        return STAMP_US_MIN <= stamp_us < STAMP_US_MAX and abs(deviation_us) <= JUMP_US_MAX

    def _gap(self, length_us: int) -> int:
        """Count a gap and begin a new window; returns its samples, rounded to whole packets."""
        grid = max(self.packet_samples, GRID_US_MIN * self.rate // US)
        samples = (2 * length_us * self.rate + grid * US) // (2 * grid * US) * grid
        packets = samples // self.packet_samples
        self.lost += packets
        self.filled += packets
        self._count = 0
        self._window_end = self.position + samples + self.rate
        return samples

    def _packet_us(self) -> int:
        return self.packet_samples * US // self.rate

    def _turn(self, position: int) -> int:
        """A second has passed: learn its median, and correct what has stayed."""
        window = sorted(self._window[: min(self._count, WINDOW)])
        median_us = window[(len(window) - 1) // 2]
        self._count = 0
        self._window_end = position + self.rate
        self.owed = 0
        if median_us < -CORRECT_US_MAX or median_us > BELIEVE_US_MAX:
            self._rebase(median_us)
            return position
        self._median_us = median_us
        packet_us = self._packet_us()
        if self._axis.grain_us > packet_us or abs(median_us) < CORRECT_US_MIN:
            return position
        packets = (2 * abs(median_us) + packet_us) // (2 * packet_us)
        if median_us < 0:
            self.owed = packets
            return position
        self.is_clock_jump = True
        self.filled += packets
        self._median_us -= packets * packet_us
        self._window_end += packets * self.packet_samples
        return position + packets * self.packet_samples

    def _rebase(self, median_us: int) -> None:
        """The clock behind the stamps has changed: what it says now is right from now on."""
        self.base_us += median_us
        self._axis.base_us = self.base_us
        self._median_us = 0
        self.rebased += 1


def is_quiet(pcm: bytes) -> bool:
    """Whether no sample of `pcm` (16-bit little-endian) is louder than `QUIET_PEAK`."""
    samples = memoryview(pcm).cast("h")
    return not samples or (max(samples) <= QUIET_PEAK and min(samples) >= -QUIET_PEAK)
