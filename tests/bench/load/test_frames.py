import itertools
import json
from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from bench.load.frames import (
    PCM_BYTES,
    PING,
    PONG,
    TEXT,
    VARIANTS,
    Speech,
    audio_frames,
    masked,
    opening,
    pings,
)


def read(*frames: bytes) -> list[Frame]:
    """What a server of the `websockets` library reads."""
    server = ServerProtocol(max_size=None)
    server.receive_data(
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    server.receive_data(b"".join(frames))
    return [event for event in server.events_received() if isinstance(event, Frame)]


@given(st.text(max_size=300), st.binary(min_size=4, max_size=4))
def test_masked_frame_is_read_as_it_was_meant(text: str, key: bytes) -> None:
    (frame,) = read(masked(TEXT, text.encode(), key))

    assert (Opcode.TEXT, True, text.encode()) == (frame.opcode, frame.fin, frame.data)


def test_pong_is_a_pong() -> None:
    (frame,) = read(masked(PONG, b"hello", b"abcd"))

    assert (Opcode.PONG, b"hello") == (frame.opcode, frame.data)


def test_socket_begins_with_metadata() -> None:
    (frame,) = read(opening())

    assert "AudioMetadata" == json.loads(frame.data)["kind"]


def test_audio_frames_are_20_ms_apart_and_of_one_length() -> None:
    frames = list(itertools.islice(audio_frames(1_731_698_172_990), 3))

    stamps = [json.loads(frame.data)["audioData"]["timestamp"] for frame in read(*frames)]
    assert [f"2024-11-15T19:16:1{at}Z" for at in ("2.990", "3.010", "3.030")] == stamps
    assert {len(frames[0])} == {len(frame) for frame in frames}


def test_audio_frames_of_one_seed_hold_the_same_audio() -> None:
    (one,) = read(next(audio_frames(0)))
    (other,) = read(next(audio_frames(0)))

    assert one.data == other.data
    assert PCM_BYTES * 4 / 3 < len(json.loads(one.data)["audioData"]["data"])


def test_pings_are_found_among_other_frames() -> None:
    data = b"\x81\x02hi" + b"\x89\x00" + b"\x89\x03abc" + bytes((0x88, 2, 3, 232))

    assert [b"", b"abc"] == pings(data)
    assert PING == data[4] & 0x0F


def test_no_two_streams_say_the_same() -> None:
    speech = Speech(2, seed=1)
    said = {
        speech.pcm(tick, variant, stream)
        for tick in range(10)
        for variant in range(VARIANTS)
        for stream in range(2)
    } | {Speech(2, seed=2).pcm(tick, 0, 0) for tick in range(10)}

    assert 10 * VARIANTS * 2 + 10 == len(said)


def test_frames_of_a_tick_are_of_each_variant_and_stream() -> None:
    speech = Speech(2, rate=24_000)

    frames = speech.frames(7, 1_731_698_172_990)

    (frame,) = read(frames[3][1])
    audio = json.loads(frame.data)["audioData"]
    assert (VARIANTS, 2) == (len(frames), len(frames[0]))
    assert speech.participant(1) == audio["participantRawID"]
    assert speech.pcm(7, 3, 1) == b64decode(audio["data"])
    assert 960 == len(speech.pcm(7, 3, 1))


def test_mixed_stream_names_nobody() -> None:
    (frame,) = read(Speech(1, mixed=True).frames(0, 0)[0][0])

    assert "participantRawID" not in json.loads(frame.data)["audioData"]
