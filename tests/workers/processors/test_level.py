import logging
import math

import numpy as np

from workers import testing
from workers.audio import FLOOR_DBFS
from workers.processors.level import Level
from workers.testing import blocks_of, new_call, new_processor, new_stream


class Kept(Level):
    """Keeps every reading."""

    def measured(self, stream, reading):
        self.all = [*getattr(self, "all", []), reading]


def sine(amplitude, samples=16000):
    return (amplitude * np.sin(np.arange(samples) * 2 * np.pi * 1000 / 16000)).astype("<i2")


def test_audio_passes_unchanged():
    pcm = sine(1000)

    blocks = testing.run(new_processor(Level), pcm)

    assert pcm.tolist() == np.concatenate([block.pcm for block in blocks]).tolist()


def test_sine_at_half_scale_reads_as_its_peak_and_its_rms():
    level = new_processor(Kept, {"window_ms": 100})

    testing.run(level, sine(16384))

    assert 10 == len(level.all)
    assert [1600] * 10 == [reading.samples for reading in level.all]
    assert math.isclose(-6.02, level.all[0].peak_dbfs, abs_tol=0.01)
    assert math.isclose(-9.03, level.all[0].rms_dbfs, abs_tol=0.01)
    assert 0 == level.all[0].clipped


def test_full_scale_is_clipped_on_both_sides():
    level = new_processor(Kept, {"window_ms": 1})

    testing.run(level, np.array([-32768, -32767, 32767, 32766] * 4, "<i2"))

    assert (12, 0.0) == (level.all[0].clipped, level.all[0].peak_dbfs)


def test_silence_reads_as_the_floor():
    level = new_processor(Kept, {"window_ms": 20})

    testing.run(level, np.zeros(320, "<i2"))

    assert (FLOOR_DBFS, FLOOR_DBFS) == level.all[0][1:3]


def test_window_may_span_blocks_and_a_block_windows():
    level = new_processor(Kept, {"window_ms": 30})

    testing.run(level, np.zeros(16000 // 10, "<i2"), block_ms=20)

    assert [480, 480, 480] == [reading.samples for reading in level.all]


def test_last_reading_of_each_open_stream_is_at_hand():
    level, one, two = new_processor(Level, {"window_ms": 20}), new_stream(), new_stream(number=2)
    level.open(new_call(one, two))
    for block in [*blocks_of(one, sine(1000, 640)), *blocks_of(two, sine(2000, 320))]:
        level.process(block, lambda block: None)

    assert {one, two} == level.readings.keys()
    level.stream_closed(one, lambda block: None)

    assert {two} == level.readings.keys()


def test_whole_stream_is_logged_when_it_closes(caplog):
    with caplog.at_level(logging.INFO):
        testing.run(new_processor(Level), sine(16384, 24000))

    [entry] = caplog.records
    assert ("stream level", "call", 1, 1.5) == (
        entry.getMessage(),
        entry.call_id,
        entry.stream,
        entry.seconds,
    )
    assert (-6.0, -9.0, 0) == (entry.peak_dbfs, entry.rms_dbfs, entry.clipped)


def test_stream_without_audio_is_not_logged(caplog):
    with caplog.at_level(logging.INFO):
        testing.run(new_processor(Level), np.zeros(0, "<i2"))

    assert [] == caplog.records
