from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workers.recordings.contents import read_contents
from workers.recordings.folder import find_folder
from workers.recordings.placing import place

S = 1_000_000
PACKET_US = 20_000


@pytest.fixture
def placed(recordings, source):
    def run(*sessions):
        source.record(recordings, *sessions)
        return place(read_contents(find_folder(recordings, "call")))

    return run


def session(source, number, begin_us, **streams):
    """A session that begins `begin_us` after the first; streams are lists of stamps after it."""
    made = source.Session(number, zero_us=source.ZERO_US + begin_us)
    frames = [made.open()]
    for index, (participant, stamps) in enumerate(streams.items(), 1):
        frames.append(made.open_stream(index, participant))
        for at, stamp_us in enumerate(stamps):
            pcm = np.full(320, stamp_us // PACKET_US + 1, "<i2").tobytes()
            stamp = None if stamp_us is None else source.ZERO_US + stamp_us
            frames.append(made.audio(index, at * 320, pcm, stamp_us=stamp))
    return frames


def steady(begin_us, packets, jitter_us=0):
    return [begin_us + at * PACKET_US + jitter_us for at in range(packets)]


def test_the_first_session_is_the_axis(placed, source):
    (piece,) = placed(session(source, 1, 5, anna=steady(5, 3)))
    assert (0, 0, 960) == (piece.shift, piece.begin, piece.end)


@pytest.mark.parametrize("late_us", [-9_000, 0, 9_000])
def test_a_later_session_lies_on_whole_packets(placed, source, late_us):
    first = session(source, 1, 0, anna=steady(0, 3))
    second = session(source, 2, 2 * S + late_us, anna=steady(2 * S + late_us, 3))
    assert [0, 32_000] == [piece.shift for piece in placed(first, second)]


@pytest.mark.parametrize("late_us", [-39_000, -20_000, 0, 13_000, 39_000])
def test_a_session_that_nearly_touches_is_moved_as_a_whole(placed, source, late_us):
    begin_us = S + late_us
    first = session(source, 1, 0, anna=steady(0, 50), bert=steady(0, 50))
    second = session(source, 2, begin_us, anna=steady(begin_us, 5, 1), bert=steady(begin_us, 5, 1))
    *_, anna, bert = placed(first, second)
    assert (16_000, 16_000) == (anna.begin, bert.begin)


def test_a_file_that_ends_in_the_midst_of_a_packet_moves_nothing(placed, recordings, source):
    first = session(source, 1, 0, anna=steady(0, 47))
    source.record(recordings, first)
    audio = find_folder(recordings, "call") / "streams" / "0000000000000001-1.wav"
    with audio.open("ab") as file:
        file.write(b"\1\0" * (2 * 320 - 1))

    assert 16_000 == placed(session(source, 2, S, anna=steady(S, 5)))[1].begin


def test_the_baseline_of_each_session_counts(placed, source):
    first = session(source, 1, 0, anna=[0, *steady(PACKET_US, 49, 12_000)])
    second = session(source, 2, 5 * S, anna=[5 * S, *steady(5 * S + PACKET_US, 49, -12_000)])
    assert 5 * 16_000 - 320 == placed(first, second)[1].shift


def test_packets_that_came_already_are_left_out(placed, source):
    first = session(source, 1, 0, anna=steady(0, 10))
    second = session(source, 2, 100_000, anna=steady(100_000, 10))
    _, piece = placed(first, second)
    assert (5, [[3200, 4800]]) == (len(piece.copies), piece.rows.tolist())


def test_another_participants_stamps_make_no_copies(placed, source):
    first = session(source, 1, 0, anna=steady(0, 10))
    second = session(source, 2, 0, bert=steady(0, 10))
    assert [0, 0] == [len(piece.copies) for piece in placed(first, second)]


def test_packets_without_stamps_are_never_copies(placed, source):
    def blank(number):
        made = source.Session(number, zero_us=source.ZERO_US)
        packets = [made.open_stream(1)]
        packets += [made.audio(1, at * 320, bytes(640), stamp_us=None) for at in range(3)]
        return [made.open(), *packets]

    assert [0, 0] == [len(piece.copies) for piece in placed(blank(1), blank(2))]


def test_a_session_of_copies_alone_brings_nothing(placed, source):
    first = session(source, 1, 0, anna=steady(0, 10))
    second = session(source, 2, 40_000, anna=steady(40_000, 3))
    _, piece = placed(first, second)
    assert piece.brings_nothing


def test_a_session_after_one_of_copies_alone_is_placed(placed, source):
    first = session(source, 1, 0, anna=steady(0, 10))
    copies = session(source, 2, 0, anna=steady(0, 10))
    third = session(source, 3, 200_000, anna=steady(200_000, 3))
    assert [0, 0, 3_200] == [piece.shift for piece in placed(first, copies, third)]


def test_packets_longer_than_the_grid_are_the_grid(placed, source):
    made = []
    for number, begin_us in ((1, 0), (2, 1_070_000)):
        one = source.Session(number, zero_us=source.ZERO_US + begin_us)
        made.append([one.open(), one.open_stream(1), one.audio(1, 0, source.tone(960))])
    assert [0, Fraction(108, 100) * 16_000] == [piece.shift for piece in placed(*made)]


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lost=st.integers(0, 200),
    overlap=st.integers(0, 20),
    jitter_ms=st.lists(st.integers(-7, 7), min_size=100, max_size=100),
)
def test_a_redial_is_placed_where_its_stamps_are(
    tmp_path_factory, source, lost, overlap, jitter_ms
):
    """Jitter of up to 7 ms on every stamp: packets are copies or follow by whole packets."""
    recordings = tmp_path_factory.mktemp("any") / "recordings"
    recordings.mkdir()
    stamps = [at * PACKET_US + jitter_ms[at % 100] * 1000 for at in range(50 + lost + 50)]
    begin = 50 - overlap if overlap else 50 + lost
    first = session(source, 1, stamps[0], anna=stamps[:50])
    second = session(source, 2, stamps[begin], anna=stamps[begin : begin + 50])
    source.record(recordings, first, second)
    _, piece = place(read_contents(find_folder(recordings, "call")))
    assert overlap == len(piece.copies)
    assert abs(piece.shift - begin * 320) <= (320 if lost > 2 and not overlap else 0)
