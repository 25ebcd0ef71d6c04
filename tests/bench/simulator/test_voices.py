"""The pool of voices: speech-like, seeded, cheap, and nobody sounds as another does."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.voices import (
    MARK_PEAK,
    VoiceError,
    Voices,
    silent_packets,
    synthetic_voices,
    voices_of_files,
)

SECOND = 16_000


@pytest.fixture(scope="module")
def voices() -> Voices:
    return synthetic_voices(16_000, 7)


def write(path: Path, rate: int, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(3)
    pcm = rng.integers(-9_000, 9_000, (rate, channels)).astype(np.int16)
    soundfile.write(path, pcm, rate, subtype="PCM_16")
    return pcm


@given(start=st.integers(0, 400_000), count=st.integers(1, 40_000), cut=st.integers(0, 40_000))
def test_any_part_is_the_same_however_it_is_cut(
    voices: Voices, start: int, count: int, cut: int
) -> None:
    cut = min(cut, count)
    parts = [voices.pcm(3, start, cut), voices.pcm(3, start + cut, count - cut)]
    assert np.array_equal(voices.pcm(3, start, count), np.concatenate(parts))


def test_peak_is_about_six_decibels_below_full_scale(voices: Voices) -> None:
    loudest = int(np.abs(voices.pcm(0, 0, 10 * SECOND).astype(int)).max())
    assert -7 < 20 * np.log10(loudest / 32768) < -5


def test_any_two_speakers_saturate_their_sum_in_the_first_second(voices: Voices) -> None:
    for one, two in pairwise(range(12)):
        total = voices.pcm(one, 0, SECOND).astype(int) + voices.pcm(two, 0, SECOND)
        assert total.max() > 32767
        assert total.min() < -32768


def test_part_of_the_pauses_is_digital_silence_and_most_is_not(voices: Voices) -> None:
    for speaker in range(8):
        silent = np.mean(silent_packets(voices.pcm(speaker, 0, 20 * SECOND), 320))
        assert 0.01 < silent < 0.5


def test_no_packet_of_any_speaker_is_another_s_or_comes_again(voices: Voices) -> None:
    seen = set()
    for speaker in range(60):
        packets = voices.pcm(speaker, 0, 15 * SECOND).reshape(-1, 320)
        for packet in packets[packets.any(axis=1)]:
            key = packet.tobytes()
            assert key not in seen or np.count_nonzero(packet) < 20
            seen.add(key)


def test_mark_is_too_low_to_be_heard_and_leaves_silence_alone(voices: Voices) -> None:
    bare = Voices(voices.rate, voices.pool, np.zeros_like(voices.marks), voices.phase, None)
    marked = Voices(voices.rate, voices.pool, voices.marks, voices.phase, None)
    difference = marked.pcm(2, 0, 5 * SECOND).astype(int) - bare.pcm(2, 0, 5 * SECOND)
    assert np.abs(difference).max() <= MARK_PEAK
    assert not difference[bare.pcm(2, 0, 5 * SECOND) == 0].any()


def test_seed_decides_the_samples() -> None:
    one = synthetic_voices(16_000, 1).pcm(0, 0, SECOND)
    assert np.array_equal(one, synthetic_voices(16_000, 1).pcm(0, 0, SECOND))
    assert not np.array_equal(one, synthetic_voices(16_000, 2).pcm(0, 0, SECOND))


def test_mixed_stream_is_the_saturated_sum(voices: Voices) -> None:
    total = sum(voices.pcm(speaker, 0, SECOND).astype(int) for speaker in (4, 5))
    assert np.array_equal(np.clip(total, -32768, 32767), voices.sum_of((4, 5), 0, SECOND))


def test_file_at_the_rate_is_spoken_as_it_is_but_for_the_mark(tmp_path: Path) -> None:
    pcm = write(tmp_path / "a.wav", 16_000)[:, 0]
    voices = voices_of_files([tmp_path / "a.wav"], 16_000, 0)
    assert np.array_equal(pcm, voices.pool[0])
    spoken = voices.pcm(0, 0, SECOND).astype(int)
    begin = int(voices.phase * SECOND)
    assert np.abs(spoken - np.roll(pcm, -begin)).max() <= MARK_PEAK


def test_file_of_another_rate_and_two_channels_is_mixed_down_and_resampled(tmp_path: Path) -> None:
    write(tmp_path / "a.flac", 48_000, channels=2)
    assert voices_of_files([tmp_path / "a.flac"], 24_000, 0).pool[0].shape == (24_000,)


def test_speakers_of_one_file_begin_at_other_places(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 16_000)
    voices = voices_of_files([tmp_path / "a.wav"], 16_000, 0)
    near = np.abs(voices.pcm(0, 0, 320).astype(int) - voices.pcm(1, 0, 320))
    assert near.max() > 2 * MARK_PEAK


def test_file_that_is_no_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("nothing")
    with pytest.raises(VoiceError, match=r"a\.wav cannot be read"):
        voices_of_files([tmp_path / "a.wav"], 16_000, 0)


def test_file_of_silence_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000, np.int16), 16_000)
    with pytest.raises(VoiceError, match="only silence"):
        voices_of_files([tmp_path / "a.wav"], 16_000, 0)
