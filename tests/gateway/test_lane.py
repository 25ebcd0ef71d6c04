"""The border of a frame, against frames whose border is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_door import frame

from gateway.lane import piece_end

LIMIT = 1000
LENGTHS = [0, 1, 125, 126, 127, 999, 1000]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("wide", [0, 2, 8])
def test_a_frame_ends_where_the_next_begins(length, wide):
    data = frame(b"x" * length, wide=wide)

    assert len(data) == piece_end(data, 0, LIMIT)
    assert 7 + len(data) == piece_end(b"before." + data + b"after", 7, LIMIT)


@pytest.mark.parametrize("wide", [0, 8])
def test_of_a_frame_that_is_too_long_only_the_head_is_seen(wide):
    data = frame(b"x" * 1001, wide=wide)

    assert (10 if wide else 4) == piece_end(data, 0, LIMIT)


@pytest.mark.parametrize(("length", "head"), [(10, 2), (500, 4), (2**16, 10)])
def test_of_a_frame_without_a_mask_only_the_head_is_seen(length, head):
    assert head == piece_end(frame(b"x" * length, mask=None), 0, LIMIT)


@given(length=st.sampled_from(LENGTHS), wide=st.sampled_from([0, 2, 8]), data=st.data())
def test_a_frame_that_is_not_whole_asks_for_more_than_is_there(length, wide, data):
    whole = frame(b"x" * length, wide=wide)
    there = data.draw(st.integers(0, len(whole) - 1))
    end = piece_end(whole[:there], 0, LIMIT)

    assert there < end <= len(whole)
