"""ACS packets for tests: the smallest that carry what a test is about."""

import base64
import json
from datetime import UTC, datetime, timedelta

ZERO = datetime(2024, 11, 15, 19, 16, 12, 925_000, tzinfo=UTC)
ZERO_US = 1_731_698_172_925_000


def stamp(ms: float) -> str:
    """A time stamp `ms` after `ZERO`, with milliseconds and Z."""
    at = ZERO + timedelta(milliseconds=ms)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def pcm(number: int, samples: int = 320) -> bytes:
    """PCM that no other number has."""
    return number.to_bytes(4, "little") * (samples // 2) + bytes(samples % 2 * 2)


def audio(
    participant: str | None, data: bytes, timestamp: str | None, *, silent: bool = False
) -> bytes:
    """One AudioData packet."""
    payload = {
        "timestamp": timestamp,
        "participantRawID": participant,
        "data": base64.b64encode(data).decode(),
        "silent": silent,
    }
    return json.dumps({"kind": "AudioData", "audioData": payload}).encode()


def metadata(rate: int = 16_000) -> bytes:
    """AudioMetadata as the documentation prints it."""
    payload = {
        "subscriptionId": "89e8cb59-b991-48b0-b154-1db84f16a077",
        "encoding": "PCM",
        "sampleRate": rate,
        "channels": 1,
        "length": rate // 25,
    }
    return json.dumps({"kind": "AudioMetadata", "audioMetadata": payload}).encode()


def dtmf(tone: str) -> bytes:
    """One DtmfData packet."""
    return json.dumps({"kind": "DtmfData", "dtmfData": {"data": tone}}).encode()
