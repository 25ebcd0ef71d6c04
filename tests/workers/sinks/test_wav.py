import stat
import wave

import numpy as np
import pytest
from hand_gateway import ramp

from workers.audio import Outcome, Stream, new_block, silence
from workers.sinks.wav import WavSink
from workers.testing import new_call, new_sink

STREAM = Stream(session="0" * 15 + "1", number=1, sample_rate=16000, first_position=100)


def opened(data, call_id="call-1", **table):
    sink = new_sink(WavSink, table, data=data)
    sink.open(new_call(STREAM, call_id=call_id))
    return sink


def block(position, samples=320, stream=STREAM):
    return new_block(stream, position, ramp(position, samples))


def read(path):
    with wave.open(str(path)) as file:
        assert (1, 2) == (file.getnchannels(), file.getsampwidth())
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")


def path_in(folder):
    return folder / "taps" / "test" / "call-1" / "0000000000000001-1.wav"


def test_each_stream_has_a_file_in_the_folder_of_its_call(tmp_path):
    sink = opened(tmp_path)

    sink.write(block(100))
    sink.flush()

    rate, pcm = read(path_in(tmp_path))
    assert 16000 == rate
    assert ramp(100).tolist() == pcm.tolist()


def test_file_can_be_read_after_each_flush(tmp_path):
    sink = opened(tmp_path)

    for number in range(3):
        sink.write(block(100 + 320 * number))
        sink.flush()

        assert ramp(100, 320 * (number + 1)).tolist() == read(path_in(tmp_path))[1].tolist()


def test_blocks_between_two_flushes_lie_one_behind_the_other(tmp_path):
    sink = opened(tmp_path)

    for number in range(3):
        sink.write(block(100 + 320 * number))
    sink.flush()

    assert ramp(100, 960).tolist() == read(path_in(tmp_path))[1].tolist()


def test_gap_is_silence_in_the_file(tmp_path):
    sink = opened(tmp_path)

    sink.write(block(100))
    sink.write(block(100 + 960))
    sink.flush()

    expected = [*ramp(100).tolist(), *[0] * 640, *ramp(1060).tolist()]
    assert expected == read(path_in(tmp_path))[1].tolist()


def test_silence_at_the_end_lengthens_the_file(tmp_path):
    sink = opened(tmp_path)

    sink.write(block(100))
    sink.write(new_block(STREAM, 420, silence(320), 320))
    sink.flush()

    assert [*ramp(100).tolist(), *[0] * 320] == read(path_in(tmp_path))[1].tolist()


def test_sound_that_a_processor_put_into_silence_is_kept(tmp_path):
    sink = opened(tmp_path)

    sink.write(new_block(STREAM, 100, silence(320), 320).with_pcm(ramp(100)))
    sink.flush()

    assert ramp(100).tolist() == read(path_in(tmp_path))[1].tolist()


def test_second_worker_continues_the_file_in_place(tmp_path):
    first = opened(tmp_path)
    first.write(block(100, 640))
    first.flush()

    second = opened(tmp_path)
    second.write(block(420, 640))
    second.flush()

    assert ramp(100, 960).tolist() == read(path_in(tmp_path))[1].tolist()


def test_worker_that_was_thought_dead_does_not_shorten_the_file(tmp_path):
    zombie, heir = opened(tmp_path), opened(tmp_path)
    zombie.write(block(100))
    heir.write(block(100, 960))
    heir.flush()

    zombie.flush()

    assert ramp(100, 960).tolist() == read(path_in(tmp_path))[1].tolist()


def test_audio_before_the_streams_first_position_is_left_out(tmp_path):
    sink = opened(tmp_path)

    sink.write(block(0, 200))
    sink.flush()

    assert ramp(100, 100).tolist() == read(path_in(tmp_path))[1].tolist()


def test_stream_made_from_another_at_another_rate_has_its_own_file(tmp_path):
    sink = opened(tmp_path)
    slower = Stream(session=STREAM.session, number=1, sample_rate=8000)

    sink.write(block(100))
    sink.write(block(0, 10, slower))
    sink.flush()

    assert 8000 == read(path_in(tmp_path).with_stem("0000000000000001-1-8000"))[0]


@pytest.mark.parametrize("durability", ["process", "power"])
def test_folder_and_durability_can_be_set(tmp_path, durability):
    sink = opened(tmp_path, folder=str(tmp_path / "elsewhere"), durability=durability)

    sink.write(block(100))
    sink.flush()
    sink.close(Outcome.ENDED)

    path = tmp_path / "elsewhere" / "call-1" / "0000000000000001-1.wav"
    assert ramp(100).tolist() == read(path)[1].tolist()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_flush_without_news_opens_no_file(tmp_path):
    sink = opened(tmp_path)
    sink.write(block(100))
    sink.flush()
    path_in(tmp_path).unlink()

    sink.flush()

    assert not path_in(tmp_path).exists()


def test_call_id_from_outside_stays_within_the_folder(tmp_path):
    sink = opened(tmp_path, call_id="../../etc/passwd")

    sink.write(block(100))
    sink.flush()

    [path] = tmp_path.rglob("*.wav")
    assert tmp_path / "taps" / "test" == path.parent.parent
