"""The WebSocket front, on real sockets byte by byte, and on paper wherever bytes are cut."""

import asyncio
import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_door import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Door,
    close_frame,
    frame,
    on_uvloop,
    request,
)
from paper_socket import PaperSocket

from gateway import admission
from gateway.admission import Refusal, UpgradeRequest
from gateway.front import SocketLimits
from gateway.websocket import UNSENT_BYTES_MAX

LIMIT = 65_536
#: The least and the most that the lane takes, and what is beside it.
LENGTHS = [0, 1, 125, 126, 127, 1000, 65_535, 65_536]


@pytest.fixture(autouse=True, scope="module", params=["loop", "sweeps"])
def reading(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything holds whoever reads the sockets."""
    Door.coalesces = request.param == "sweeps"
    yield
    Door.coalesces = False


def by_path(upgrade: UpgradeRequest) -> Refusal | None:
    """Who is refused, as the product decides it."""
    decided = admission.admit(upgrade, str)
    return decided if isinstance(decided, Refusal) else None


def text_of(length: int) -> bytes:
    return bytes(97 + number % 26 for number in range(length))


@on_uvloop
async def test_an_upgrade_is_answered_with_the_proof_of_the_key():
    async with Door() as door:
        peer = await door.dial()
        await peer.send(request())
        status, headers = await peer.head()

        assert 101 == status
        assert (ACCEPT, "websocket", "Upgrade") == (
            headers["sec-websocket-accept"],
            headers["upgrade"],
            headers["connection"],
        )
        assert 1 == door.counters.accepted


@on_uvloop
async def test_compression_is_declined():
    async with Door() as door:
        peer = await door.dial()
        await peer.send(request("/media", "Sec-WebSocket-Extensions: permessage-deflate"))
        status, headers = await peer.head()

        assert 101 == status
        assert "sec-websocket-extensions" not in headers


@on_uvloop
async def test_the_door_sees_path_headers_and_peer_of_an_upgrade():
    async with Door() as door:
        peer = await door.dial()
        await peer.send(request("/media/token?a=b", "X-Name: one", "x-name: t\u00e9"))
        await peer.head()
        [seen] = door.requests

        assert ("GET", "/media/token?a=b", "127.0.0.1") == (seen.method, seen.path, seen.peer)
        assert ["one", "t\u00e9"] == seen.headers["x-name"]


@on_uvloop
async def test_a_head_that_comes_byte_by_byte_is_upgraded():
    async with Door() as door:
        peer = await door.dial()
        await peer.send(*(bytes([byte]) for byte in request()))

        assert 101 == (await peer.head())[0]


@on_uvloop
async def test_messages_behind_the_head_in_one_segment_are_delivered():
    async with Door() as door:
        peer = await door.dial()
        await peer.send(request() + frame(b"first") + frame(text_of(500)))
        handler = await door.handler()

        assert [b"first", text_of(500)] == await handler.heard(2)


@pytest.mark.parametrize("cut_at", range(1, 5))
def test_a_head_whose_end_is_cut_ends_there_and_frames_begin(cut_at):
    head, frames = request(), frame(b"first") + frame(text_of(500))
    pieces = [head[:-cut_at], head[-cut_at:] + frames[:3], frames[3:]]
    paper = PaperSocket(upgrade=pieces)

    assert [b"first", text_of(500)] == paper.handler.texts
    assert 1 == paper.front.counters.messages


def long_head(count: int, length: int) -> bytes:
    return request("/media", *(f"X-{number}: {'x' * length}" for number in range(count)))


REFUSED = {
    "another path": (request("/"), 404),
    "another path, no upgrade": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "no upgrade": (request(without=("Upgrade", "Connection")), 426),
    "no connection header": (request(without=("Connection",)), 426),
    "a POST": (request(method="POST"), 405),
    "a POST to another path": (request("/", method="POST"), 404),
    "no key": (request(without=("Sec-WebSocket-Key",)), 400),
    "two keys": (request("/media", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 400),
    "a key too short": (
        request("/media", "Sec-WebSocket-Key: AAAA", without=("Sec-WebSocket-Key",)),
        400,
    ),
    "another version": (
        request("/media", "Sec-WebSocket-Version: 8", without=("Sec-WebSocket-Version",)),
        400,
    ),
    "HTTP/1.0": (request(version="HTTP/1.0"), 505),
    "HTTP/2.0": (request(version="HTTP/2.0"), 400),
    "a request line too long": (request("/media/" + "x" * 9000), 414),
    "a header line too long": (long_head(1, 9000), 431),
    "too many headers": (long_head(130, 1), 431),
    "a head too long": (long_head(10, 4000), 431),
    "a head that does not end": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100 + b"x" * 33_000, 431),
    "a body": (request("/media", "Content-Length: 5"), 400),
    "a body in chunks": (request("/media", "Transfer-Encoding: chunked"), 400),
    "lines without CR": (request().replace(b"\r\n", b"\n"), 400),
    "a header without a name": (request("/media", ": x"), 400),
    "a zero byte in a header": (request("/media", "X: a\0b"), 400),
    "a path beyond ASCII": (request("/m\u00e9dia"), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n" * 20, 400),
    "nothing": (b"\r\n\r\n", 400),
}


@pytest.mark.parametrize("case", REFUSED)
@on_uvloop
async def test_what_is_no_upgrade_gets_a_short_answer_and_the_end(case):
    raw, expected = REFUSED[case]
    async with Door(admit=by_path) as door:
        peer = await door.dial()
        await peer.send(raw)
        status, headers = await peer.head()
        body = await peer.rest()
        peer.socket.close()
        await door.empty()

        assert expected == status
        assert int(headers["content-length"]) == len(body) < 100
        assert ("close", b"\n") == (headers["connection"], body[-1:])
        assert {str(expected): 1} == dict(door.counters.refused)
        assert 0 == door.counters.accepted


@on_uvloop
async def test_a_wrong_method_and_a_missing_upgrade_are_told_the_right_one():
    async with Door() as door:
        poster, getter = await door.dial(), await door.dial()
        await poster.send(request(method="POST"))
        await getter.send(request(without=("Upgrade",)))

        assert "GET" == (await poster.head())[1]["allow"]
        assert "websocket" == (await getter.head())[1]["upgrade"]


@on_uvloop
async def test_an_answer_is_not_lost_to_a_peer_that_goes_on_sending():
    async with Door(admit=by_path) as door:
        peer = await door.dial()
        await peer.send(request("/") + bytes(100_000))
        await peer.send(bytes(100_000))
        status, _ = await peer.head()

        assert 404 == status
        assert b"there is nothing here; calls come in at /media\n" == await peer.rest()


@on_uvloop
async def test_an_answer_is_not_lost_to_a_peer_that_sends_no_more():
    async with Door(admit=by_path) as door:
        peer = await door.dial()
        await peer.send(request("/"))
        peer.socket.shutdown(socket.SHUT_WR)

        assert 404 == (await peer.head())[0]
        assert (await peer.rest()).endswith(b"\n")

        await door.empty()


@on_uvloop
async def test_what_the_door_refuses_gets_its_answer_with_its_headers():
    def full(_: UpgradeRequest) -> Refusal:
        return Refusal(503, "no room", (("Retry-After", "1"),))

    async with Door(admit=full) as door:
        peer = await door.dial()
        await peer.send(request() + frame(b"too soon"))
        status, headers = await peer.head()

        assert (503, "1") == (status, headers["retry-after"])
        assert b"no room\n" == await peer.rest()
        assert {"503": 1} == dict(door.counters.refused)


@on_uvloop
async def test_a_door_that_fails_is_a_500_for_that_request_only(caplog):
    def fail_once(_: UpgradeRequest) -> None:
        if len(door.requests) == 1:
            raise RuntimeError("broken")

    async with Door(admit=fail_once) as door:
        peer = await door.dial()
        await peer.send(request())
        status, _ = await peer.head()
        await door.call()

        assert 500 == status
        assert (1, 1) == (door.counters.handler_faults, door.counters.accepted)
        assert "a request could not be decided on" in caplog.text


@on_uvloop
async def test_a_peer_that_leaves_in_the_middle_of_its_head_is_gone():
    async with Door() as door:
        peer = await door.dial()
        await peer.send(request()[:50])
        await door.connected()
        peer.socket.close()
        await door.empty()

        assert not door.counters.refused


@on_uvloop
async def test_a_handshake_that_trickles_is_cut_after_its_whole_time():
    async with Door() as door:
        peer = await door.dial()
        await door.connected()
        head = request()
        for number in range(1, 6):
            await peer.send(head[number - 1 : number])
            door.tend(after_s=number * 0.9)

        assert 1 == len(door.front.sockets)

        door.tend(after_s=5.1)
        await door.empty()

        assert b"" == await peer.rest()
        assert 1 == door.counters.handshake_timeouts


@on_uvloop
async def test_a_peer_that_says_nothing_is_cut_and_counted_once():
    async with Door() as door:
        await door.dial()
        await door.connected()
        door.tend(after_s=5.1)
        door.tend(after_s=5.2)
        await door.empty()

        assert 1 == door.counters.handshake_timeouts


@on_uvloop
async def test_a_refused_peer_that_stays_is_cut_but_is_no_handshake_timeout():
    async with Door(SocketLimits(handshake_s=60, close_s=5), admit=by_path) as door:
        peer = await door.dial()
        await peer.send(request("/"))
        await peer.rest()
        door.tend(after_s=4.9)

        assert 1 == len(door.front.sockets)

        door.tend(after_s=5.1)
        await door.empty()

        assert 0 == door.counters.handshake_timeouts


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@on_uvloop
async def test_a_message_is_delivered_whatever_its_length(length, opcode):
    async with Door() as door:
        peer, handler = await door.call()
        await peer.send(frame(text_of(length), opcode))
        await handler.heard(1)

        assert [(text_of(length), opcode == TEXT)] == handler.messages


@pytest.mark.parametrize("wide", [2, 8])
def test_a_length_in_a_longer_form_than_needed_is_read(wide):
    # RFC 6455 forbids it to the sender; nothing is won by refusing it.
    paper = PaperSocket()
    paper.feed([frame(b"", wide=wide) + frame(b"x" * 100, wide=wide) + frame(b"y" * 200, wide=8)])

    assert [b"", b"x" * 100, b"y" * 200] == paper.handler.texts


def test_only_whole_masked_text_frames_of_some_length_take_the_lane():
    paper = PaperSocket()
    paper.feed([frame(b"x" * length) for length in LENGTHS])
    paper.feed([frame(b"x" * 200, BINARY), frame(b"x" * 200, fin=False), frame(b"", CONT)])

    assert len(LENGTHS) + 2 == len(paper.handler.messages)
    assert [126, 127, 1000, 65_535] == [length for length in LENGTHS if 125 < length < 65_536]
    assert 4 == paper.front.counters.messages


def test_a_fragmented_text_is_one_message_with_control_frames_in_between():
    paper = PaperSocket()
    paper.feed(
        [
            frame(b"x" * 200, fin=False),
            frame(b"one", PING),
            frame(b"", CONT, fin=False),
            frame(b"unasked", PONG),
            frame(b"y" * 300, CONT),
            frame(b"z" * 200),
        ]
    )

    assert [(b"x" * 200 + b"y" * 300, True), (b"z" * 200, True)] == paper.handler.messages
    assert [(PONG, b"one")] == paper.frames()
    assert 1 == paper.front.counters.messages  # the lane is open again


def test_a_fragmented_message_may_be_as_long_as_a_whole_one_and_pinged_to_the_last():
    paper = PaperSocket()
    paper.feed([frame(b"x" * (LIMIT - 1), fin=False), frame(b"p" * 125, PING), frame(b"y", CONT)])

    assert [b"x" * (LIMIT - 1) + b"y"] == paper.handler.texts
    assert [(PONG, b"p" * 125)] == paper.frames()


frames_of_all_kinds = st.one_of(
    st.tuples(st.sampled_from([0, 5, 125, 126, 200, 3000]), st.sampled_from([TEXT, BINARY])).map(
        lambda drawn: frame(text_of(drawn[0]), drawn[1])
    ),
    st.lists(st.integers(0, 400), min_size=2, max_size=4).map(
        lambda lengths: b"".join(
            frame(text_of(length), TEXT if at == 0 else CONT, fin=at == len(lengths) - 1)
            + frame(b"", PING)
            for at, length in enumerate(lengths)
        )
    ),
    st.integers(0, 125).map(lambda length: frame(b"p" * length, PING)),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(borders)]


@given(
    pieces=st.lists(frames_of_all_kinds, max_size=12),
    places=st.lists(st.integers(0, 40_000), max_size=30),
    ends_well=st.booleans(),
)
def test_wherever_the_bytes_are_cut_the_same_is_delivered_and_answered(pieces, places, ends_well):
    stream = b"".join(pieces) + (close_frame(1000) if ends_well else frame(b"", 0x3))
    whole, cut_up = PaperSocket(), PaperSocket()
    whole.feed([stream])
    cut_up.feed(cut(stream, places))

    assert whole.handler.messages == cut_up.handler.messages
    assert (
        whole.handler.closes
        == cut_up.handler.closes
        == [(1000, True) if ends_well else (None, False)]
    )
    assert whole.transport.written == cut_up.transport.written


def test_byte_by_byte_is_delivered_too():
    stream = b"".join([frame(text_of(300)), frame(b"a"), frame(text_of(300), fin=False)])
    paper = PaperSocket()
    paper.feed(bytes([byte]) for byte in stream + frame(b"b", CONT))

    assert [text_of(300), b"a", text_of(300) + b"b"] == paper.handler.texts


@on_uvloop
async def test_a_ping_is_answered_with_its_own_payload():
    async with Door() as door:
        peer, _ = await door.call()
        await peer.send(frame(b"are you there?", PING))

        assert (PONG, b"are you there?") == await peer.frame()


@pytest.mark.parametrize(("sent", "told"), [(1000, 1000), (1001, 1001), (4999, 4999), (None, 1005)])
@on_uvloop
async def test_a_close_is_answered_and_its_code_told(sent, told):
    async with Door() as door:
        peer, handler = await door.call()
        await peer.send(frame(b"last") + close_frame(sent))

        assert (told, True) == await handler.over()
        assert (CLOSE, b"" if sent is None else sent.to_bytes(2)) == await peer.frame()
        assert b"" == await peer.rest()

        peer.socket.close()
        await door.empty()

        assert [b"last"] == handler.texts
        assert [(told, True)] == handler.closes
        assert {str(told): 1} == dict(door.counters.closed)


@on_uvloop
async def test_what_comes_behind_a_close_is_not_heard():
    async with Door() as door:
        peer, handler = await door.call()
        await peer.send(close_frame() + frame(text_of(500)) + frame(b"", PING))
        await peer.send(frame(text_of(500)))

        assert 1000 == await peer.close_code()
        assert b"" == await peer.rest()
        assert [] == handler.messages


@pytest.mark.parametrize("ends", ["shutdown", "close", "reset"])
@on_uvloop
async def test_an_end_without_a_close_frame_is_improper(ends):
    async with Door() as door:
        peer, handler = await door.call()
        await peer.send(frame(b"last") + frame(text_of(500))[:100])
        await handler.heard(1)
        if ends == "shutdown":
            peer.socket.shutdown(socket.SHUT_WR)
        elif ends == "close":
            peer.socket.close()
        else:
            peer.reset()

        assert (None, False) == await handler.over()

        await door.empty()

        assert [(None, False)] == handler.closes
        assert {"none": 1} == dict(door.counters.closed)


FAILING = {
    "unmasked": (frame(b"x", mask=None), 1002),
    "unmasked, of the lane's length": (frame(b"x" * 500, mask=None), 1002),
    **{f"reserved bits {bits:03b}": (frame(b"x", reserved=bits), 1002) for bits in range(1, 8)},
    "a reserved bit on the lane": (frame(b"x" * 500, reserved=4), 1002),
    **{f"opcode {opcode}": (frame(b"x", opcode), 1002) for opcode in (3, 7, 11, 15)},
    "a ping too long": (frame(b"x" * 126, PING), 1002),
    "a fragmented ping": (frame(b"x", PING, fin=False), 1002),
    "a continuation of nothing": (frame(b"x", CONT), 1002),
    "a new message in a message": (frame(b"x", fin=False) + frame(b"y"), 1002),
    "a new one on the lane in a message": (frame(b"x", fin=False) + frame(b"y" * 500), 1002),
    "a close of one byte": (frame(b"x", CLOSE), 1002),
    "a close with a code that is nobody's": (close_frame(999), 1002),
    "a close with a code that is never sent": (close_frame(1005), 1002),
    "a close whose reason is not UTF-8": (close_frame(1000, b"\xff"), 1007),
    "too long": (frame(b"x" * (LIMIT + 1)), 1009),
    "too long, and only announced": (frame(b"x" * (LIMIT + 1))[:10], 1009),
    "longer than anything": (b"\x81\xff" + b"\x7f" + b"\xff" * 7, 1009),
    "too long in fragments": (
        frame(b"x" * LIMIT, fin=False) + frame(b"x", CONT),
        1009,
    ),
}


@pytest.mark.parametrize("case", FAILING)
@on_uvloop
async def test_a_peer_that_breaks_the_rules_is_told_the_code_and_not_heard_again(case):
    raw, code = FAILING[case]
    async with Door() as door:
        peer, handler = await door.call()
        await peer.send(frame(b"before") + raw + frame(b"after") + frame(text_of(500)))

        assert code == await peer.close_code()
        assert b"" == await peer.rest()
        assert [b"before"] == handler.texts
        assert 1 == len(handler.closes)
        assert 0 == door.counters.handler_faults


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_the_limit_of_a_message_may_be_lower(opcode):
    paper = PaperSocket(SocketLimits(message_bytes_max=1024))
    paper.feed([frame(text_of(1024), opcode) + frame(text_of(1025), opcode)])

    assert [(text_of(1024), opcode == TEXT)] == paper.handler.messages
    assert [1009] == [int.from_bytes(payload[:2]) for _, payload in paper.frames()]


def test_many_small_fragments_are_one_message():
    paper = PaperSocket()
    paper.feed([frame(b"a", fin=False), *[frame(b"b", CONT, fin=False)] * 5000])
    paper.feed([frame(b"c", CONT)])

    assert [b"a" + b"b" * 5000 + b"c"] == paper.handler.texts


@pytest.mark.parametrize("length", [5, 500])
@on_uvloop
async def test_a_code_of_the_handler_closes_and_nothing_more_is_delivered(length):
    async with Door(answer=lambda message: 1008 if message.startswith(b"bad") else 0) as door:
        peer, handler = await door.call()
        bad = b"bad" + b"x" * length
        await peer.send(frame(b"good") + frame(bad) + frame(b"more") + frame(text_of(500)))

        assert 1008 == await peer.close_code()
        await peer.send(frame(b"still more") + close_frame(1008))
        assert (1008, True) == await handler.over()
        assert b"" == await peer.rest()
        assert [b"good", bad] == handler.texts


def break_down(_: bytes) -> int:
    raise RuntimeError("broken")


@pytest.mark.parametrize("length", [5, 500])
@on_uvloop
async def test_a_handler_that_raises_closes_its_own_socket_with_1011(length, caplog):
    async with Door(answer=break_down) as door:
        peer, handler = await door.call()
        await peer.send(frame(b"x" * length) + frame(b"more"))

        assert 1011 == await peer.close_code()
        assert 1 == len(handler.messages)
        assert 1 == door.counters.handler_faults
        assert "a session failed on a message; its socket is closed" in caplog.text

        other, _ = await door.call()
        await other.send(frame(b"", PING))

        assert (PONG, b"") == await other.frame()


@on_uvloop
async def test_a_handler_that_raises_at_its_end_is_counted(caplog):
    async with Door() as door:
        peer, handler = await door.call()
        handler.closed = break_down  # of two arguments: a TypeError does as well
        await peer.send(close_frame())

        assert 1000 == await peer.close_code()
        assert 1 == door.counters.handler_faults
        assert "a session failed at its end" in caplog.text


@on_uvloop
async def test_a_ping_goes_out_in_time_and_its_answer_keeps_the_socket():
    async with Door(SocketLimits(ping_s=20, pong_s=20)) as door:
        peer, handler = await door.call()
        door.tend(after_s=20.1)

        assert (PING, b"") == await peer.frame()

        await peer.send(frame(b"", PONG) + frame(b"heard"))
        await handler.heard(1)
        door.tend(after_s=40.2)

        assert (PING, b"") == await peer.frame()
        assert [] == handler.closes


@on_uvloop
async def test_a_ping_without_an_answer_cuts_although_messages_come():
    async with Door(SocketLimits(ping_s=20, pong_s=20)) as door:
        peer, handler = await door.call()
        door.tend(after_s=20.1)
        await peer.frame()
        await peer.send(frame(text_of(500)))
        await handler.heard(1)
        door.tend(after_s=40.2)

        assert (None, False) == await handler.over()

        await door.empty()


@on_uvloop
async def test_pings_that_are_quicker_than_their_answers_do_not_put_the_cut_off():
    async with Door(SocketLimits(ping_s=1, pong_s=2.5)) as door:
        _, handler = await door.call()
        for after_s in (1.1, 2.2, 3.3):
            door.tend(after_s)

        assert [] == handler.closes

        door.tend(after_s=3.7)

        assert (None, False) == await handler.over()


@on_uvloop
async def test_a_close_of_ours_is_proper_once_it_is_answered_and_messages_before_count():
    async with Door() as door:
        peer, handler = await door.call()
        door.front.close_all(1001, "the server stops")

        assert (CLOSE, (1001).to_bytes(2) + b"the server stops") == await peer.frame()

        await peer.send(frame(text_of(500)) + frame(b"last") + close_frame(1001))

        assert (1001, True) == await handler.over()
        assert [text_of(500), b"last"] == handler.texts
        assert b"" == await peer.rest()


@on_uvloop
async def test_a_second_close_says_nothing_more():
    async with Door() as door:
        peer, _ = await door.call()
        door.front.close_all(1001, "")
        door.front.close_all(1001, "")
        await peer.frame()
        await peer.send(close_frame(1001))

        assert b"" == await peer.rest()


@on_uvloop
async def test_a_peer_that_never_answers_our_close_is_cut():
    async with Door(SocketLimits(close_s=5)) as door:
        peer, handler = await door.call()
        door.front.close_all(1001, "")
        await peer.send(frame(b"still talking"))
        await handler.heard(1)
        door.tend(after_s=4.9)

        assert [] == handler.closes

        door.tend(after_s=5.1)

        assert (None, False) == await handler.over()

        await door.empty()


@on_uvloop
async def test_a_peer_that_stays_after_the_closes_is_cut():
    async with Door(SocketLimits(close_s=5)) as door:
        peer, handler = await door.call()
        await peer.send(close_frame())
        await handler.over()
        door.tend(after_s=4.9)

        assert 1 == len(door.front.sockets)

        door.tend(after_s=5.1)
        await door.empty()


@on_uvloop
async def test_who_has_not_upgraded_when_all_are_closed_is_cut():
    async with Door() as door:
        peer = await door.dial()
        await peer.send(request()[:20])
        await door.connected()
        door.front.close_all(1001, "")
        await door.empty()

        assert b"" == await peer.rest()


@on_uvloop
async def test_abort_ends_a_call_improperly():
    async with Door() as door:
        _, handler = await door.call()
        door.front.abort_all()

        assert (None, False) == await handler.over()


@pytest.mark.parametrize("length", [5, 500, 70_000])
@on_uvloop
async def test_a_text_can_be_sent(length):
    async with Door() as door:
        peer, _ = await door.call()

        assert door.sockets[0].send_text(text_of(length))
        assert (TEXT, text_of(length)) == await peer.frame()


@on_uvloop
async def test_to_a_peer_that_does_not_read_only_so_much_is_kept():
    async with Door() as door:
        peer, handler = await door.call()
        [sender] = door.sockets
        sent = [sender.send_text(bytes(100_000)) for _ in range(200)]
        [transport] = [each._transport for each in door.sockets]

        assert {True, False} == set(sent)
        assert sent.count(False) == door.counters.unsent_dropped
        assert transport.get_write_buffer_size() <= UNSENT_BYTES_MAX

        await peer.send(frame(b"still heard"))

        assert [b"still heard"] == await handler.heard(1)


@pytest.mark.parametrize("is_closing", [False, True])
def test_pongs_to_a_peer_that_does_not_read_are_dropped_and_counted_but_not_the_close(is_closing):
    paper = PaperSocket()
    if is_closing:
        paper.socket.close(1001)
    paper.transport.unsent_bytes = UNSENT_BYTES_MAX + 1
    paper.feed([frame(b"x", PING)] * 1000 + [close_frame(1001)])

    assert [(CLOSE, (1001).to_bytes(2))] == paper.frames()
    assert 1000 == paper.front.counters.unsent_dropped
    assert paper.transport.has_ended


@on_uvloop
async def test_a_peer_that_ends_without_reading_does_not_stay():
    async with Door(SocketLimits(close_s=5)) as door:
        peer, handler = await door.call()
        while door.sockets[0].send_text(bytes(100_000)):
            pass
        peer.socket.shutdown(socket.SHUT_WR)

        assert (None, False) == await handler.over()
        assert 1 == len(door.front.sockets)

        door.tend(after_s=5.1)
        await door.empty()


@pytest.mark.parametrize("how", ["closing", "ended", "gone", "refused"])
@on_uvloop
async def test_nothing_is_sent_where_nobody_listens(how):
    async with Door(admit=by_path) as door:
        if how == "refused":
            peer = await door.dial()
            await peer.send(request("/"))
            await peer.rest()
        else:
            peer, handler = await door.call()
        [sender] = door.sockets
        if how == "closing":
            sender.close(1001)
        elif how == "ended":
            await peer.send(close_frame())
            await handler.over()
        elif how == "gone":
            sender.abort()
            await door.empty()

        assert not sender.send_text(b"anybody?")
        assert 0 == door.counters.unsent_dropped


@on_uvloop
async def test_a_peer_that_breaks_the_rules_and_resets_at_once_harms_nobody():
    async with Door(admit=by_path) as door:
        for _ in range(20):
            peer, handler = await door.call()
            await peer.send(frame(b"x", reserved=7))
            peer.reset()
            await handler.over()
            refused = await door.dial()
            await refused.send(request("/"))
            refused.reset()
        await door.empty()

        assert 0 == door.counters.handler_faults


def test_an_end_is_told_once_whatever_comes_after():
    paper = PaperSocket()
    paper.feed([close_frame()])
    paper.socket.eof_received()
    paper.socket.connection_lost(None)
    paper.socket.close(1001)
    paper.socket.tend(1e12)

    assert [(1000, True)] == paper.handler.closes
    assert not paper.front.sockets


async def test_the_loop_of_the_standard_library_does_as_well():
    async with asyncio.timeout(10), Door() as door:
        peer, handler = await door.call()
        await peer.send(frame(text_of(500)) + close_frame())

        assert (1000, True) == await handler.over()
        assert [text_of(500)] == handler.texts
