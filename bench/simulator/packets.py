"""What ACS says on the media socket, as the bytes of one JSON text each.

Names, order and types of the members are the documented ones: `AudioMetadata` first, then
`AudioData` and `DtmfData`. Nothing here knows of sockets or clocks.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache

from pybase64 import b64encode


@lru_cache(maxsize=4096)
def _second(unix_s: int) -> bytes:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def stamp(unix_ms: int) -> bytes:
    """`2024-11-15T19:16:12.925Z`: UTC, milliseconds, `Z`."""
    second, ms = divmod(unix_ms, 1000)
    return b"%b.%03dZ" % (_second(second), ms)


def metadata(subscription_id: str, rate: int) -> bytes:
    """The first packet of a socket; `length` is the bytes of 20 ms at `rate`."""
    payload = {
        "subscriptionId": subscription_id,
        "encoding": "PCM",
        "sampleRate": rate,
        "channels": 1,
        "length": rate // 50 * 2,
    }
    return _packet("AudioMetadata", "audioMetadata", payload)


class AudioPacket:
    """One track's audio packets: all that stays the same is written out once."""

    __slots__ = ("_before_data",)

    def __init__(self, participant: str | None) -> None:
        """`participant` is the raw id, or None for the one stream of mixed audio."""
        who = b"" if participant is None else b'"participantRawID":%b,' % _text(participant)
        self._before_data = b'Z",' + who + b'"data":"'

    def of(self, pcm: bytes, unix_ms: int, *, silent: bool) -> bytes:
        """The packet of `pcm` (20 ms, int16 little-endian) received at `unix_ms`."""
        return b"".join(
            (
                b'{"kind":"AudioData","audioData":{"timestamp":"',
                stamp(unix_ms)[:-1],
                self._before_data,
                b64encode(pcm),
                b'","silent":true}}' if silent else b'","silent":false}}',
            )
        )


def dtmf(tone: str, unix_ms: int | None, participant: str | None) -> bytes:
    """A key was pressed. Without stamp and participant it is the form that the documents print."""
    payload: dict[str, object] = {"data": tone}
    if unix_ms is not None:
        payload["timestamp"] = stamp(unix_ms).decode()
    if participant is not None:
        payload["participantRawID"] = participant
    return _packet("DtmfData", "dtmfData", payload)


def _packet(kind: str, member: str, payload: dict[str, object]) -> bytes:
    return json.dumps(
        {"kind": kind, member: payload}, separators=(",", ":"), ensure_ascii=False
    ).encode()


def _text(value: str) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
