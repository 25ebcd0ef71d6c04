import numpy as np
import pytest

from gateway.wire.errors import TruncatedError, WireError
from gateway.wire.frame import BATCH, FRAME, FrameKind
from workers.recordings.gather import Gather

LINK = ("boot", 1)


@pytest.fixture
def gather():
    return Gather(np.empty(4096, np.uint8))


@pytest.fixture
def session(source):
    return source.Session(5)


def runs(gather, **first):
    """Everything that one stream gets: [(position, audio)], [(seq, entries)]."""
    discarded = []
    found = [
        (each.key, [(at, bytes(view)) for at, view in each.audio])
        for each in gather.scatter(first or {(5, 1): 0}, discarded)
    ]
    return found, discarded


def test_what_is_no_batch_leaves_nothing(gather, source, session):
    session.open_stream(1)
    message = source.batch(1, [session.audio(1, 0, b"\1\0\2\0")])
    for bad in (b"", b"ACSB", message[:-1], b"XXXX" + message[4:]):
        with pytest.raises(WireError):
            gather.add(LINK, 1, bad, 0)
    assert gather.is_empty
    assert (0, 0) == (gather.size_bytes, gather.batches)


def test_payloads_longer_than_the_message_are_refused(gather, source, session):
    message = bytearray(source.batch(1, [session.open()]))
    message[BATCH.size + 4] += 4
    with pytest.raises(TruncatedError):
        gather.add(LINK, 1, bytes(message), 0)


def test_frame_headers_may_be_longer_than_ours(gather, source, session):
    session.open_stream(1)
    frames = [session.audio(1, 0, b"\1\0"), session.audio(1, 1, b"\2\0")]
    longer = [(head + b"new!" * 2, payload) for head, payload in frames]
    message = bytearray(source.batch(1, longer))
    message[8:10] = (FRAME.size + 8).to_bytes(2, "little")
    gather.add(LINK, 1, bytes(message), 0)
    assert [((5, 1), [(0, b"\1\0\2\0")])] == runs(gather)[0]


def test_descriptions_are_read_and_bad_or_unknown_ones_are_counted(gather, source, session):
    head, payload = session.event(0, "dtmf")
    bad = FRAME.pack(FrameKind.CLOSE, 0, 0, 4, 5, 0, 0, 0, 0), b"null"
    unknown = FRAME.pack(77, 0, 0, 4, 5, 0, 0, 0, 0), b"    "
    gather.add(LINK, 1, source.batch(1, [session.open(), bad, unknown, (head, payload)]), 0)
    assert [FrameKind.OPEN, FrameKind.EVENT] == [each.kind for each in gather.described]
    assert "call" == gather.described[0].descriptor.call_id
    assert (1, 1) == (gather.bad_descriptors, gather.skipped)


def test_the_age_is_that_of_the_first_batch(gather, source, session):
    gather.add(LINK, 1, source.batch(1, [session.open()]), 70)
    gather.add(LINK, 2, source.batch(2, [session.open()]), 80)
    assert (70, {LINK: 2}) == (gather.begun_us, gather.numbers)


def test_a_message_that_is_too_long_for_the_buffer_still_goes_in(gather, source, session):
    session.open_stream(1)
    pcm = source.tone(4000)
    assert not gather.has_room(8000)
    gather.add(LINK, 1, source.batch(1, session.packets(1, 0, pcm)), 0)
    assert [((5, 1), [(0, pcm)])] == runs(gather)[0]


def test_nothing_gathered_is_nothing_to_write(gather):
    assert ([], []) == runs(gather)


@pytest.mark.parametrize(
    "members",
    [
        {"rate": 0},
        {"rate": -1},
        {"rate": 2**31},
        {"first": 2**63},
        {"first": -(2**62)},
    ],
)
def test_a_stream_that_no_file_can_hold_is_a_bad_description(gather, source, session, members):
    gather.add(LINK, 1, source.batch(1, [session.open(), session.open_stream(1, **members)]), 0)
    assert (1, 1) == (len(gather.described), gather.bad_descriptors)


def test_a_session_that_has_two_ids_is_a_bad_description(gather, source, session):
    session.id = "00000000000000ff"
    gather.add(LINK, 1, source.batch(1, [session.open()]), 0)
    assert (0, 1) == (len(gather.described), gather.bad_descriptors)
