import numpy as np
import pytest
from hand_gateway import RATE, ramp
from hypothesis import given
from hypothesis import strategies as st

from workers.metrics import CallsCounters
from workers.testing import new_stream
from workers.timeline import LEAP_S_MAX, Arrival, Timeline


class Bench:
    """A timeline, and what it has emitted."""

    def __init__(self, block_ms=20, gap_fill_max_ms=10_000, rate=RATE):
        self.blocks = []
        self.counters = CallsCounters()
        self.arrival = Arrival()
        self.timeline = Timeline(
            new_stream(rate),
            self.blocks.append,
            self.arrival,
            self.counters,
            block_ms=block_ms,
            gap_fill_max_ms=gap_fill_max_ms,
        )

    def receive(self, seq, position, samples=320, frames=1):
        source = memoryview(b"\0\0" + ramp(position, samples).tobytes())
        self.timeline.receive((1, 1, seq, position, frames, samples, 2, 0), source)

    def samples(self):
        return np.concatenate([block.pcm for block in self.blocks])

    def places(self):
        return [(block.position, len(block.pcm), block.filled) for block in self.blocks]


def test_block_is_cut_when_it_is_full():
    bench = Bench(block_ms=40)

    bench.receive(0, 0)
    assert [] == bench.places()
    bench.receive(1, 320)

    assert [(0, 640, 0)] == bench.places()
    assert ramp(0, 640).tolist() == bench.samples().tolist()


def test_run_longer_than_a_block_gives_several():
    bench = Bench(block_ms=20)

    bench.receive(0, 0, samples=960, frames=3)

    assert [(0, 320, 0), (320, 320, 0), (640, 320, 0)] == bench.places()
    assert not bench.timeline.is_held


def test_run_that_begins_within_a_block_fills_it_and_goes_on():
    bench = Bench(block_ms=20)

    bench.receive(0, 0, samples=100)
    bench.receive(1, 100, samples=700)
    bench.timeline.cut()

    assert [(0, 320, 0), (320, 320, 0), (640, 160, 0)] == bench.places()
    assert ramp(0, 800).tolist() == bench.samples().tolist()


def test_blocks_are_read_only():
    bench = Bench(block_ms=20)

    bench.receive(0, 0, samples=500)
    bench.timeline.cut()

    assert [False, False] == [block.pcm.flags.writeable for block in bench.blocks]


def test_block_knows_when_its_first_sample_was_spoken():
    bench = Bench(block_ms=20)

    bench.receive(0, 16000)

    assert [1_000_000] == [block.time_us for block in bench.blocks]


def test_timeline_begins_where_its_first_frame_lies():
    bench = Bench(block_ms=20)

    bench.receive(700, 224_000)

    assert [(224_000, 320, 0)] == bench.places()


def test_gap_is_silence_that_the_block_counts():
    bench = Bench(block_ms=40)

    bench.receive(0, 0)
    bench.receive(2, 640)
    bench.timeline.cut()

    assert [(0, 640, 320), (640, 320, 0)] == bench.places()
    assert [0] * 320 == bench.blocks[0].pcm[320:].tolist()
    assert ramp(640, 320).tolist() == bench.blocks[1].pcm.tolist()
    assert 320 == bench.counters.filled_samples


def test_gap_that_ends_within_a_block_counts_only_there():
    bench = Bench(block_ms=40)

    bench.receive(0, 0)
    bench.receive(4, 1280 + 320)
    bench.timeline.cut()

    assert [(0, 640, 320), (640, 640, 640), (1280, 640, 320)] == bench.places()


def test_gap_up_to_the_limit_is_cut_into_blocks():
    bench = Bench(block_ms=20, gap_fill_max_ms=100)

    bench.receive(0, 0)
    bench.receive(1, 320 + 1600)

    assert [320] * 7 == [len(block.pcm) for block in bench.blocks]


def test_longer_gap_is_cut_into_longer_blocks_of_the_same_silence():
    bench = Bench(block_ms=20, gap_fill_max_ms=100)

    bench.receive(0, 0)
    bench.receive(1, 320 + 1600 * 3 + 320)

    assert [320, 1600, 1600, 1600, 320, 320] == [len(block.pcm) for block in bench.blocks]
    assert bench.blocks[1].pcm is bench.blocks[2].pcm


def test_repeats_are_dropped_and_counted():
    bench = Bench()

    bench.receive(0, 0)
    bench.receive(1, 320)
    bench.receive(0, 0, samples=640, frames=2)

    assert ramp(0, 640).tolist() == bench.samples().tolist()
    assert 2 == bench.counters.repeated_frames


def test_run_of_repeats_and_news_gives_the_news():
    bench = Bench()

    bench.receive(0, 0, samples=640, frames=2)
    bench.receive(1, 320, samples=960, frames=3)

    assert ramp(0, 1280).tolist() == bench.samples().tolist()
    assert 1 == bench.counters.repeated_frames


def test_place_behind_what_was_taken_is_a_bad_frame():
    bench = Bench()

    bench.receive(0, 640)
    bench.receive(1, 0)

    assert 1 == bench.counters.bad_frames
    assert [(640, 320, 0)] == bench.places()


def test_leap_of_days_is_a_bad_frame_and_no_silence():
    bench = Bench()

    bench.receive(0, 0)
    bench.receive(1, LEAP_S_MAX * RATE + 321)

    assert 1 == bench.counters.bad_frames
    assert 1 == len(bench.blocks)


def test_dropped_frame_takes_no_place():
    bench = Bench()

    bench.receive(0, 0)
    bench.timeline.receive_silence(1, 320, 0)
    bench.receive(2, 320)

    assert [(0, 320, 0), (320, 320, 0)] == bench.places()


def test_frame_without_data_is_silence():
    bench = Bench()

    bench.timeline.receive_silence(0, 0, 320)
    bench.timeline.receive_silence(0, 0, 320)
    bench.receive(1, 320)

    assert [(0, 320, 320), (320, 320, 0)] == bench.places()
    assert 1 == bench.counters.repeated_frames


def test_frame_without_data_in_an_unbelievable_place_is_left_out():
    bench = Bench()

    bench.receive(0, 640)
    bench.timeline.receive_silence(1, 0, 320)

    assert 1 == bench.counters.bad_frames
    assert 960 == bench.timeline.end


def test_cut_without_audio_does_nothing():
    bench = Bench()

    bench.timeline.cut()
    bench.receive(0, 0)
    bench.timeline.cut()

    assert 1 == len(bench.blocks)


def test_begun_block_remembers_the_batch_and_the_time():
    bench = Bench(block_ms=500)
    bench.arrival.number, bench.arrival.now_us = 7, 70

    bench.receive(0, 0)
    bench.arrival.number = 8
    bench.receive(1, 320)

    assert bench.timeline.is_held
    assert (7, 70) == (bench.timeline.held_number, bench.timeline.held_us)


def test_block_shorter_than_a_sample_is_one():
    bench = Bench(block_ms=0)

    bench.receive(0, 0, samples=2)

    assert [(0, 1, 0), (1, 1, 0)] == bench.places()


@given(
    packets=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40),
    block_ms=st.sampled_from([1, 10, 20, 37, 500]),
    again=st.integers(0, 10),
)
def test_what_comes_out_is_what_came_in_and_silence_between(packets, block_ms, again):
    bench = Bench(block_ms=block_ms, gap_fill_max_ms=50)
    expected, sent, position = [], [], 0
    for seq, (gap, has_data) in enumerate(packets):
        expected.append(np.zeros(gap * 160 if seq else 0, "<i2"))
        position += gap * 160 if seq else 0
        expected.append(ramp(position, 160) if has_data else np.zeros(160, "<i2"))
        sent.append((seq, position, has_data))
        position += 160

    for seq, place, has_data in [*sent, *sent[-again:]]:
        if has_data:
            bench.receive(seq, place, samples=160)
        else:
            bench.timeline.receive_silence(seq, place, 160)
    bench.timeline.cut()

    assert np.concatenate(expected).tolist() == bench.samples().tolist()
    assert [0, *np.cumsum([len(block.pcm) for block in bench.blocks])[:-1].tolist()] == [
        block.position for block in bench.blocks
    ]
    assert int(np.count_nonzero(bench.samples() == 0)) == sum(b.filled for b in bench.blocks)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_block_is_as_long_at_every_rate(rate):
    bench = Bench(block_ms=20, rate=rate)

    bench.receive(0, 0, samples=rate // 50)

    assert [rate // 50] == [len(block.pcm) for block in bench.blocks]
