"""The audio of the simulated speakers: cut from a bounded pool of voices, and marked.

The pool is made once, from files or by synthesis. A speaker is a number: it names a voice of the
pool, a place in it, and a mark of a few quantisation steps, so that no two speakers of a run send
the same samples and a swapped, shifted or repeated packet is never mistaken for the right one.
`pcm` is a pure function: the checker makes the same samples again instead of keeping them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
Wave = npt.NDArray[np.float64]

FULL_SCALE = 32767
VOICES = 8
VOICE_S = 10
#: -5.2 dBFS: two voices at their peak are beyond full scale, so their sum saturates.
PEAK = 0.55
#: A speaker's mark is its own place in one table of noise; a prime, so that it fits no loop.
MARKS = 65_537
MARK_STEP = 7_919
MARK_PEAK = 6
#: In this part of every five seconds of a call all synthetic speakers sound one loud note in step.
CHORUS_EVERY_S = 5.0
CHORUS_AT_S = 0.4
CHORUS_S = 0.2
GOLDEN = 0.618033988749895


class VoiceError(Exception):
    """An audio file cannot serve as a voice; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Voices:
    """The pool. `pcm` gives any part of what a speaker says, int16, at `rate` samples a second."""

    rate: int
    pool: tuple[Pcm, ...]
    marks: Pcm
    #: Where in its voice speaker 0 begins, as a part of one.
    phase: float
    #: The note of all, or None for audio from files, which sounds as it is.
    chorus: Pcm | None

    def pcm(self, speaker: int, start: int, count: int) -> Pcm:
        """Samples `start` to `start + count` of what `speaker` says from the call's start on."""
        voice = self.pool[speaker % len(self.pool)]
        begin = int((self.phase + speaker * GOLDEN) % 1.0 * len(voice))
        part = _looped(voice, begin + start, count)
        if self.chorus is not None:
            _lay_chorus(part, self.chorus, self.rate, start)
        marks = _looped(self.marks, speaker * MARK_STEP + start, count)
        # Digital silence stays digital silence: a mark lies only on samples that are not zero.
        np.multiply(marks, part != 0, out=marks)
        part += marks
        return part

    def sum_of(self, speakers: Sequence[int], start: int, count: int) -> Pcm:
        """What several speakers say at once: one speaker's samples, or the saturated sum."""
        if len(speakers) == 1:
            return self.pcm(speakers[0], start, count)
        total = np.zeros(count, np.int32)
        for speaker in speakers:
            total += self.pcm(speaker, start, count)
        return np.clip(total, -FULL_SCALE - 1, FULL_SCALE).astype(np.int16)


def synthetic_voices(rate: int, seed: int) -> Voices:
    """A pool of speech-like voices at `rate`; the same seed gives the same samples."""
    rng = np.random.default_rng([seed, 1])
    pool = tuple(_speak(np.random.default_rng([seed, 2, n]), rate) for n in range(VOICES))
    time = np.arange(int(CHORUS_S * rate)) / rate
    note = np.tanh(3 * np.sin(2 * np.pi * 220 * time)) * np.hanning(len(time)) ** 0.25
    chorus = _to_int16(note)
    return Voices(rate, pool, _marks(rng), float(rng.random()), chorus)


def voices_of_files(paths: Sequence[Path], rate: int, seed: int) -> Voices:
    """A pool of the given WAV or FLAC files, mono, at `rate`. Raises VoiceError."""
    rng = np.random.default_rng([seed, 1])
    pool = tuple(_read(path, rate) for path in paths)
    return Voices(rate, pool, _marks(rng), float(rng.random()), None)


def silent_packets(pcm: Pcm, packet: int) -> list[bool]:
    """For each packet of `packet` samples whether it is digital silence."""
    silent: list[bool] = (pcm.reshape(-1, packet) == 0).all(axis=1).tolist()
    return silent


def _marks(rng: np.random.Generator) -> Pcm:
    return rng.integers(-MARK_PEAK, MARK_PEAK, MARKS, dtype=np.int16, endpoint=True)


def _looped(samples: Pcm, start: int, count: int) -> Pcm:
    """`count` samples of an endless repetition of `samples`, as a copy."""
    start %= len(samples)
    if start + count <= len(samples):
        return samples[start : start + count].copy()
    turns = -(-(start + count) // len(samples))
    return np.concatenate([samples] * turns)[start : start + count]


def _lay_chorus(part: Pcm, chorus: Pcm, rate: int, start: int) -> None:
    """Replace what of `part` falls into the loud note of each five seconds."""
    every, at = int(CHORUS_EVERY_S * rate), int(CHORUS_AT_S * rate)
    first = (start - at) // every
    last = (start + len(part) - at) // every
    for turn in range(first, last + 1):
        begin = turn * every + at - start
        low, high = max(begin, 0), min(begin + len(chorus), len(part))
        if low < high:
            part[low:high] = chorus[low - begin : high - begin]


def _read(path: Path, rate: int) -> Pcm:
    import soundfile  # noqa: PLC0415 - needs libsndfile, which synthetic voices do without

    try:
        samples, own_rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise VoiceError(f"{path} cannot be read as audio: {error}") from None
    mono = samples.mean(axis=1)
    if own_rate != rate:
        import soxr  # noqa: PLC0415 - wanted only where rates differ

        mono = soxr.resample(mono, own_rate, rate)
    # Files of 16 bits come through exactly; the margin leaves the marks their room.
    margin = FULL_SCALE - MARK_PEAK
    pcm: Pcm = np.clip(np.rint(mono * (FULL_SCALE + 1)), -margin, margin).astype(np.int16)
    if len(pcm) < rate // 50 or not pcm.any():
        raise VoiceError(f"{path} holds less than 20 ms of audio, or only silence")
    return pcm


def _to_int16(wave: Wave) -> Pcm:
    loudest = float(np.abs(wave).max())
    pcm: Pcm = np.rint(wave * (PEAK * FULL_SCALE / loudest)).astype(np.int16)
    return pcm


@dataclass(frozen=True, slots=True)
class _Syllables:
    """When a voice sounds: borders in samples, and for each stretch how loud it is."""

    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    #: Pauses of digital silence, as (begin, end).
    still: tuple[tuple[int, int], ...]


def _lay_out(rng: np.random.Generator, rate: int, length: int) -> _Syllables:
    """Phrases of 4 to 9 syllables, 3 to 5 a second, with pauses; every other pause is zeros."""
    begins, ends, still = [], [], []
    at = 0
    pauses = 0
    while at < length:
        for _ in range(int(rng.integers(4, 10))):
            duration = int(rate / rng.uniform(3.0, 5.0))
            begins.append(at)
            ends.append(at + int(duration * rng.uniform(0.75, 1.0)))
            at += duration
        pause = int(rate * rng.uniform(0.25, 0.7))
        if pauses % 2 == 0:
            still.append((at, at + pause))
        pauses += 1
        at += pause
    return _Syllables(np.array(begins), np.array(ends), tuple(still))


def _speak(rng: np.random.Generator, rate: int) -> Pcm:
    """One voice: harmonics under moving formants, noise bursts, pauses."""
    length = VOICE_S * rate
    syllables = _lay_out(rng, rate, length)
    middles = (syllables.begins + syllables.ends) / 2
    time = np.arange(length, dtype=np.float64)

    def glide(low: float, high: float) -> Wave:
        """A value that moves from syllable to syllable."""
        return np.interp(time, middles, rng.uniform(low, high, len(middles)))

    pitch = rng.uniform(90, 220) * glide(0.85, 1.15)
    formants = [(glide(300, 800), 90.0), (glide(900, 2300), 140.0), (glide(2400, 3000), 220.0)]
    wave = _harmonics(pitch, formants, rate)
    wave *= _envelope(rng, syllables, length)
    _add_bursts(rng, wave, syllables, rate)
    wave += rng.normal(0.0, 0.0015, length) * float(np.abs(wave).max())
    for begin, end in syllables.still:
        wave[begin:end] = 0.0
    return _to_int16(wave)


def _harmonics(pitch: Wave, formants: Sequence[tuple[Wave, float]], rate: int) -> Wave:
    # The controls move slowly: gains are worked out at every 64th sample and drawn out.
    coarse = slice(None, None, 64)
    time = np.arange(len(pitch))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    wave = np.zeros(len(pitch))
    # sin(n x) from the two before it, as 2 cos(x) sin((n - 1) x) - sin((n - 2) x).
    before, harmonic, twice = np.zeros(len(pitch)), np.sin(phase), 2 * np.cos(phase)
    for number in range(1, int(3600 / pitch.mean()) + 1):
        tone = pitch[coarse] * number
        gain = np.full(len(tone), 0.02)
        for centre, width in formants:
            gain += 1.0 / (1.0 + ((tone - centre[coarse]) / width) ** 2)
        gain /= number**0.5
        wave += np.interp(time, time[coarse], gain) * harmonic
        before, harmonic = harmonic, twice * harmonic - before
    return wave


def _envelope(rng: np.random.Generator, syllables: _Syllables, length: int) -> Wave:
    envelope = np.zeros(length)
    for begin, end in zip(syllables.begins, syllables.ends, strict=True):
        rise = np.sin(np.linspace(0, np.pi, end - begin)) ** 0.7 * rng.uniform(0.6, 1.0)
        envelope[begin:end] = rise[: max(length - begin, 0)]
    return envelope


def _add_bursts(rng: np.random.Generator, wave: Wave, syllables: _Syllables, rate: int) -> None:
    """A third of the syllables begins with a consonant: 40 ms of bright noise."""
    count = int(0.04 * rate)
    loud = 0.25 * float(np.abs(wave).max())
    for begin in syllables.begins[rng.random(len(syllables.begins)) < 1 / 3]:
        noise = np.diff(rng.normal(0.0, 1.0, count + 1)) * np.hanning(count) * loud / 3
        room = wave[begin : begin + count]
        room += noise[: len(room)]
