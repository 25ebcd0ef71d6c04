import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.acs import reader as reader_module
from gateway.acs.errors import PacketError
from gateway.acs.packets import parse
from gateway.acs.reader import PacketReader

PCM = bytes(range(256)) * 2 + bytes(128)


def packet(
    stamp: str = "2024-11-15T19:16:12.925Z",
    participant: str = "8:acs:a",
    data: str | None = None,
    *,
    silent: bool = False,
) -> bytes:
    text = base64.b64encode(PCM).decode() if data is None else data
    payload = {
        "timestamp": stamp,
        "participantRawID": participant,
        "data": text,
        "silent": silent,
    }
    return json.dumps({"kind": "AudioData", "audioData": payload}, separators=(",", ":")).encode()


def read(reader: PacketReader, message: bytes) -> object:
    try:
        return reader.read(message)
    except PacketError as fault:
        return fault.error, fault.participant


def parsed(message: bytes) -> object:
    try:
        found = parse(message)
    except PacketError as fault:
        return fault.error, fault.participant
    return found[:4] if isinstance(found, tuple) else found


@pytest.fixture
def parses(monkeypatch):
    """What has been handed to the parser."""
    handed: list[bytes] = []

    def counting(message: bytes) -> object:
        handed.append(message)
        return parse(message)

    monkeypatch.setattr(reader_module, "parse", counting)
    return handed


def test_audio_laid_out_like_an_earlier_packet_is_not_parsed_again(parses):
    reader = PacketReader()
    reader.read(packet())
    parses.clear()

    message = packet(stamp="2024-11-15T19:16:13.005Z", data=base64.b64encode(PCM[::-1]).decode())

    assert parsed(message) == reader.read(message)
    assert [] == parses


def test_each_participant_and_its_silence_have_a_layout(parses):
    reader = PacketReader()
    messages = [
        packet(participant=f"8:acs:{name}", silent=silent)
        for name in "abc"
        for silent in (False, True)
    ]
    for message in messages:
        reader.read(message)
    parses.clear()

    assert [parsed(message) for message in messages] == [read(reader, each) for each in messages]
    assert [] == parses


VALUES = st.one_of(
    st.sampled_from(
        [
            "2024-11-15T19:16:12.925Z",
            "2024-11-15T19:16:12.92Z",
            "2024-11-15T19:16:12,925Z",
            "2024-13-15T19:16:12.925Z",
            "2000-01-01T00:00:00.001Z",
            "2024-11-15T19:16:12Z",
            "AAAA",
            "AAA=",
            "ASM=",
            "AA==",
            "A A=",
            "",
            'A"A=',
            "A\\u0041==",
            'AA==","data":"ASM=',
            'x","timestamp":"2000-01-01T00:00:00.001Z',
            "é",
        ]
    ),
    st.text(max_size=6),
)


@st.composite
def raw_packets(draw: st.DrawFn) -> bytes:
    """Audio packets of few shapes, with values put in as they are, quotes and all."""
    shape = draw(
        st.sampled_from(
            [
                '{"kind":"AudioData","audioData":{"timestamp":"%s","participantRawID":"p",'
                '"data":"%s","silent":false}}',
                '{"kind":"AudioData","audioData":{"timestamp":"%s","data":"%s","silent":true}}',
                '{"kind":"AudioData","audioData":{"timestamp":"%s","data":"%s","silent":false,'
                '"timestamp":"2000-01-01T00:00:00.001Z"}}',
                '{"kind":"AudioData","audioData":{"timestamp":"%s","data":"%s","silent":false,'
                '"data":"ASM="}}',
                '{"timestamp":"%s","kind":"AudioData","audioData":{"data":"%s","silent":false,'
                '"timestamp":"2024-11-15T19:16:12.925Z"}}',
                '{"kind":"AudioData","audioData":{"timestamp":"%s","data":"%s","silent":false,'
                '"mark":{"id":"m"}}}',
                '{"kind":"DtmfData","dtmfData":{"timestamp":"%s","data":"%s"}}',
            ]
        )
    )
    return (shape % (draw(VALUES), draw(VALUES))).encode(errors="surrogatepass")


@given(st.lists(raw_packets(), min_size=1, max_size=8))
@example([packet(), packet()[:-1], packet(), b"", b"{}"])
def test_whatever_was_read_before_a_packet_is_what_the_parser_says(messages):
    reader = PacketReader()

    assert [parsed(each) for each in messages] == [read(reader, each) for each in messages]


@given(st.integers(0, len(packet()) - 1), st.integers(0, 255))
def test_one_changed_byte_is_noticed_wherever_it_is(place, byte):
    reader = PacketReader()
    reader.read(packet())
    message = packet()[:place] + bytes([byte]) + packet()[place + 1 :]

    assert parsed(message) == read(reader, message)


def test_layouts_that_never_come_again_do_not_pile_up(parses):
    reader = PacketReader()
    for number in range(200):
        reader.read(packet(participant=f"8:acs:{number:04}"))
    parses.clear()

    reader.read(packet(participant="8:acs:7777"))

    assert 1 == len(parses)
