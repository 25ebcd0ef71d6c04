from dataclasses import dataclass, field

import numpy as np
import pytest

from gateway.wire.descriptor import Packets
from gateway.wire.frame import FrameFlag
from workers.recordings.facts import StreamGap
from workers.recordings.gaps import in_time, track_gaps, track_packets
from workers.recordings.manifest import TrackGap


@dataclass
class Ended:
    broke_off: bool = False


@dataclass
class Told:
    """What gaps need of a stream's facts."""

    gaps: list = field(default_factory=list)
    packets: Packets = field(default_factory=Packets)
    packet_samples: int = 10
    lacks_at_end: int = 1


@dataclass
class Piece:
    """A placed stream, by the intervals that it brings."""

    rows: np.ndarray
    facts: Told
    session: Ended = field(default_factory=Ended)
    shift: int = 0
    copies: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))


def piece(*rows, gaps=(), broke_off=False, **members):
    packets = members.pop("packets", Packets())
    rows = np.array(rows, np.int64).reshape(-1, 2)
    return Piece(rows, Told(list(gaps), packets), Ended(broke_off), **members)


def test_a_gap_counts_from_the_tracks_first_sample():
    gap = StreamGap(20, 10, "not_received")
    only = piece((105, 125), (135, 140), gaps=[gap], shift=105)
    assert [gap] == track_gaps([only], 105, 140)


def test_what_another_session_brought_is_no_gap():
    first = piece((0, 10), (40, 50), gaps=[StreamGap(10, 30, "damaged")])
    second = piece((20, 30))
    assert [StreamGap(10, 10, "damaged"), StreamGap(30, 10, "damaged")] == track_gaps(
        [first, second], 0, 50
    )


@pytest.mark.parametrize(("broke_off", "cause"), [(True, "gateway_died"), (False, "not_received")])
def test_a_hole_is_explained_by_the_session_before_it(broke_off, cause):
    pieces = [piece((0, 10), broke_off=broke_off), piece((50, 60))]
    assert [StreamGap(10, 40, cause)] == track_gaps(pieces, 0, 60)


def test_the_end_of_a_session_that_broke_off_is_open():
    assert [StreamGap(10, None, "gateway_died")] == track_gaps(
        [piece((0, 10), broke_off=True)], 0, 10
    )


def test_two_sessions_that_miss_the_same_say_so_once():
    gap = StreamGap(10, 10, "not_received")
    pieces = [piece((0, 10), (20, 30), gaps=[gap]), piece((0, 10), (20, 30), gaps=[gap])]
    assert [gap] == track_gaps(pieces, 0, 30)


def test_gaps_of_one_cause_that_touch_are_one():
    gaps = [StreamGap(10, 5, "damaged"), StreamGap(15, 5, "damaged"), StreamGap(20, 5, "clock")]
    assert [StreamGap(10, 10, "damaged"), StreamGap(20, 5, "clock")] == track_gaps(
        [piece((0, 10), (25, 30), gaps=gaps)], 0, 30
    )


def test_a_place_where_packets_were_left_out_is_told_unless_another_session_has_them():
    gap = StreamGap(5, 0, "clock")
    first = piece((0, 10), gaps=[gap])
    assert [gap] == track_gaps([first], 0, 10)
    assert [] == track_gaps([first, piece((0, 10))], 0, 10)


def test_gaps_that_touch_in_samples_touch_in_time():
    first = in_time(StreamGap(7, 11, "clock"), 24_000)
    second = in_time(StreamGap(18, 5, "clock"), 24_000)
    assert first.start_us + first.length_us == second.start_us
    assert TrackGap(start_us=292, length_us=None, cause="clock") == in_time(
        StreamGap(7, None, "clock"), 24_000
    )


def test_a_packet_that_came_twice_counts_once():
    flags = np.array([FrameFlag.SILENT, FrameFlag.LATE, FrameFlag.NO_DATA, 0], np.uint8)
    pieces = [
        piece((0, 10), packets=Packets(received=10, silent=2)),
        piece((10, 20), packets=Packets(received=9, silent=2, late=2, filled=3), copies=flags),
    ]
    assert Packets(received=15, silent=3, late=1, filled=2) == track_packets(pieces, [])


def test_what_is_lost_in_a_track_of_several_streams_is_what_its_gaps_say():
    pieces = [
        piece((0, 10), packets=Packets(received=1, lost=7, filled=8)),
        piece((30, 40), packets=Packets(received=1)),
    ]
    gaps = [StreamGap(10, 20, "gateway_died"), StreamGap(12, 5, "clock")]
    assert Packets(received=2, lost=2, filled=3) == track_packets(pieces, gaps)


@pytest.mark.parametrize(("other_ends", "told"), [(115, 15), (120, None), (130, None)])
def test_an_end_that_is_missing_is_told_where_the_other_session_ends(other_ends, told):
    gap = StreamGap(10, None, "dropped")
    other, lacking = piece((100, other_ends)), piece((100, 110), gaps=[gap], shift=100)
    found = track_gaps([other, lacking], 100, other_ends)
    assert ([] if told is None else [StreamGap(told, None, "dropped")]) == found
