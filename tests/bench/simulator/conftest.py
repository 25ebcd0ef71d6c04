"""Recordings and servers made by hand: nothing here comes from what they are to check."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from bench.simulator.checker import SentCall, SentTone
from bench.simulator.compare import SentTrack

RATE = 16_000
PACKET = 320


def wav_bytes(pcm: np.ndarray, rate: int = RATE) -> bytes:
    data = pcm.astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


class Recording:
    """A folder with a manifest; `change` edits the manifest, `write` a file and what names it."""

    def __init__(self, folder: Path, sent: SentCall, state: str = "complete") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._rate = sent.sample_rate
        tracks = [self._track(number, track) for number, track in enumerate(sent.tracks)]
        total = np.zeros(max(t.start + len(t.pcm) for t in sent.tracks), np.int64)
        for track in sent.tracks:
            total[track.start : track.start + len(track.pcm)] += track.expected()
        mix = np.clip(total, -32768, 32767).astype(np.int16)
        self.manifest: dict[str, Any] = {
            "schema": "acs-ingest.recording/1",
            "state": state,
            "call_id": sent.call_id,
            "correlation_id": sent.correlation_id,
            "started_at": "2026-11-23T10:00:00.000000Z",
            "ended_at": "2026-11-23T10:00:04.000000Z",
            "sample_rate": sent.sample_rate,
            "tracks": tracks,
            "mixed": {"file": "mixed.wav", **self._store("mixed.wav", mix)},
            "events": [
                {
                    "kind": "dtmf",
                    "at": "2026-11-23T10:00:01.000000Z",
                    "offset_us": 1_000_000,
                    "participant": tone.participant,
                    "data": {"kind": "dtmf", "tone": tone.tone},
                }
                for tone in sent.tones
            ],
            "sessions": [],
            "revision": 1,
        }
        self.save()

    def save(self) -> None:
        (self.folder / "manifest.json").write_text(json.dumps(self.manifest))

    def change(self, **members: Any) -> None:
        self.manifest |= members
        self.save()

    def write(self, track: int, pcm: np.ndarray) -> None:
        """Put other samples into a track, as a recorder that is wrong in good faith would."""
        entry = self.manifest["tracks"][track]
        entry |= self._store(entry["file"], pcm)
        self.save()

    def pcm(self, track: int) -> np.ndarray:
        raw = (self.folder / self.manifest["tracks"][track]["file"]).read_bytes()
        return np.frombuffer(raw[44:], "<i2").copy()

    def _store(self, name: str, pcm: np.ndarray) -> dict[str, Any]:
        raw = wav_bytes(pcm, self._rate)
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(raw)
        return {"samples": len(pcm), "sha256": hashlib.sha256(raw).hexdigest()}

    def _track(self, number: int, track: SentTrack) -> dict[str, Any]:
        name = f"tracks/{number}.wav"
        gaps = [
            {
                "start_us": first * 1_000_000 // self._rate,
                "length_us": count * 1_000_000 // self._rate,
            }
            for first, count in track.holes
        ]
        counters = dict.fromkeys(("lost", "late", "dropped", "filled", "bad"), 0)
        counters |= {"received": track.packets, "silent": track.silent}
        counters["lost"] = sum(count for _, count in track.holes) // (self._rate // 50)
        return {
            "participant": track.participant,
            "file": name,
            "sample_rate": self._rate,
            "started_at": "2026-11-23T10:00:00.000000Z",
            "offset_us": track.start * 1_000_000 // self._rate,
            "packets": counters,
            "gaps": [{**gap, "cause": "not_received"} for gap in gaps],
            **self._store(name, track.expected()),
        }


def sent_track(participant: str | None, seed: int, packets: int = 200) -> SentTrack:
    """Noise at half of full scale with a silent packet now and then."""
    rng = np.random.default_rng(seed)
    pcm = rng.integers(-20_000, 20_000, packets * PACKET).astype(np.int16)
    pcm.reshape(-1, PACKET)[5::20] = 0
    return SentTrack(participant, pcm, packets=packets, silent=len(range(5, packets, 20)))


@pytest.fixture
def sent() -> SentCall:
    """Four seconds of two participants, with two tones."""
    return SentCall(
        "6a1b",
        RATE,
        [sent_track("8:acs:one", 1), sent_track("4:+15551230001", 2)],
        "correlation",
        [SentTone("3"), SentTone("#", "4:+15551230001")],
    )


@pytest.fixture
def recording(tmp_path: Path, sent: SentCall) -> Recording:
    """The right recording of `sent`."""
    return Recording(tmp_path / "recordings" / "2026" / "11" / "23" / "any", sent)


class Record(Protocol):
    def __call__(self, folder: Path, sent: SentCall, state: str = "complete") -> Recording: ...


@pytest.fixture
def record() -> Record:
    """Makes the right recording of any call."""
    return Recording


@pytest.fixture
def wav() -> Callable[[np.ndarray, int], bytes]:
    """A whole WAV file of the samples."""
    return wav_bytes


Handler = Callable[[ServerConnection], Awaitable[None]]


class Heard:
    """What a server of the test got: by call id the texts, and the headers of the upgrade."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.correlation_ids: list[str] = []
        self._over: list[asyncio.Future[None]] = []

    async def settle(self) -> None:
        """Wait until all that was sent is in: a socket may be closed before it was read."""
        async with asyncio.timeout(10):
            await asyncio.gather(*self._over)

    async def listen(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = connection.request.headers
        self.correlation_ids.append(headers["x-ms-call-correlation-id"])
        texts = self.texts.setdefault(headers["x-ms-call-connection-id"], [])
        over = asyncio.get_running_loop().create_future()
        self._over.append(over)
        async for text in connection:
            assert isinstance(text, str)
            texts.append(text)
        over.set_result(None)


@pytest.fixture
def heard() -> Heard:
    return Heard()


class Serve(Protocol):
    async def __call__(self, handler: Handler, **settings: Any) -> str: ...


@pytest.fixture
async def serving() -> Any:
    """Starts servers on ports of their own; gives the URL, and stops them after the test."""
    servers = []

    async def start(handler: Handler, **settings: Any) -> str:
        settings = {"compression": None, "close_timeout": 1, **settings}
        server = await serve(handler, "127.0.0.1", 0, **settings)
        servers.append(server)
        scheme = "wss" if "ssl" in settings else "ws"
        return f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/media"

    yield start
    for server in servers:
        server.close()
        async with asyncio.timeout(10):
            await server.wait_closed()
