import os
import shutil
import subprocess
import wave
from pathlib import Path

import pytest
import soundfile

from workers.recordings import wave_file
from workers.recordings.wave_file import HEADER_BYTES

GIB = 1 << 30


def make(path: Path, samples: int, rate: int = 16_000) -> Path:
    """A file of zeros that takes no room on the disk."""
    wave_file.create(path, rate, sync=False)
    descriptor = os.open(path, os.O_RDWR)
    os.ftruncate(descriptor, HEADER_BYTES + 2 * samples)
    wave_file.settle_header(descriptor, rate)
    os.close(descriptor)
    return path


def output_of(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout


@pytest.mark.parametrize("samples", [0, 1, 320, 16_000])
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_python_reads_a_file_of_any_length(tmp_path, samples, rate):
    path = make(tmp_path / "a.wav", samples, rate)
    with wave.open(str(path)) as file:
        assert (1, 2, rate, samples) == file.getparams()[:4]
    assert (rate, samples) == wave_file.read_info(path)
    info = soundfile.info(path)
    assert (rate, samples, 1) == (info.samplerate, info.frames, info.channels)


def test_soxi_and_ffprobe_read_a_file(tmp_path):
    path = str(make(tmp_path / "a.wav", 24_000, 24_000))
    assert "24000" == output_of("soxi", "-s", path).strip()
    assert "1.000000" == duration(path)


def duration(path: str) -> str:
    return output_of(
        *("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path)
    ).strip()


def test_audio_that_the_header_does_not_tell_of_yet_disturbs_nobody(tmp_path):
    path = make(tmp_path / "a.wav", 100)
    with path.open("ab") as file:
        file.write(b"\1\0" * 50)
    with wave.open(str(path)) as file:
        assert 100 == file.getnframes()
    assert 100 <= soundfile.info(path).frames <= 150
    assert 150 == wave_file.read_info(path).samples


def test_a_file_of_over_4_gib_is_rf64_with_the_audio_where_it_was(tmp_path):
    samples = 3 * GIB
    path = make(tmp_path / "a.wav", samples)
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    assert (b"RF64", b"ds64", b"data") == (header[:4], header[12:16], header[72:76])
    assert samples == soundfile.info(path).frames
    assert (16_000, samples) == wave_file.read_info(path)


def test_ffprobe_reads_rf64(tmp_path):
    path = str(make(tmp_path / "a.wav", 3 * GIB))
    assert f"{3 * GIB / 16_000:.6f}" == duration(path)


@pytest.mark.long  # it reads all of the zeros
@pytest.mark.timeout(200)
def test_soxi_reads_rf64(tmp_path):
    path = str(make(tmp_path / "a.wav", 3 * GIB))
    assert str(3 * GIB) == output_of("soxi", "-s", path).strip()


def test_the_longest_plain_file_is_plain_and_one_sample_more_is_not(tmp_path):
    longest = (0xFFFFFFFE - (HEADER_BYTES - 8)) // 2
    assert b"RIFF" == wave_file.pack_header(16_000, longest)[:4]
    assert b"RF64" == wave_file.pack_header(16_000, longest + 1)[:4]


def test_a_writer_that_looked_too_early_does_not_shrink_the_file(tmp_path, monkeypatch):
    path = make(tmp_path / "a.wav", 10)
    descriptor = os.open(path, os.O_RDWR)
    pwrite = os.pwrite

    def overtaken(file: int, data: bytes, offset: int) -> int:
        monkeypatch.setattr(os, "pwrite", pwrite)
        make_longer(path, 30)
        return pwrite(file, data, offset)

    monkeypatch.setattr(os, "pwrite", overtaken)
    wave_file.settle_header(descriptor, 16_000)
    os.close(descriptor)
    with wave.open(str(path)) as file:
        assert 30 == file.getnframes()


def make_longer(path: Path, samples: int) -> None:
    os.truncate(path, HEADER_BYTES + 2 * samples)


def test_a_torn_sample_is_not_counted(tmp_path):
    path = make(tmp_path / "a.wav", 10)
    with path.open("ab") as file:
        file.write(b"\1")
    assert 10 == wave_file.read_info(path).samples


def test_what_is_no_wave_file_is_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="does not begin"):
        wave_file.read_info(tmp_path / "a.wav")
