"""Frames that the gateway has thrown away: declared where they are missing, with their cause."""

import numpy as np
import pytest

from gateway.wire.descriptor import Gap, Packets
from gateway.wire.frame import NO_STAMP, FrameFlag, FrameKind
from workers.recordings.contents import read_contents
from workers.recordings.facts import StreamGap, stream_facts
from workers.recordings.finish import finish_folder
from workers.recordings.folder import find_folder, lock_folder
from workers.recordings.gather import Gather
from workers.recordings.index import ENTRY

PACKET = 320


def entries(*rows):
    """Rows are (position, samples), or None for a frame that never came."""
    made = np.zeros(len(rows), ENTRY)
    for index, row in enumerate(rows):
        if row is not None:
            made[index] = (NO_STAMP, row[0], row[1], 0, 1, 0)
    return made


def gap(session, stream, seq, frames):
    return session._said(FrameKind.GAP, stream, Gap(frames=frames, reason="log_full"), seq)


@pytest.fixture
def session(source):
    return source.Session(5)


def finish(recordings):
    folder = find_folder(recordings, "call")
    with lock_folder(folder, wait=True):
        return finish_folder(folder, sync=False)


def test_what_is_missing_and_was_dropped_says_so():
    rows = entries((0, PACKET), None, None, (3 * PACKET, PACKET))
    facts = stream_facts(rows, 0, Packets(received=4), 0, [(1, 2)])
    assert [StreamGap(PACKET, 2 * PACKET, "dropped")] == facts.gaps
    assert (Packets(received=4, dropped=2), False) == (facts.packets, facts.is_whole)


def test_what_came_all_the_same_is_no_gap():
    rows = entries((0, PACKET), (PACKET, PACKET))
    facts = stream_facts(rows, 0, Packets(received=2), 0, [(0, 2)])
    assert ([], Packets(received=2), True) == (facts.gaps, facts.packets, facts.is_whole)


def test_what_was_dropped_only_in_part_is_damage():
    rows = entries((0, PACKET), None, None, (3 * PACKET, PACKET))
    facts = stream_facts(rows, 0, Packets(received=4), 0, [(2, 1)])
    assert [StreamGap(PACKET, 2 * PACKET, "damaged")] == facts.gaps
    assert 1 == facts.packets.dropped


@pytest.mark.parametrize("counted", [Packets(received=3), None])
def test_an_end_that_was_dropped_has_no_length_but_a_number(counted):
    facts = stream_facts(entries((0, PACKET)), 0, counted, 0, [(1, 2)])
    assert [StreamGap(PACKET, None, "dropped")] == facts.gaps
    assert (3, 2) == (facts.packets.received, facts.packets.dropped)


def test_a_gap_comes_from_the_bus_into_the_manifest(recordings, source, session):
    pcm = source.tone(2 * PACKET)
    begin, end = pcm[: 2 * PACKET], pcm[2 * PACKET :]
    frames = [
        *(session.open(), session.open_stream(1), session.audio(1, 0, begin)),
        session.audio(1, 3 * PACKET, end, seq=3),
        session.close_stream(1, Packets(received=4)),
        gap(session, 1, 1, 2),
        session.close(),
    ]
    source.record(recordings, frames)
    [stream] = read_contents(find_folder(recordings, "call")).sessions[0].streams
    made = finish(recordings)
    [track] = made.tracks
    folder = find_folder(recordings, "call")

    assert [(1, 2)] == stream.dropped
    assert ("incomplete", 2) == (made.state, track.packets.dropped)
    assert [(20_000, 40_000, "dropped")] == [
        (each.start_us, each.length_us, each.cause) for each in track.gaps
    ]
    assert begin + bytes(4 * PACKET) + end == source.read_pcm(folder / track.file)


def test_events_that_were_dropped_leave_the_recording_incomplete(recordings, source, session):
    frames = source.one_session(session, {"anna": source.tone(PACKET)})
    said = session.event(0, "mark"), gap(session, 0, 1, 1)
    source.record(recordings, [*frames[:-1], *said, frames[-1]])

    assert "incomplete" == finish(recordings).state


@pytest.mark.parametrize("frames", [0, -1, 2**40])
def test_a_gap_that_none_can_be_is_a_bad_description(source, session, frames):
    gather = Gather(np.empty(1 << 10, np.uint8))
    gather.add(("boot", 1), 1, source.batch(1, [gap(session, 1, 1, frames)]), 0)

    assert (1, []) == (gather.bad_descriptors, gather.described)


def test_what_the_ledger_left_out_and_what_was_dropped_are_two_things():
    rows = entries((0, PACKET), (PACKET, 0), None, (3 * PACKET, PACKET))
    rows["flags"][1] = FrameFlag.DROPPED
    facts = stream_facts(rows, 0, Packets(received=4, dropped=1), 0, [(2, 1)])
    assert [StreamGap(PACKET, 0, "clock"), StreamGap(PACKET, 2 * PACKET, "dropped")] == facts.gaps
    assert 2 == facts.packets.dropped


@pytest.mark.parametrize("packets", [3, 5])
def test_what_a_second_socket_had_more_and_lost_is_declared(recordings, source, session, packets):
    pcm = source.tone(packets * PACKET)
    first = source.one_session(session, {"anna": pcm})
    second = source.Session(6)
    copies = [second.open(), second.open_stream(1), *second.packets(1, 0, pcm[: 3 * 2 * PACKET])]
    end = [gap(second, 1, 3, 2), second.close_stream(1, Packets(received=5)), second.close()]
    source.record(recordings, first, [*copies, *end])

    made = finish(recordings)

    there = [(60_000, None, "dropped")] if packets == 3 else []
    track = made.tracks[0]
    assert there == [(gap.start_us, gap.length_us, gap.cause) for gap in track.gaps]
    assert ("incomplete", 2) == (made.state, track.packets.dropped)
    assert packets * PACKET == track.samples


@pytest.mark.parametrize(("packets", "first_dies"), [(5, False), (5, True), (3, False)])
def test_an_end_is_open_where_the_socket_that_reached_it_died(
    recordings, source, session, packets, first_dies
):
    pcm = source.tone(packets * PACKET)
    dead = {"proper": False, "close_code": None, "cause": "gateway_died"}
    first = source.one_session(session, {"anna": pcm}, **(dead if first_dies else {}))
    second = source.Session(6)
    copies = [second.open(), second.open_stream(1), *second.packets(1, 0, pcm[: 3 * 2 * PACKET])]
    source.record(recordings, first, [*copies, second.close_stream(1), second.close(**dead)])

    made = finish(recordings)

    is_open = first_dies or packets == 3
    assert ["gateway_died"] * is_open == [gap.cause for gap in made.tracks[0].gaps]
    assert "incomplete" == made.state
