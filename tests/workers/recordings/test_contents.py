import pytest

from gateway.wire.descriptor import Packets
from workers.recordings.contents import read_contents, session_ids
from workers.recordings.folder import find_folder


@pytest.fixture
def folder(recordings, source):
    first, second = source.Session(9), source.Session(2, zero_us=source.ZERO_US + 5)
    frames = source.one_session(first, {"anna": source.tone(640), None: source.tone(320)})
    source.record(recordings, frames, [second.open(correlation_id="c"), second.event(0, "mark")])
    return find_folder(recordings, "call")


def test_sessions_come_in_order_of_their_accept(folder):
    contents = read_contents(folder)
    assert ["0000000000000009", "0000000000000002"] == [each.id for each in contents.sessions]
    assert {"0000000000000009", "0000000000000002"} == session_ids(folder)
    assert ("call", "c", False, 0) == (
        contents.call_id,
        contents.correlation_id,
        contents.is_ended,
        contents.faults,
    )


def test_sessions_of_one_moment_come_in_order_of_their_ids(recordings, source):
    source.record(recordings, [source.Session(7).open()], [source.Session(3).open()])
    contents = read_contents(find_folder(recordings, "call"))
    assert ["0000000000000003", "0000000000000007"] == [each.id for each in contents.sessions]


def test_a_stream_is_told_whole(folder):
    anna, everybody = read_contents(folder).sessions[0].streams
    assert ("anna", 640, 0, 640, 2) == (
        anna.opened.participant,
        anna.samples,
        anna.first,
        anna.end,
        len(anna.entries()),
    )
    assert everybody.opened.participant is None


def test_a_close_carries_its_counters(recordings, source):
    session = source.Session(9)
    frames = [session.open(), session.open_stream(1), session.close_stream(1, Packets(received=4))]
    source.record(recordings, frames)
    (stream,) = read_contents(find_folder(recordings, "call")).sessions[0].streams
    assert Packets(received=4) == stream.closed.packets


def test_an_open_session_broke_off_as_far_as_anyone_knows(folder):
    ended, going_on = read_contents(folder).sessions
    assert (False, True) == (ended.broke_off, going_on.broke_off)


def test_a_session_that_lost_its_open_is_dated_by_its_streams(folder, source):
    (folder / "streams" / "0000000000000009-0.json").unlink()
    contents = read_contents(folder)
    assert [source.ZERO_US - 995, source.ZERO_US] == [
        session.opened_at_us for session in contents.sessions
    ]
    assert 1 == contents.faults


def test_a_stream_that_lost_its_open_is_left_out_and_counted(folder):
    (folder / "streams" / "0000000000000009-1.json").write_bytes(b"\n{")
    contents = read_contents(folder)
    assert (1, [2]) == (
        contents.faults,
        [stream.number for stream in contents.sessions[0].streams],
    )


def test_foreign_files_are_not_sessions(folder):
    for name in ("notes.txt", ".0000000000000001-1.wav.12", "zz-1.wav"):
        (folder / "streams" / name).write_bytes(b"x")
    assert 2 == len(read_contents(folder).sessions)


def test_an_empty_folder_has_no_sessions(tmp_path):
    contents = read_contents(tmp_path)
    assert ([], "", None) == (contents.sessions, contents.call_id, contents.manifest)
