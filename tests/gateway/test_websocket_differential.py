"""The front's sockets against another implementation of RFC 6455, which must agree: wsproto.

Where the two may differ, and why:

- An end that RFC 6455 leaves open: a close frame in the middle of a fragmented message is an
  error to us, and a close like any other to wsproto.
- Text that is no UTF-8: the handler looks at whole messages, wsproto at every byte. So in a
  fragment that is not the last one wsproto ends earlier, and what then comes first ends us.
- A close frame with two faults, in its code and in its reason, fails with 1002 or 1007.
- Close code 1014 is registered; wsproto does not know it, and fails.
- A length in a longer form than it needs, and one of more than 63 bits: wsproto fails with 1002. We
  read the one, which only the sender is forbidden, and answer the other with 1009. Not drawn here.
"""

from itertools import chain, pairwise
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st
from media_door import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_frame, frame
from paper_socket import PaperSocket
from wsproto import events
from wsproto.connection import Connection, ConnectionState, ConnectionType

from gateway.front import SocketLimits

#: Nothing that is drawn is too long: wsproto has no limit.
LIMITS = SocketLimits(message_bytes_max=1024 * 1024)
INVALID_UTF8 = 1007
BROKEN, NOT_UTF8 = ("failed", 1002), ("failed", INVALID_UTF8)


class Outcome(NamedTuple):
    """What one side made of a stream of bytes."""

    messages: list[tuple[bytes, bool]]
    pongs: list[bytes]
    end: tuple[str, int] | None  # `closed` by the peer with a code, `failed` with one
    is_in_message: bool = False  # it ended before the last fragment of a message
    last_opcode: int | None = None  # of the frame at which it ended


def is_utf8(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True


def ours(pieces: list[bytes]) -> Outcome:
    paper = PaperSocket(LIMITS, lambda message: 0)
    handler = paper.handler
    handler.answer = lambda message: (
        INVALID_UTF8 if handler.messages[-1][1] and not is_utf8(message) else 0
    )
    paper.feed(pieces)
    written = paper.frames()
    closes = [payload for opcode, payload in written if opcode == CLOSE]
    assert len(closes) <= 1
    if closes and not paper.transport.has_ended:
        assert INVALID_UTF8 == int.from_bytes(closes[0][:2])
        paper.socket.connection_lost(None)  # the peer has not answered
    assert bool(closes) == bool(handler.closes)
    end = None
    if closes:
        [(code, proper)] = handler.closes
        sent = int.from_bytes(closes[0][:2]) if closes[0] else 1005
        end = ("closed" if proper and sent == code else "failed", sent)
    return Outcome(
        [(message, text) for message, text in handler.messages if not text or is_utf8(message)],
        [payload for opcode, payload in written if opcode == PONG],
        end,
    )


def theirs(frames: list[bytes]) -> Outcome:
    connection = Connection(ConnectionType.SERVER)
    messages, pongs = [], []
    fragments: list[bytes] = []
    for data in frames:
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, events.Ping):
                pongs.append(bytes(event.payload))
            elif isinstance(event, events.TextMessage | events.BytesMessage):
                text = isinstance(event, events.TextMessage)
                fragments.append(event.data.encode() if text else bytes(event.data))
                if event.message_finished:
                    messages.append((b"".join(fragments), text))
                    fragments = []
            elif isinstance(event, events.CloseConnection):
                is_closed = connection.state is ConnectionState.REMOTE_CLOSING
                end = ("closed" if is_closed else "failed", int(event.code))
                is_in_message = bool(fragments) if is_closed else not data[0] & 0x80
                return Outcome(messages, pongs, end, is_in_message, data[0] & 0x0F)
    return Outcome(messages, pongs, None)


def payload_of(length: int, unit: bytes) -> bytes:
    return (unit * (length // len(unit) + 1))[:length]


lengths = st.one_of(
    st.integers(0, 300),
    st.sampled_from([0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537]),
    st.integers(0, 70_000),
)
#: Text of one to four bytes a character, whose last may be cut; and what is no text.
units = st.sampled_from([b"a", b"{", "é".encode(), "€".encode(), "😀".encode(), b"\0", b"\xffa"])
payloads = st.builds(payload_of, lengths, units)
short_payloads = st.builds(payload_of, st.integers(0, 125), units)
masks = st.binary(min_size=4, max_size=4)

whole = st.builds(frame, payloads, st.sampled_from([TEXT, TEXT, BINARY]), mask=masks)
controls = st.builds(frame, short_payloads, st.sampled_from([PING, PONG]), mask=masks)


@st.composite
def fragmented(draw):
    """A message in two to four fragments, split anywhere, with control frames in between."""
    payload = draw(payloads)
    places = sorted(draw(st.lists(st.integers(0, len(payload)), min_size=1, max_size=3)))
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    frames = []
    for begin, end in pairwise([0, *places]):
        frames.append(frame(payload[begin:end], opcode, fin=False, mask=draw(masks)))
        frames += draw(st.lists(controls, max_size=1))
        opcode = CONT
    return [*frames, frame(payload[places[-1] :], CONT, mask=draw(masks))]


close_codes = st.one_of(
    st.sampled_from([None, 1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 1016]),
    st.integers(0, 65_535),
)
closes = st.builds(close_frame, close_codes, st.builds(payload_of, st.integers(0, 123), units))
#: Anything that has a mask or not, and any bits.
wild = st.builds(
    frame,
    st.one_of(short_payloads, payloads),
    st.integers(0, 15),
    fin=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 1, 2, 4, 7]),
    mask=st.one_of(masks, masks, masks, st.none()),
)
#: Valid frames of a kind that is not always right where it stands.
misplaced = st.builds(
    frame,
    payloads,
    st.sampled_from([CONT, TEXT, BINARY]),
    fin=st.booleans(),
    mask=masks,
)
one = st.one_of(whole, controls).map(lambda data: [data])
streams = st.one_of(
    st.lists(st.one_of(one, fragmented(), closes.map(lambda data: [data])), max_size=8),
    st.lists(st.one_of(one, fragmented(), misplaced.map(lambda data: [data])), max_size=8),
    st.lists(st.one_of(whole, misplaced, wild, closes).map(lambda data: [data]), max_size=8),
).map(lambda runs: list(chain.from_iterable(runs)))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(borders)]


@settings(max_examples=600)
@given(frames=streams, places=st.lists(st.integers(0, 300_000), max_size=20))
@example(frames=[close_frame(1014)], places=[])
@example(frames=[frame(b"a", fin=False), close_frame(1000)], places=[])
@example(frames=[frame(b"\xff", fin=False), frame(b"", CONT, fin=False), frame(b"x")], places=[])
@example(frames=[frame(b"\xff", fin=False), frame(b"", CONT), frame(b"x")], places=[])
def test_both_deliver_the_same_answer_the_same_and_end_the_same(frames, places):
    us, them = ours(cut(b"".join(frames), places)), theirs(frames)

    assert them.messages == us.messages
    if them.is_in_message and them.end == NOT_UTF8:
        assert them.pongs == us.pongs[: len(them.pongs)]
        assert us.end is None or us.end[0] == "failed"
        return
    assert them.pongs == us.pongs
    if them.is_in_message and them.end is not None and them.end[0] == "closed":
        assert us.end == BROKEN
    elif them.last_opcode == CLOSE and them.end != us.end:
        assert {them.end, us.end} in ({BROKEN, NOT_UTF8}, {BROKEN, ("closed", 1014)})
    else:
        assert them.end == us.end
