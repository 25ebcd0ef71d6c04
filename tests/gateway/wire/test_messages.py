"""Control messages: what both sides say, and what neither understands."""

import pytest

from gateway.wire import messages
from gateway.wire.errors import VersionError, WireError

HELLO = messages.Hello(pool="record", name="record-0", boot_id="b", link=1)


@pytest.mark.parametrize(
    "message",
    [
        HELLO,
        messages.Ack(link=1, safe=3, taken=4),
        messages.Bye(link=1),
        messages.Heartbeat(link=1, unsynced_us=7),
    ],
)
def test_what_a_worker_says_is_read_as_it_was_said(message):
    assert message == messages.unpack_from_worker(messages.pack(message))


@pytest.mark.parametrize(
    "message",
    [messages.Gone(link=1, reason="bye"), messages.Drain(link=1), messages.Heartbeat(link=2)],
)
def test_what_a_gateway_says_is_read_as_it_was_said(message):
    assert message == messages.unpack_to_worker(messages.pack(message))


def test_a_kind_that_nobody_knows_is_none():
    assert messages.unpack_from_worker(b'{"kind":"SING","link":1}') is None
    assert messages.unpack_to_worker(b'{"kind":"SING"}') is None


def test_members_that_nobody_knows_are_ignored():
    assert messages.Bye(link=1) == messages.unpack_from_worker(
        b'{"kind":"BYE","link":1,"mood":"sad"}'
    )


@pytest.mark.parametrize("message", [b"", b"\xff", b"[]", b'{"kind":"ACK","link":"x"}', b"{}"])
def test_what_is_no_message_is_a_wire_error(message):
    with pytest.raises(WireError):
        messages.unpack_from_worker(message)


def test_a_foreign_version_is_refused():
    with pytest.raises(VersionError):
        messages.unpack_from_worker(messages.pack(HELLO).replace(b'"version":1', b'"version":9'))
