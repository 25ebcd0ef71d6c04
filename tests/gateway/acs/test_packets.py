import base64
import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.acs.errors import PacketError
from gateway.acs.packets import MESSAGE_BYTES_MAX, Unknown, normalise, parse

CORPUS = Path(__file__).parents[2] / "corpus" / "acs"
CASES = [
    json.loads(line)
    for name in ("vectors.jsonl", "more.jsonl")
    for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()
]


def outcome(message: bytes) -> object:
    """What a message gives, in a form that can be compared."""
    try:
        return parse(message)
    except PacketError as fault:
        return fault.error, fault.participant


def audio(**payload: object) -> bytes:
    return orjson.dumps({"kind": "AudioData", "audioData": payload})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_packet_gives_the_result_of_its_corpus_line(case: dict[str, Any]) -> None:
    try:
        result = normalise(parse(case["raw"].encode()))
    except PacketError as fault:
        result = {"error": fault.error}
    assert case["expect"] == result
    assert list(case["expect"]) == list(result)


def test_audio_is_a_tuple_in_the_documented_order() -> None:
    message = audio(
        data="AQACAA==",
        timestamp="2024-11-15T19:16:12.925Z",
        participantRawID="8:acs:a",
        silent=True,
        mark={"id": "m"},
    )
    expected = (
        "8:acs:a",
        b"\x01\x00\x02\x00",
        True,
        1731698172925000,
        "2024-11-15T19:16:12.925Z",
        "m",
    )
    assert expected == parse(message)


@pytest.mark.parametrize(
    "raw",
    [b'{"kind":"\xff"}', b'{"kind":"\xed\xa0\x80"}', b'{"kind":"\xc0\x80"}', b'{"kind":"\xe2\x82'],
    ids=["stray_byte", "encoded_surrogate", "overlong", "cut"],
)
def test_invalid_utf8_is_not_json(raw: bytes) -> None:
    assert outcome(raw) == ("not_json", None)


def test_message_of_the_greatest_size_is_parsed_and_one_byte_more_is_too_large() -> None:
    message = b'{"kind":"x"}'.ljust(MESSAGE_BYTES_MAX)
    assert Unknown("x") == parse(message)
    assert outcome(message + b" ") == ("too_large", None)


def test_size_counts_bytes_not_characters() -> None:
    message = orjson.dumps({"kind": "é" * (MESSAGE_BYTES_MAX // 2)})
    assert outcome(message) == ("too_large", None)


@pytest.mark.parametrize(
    ("error", "payload"),
    [
        ("bad_base64", {"data": "A", "silent": False, "timestamp": ""}),
        ("bad_base64", {"data": "A"}),
        ("odd_length", {"data": "AQ==", "silent": False, "timestamp": ""}),
        ("odd_length", {"data": "AQ=="}),
        ("bad_field", {"data": 5}),
        ("bad_field", {"silent": "true"}),
    ],
)
def test_bad_audio_names_its_speaker(error: str, payload: dict[str, object]) -> None:
    assert (error, "8:acs:a") == outcome(audio(participantRawID="8:acs:a", **payload))


def test_error_text_never_holds_the_speaker() -> None:
    with pytest.raises(PacketError) as raised:
        parse(audio(participantRawID="4:+15551230001", data="A"))
    assert str(raised.value) == "bad_base64"


def test_huge_integer_in_a_deeply_nested_document_raises_nothing_but_packet_error() -> None:
    nested = b"[" * 1000 + b"]" * 1000
    number = b"1" * 30
    message = b'{"kind":"TranscriptionData","transcriptionData":{"offset":%b},"x":%b}'
    assert outcome(message % (number, nested)) is not None


TEXTS = st.sampled_from(["", "AQACAA==", "AQ==", "A", "é", "8:acs:a", "2024-11-15T19:16:12.925Z"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    TEXTS,
    st.sampled_from([0, 1, -1, 2**63, 2**70, 0.5, 1e30]),
    st.sampled_from([{}, [], {"id": "m"}, {"Id": 5}, {"rawId": "r"}, {"RAWID": 1}]),
)
NAMES = st.sampled_from(
    [
        "data",
        "Data",
        "DATA",
        "timestamp",
        "Timestamp",
        "participantRawID",
        "participantRawId",
        "participant",
        "Participant",
        "silent",
        "Silent",
        "isSilent",
        "ISSILENT",
        "mark",
        "Mark",
        "MARK",
        "other",
    ]
)
PLAIN_PAYLOADS = st.fixed_dictionaries(
    {
        "timestamp": st.one_of(TEXTS, st.text()),
        "data": st.one_of(
            TEXTS, st.text(), st.binary().map(lambda b: base64.b64encode(b).decode())
        ),
        "silent": st.booleans(),
    },
    optional={
        "participantRawID": st.one_of(st.none(), st.text()),
        "mark": VALUES,
        "Mark": VALUES,
        "participant": VALUES,
        "PARTICIPANTRAWID": VALUES,
        "other": VALUES,
    },
)


@given(st.one_of(PLAIN_PAYLOADS, st.dictionaries(NAMES, VALUES, max_size=8)))
def test_short_way_and_long_way_agree(payload: dict[str, object]) -> None:
    expected = outcome(json.dumps({"Kind": "audiodata", "AudioData": payload}).encode())
    assert expected == outcome(json.dumps({"kind": "AudioData", "audioData": payload}).encode())


@given(st.binary())
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b"[" * MESSAGE_BYTES_MAX)
def test_bytes_of_any_kind_raise_nothing_but_packet_error(message: bytes) -> None:
    outcome(message)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KINDS = ["audio", "dtmf", "mark", "transcription"]
MEMBERS = [
    "data",
    "timestamp",
    "participantRawID",
    "participant",
    "silent",
    "mark",
    "id",
    "status",
    "subscriptionId",
    "encoding",
    "sampleRate",
    "channels",
    "length",
    "locale",
    "text",
    "confidence",
    "offset",
    "duration",
    "words",
    "resultStatus",
]


@given(
    st.sampled_from([*(f"{kind}Data" for kind in KINDS), "audioMetadata", "transcriptionMetadata"]),
    st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=6) | JSON,
)
def test_json_of_any_kind_gives_a_packet_that_is_json_or_an_error(name: str, payload: Any) -> None:
    try:
        packet = parse(json.dumps({"kind": name, name: payload}).encode())
    except PacketError:
        return
    result = normalise(packet)
    assert result == json.loads(json.dumps(result, allow_nan=False))


@given(st.binary(max_size=2000).map(lambda pcm: pcm[: len(pcm) // 2 * 2]))
def test_pcm_comes_out_as_it_went_in(pcm: bytes) -> None:
    packet = parse(audio(data=base64.b64encode(pcm).decode()))
    assert (None, pcm, False, None, None, None) == packet


ALMOST_BASE64 = st.text("AQaz09+/=-_ \n\té", max_size=70)
#: RFC 4648, section 4: whole groups of four, the last one padded. Python's own decoder takes more.
WHOLE_GROUPS = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@given(ALMOST_BASE64)
def test_base64_is_whole_groups_of_the_standard_alphabet_and_nothing_else(text: str) -> None:
    if WHOLE_GROUPS.fullmatch(text):
        pcm = base64.b64decode(text)
        whole = (None, pcm, False, None, None, None)
        expected: object = ("odd_length", None) if len(pcm) % 2 else whole
    else:
        expected = ("bad_base64", None)
    assert expected == outcome(audio(data=text))
