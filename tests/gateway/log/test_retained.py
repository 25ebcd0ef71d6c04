"""What a log keeps in memory: nothing is forgotten that no disk has, and the limit holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.log.retained import Retained
from gateway.log.ticks import controls_of, heads_of
from gateway.wire.descriptor import Gap, unpack
from gateway.wire.frame import FrameKind

ONE = 400  # bytes of a tick with a frame, and some more


@pytest.fixture
def retained():
    return Retained(10 * ONE)


def gaps(tick):
    """(session, stream, first seq, frames) of the GAP frames of a tick."""
    found, at = [], 0
    for head in heads_of(tick.heads):
        payload = tick.payload[at : at + int(head["length"])]
        at += int(head["length"])
        if head["kind"] == FrameKind.GAP:
            key = int(head["session"]), int(head["stream"]), int(head["seq"])
            found.append((*key, unpack(payload, Gap).frames))
    return found


def fill(retained, make, first=1):
    """Add ticks until the limit is reached. Returns the number after the last that fitted."""
    number = first
    while True:
        retained.add(make.tick(number))
        if retained.is_full:
            return number
        number += 1


def test_ticks_are_handed_out_from_any_number_on(retained, make):
    ticks = [make.tick(number) for number in range(5, 10)]
    for tick in ticks:
        retained.add(tick)

    assert (ticks, ticks[2:]) == (retained.ticks_from(5), retained.ticks_from(7))
    assert (None, None) == (retained.ticks_from(4), retained.ticks_from(10))


def test_ticks_are_handed_out_up_to_a_hole(retained, make):
    ticks = [make.tick(number) for number in (1, 2, 5, 6)]
    for tick in ticks:
        retained.add(tick)

    assert (ticks[:2], ticks[2:]) == (retained.ticks_from(1), retained.ticks_from(5))
    assert retained.ticks_from(3) is None


def test_a_copy_is_kept_until_it_is_synced(retained, make):
    for number in (1, 2):
        retained.add(make.tick(number))
        retained.take()
        retained.written(1)
    before = retained.pending_bytes, retained.copies_bytes > 0
    retained.synced(1, 1)
    half = retained.copies_bytes
    retained.synced(1, 2)

    assert (0, True) == before
    assert (True, 0) == (half > 0, retained.copies_bytes)


def test_what_a_failed_sync_may_have_lost_comes_back_in_order(retained, make):
    for number in (1, 2, 3, 4):
        retained.add(make.tick(number))
    for segment in (1, 1, 2):
        retained.take()
        retained.written(segment)
    being_written = retained.take()
    is_covered = retained.poisoned(1)
    retained.written(2)

    assert (4, True) == (being_written.number, is_covered)
    assert [1, 2] == [tick.number for tick in retained.ticks_from(1)]
    assert (1, 2) == (retained.oldest(), len(retained))


def test_copies_go_before_audio_does_and_are_known_to_be_gone(retained, make):
    retained.add(make.tick(1))
    retained.take()
    retained.written(1)
    number = fill(retained, make, 2)

    assert (0, False) == (retained.copies_bytes, retained.poisoned(1))
    assert number > 8


def test_the_newest_audio_is_thrown_away_counted_and_told(retained, make):
    first = fill(retained, make)
    for number in range(first + 1, first + 20):
        assert retained.add(make.tick(number, make.audio(number), make.event(number))) is None
    full = retained.pending_bytes
    while len(retained) > 2:
        retained.take()
        retained.written(None)
    gap = retained.add(make.tick(first + 20))
    *_, last = retained.ticks_from(first + 19)

    assert {"audio": 20, "event": 19} == retained.dropped
    assert full < 11 * ONE + 20 * 300
    assert [(7, 0, first + 1, 19), (7, 1, first, 20)] == sorted(gaps(gap))
    assert gaps(gap) == gaps(last)
    assert retained.add(make.tick(first + 21)) is None


def test_no_open_and_no_close_is_thrown_away(retained, make):
    number = fill(retained, make)
    retained.add(make.tick(number + 1, make.open(session=8), make.audio(0, session=8)))
    retained.add(make.tick(number + 2, make.close(1), make.close()))
    [opened, closed] = retained.ticks_from(number + 1)

    assert [FrameKind.OPEN] == make.kinds(opened)
    assert [FrameKind.GAP, FrameKind.CLOSE, FrameKind.CLOSE] == make.kinds(closed)
    assert [(7, 1, number, 1)] == gaps(closed)


def test_audio_that_nobody_needs_waits_for_no_disk(retained, make):
    opens = make.open(), make.open(1)
    retained.add(make.tick(1, *opens, snapshot=True))
    for number in (2, 3):
        retained.add(make.tick(number))
    retained.add(make.tick(4, *opens, snapshot=True))
    for number in (5, 6, 7):
        retained.add(make.tick(number))
    retained.take()
    retained.passed(7)
    kept = retained.ticks_from(4)

    assert (1, [1, 4, 5, 6, 7]) == (retained.oldest(), [1, *(tick.number for tick in kept)])
    assert [True, False, False, True] == [tick.frames > 0 for tick in kept]
    assert [(7, 0), (7, 1)] == [(each.session, each.stream) for each in controls_of(kept[0])]


def test_room_that_workers_make_is_used_at_once(retained, make):
    number = fill(retained, make)
    retained.passed(number + 1)

    assert not retained.is_full
    assert [(7, 1, number, 1)] == gaps(retained.add(make.tick(number + 1)))


def test_a_snapshot_is_never_joined_with_a_gap(retained, make):
    number = fill(retained, make)
    retained.passed(number + 1)
    snapshot = make.tick(number + 1, make.open(), snapshot=True)

    assert retained.add(snapshot) is None
    assert [snapshot] == retained.ticks_from(number + 1)
    assert retained.add(make.tick(number + 2)) is not None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 4)),
        st.tuples(st.just("write"), st.booleans()),
        st.tuples(st.just("sync"), st.just(0)),
        st.tuples(st.just("poison"), st.just(0)),
    ),
    max_size=80,
)


@given(STEPS)
def test_every_frame_is_in_memory_on_disk_or_told_to_be_missing(make, steps):
    retained = Retained(2000)
    seq, number, segment = 0, 0, 1
    safe: set[int] = set()
    unsynced: set[int] = set()
    told: set[int] = set()

    def note(tick, into):
        into |= set(make.seqs([tick]))
        told.update(*(range(first, first + frames) for _, _, first, frames in gaps(tick)))

    for step, argument in steps:
        if step == "add":
            number += 1
            frames = [make.audio(seq + each) for each in range(argument)]
            seq += argument
            retained.add(make.tick(number, *frames))
        elif step == "write" and (tick := retained.take()) is not None:
            if argument:
                note(tick, unsynced)
                retained.written(segment)
            else:
                retained.refused()
        elif step == "sync":
            retained.synced(segment, number)
            safe |= unsynced
            unsynced = set()
        elif step == "poison":
            if retained.poisoned(segment):
                unsynced = set()  # it is all lost
            segment += 1
            safe |= unsynced
            unsynced = set()
        assert retained.pending_bytes >= 0 <= retained.copies_bytes
    retained.add(make.tick(number + 1, make.close(1), make.close()))
    while (tick := retained.take()) is not None:
        note(tick, safe)
        retained.written(None)

    assert set(range(seq)) == safe | unsynced | told
    assert len(told) == retained.dropped["audio"]
    assert (0, None) == (retained.pending_bytes, retained.oldest())
