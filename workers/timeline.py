"""A stream's frames, cut into blocks. HOT; pure; guarded by `bench/micro`.

A timeline takes runs of frames in order and hands on blocks that leave nothing out: where there was
no audio there is silence, and the block says how much of it.
"""

import numpy as np

from workers.audio import PCM, SAMPLE_BYTES, Emit, Stream, new_block, silence
from workers.metrics import CallsCounters
from workers.runs import Run

#: A place further ahead than this is nobody's gap: the ledger believes in no jump of over a day.
LEAP_S_MAX = 48 * 3600


class Arrival:
    """What is being received just now; one for all timelines of a worker."""

    __slots__ = ("now_us", "number")

    def __init__(self) -> None:
        self.now_us = 0
        self.number = 0  # of the batch, on its link


class Timeline:
    """One stream. A block lies at `[start, start + size)`; its audio reaches up to `end`."""

    __slots__ = (
        "_arrival",
        "_block",
        "_counters",
        "_emit",
        "_filled",
        "_silence_max",
        "_size",
        "_start",
        "end",
        "held_number",
        "held_us",
        "next_seq",
        "stream",
    )

    def __init__(
        self,
        stream: Stream,
        emit: Emit,
        arrival: Arrival,
        counters: CallsCounters,
        *,
        block_ms: int,
        gap_fill_max_ms: int,
    ) -> None:
        self.stream = stream
        self._emit = emit
        self._arrival = arrival
        self._counters = counters
        self._size = max(1, stream.sample_rate * block_ms // 1000)
        #: A gap up to here is cut into blocks as audio is, a longer one into blocks of this length.
        self._silence_max = max(self._size, stream.sample_rate * gap_fill_max_ms // 1000)
        self.next_seq = 0
        #: Before the first frame None: a worker may have been given the stream in mid-call.
        self.end: int | None = None
        self._start = 0
        #: The block begun; zeros where nothing was written. None exactly where `end == start`.
        self._block: bytearray | None = None
        self._filled = 0
        #: The batch with which the block begun has begun, and when; valid while `is_held`.
        self.held_number = 0
        self.held_us = 0

    @property
    def is_held(self) -> bool:
        """Whether audio waits here for its block to fill."""
        return self._block is not None

    def receive(self, run: Run, source: memoryview) -> None:
        """A run of plain audio, whose bytes lie in `source`."""
        _, _, seq, position, frames, samples, at, _ = run
        end = self.end
        if seq < self.next_seq and end is not None:
            repeated = min(frames, self.next_seq - seq)
            self._counters.repeated_frames += repeated
            if repeated == frames:
                return
            # Repeats are identical: what of the run was here already ends where we have got to.
            known = max(0, min(samples, end - position))
            at += known * SAMPLE_BYTES
            samples -= known
            position += known
        self.next_seq = seq + frames
        if position != end and not self._reach(position):
            return
        block = self._block
        offset = position - self._start
        if block is not None and offset + samples < self._size:
            # Nearly every frame where blocks are long: `_write` takes 0.8 us for it, this 0.5.
            stop = at + samples * SAMPLE_BYTES
            begin = offset * SAMPLE_BYTES
            block[begin : begin + samples * SAMPLE_BYTES] = source[at:stop]
            self.end = position + samples
            return
        self._write(samples, source, at)

    def receive_silence(self, seq: int, position: int, samples: int) -> None:
        """A frame that has no payload: `samples` of silence stand for it, or nothing."""
        if seq < self.next_seq:
            self._counters.repeated_frames += 1
            return
        self.next_seq = seq + 1
        if samples and self._reach(position):
            self._reach(position + samples)

    def cut(self) -> None:
        """Hand on the block begun, short as it is."""
        if self._block is not None and self.end is not None:
            self._hand_on(self.end - self._start)

    def _reach(self, position: int) -> bool:
        """Fill with silence up to `position`; False where no gap explains it."""
        if self.end is None:
            self.end = self._start = position
            return True
        gap = position - self.end
        if not 0 <= gap <= LEAP_S_MAX * self.stream.sample_rate:
            self._counters.bad_frames += 1
            return False
        self._fill(gap)
        return True

    def _fill(self, samples: int) -> None:
        self._counters.filled_samples += samples
        if self._block is not None:
            samples -= self._fill_block(samples)
        is_long = samples > self._silence_max
        while samples >= self._size:
            length = self._silence_max if is_long and samples >= self._silence_max else self._size
            self._emit(new_block(self.stream, self._start, silence(length), length))
            self._start += length
            self.end = self._start
            samples -= length
        if samples:
            self._begin()
            self._fill_block(samples)

    def _fill_block(self, samples: int) -> int:
        """Leave silence in the block begun; returns how much went in."""
        assert self.end is not None
        samples = min(samples, self._start + self._size - self.end)
        self._filled += samples
        self._advance(samples)
        return samples

    def _write(self, samples: int, source: memoryview, at: int) -> None:
        size = self._size
        while samples:
            if self._block is None:
                if samples >= size:  # a whole block needs no copy
                    pcm = np.frombuffer(source, PCM, size, at)
                    self._emit(new_block(self.stream, self._start, pcm))
                    self._start += size
                    self.end = self._start
                    samples -= size
                    at += size * SAMPLE_BYTES
                    continue
                self._begin()
            at, samples = self._copy(samples, source, at)

    def _copy(self, samples: int, source: memoryview, at: int) -> tuple[int, int]:
        """Copy what fits into the block begun; returns where the rest is, and how much."""
        assert self.end is not None
        assert self._block is not None
        offset = self.end - self._start
        taken = min(samples, self._size - offset)
        stop = at + taken * SAMPLE_BYTES
        self._block[offset * SAMPLE_BYTES : (offset + taken) * SAMPLE_BYTES] = source[at:stop]
        self._advance(taken)
        return stop, samples - taken

    def _begin(self) -> None:
        self._block = bytearray(self._size * SAMPLE_BYTES)
        self._filled = 0
        self.held_number = self._arrival.number
        self.held_us = self._arrival.now_us

    def _advance(self, samples: int) -> None:
        assert self.end is not None
        self.end += samples
        if self.end == self._start + self._size:
            self._hand_on(self._size)

    def _hand_on(self, samples: int) -> None:
        assert self._block is not None
        pcm = np.frombuffer(self._block, PCM, samples)
        pcm.setflags(write=False)
        block = new_block(self.stream, self._start, pcm, self._filled)
        self._start += samples
        self._block = None
        self._emit(block)
