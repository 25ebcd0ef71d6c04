"""A recording made by hand: what the checker must find right, or find what is wrong with."""

import hashlib
import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.faults.sent import SentCall, SentSocket
from bench.faults.speech import PACKET_SAMPLES, RATE, Pcm, Speech, participant

BASE_MS = 1_731_698_172_007
PACKET_US = 20_000
NOBODY_KNOWS: int | None = None


class ByHand:
    """A call of one participant, packets 0 to 19 and 30 to 49, and its recording."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.speech = Speech(9)
        self.call = SentCall(4, "a-call", 1, BASE_MS)
        self.call.sockets = [
            SentSocket(0, 0, 20, 20, "half-closed"),
            SentSocket(1, 30, 20, 20, "closed"),
        ]
        self.begin = 0
        self.blocks: Pcm = self.speech.packets(4, 0, 0, 50)
        self.blocks[20:30] = 0
        #: (first packet, how many or None, cause)
        self.gaps: list[tuple[int, int | None, str]] = [(20, 10, "not_received")]
        self.manifest: dict[str, Any] = {}
        self.packets: dict[str, int] = {}
        self.died = False

    def torn(self, end: str, kept: int) -> None:
        """The first socket ended so, and only so many of its packets are there."""
        self.call.sockets[0].end = end
        self.died = end == "killed"
        self.blocks[kept:20] = 0
        cause = "gateway_died" if self.died else "not_received"
        self.gaps = [(kept, 30 - kept, cause)]

    def ends_after(self, length: int) -> None:
        """The recording has no more than its first packets."""
        self.blocks = self.blocks[:length]

    def write(self) -> None:
        """The files."""
        (self.folder / "tracks").mkdir(parents=True)
        pcm = self.blocks.reshape(-1)
        track = self._file("tracks/one.wav", pcm)
        at = datetime.fromtimestamp((BASE_MS + 20 * self.begin) / 1000, UTC)
        there = int(self.blocks.any(axis=1).sum())
        missing = len(self.blocks) - there
        packets = dict.fromkeys(("silent", "late", "dropped", "bad"), 0)
        packets |= {"received": there, "lost": missing, "filled": missing} | self.packets
        track |= {
            "participant": participant(4, 0),
            "sample_rate": RATE,
            "started_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "offset_us": 0,
            "packets": packets,
            "gaps": [
                {
                    "start_us": first * PACKET_US,
                    "length_us": None if count is None else count * PACKET_US,
                    "cause": cause,
                }
                for first, count, cause in self.gaps
            ],
        }
        manifest = {
            "state": "incomplete" if self.died else "complete",
            "call_id": "a-call",
            "tracks": [track],
            "mixed": self._file("mixed.wav", pcm),
            "sessions": [{"cause": "gateway_died" if self.died else None}, {"cause": None}],
        }
        (self.folder / "manifest.json").write_text(json.dumps(manifest | self.manifest))

    def _file(self, name: str, pcm: Pcm) -> dict[str, Any]:
        data = pcm.astype("<i2").tobytes()
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
        body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
        raw = struct.pack("<4sI", b"RIFF", len(body)) + body
        (self.folder / name).write_bytes(raw)
        return {"file": name, "samples": len(pcm), "sha256": hashlib.sha256(raw).hexdigest()}


@pytest.fixture
def by_hand(tmp_path: Path) -> ByHand:
    made = ByHand(tmp_path / "recording")
    assert (50, PACKET_SAMPLES) == made.blocks.shape
    assert np.count_nonzero(made.blocks.any(axis=1)) == 40
    return made
