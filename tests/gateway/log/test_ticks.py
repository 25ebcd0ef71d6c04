"""Arithmetic on ticks, against definitions written out."""

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.log.ticks import Tick, frames_tick, heads_of, joined, of_sessions, select, split, sums
from gateway.wire.frame import FRAME, NO_STAMP
from gateway.wire.record import payload_sum

Frames = list[tuple[int, bytes]]


def tick(frames: Frames) -> Tick:
    return frames_tick(
        1,
        5,
        [
            (FRAME.pack(2, 0, 1, len(payload), session, seq, 1, NO_STAMP, 0), payload)
            for seq, (session, payload) in enumerate(frames)
        ],
    )


def frames_of(found: Tick) -> Frames:
    at, frames = 0, []
    for head in heads_of(found.heads):
        length = int(head["length"])
        frames.append((int(head["session"]), found.payload[at : at + length]))
        at += length
    return frames


ANY = st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=30)), max_size=20)
WORDS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 8).map(lambda n: bytes(range(4 * n)))), max_size=20
)


@given(st.one_of(ANY, WORDS))
def test_sums_are_those_of_the_definition(frames):
    found = sums(tick(frames).heads, tick(frames).payload)

    assert [payload_sum(payload) for _, payload in frames] == found.tolist()


@given(st.lists(st.binary(min_size=640, max_size=640), max_size=8))
def test_sums_of_equal_packets_are_those_of_the_definition(payloads):
    found = tick([(1, payload) for payload in payloads])

    assert [payload_sum(payload) for payload in payloads] == sums(
        found.heads, found.payload
    ).tolist()


@given(ANY, st.sets(st.integers(0, 5)))
def test_the_frames_of_some_sessions_are_chosen_in_order(frames, sessions):
    expected = [frame for frame in frames if frame[0] in sessions]

    assert expected == frames_of(of_sessions(tick(frames), sessions))


@given(ANY, st.data())
def test_any_frames_can_be_chosen(frames, data):
    mask = data.draw(st.lists(st.booleans(), min_size=len(frames), max_size=len(frames)))
    expected = [frame for frame, chosen in zip(frames, mask, strict=True) if chosen]

    assert expected == frames_of(select(tick(frames), np.array(mask, bool)))


@given(ANY, st.integers(1, 300))
def test_parts_hold_what_the_tick_held_and_are_small_enough(frames, bytes_max):
    parts = split(tick(frames), bytes_max)

    assert frames == [frame for part in parts for frame in frames_of(part)]
    assert all(
        part.frames == 1 or len(part.heads) + len(part.payload) <= bytes_max for part in parts
    )


@given(st.lists(ANY, min_size=1, max_size=4))
def test_parts_are_joined_in_order(parts):
    assert list(chain(*parts)) == frames_of(joined(tick(frames) for frames in parts))
