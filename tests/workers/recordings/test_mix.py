from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workers.recordings import mix as mixing
from workers.recordings import wave_file
from workers.recordings.mix import MixInput, make_mix


def track(path, samples, rate=16_000, starts=Fraction(0)):
    path.write_bytes(wave_file.pack_header(rate, len(samples)) + samples.astype("<i2").tobytes())
    return MixInput(path, rate, len(samples), starts)


def mixed(folder, tracks, rate=16_000):
    target = folder / "mixed.wav"
    target.unlink(missing_ok=True)
    count = make_mix(tracks, rate, target, sync=False)
    made = np.frombuffer(target.read_bytes()[80:], "<i2")
    assert (rate, count) == wave_file.read_info(target) == (rate, len(made))
    return made


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_mix_is_the_saturated_sum_of_its_tracks(tmp_path, monkeypatch, data):
    monkeypatch.setattr(mixing, "_BLOCK_SAMPLES", 7)
    shapes = st.tuples(st.integers(0, 40), st.integers(0, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    tracks, sums = [], np.zeros(100, np.int64)
    for number, (length, begin) in enumerate(data.draw(st.lists(shapes, min_size=1, max_size=4))):
        samples = rng.integers(-32768, 32768, length)
        starts = Fraction(begin, 16_000)
        tracks.append(track(tmp_path / f"{number}.wav", samples, starts=starts))
        sums[begin : begin + length] += samples
    made = mixed(tmp_path, tracks)
    assert max(round(each.starts * 16_000) + each.samples for each in tracks) == len(made)
    assert np.clip(sums, -32768, 32767)[: len(made)].tolist() == made.tolist()


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
def test_other_rates_keep_their_pitch_length_and_place(tmp_path, rate):
    seconds = np.arange(2 * rate) / rate
    samples = 10_000 * np.sin(2 * np.pi * 440 * seconds)
    made = mixed(tmp_path, [track(tmp_path / "a.wav", samples, rate, Fraction(1, 2))], 24_000)
    assert (0, 60_000) == (np.abs(made[:12_000]).max(), len(made))
    wanted = 10_000 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 24_000)
    assert np.abs(made[12_000:] - wanted)[1000:-1000].max() < 10


def test_resampling_gives_the_same_bytes_each_time(tmp_path):
    samples = np.random.default_rng(1).integers(-20_000, 20_000, 300_000)
    tracks = [track(tmp_path / "a.wav", samples)]
    assert mixed(tmp_path, tracks, 24_000).tobytes() == mixed(tmp_path, tracks, 24_000).tobytes()


def test_a_mix_of_nothing_is_an_empty_file(tmp_path):
    assert 0 == len(mixed(tmp_path, []))


def test_a_track_that_is_shorter_than_it_says_is_silence_at_the_end(tmp_path):
    short = track(tmp_path / "a.wav", np.ones(10))._replace(samples=20)
    assert [1] * 10 + [0] * 10 == mixed(tmp_path, [short]).tolist()
