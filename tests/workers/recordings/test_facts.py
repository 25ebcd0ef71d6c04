import numpy as np
import pytest

from gateway.wire.descriptor import Packets
from gateway.wire.frame import NO_STAMP, FrameFlag
from workers.recordings.facts import StreamGap, stream_facts
from workers.recordings.index import ENTRY

SECOND = 16_000


def entries(*rows):
    """Rows are (position, samples, flags), or None for a frame that never came."""
    made = np.zeros(len(rows), ENTRY)
    for index, row in enumerate(rows):
        if row is not None:
            made[index] = (NO_STAMP, row[0], row[1], row[2], 1, 0)
    return made


def speech(*positions, flags=0):
    return [(position, 320, flags) for position in positions]


def test_contiguous_packets_have_no_gap():
    facts = stream_facts(entries(*speech(0, 320, 640)), 0, None, 0)
    assert ([], True, 320) == (facts.gaps, facts.is_whole, facts.packet_samples)
    assert Packets(received=3) == facts.packets


def test_a_jump_is_a_gap_that_was_not_received():
    facts = stream_facts(entries(*speech(0, 320, 320 + SECOND)), 0, None, 0)
    assert [StreamGap(640, SECOND - 320, "not_received")] == facts.gaps
    assert Packets(received=3, lost=49, filled=49) == facts.packets
    assert facts.is_whole


def test_a_jump_that_corrects_the_clock_lost_nothing():
    rows = [*speech(0, 320), (1280, 320, FrameFlag.CLOCK)]
    facts = stream_facts(entries(*rows), 0, None, 0)
    assert [StreamGap(640, 640, "clock")] == facts.gaps
    assert Packets(received=3, filled=2) == facts.packets


def test_packets_that_were_left_out_are_one_gap_without_length():
    rows = [*speech(0), (320, 0, FrameFlag.DROPPED), (320, 0, FrameFlag.DROPPED), *speech(320)]
    facts = stream_facts(entries(*rows), 0, None, 0)
    assert [StreamGap(320, 0, "clock")] == facts.gaps
    assert Packets(received=4, dropped=2) == facts.packets
    assert facts.is_whole


def test_a_frame_that_never_came_is_damage():
    facts = stream_facts(entries((0, 320, 0), None, (640, 320, 0)), 0, None, 0)
    assert [StreamGap(320, 320, "damaged")] == facts.gaps
    assert not facts.is_whole
    assert Packets(received=3) == facts.packets


def test_damage_at_the_beginning_and_without_a_place_shows():
    facts = stream_facts(entries(None, (320, 320, 0), None, (640, 320, 0)), 0, None, 0)
    assert [StreamGap(0, 320, "damaged"), StreamGap(640, 0, "damaged")] == facts.gaps


def test_frames_that_are_missing_at_the_end_are_a_gap_of_unknown_length():
    facts = stream_facts(entries(*speech(0, 320)), 0, Packets(received=5), 0)
    assert [StreamGap(640, None, "damaged")] == facts.gaps
    assert not facts.is_whole


@pytest.mark.parametrize("counted", [Packets(), Packets(received=2)])
def test_the_counters_of_a_close_stand(counted):
    facts = stream_facts(entries(*speech(0, 320)[: counted.received]), 0, counted, 9)
    assert counted == facts.packets
    assert facts.is_whole


def test_every_counter_can_be_told_again():
    rows = [
        (0, 320, FrameFlag.SILENT),
        (320, 320, FrameFlag.SILENT | FrameFlag.NO_DATA),
        (640, 320, FrameFlag.LATE),
        (960, 0, FrameFlag.DROPPED | FrameFlag.SILENT),
        (960 + 640, 320, 0),
    ]
    facts = stream_facts(entries(*rows), 0, None, 3)
    assert (
        Packets(received=5, silent=3, lost=2, late=1, dropped=1, filled=3, bad=3) == facts.packets
    )


def test_a_gap_counts_in_packets_like_the_one_before_it():
    rows = [(0, 320, 0), (320, 0, 0), (320 + 960, 1, 0), (1281 + 5, 1, 0)]
    facts = stream_facts(entries(*rows), 0, None, 0)
    assert 3 + 5 == facts.packets.lost


def test_a_stream_without_frames_has_no_facts():
    facts = stream_facts(entries(), 7, None, 0)
    assert (Packets(), [], True, 0) == (
        facts.packets,
        facts.gaps,
        facts.is_whole,
        facts.packet_samples,
    )
