"""`level`: how loud each stream is. Audio passes on unchanged."""

import logging
import math
from typing import NamedTuple

import numpy as np

from workers.audio import Block, Call, Emit, Pcm, Stream, dbfs
from workers.processors.base import Processor

log = logging.getLogger(__name__)

_CLIPPED = 32767  # -32767 and -32768 are at full scale as well


class Reading(NamedTuple):
    """The level of a run of samples."""

    samples: int
    peak_dbfs: float
    rms_dbfs: float
    clipped: int  # samples at full scale


class _Meter:
    """Sums over samples."""

    __slots__ = ("clipped", "peak", "power", "samples")

    def __init__(self) -> None:
        self.samples = 0
        self.peak = 0
        self.power = 0.0
        self.clipped = 0

    def add(self, pcm: Pcm) -> None:
        wide = pcm.astype(np.float64)
        low, high = int(pcm.min()), int(pcm.max())
        self.samples += len(pcm)
        self.peak = max(self.peak, high, -low)
        self.power += float(wide @ wide)
        if high >= _CLIPPED or low <= -_CLIPPED:
            self.clipped += int(np.count_nonzero(np.abs(wide) >= _CLIPPED))

    def merge(self, other: "_Meter") -> None:
        self.samples += other.samples
        self.peak = max(self.peak, other.peak)
        self.power += other.power
        self.clipped += other.clipped

    def read(self) -> Reading:
        rms = math.sqrt(self.power / self.samples) if self.samples else 0.0
        return Reading(self.samples, dbfs(self.peak), dbfs(rms), self.clipped)


class Level(Processor):
    """Peak and RMS of each stream, per `window_ms` and over the whole stream.

    `readings` holds the last whole window of every open stream. To do something with each, inherit
    and override `measured`. What a stream had in all is logged when it closes.
    """

    class Settings(Processor.Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """The table `[processors.level]`."""

        window_ms: int = 1000

    settings: Settings

    def open(self, call: Call) -> None:
        self.readings: dict[Stream, Reading] = {}
        self._call_id = call.call_id
        self._windows: dict[Stream, _Meter] = {}
        self._totals: dict[Stream, _Meter] = {}

    def process(self, block: Block, emit: Emit) -> None:
        self._measure(block.stream, block.pcm)
        emit(block)

    def measured(self, stream: Stream, reading: Reading) -> None:
        """A window is whole. Does nothing here."""

    def stream_closed(self, stream: Stream, emit: Emit) -> None:
        self.readings.pop(stream, None)
        total = self._totals.pop(stream, None)
        if total is None:
            return
        total.merge(self._windows.pop(stream))
        reading = total.read()
        extra = {
            "call_id": self._call_id,
            "session": stream.session,
            "stream": stream.number,
            "seconds": round(reading.samples / stream.sample_rate, 3),
            "peak_dbfs": round(reading.peak_dbfs, 1),
            "rms_dbfs": round(reading.rms_dbfs, 1),
            "clipped": reading.clipped,
        }
        log.info("stream level", extra=extra)

    def _measure(self, stream: Stream, pcm: Pcm) -> None:
        if stream not in self._totals:
            self._totals[stream] = _Meter()
            self._windows[stream] = _Meter()
        window = max(1, stream.sample_rate * self.settings.window_ms // 1000)
        while len(pcm):
            meter = self._windows[stream]
            room = window - meter.samples
            meter.add(pcm[:room])
            pcm = pcm[room:]
            if meter.samples == window:
                self._totals[stream].merge(meter)
                self._windows[stream] = _Meter()
                self.readings[stream] = meter.read()
                self.measured(stream, self.readings[stream])
