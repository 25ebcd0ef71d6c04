"""The reader of WAV headers: distrust by itself."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.simulator.wav import WavError, read_wav

Wav = Callable[[np.ndarray, int], bytes]

PCM = np.arange(-500, 500, dtype=np.int16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.wav"


def rf64(pcm: np.ndarray, riff: int | None = None, data: int | None = None) -> bytes:
    raw = pcm.astype("<i2").tobytes()
    long = 0xFFFFFFFF
    tail = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    tail += struct.pack("<4sI", b"data", long) + raw
    size = 4 + 36 + len(tail)
    sizes = (riff or size, data or len(raw), len(pcm), 0)
    return struct.pack("<4sI4s4sIQQQI", b"RF64", long, b"WAVE", b"ds64", 28, *sizes) + tail


def test_plain_file_is_read(path: Path, wav: Wav) -> None:
    path.write_bytes(wav(PCM, 24_000))
    header, samples = read_wav(path)
    assert (header.rate, header.data_at, header.data_bytes) == (24_000, 44, 2000)
    assert np.array_equal(PCM, samples)


def test_rf64_is_read(path: Path) -> None:
    path.write_bytes(rf64(PCM))
    assert np.array_equal(PCM, read_wav(path)[1])


@pytest.mark.parametrize("form", ["WAV", "RF64", "WAVEX"])
def test_files_of_another_writer_are_read(path: Path, form: str) -> None:
    soundfile.write(path, PCM, 16_000, format=form, subtype="PCM_16")
    header, samples = read_wav(path)
    assert header.rate == 16_000
    assert np.array_equal(PCM, samples)


def test_unknown_chunks_are_stepped_over_also_odd_ones(path: Path, wav: Wav) -> None:
    whole = wav(PCM, 16_000)
    body = whole[8:36] + struct.pack("<4sI", b"JUNK", 3) + b"abc\0" + whole[36:]
    path.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)
    assert np.array_equal(PCM, read_wav(path)[1])


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (4, 100, "the header says"),
        (40, 1998, "the chunks end at"),
        (40, 2002, "the chunks end at"),
        (40, 0xFFFFFFFF, "the chunks end at"),
        (28, 31_999, "byte rate"),
    ],
)
def test_number_in_the_header_that_is_wrong_is_found(
    path: Path, wav: Wav, at: int, value: int, says: str
) -> None:
    raw = bytearray(wav(PCM, 16_000))
    raw[at : at + 4] = struct.pack("<I", value)
    path.write_bytes(raw)
    with pytest.raises(WavError, match=says):
        read_wav(path)


def test_sizes_of_rf64_that_are_wrong_are_found(path: Path) -> None:
    for raw in (rf64(PCM, riff=17), rf64(PCM, data=1998)):
        path.write_bytes(raw)
        with pytest.raises(WavError):
            read_wav(path)


def test_rf64_without_its_sizes_is_refused(path: Path, wav: Wav) -> None:
    path.write_bytes(b"RF64" + wav(PCM, 16_000)[4:])
    with pytest.raises(WavError, match="without its ds64"):
        read_wav(path)


def test_bytes_after_the_last_chunk_are_found(path: Path, wav: Wav) -> None:
    path.write_bytes(wav(PCM, 16_000) + bytes(64))
    with pytest.raises(WavError):
        read_wav(path)


@pytest.mark.parametrize("length", [0, 11, 12, 20, 40, 44, 1000])
def test_file_that_is_cut_short_is_found(path: Path, wav: Wav, length: int) -> None:
    path.write_bytes(wav(PCM, 16_000)[:length])
    with pytest.raises(WavError):
        read_wav(path)


def test_stereo_is_refused(path: Path) -> None:
    soundfile.write(path, np.zeros((10, 2), np.int16), 16_000)
    with pytest.raises(WavError, match="not mono"):
        read_wav(path)


def test_other_files_are_refused(path: Path) -> None:
    path.write_bytes(b"OggS" + bytes(100))
    with pytest.raises(WavError, match="neither"):
        read_wav(path)


def test_odd_number_of_bytes_is_found(path: Path, wav: Wav) -> None:
    raw = bytearray(wav(PCM, 16_000))
    raw[40:44] = struct.pack("<I", 1999)
    path.write_bytes(raw)
    with pytest.raises(WavError, match="odd"):
        read_wav(path)
