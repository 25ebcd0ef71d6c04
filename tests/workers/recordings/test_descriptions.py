import os

import pytest

from gateway.wire.descriptor import Event, SessionClose, StreamClose, StreamOpen
from workers.recordings import descriptions
from workers.recordings.durable import open_file

CLOSED = SessionClose(closed_at_us=5, close_code=1000, proper=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "00000000000000ff-0.json"


def append(path, *lines):
    descriptor = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    descriptions.append(descriptor, list(lines))
    os.close(descriptor)


def event(seq, kind="dtmf"):
    return descriptions.pack_line(descriptions.event_name(seq), Event(kind=kind, at_us=seq))


def test_lines_are_read_by_name(path):
    opened = StreamOpen(participant="p", sample_rate=16_000, zero_us=1, first_position=-320)
    closed = StreamClose(packets=None)
    append(path, descriptions.pack_line("open", opened))
    append(path, descriptions.pack_line("close", closed))
    said = descriptions.read_descriptions(path)
    assert opened == said.first("open", StreamOpen)
    assert closed == said.last("close", StreamClose)


def test_of_several_closes_the_last_counts(path):
    later = SessionClose(closed_at_us=9, close_code=None, proper=False)
    append(path, descriptions.pack_line("close", CLOSED), descriptions.pack_line("close", later))
    assert later == descriptions.read_descriptions(path).last("close", SessionClose)


def test_events_come_once_and_in_order(path):
    append(path, event(10), event(2))
    append(path, event(10))
    events = descriptions.read_descriptions(path).events()
    assert [(2, 2), (10, 10)] == [(seq, said.at_us) for seq, said in events]


@pytest.mark.parametrize("torn", [1, 5, 20])
def test_a_torn_line_spoils_only_itself(path, torn):
    append(path, event(0)[:-torn])
    append(path, event(1))
    assert [1] == [seq for seq, _ in descriptions.read_descriptions(path).events()]


def test_zeros_that_a_disk_has_left_spoil_no_line_beside_them(path):
    append(path, event(0), bytes(len(event(1))))
    append(path, event(2))
    assert [0, 2] == [seq for seq, _ in descriptions.read_descriptions(path).events()]


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"[]", b'{"name":5}', b'{"name":"event-x"}', b'{"name":"event-1"}']
)
def test_lines_that_are_none_are_passed_over(path, line):
    append(path, event(0))
    append(path, b"\n" + line)
    assert [0] == [seq for seq, _ in descriptions.read_descriptions(path).events()]


def test_a_file_that_is_not_there_says_nothing(path):
    said = descriptions.read_descriptions(path)
    assert (None, []) == (said.first("open", StreamOpen), said.events())


def test_an_append_that_is_cut_short_is_an_error(path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda *_: 1)
    with pytest.raises(OSError, match="only a part"):
        append(path, event(0))
