"""The packets, read by plain `json` and held against the vectors of the wire format."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.packets import AudioPacket, dtmf, metadata, stamp

VECTORS = Path(__file__).parents[2] / "corpus" / "acs" / "vectors.jsonl"
UNIX_MS = 1_731_698_172_925


def vector(name: str) -> dict[str, Any]:
    for line in VECTORS.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if found["name"] == name:
            raw: dict[str, Any] = json.loads(found["raw"])
            return raw
    raise AssertionError(f"no vector {name}")


def shape(value: Any) -> Any:
    """Names and types of a packet, without regard to order."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return type(value)


def test_metadata_at_16_khz_has_the_shape_and_values_of_the_vector() -> None:
    expected = vector("meta_16k_docs")
    assert expected == json.loads(metadata(expected["audioMetadata"]["subscriptionId"], 16_000))


def test_metadata_at_24_khz_has_the_shape_and_values_of_the_vector() -> None:
    expected = vector("meta_24k")
    assert expected == json.loads(metadata(expected["audioMetadata"]["subscriptionId"], 24_000))


@pytest.mark.parametrize("name", ["audio_16k_unmixed", "audio_24k_unmixed"])
def test_audio_of_a_vector_is_written_as_the_vector(name: str) -> None:
    expected = vector(name)
    audio = expected["audioData"]
    packet = AudioPacket(audio["participantRawID"])
    text = packet.of(base64.b64decode(audio["data"]), UNIX_MS, silent=False)
    assert expected == json.loads(text)


def test_members_of_audio_come_in_the_documented_order() -> None:
    audio = json.loads(AudioPacket("8:acs:x").of(bytes(640), UNIX_MS, silent=True))
    assert list(audio) == ["kind", "audioData"]
    assert list(audio["audioData"]) == ["timestamp", "participantRawID", "data", "silent"]


def test_silent_audio_has_the_shape_of_the_vector_and_its_bytes() -> None:
    expected = vector("audio_silent_zeros")
    participant = expected["audioData"]["participantRawID"]
    text = AudioPacket(participant).of(bytes(640), UNIX_MS, silent=True)
    assert expected == json.loads(text)


def test_mixed_audio_names_no_participant() -> None:
    audio = json.loads(AudioPacket(None).of(b"\1\0", UNIX_MS, silent=False))["audioData"]
    assert list(audio) == ["timestamp", "data", "silent"]


def test_bare_tone_is_the_documented_packet() -> None:
    assert vector("dtmf_pound") == json.loads(dtmf("#", None, None))


def test_full_tone_has_the_shape_and_values_of_the_vector() -> None:
    assert vector("dtmf_full") == json.loads(dtmf("5", UNIX_MS, "4:+15551230001"))


def test_no_packet_has_a_shape_that_no_vector_has() -> None:
    shapes = [
        shape(json.loads(found["raw"]))
        for found in map(json.loads, VECTORS.read_text(encoding="utf-8").splitlines())
        if "error" not in found["expect"]
    ]
    made = [
        metadata("s", 16_000),
        AudioPacket("8:acs:x").of(bytes(640), UNIX_MS, silent=True),
        dtmf("*", None, None),
        dtmf("*", UNIX_MS, "8:acs:x"),
    ]
    assert [text for text in made if shape(json.loads(text)) not in shapes] == []


@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary(max_size=960), st.booleans())
def test_audio_comes_back_from_plain_json(participant: str, pcm: bytes, silent: bool) -> None:
    audio = json.loads(AudioPacket(participant).of(pcm, UNIX_MS, silent=silent))["audioData"]
    assert participant == audio["participantRawID"]
    assert pcm == base64.b64decode(audio["data"], validate=True)
    assert silent is audio["silent"]


@given(st.integers(1_500_000_000_000, 4_000_000_000_000))
def test_stamps_have_three_digits_and_z(unix_ms: int) -> None:
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp(unix_ms))


def test_stamp_is_the_instant_in_utc() -> None:
    assert stamp(UNIX_MS) == b"2024-11-15T19:16:12.925Z"
