"""One message of the media socket to one packet. Pure: bytes in, packet or `PacketError` out.

Strict where wrong audio could come of it (base64, byte count, field types), lenient in the rest:
member names in any case, unknown members and kinds, timestamps, whatever is missing or null.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import ClassVar

import orjson
import pybase64

from gateway.acs.errors import PacketError
from gateway.acs.members import InexactIntegerError, Members
from gateway.acs.timestamps import timestamp_us

MESSAGE_BYTES_MAX = 65_536

AudioData = tuple[str | None, bytes, bool, int | None, str | None, str | None]
"""(participant raw id, pcm, silent, stamp_us, timestamp as sent, mark id).

A plain tuple because it is made 50 times a second for every participant.
"""

Word = tuple[str | None, int | None, int | None]
"""(text, offset, duration), the latter two in units of 100 ns."""


@dataclass(frozen=True, slots=True)
class AudioMetadata:
    """The stream's format as announced. Any number is passed on: whether to believe it, and what
    to do without it, is for the reader to say. `length` is not the frame size."""

    kind: ClassVar[str] = "audio_metadata"
    subscription_id: str | None
    encoding: str | None
    sample_rate: int | None
    channels: int | None
    length: int | None


@dataclass(frozen=True, slots=True)
class DtmfData:
    """One tone, as sent: a character, or a word that we do not know."""

    kind: ClassVar[str] = "dtmf"
    tone: str
    timestamp: str | None
    timestamp_us: int | None
    participant: str | None


@dataclass(frozen=True, slots=True)
class TranscriptionMetadata:
    """What opens a transcription."""

    kind: ClassVar[str] = "transcription_metadata"
    subscription_id: str | None
    locale: str | None
    call_connection_id: str | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class TranscriptionData:
    """A piece of recognised speech. `offset` and `duration` in units of 100 ns; `status` in lower
    case. Intermediate results have no `confidence` and no `words`."""

    kind: ClassVar[str] = "transcription"
    text: str | None
    format: str | None
    confidence: float | None
    offset: int | None
    duration: int | None
    words: tuple[Word, ...]
    participant: str | None
    status: str | None


@dataclass(frozen=True, slots=True)
class MarkData:
    """The service has played, or thrown away, audio that we had marked. `status` in lower case."""

    kind: ClassVar[str] = "mark"
    id: str | None
    status: str | None


@dataclass(frozen=True, slots=True)
class StopAudio:
    """Sent to the service, never by it: drop what waits to be played."""

    kind: ClassVar[str] = "stop_audio"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A kind that we do not know: to be counted and ignored."""

    kind: ClassVar[str] = "unknown"
    raw_kind: str


Event = (
    AudioMetadata
    | DtmfData
    | TranscriptionMetadata
    | TranscriptionData
    | MarkData
    | StopAudio
    | Unknown
)
Packet = AudioData | Event


def parse(message: bytes) -> Packet:
    """The packet in one whole message (undecoded UTF-8). Raises `PacketError`, nothing else."""
    if len(message) > MESSAGE_BYTES_MAX:
        raise PacketError("too_large")
    try:
        document = orjson.loads(message)
    except orjson.JSONDecodeError:
        raise PacketError("not_json") from None
    if type(document) is dict and document.get("kind") == "AudioData":
        payload = document.get("audioData")
        if type(payload) is dict:
            packet = _plain_audio(payload)
            if packet is not None:
                return packet
    try:
        return _packet(document)
    except InexactIntegerError:
        return _packet(_reread(message))


def normalise(packet: Packet) -> dict[str, object]:
    """The packet as JSON values: `kind` and the members of its class, all present.

    Audio gives `pcm_len` and `pcm_hex` (up to 16 bytes) or `pcm_sha256`, and `mark` only if sent.
    """
    if isinstance(packet, tuple):
        return _normalised_audio(packet)
    members = {field.name: getattr(packet, field.name) for field in fields(packet)}
    if isinstance(packet, TranscriptionData):
        members["words"] = [list(word) for word in packet.words]
    return {"kind": packet.kind, **members}


def _normalised_audio(packet: AudioData) -> dict[str, object]:
    participant, pcm, silent, stamp_us, text, mark = packet
    result: dict[str, object] = {"kind": "audio", "pcm_len": len(pcm)}
    if len(pcm) <= 16:
        result["pcm_hex"] = pcm.hex()
    else:
        result["pcm_sha256"] = sha256(pcm).hexdigest()
    result |= {
        "timestamp": text,
        "timestamp_us": stamp_us,
        "participant": participant,
        "silent": silent,
    }
    if mark is not None:
        result["mark"] = mark
    return result


def _plain_audio(payload: dict[str, object]) -> AudioData | None:
    """What `_audio` gives, sooner, for a payload as the service sends it; else `None`."""
    participant = payload.get("participantRawID")
    data = payload.get("data")
    text = payload.get("timestamp")
    silent = payload.get("silent")
    if type(data) is not str or type(text) is not str or type(silent) is not bool:
        return None
    # An exact name beats every other: of further members only a mark counts, or a participant
    # under another name.
    if type(participant) is str:
        if len(payload) != 4 and "mark" in map(str.lower, payload):
            return None
    elif participant is not None or len(payload) != 3 + ("participantRawID" in payload):
        return None
    participant = participant or None
    return participant, _pcm(data, participant), silent, timestamp_us(text), text, None


def _reread(message: bytes) -> object:
    """A message that orjson has accepted, with integers of any size exact."""
    try:
        return json.loads(message.decode())
    except RecursionError:  # the standard parser gives up at a lesser depth
        raise PacketError("not_json") from None


def _packet(document: object) -> Packet:
    """What `parse` does, for every shape."""
    if not isinstance(document, dict):
        raise PacketError("not_object")
    members = Members(document)
    kind = members.value("kind")
    if not isinstance(kind, str):
        raise PacketError("no_kind")
    if kind.lower() == "stopaudio":
        return StopAudio()
    known = _PAYLOADS.get(kind.lower())
    if known is None:
        return Unknown(kind)
    name, read = known
    payload = members.value(name)
    if not isinstance(payload, dict):
        raise PacketError("no_payload")
    return read(Members(payload))


def _audio(members: Members) -> AudioData:
    participant = _participant(members)
    try:
        silent = members.boolean("silent", "isSilent") or False
        data = members.text("data") or ""
    except PacketError as fault:
        raise PacketError(fault.error, participant) from None
    text, stamp_us = _timestamp(members)
    return participant, _pcm(data, participant), silent, stamp_us, text, _mark(members)


def _audio_metadata(members: Members) -> AudioMetadata:
    return AudioMetadata(
        subscription_id=members.text("subscriptionId", "mediaSubscriptionId"),
        encoding=members.text("encoding"),
        sample_rate=members.integer("sampleRate"),
        channels=members.integer("channels"),
        length=members.integer("length", "dataLength"),
    )


def _dtmf(members: Members) -> DtmfData:
    participant = _participant(members)
    tone = members.value("data")
    if not isinstance(tone, str) or not tone:
        raise PacketError("bad_field", participant)
    text, stamp_us = _timestamp(members)
    return DtmfData(tone, text, stamp_us, participant)


def _transcription_metadata(members: Members) -> TranscriptionMetadata:
    return TranscriptionMetadata(
        subscription_id=members.text("subscriptionId"),
        locale=members.text("locale"),
        call_connection_id=members.text("callConnectionId"),
        correlation_id=members.text("correlationId"),
    )


def _transcription(members: Members) -> TranscriptionData:
    return TranscriptionData(
        text=members.text("text"),
        format=members.text("format"),
        confidence=members.number("confidence"),
        offset=members.integer("offset"),
        duration=members.integer("duration"),
        words=_words(members),
        participant=_participant(members),
        status=_status(members, "resultStatus"),
    )


def _mark_data(members: Members) -> MarkData:
    return MarkData(id=members.text("id"), status=_status(members, "status"))


#: By kind in lower case: the payload's name and what reads it.
_PAYLOADS: dict[str, tuple[str, Callable[[Members], Packet]]] = {
    "audiodata": ("audioData", _audio),
    "audiometadata": ("audioMetadata", _audio_metadata),
    "dtmfdata": ("dtmfData", _dtmf),
    "transcriptionmetadata": ("transcriptionMetadata", _transcription_metadata),
    "transcriptiondata": ("transcriptionData", _transcription),
    "markdata": ("markData", _mark_data),
}


def _pcm(data: str, participant: str | None) -> bytes:
    try:
        pcm = pybase64.b64decode(data, None, True)
    except ValueError:  # also what binascii raises
        raise PacketError("bad_base64", participant) from None
    if len(pcm) & 1:
        raise PacketError("odd_length", participant)
    return pcm


def _participant(members: Members) -> str | None:
    """The raw id: text, or in an SDK's spelling an identifier object that holds it. Empty: none."""
    raw_id = members.value("participantRawID")
    if raw_id is None:
        raw_id = members.value("participant")
        if isinstance(raw_id, dict):
            raw_id = Members(raw_id).value("rawId")
    if raw_id is not None and not isinstance(raw_id, str):
        raise PacketError("bad_field")
    return raw_id or None


def _timestamp(members: Members) -> tuple[str | None, int | None]:
    text = members.value("timestamp")
    return (text, timestamp_us(text)) if isinstance(text, str) else (None, None)


def _mark(members: Members) -> str | None:
    """The id of an echoed mark. It is preview: one of a wrong shape does not cost the audio."""
    mark = members.value("mark")
    mark_id = Members(mark).value("id") if isinstance(mark, dict) else None
    return mark_id if isinstance(mark_id, str) else None


def _status(members: Members, name: str) -> str | None:
    status = members.text(name)
    return None if status is None else status.lower()


def _words(members: Members) -> tuple[Word, ...]:
    words = members.value("words")
    if words is None:
        return ()
    if not isinstance(words, list):
        raise PacketError("bad_field")
    return tuple(_word(word) for word in words)


def _word(word: object) -> Word:
    if not isinstance(word, dict):
        raise PacketError("bad_field")
    members = Members(word)
    return members.text("text"), members.integer("offset"), members.integer("duration")
