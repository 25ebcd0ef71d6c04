import math

import numpy as np
import pytest

from workers.audio import FLOOR_DBFS, Call, dbfs, new_block, silence
from workers.testing import new_stream


def test_full_scale_is_zero_and_half_of_it_six_below():
    assert 0 == dbfs(32768)
    assert math.isclose(-6.02, dbfs(16384), abs_tol=0.01)


def test_silence_has_a_floor():
    assert FLOOR_DBFS == dbfs(0)
    assert FLOOR_DBFS < dbfs(1)


def test_silence_is_shared_and_cannot_be_written():
    pcm = silence(320)

    assert pcm is silence(320)
    assert not pcm.any()
    with pytest.raises(ValueError, match="read-only"):
        pcm[0] = 1


def test_repr_of_a_stream_does_not_name_its_participant():
    stream = new_stream(participant="4:+15551234567")

    assert "<Stream 0000000000000001-1 16000 Hz>" == repr(stream)
    assert "555" not in repr(new_block(stream, 0, silence(1)))
    assert "555" not in repr(Call(call_id="call", streams=(stream,)))


def test_streams_of_equal_members_are_one_key():
    assert {new_stream(): 1} == {new_stream(): 1}


def test_block_with_other_samples_keeps_its_place():
    block = new_block(new_stream(), 16000, silence(2), filled=1)

    changed = block.with_pcm(np.array([5, 6], "<i2"))

    assert [5, 6] == changed.pcm.tolist()
    assert (block.stream, 16000, 1, 1_000_000) == (
        changed.stream,
        changed.position,
        changed.filled,
        changed.time_us,
    )
