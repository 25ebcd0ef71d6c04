"""Calls made by hand: the frames of sessions and streams, recorded into real folders."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.wire import descriptor
from gateway.wire.frame import (
    FRAME,
    NO_STAMP,
    SESSION_STREAM,
    FrameKind,
    batch_header,
    pack_batch,
)
from workers.recorder import Recorder
from workers.recordings.counters import RecorderCounters
from workers.recordings.gather import Gather
from workers.recordings.settings import RecordingSettings
from workers.recordings.stream_files import StreamFiles

ZERO_US = 1_764_000_000_000_000  # 2025-11-24T16:00:00Z
Frame = tuple[bytes, bytes]


class Session:
    """One session of a call. Its methods return frames as (header, payload)."""

    def __init__(self, number: int, call_id: str = "call", zero_us: int = ZERO_US) -> None:
        self.number = number
        self.id = f"{number:016x}"
        self.call_id = call_id
        self.zero_us = zero_us
        self.rates: dict[int, int] = {}
        self._seqs: dict[int, int] = {}

    def open(self, **members: Any) -> Frame:
        given = {"call_id": self.call_id, "gateway": "g0", "opened_at_us": self.zero_us - 1000}
        opened = descriptor.SessionOpen(session=self.id, **{**given, **members})
        return self._said(FrameKind.OPEN, SESSION_STREAM, opened)

    def open_stream(
        self, stream: int, participant: str | None = "anna", rate: int = 16_000, first: int = 0
    ) -> Frame:
        self.rates[stream] = rate
        opened = descriptor.StreamOpen(
            participant=participant, sample_rate=rate, zero_us=self.zero_us, first_position=first
        )
        return self._said(FrameKind.OPEN, stream, opened)

    def audio(
        self,
        stream: int,
        position: int,
        pcm: bytes,
        *,
        flags: int = 0,
        samples: int | None = None,
        stamp_us: int | None = -1,
        seq: int | None = None,
    ) -> Frame:
        """By default with the stamp that belongs to its place."""
        seq = self._seqs.get(stream, 0) if seq is None else seq
        self._seqs[stream] = seq + 1
        if stamp_us == -1:
            stamp_us = self.zero_us + position * 1_000_000 // self.rates[stream]
        head = FRAME.pack(
            FrameKind.AUDIO,
            flags,
            stream,
            len(pcm),
            self.number,
            seq,
            len(pcm) // 2 if samples is None else samples,
            NO_STAMP if stamp_us is None else stamp_us,
            position,
        )
        return head, pcm

    def packets(self, stream: int, begin: int, pcm: bytes, size: int = 320) -> list[Frame]:
        """Samples from position `begin` on, in packets of `size`."""
        return [
            self.audio(stream, begin + at // 2, pcm[at : at + 2 * size])
            for at in range(0, len(pcm), 2 * size)
        ]

    def event(self, seq: int, kind: str, at_us: int = ZERO_US, **members: Any) -> Frame:
        event = descriptor.Event(kind=kind, at_us=at_us, **members)
        return self._said(FrameKind.EVENT, SESSION_STREAM, event, seq)

    def close_stream(self, stream: int, packets: descriptor.Packets | None = None) -> Frame:
        return self._said(FrameKind.CLOSE, stream, descriptor.StreamClose(packets=packets))

    def close(self, **members: Any) -> Frame:
        given = {"closed_at_us": self.zero_us + 1_000_000, "close_code": 1000, "proper": True}
        closed = descriptor.SessionClose(**{**given, **members})
        return self._said(FrameKind.CLOSE, SESSION_STREAM, closed)

    def _said(self, kind: FrameKind, stream: int, body: descriptor.Body, seq: int = 0) -> Frame:
        payload = descriptor.pack(body)
        head = FRAME.pack(kind, 0, stream, len(payload), self.number, seq, 0, NO_STAMP, 0)
        return head, payload


def batch(number: int, frames: list[Frame], link: int = 1) -> bytes:
    """Frames as one message."""
    heads, payloads = [head for head, _ in frames], [payload for _, payload in frames]
    size = sum(map(len, payloads))
    header = batch_header(link, number, 0, frames=len(frames), payload_bytes=size)
    return pack_batch(header, heads, payloads)


def tone(samples: int, seed: int = 1, loud: int = 3000) -> bytes:
    """Samples that are never 0, so that silence shows."""
    made = np.random.default_rng(seed).integers(1, loud, samples)
    return made.astype("<i2").tobytes()


def read_pcm(path: Path) -> bytes:
    """What lies behind the header."""
    return path.read_bytes()[80:]


def one_session(session: Session, streams: dict[str | None, bytes], **closing: Any) -> list[Frame]:
    """A whole session: every participant speaks from position 0 on, at 16 kHz."""
    frames = [session.open()]
    for number, (participant, pcm) in enumerate(streams.items(), 1):
        frames += [session.open_stream(number, participant), *session.packets(number, 0, pcm)]
    frames += [session.close_stream(number) for number in range(1, len(streams) + 1)]
    return [*frames, session.close(**closing)]


class Source:
    """What tests build recordings with."""

    ZERO_US = ZERO_US
    Session = Session
    batch = staticmethod(batch)
    tone = staticmethod(tone)
    read_pcm = staticmethod(read_pcm)
    one_session = staticmethod(one_session)

    def record(self, recordings: Path, *batches: list[Frame]) -> RecorderCounters:
        """Write each list of frames as a gather of its own, in this thread."""
        counters = RecorderCounters()
        files = StreamFiles(recordings, counters, sync=False)
        for number, frames in enumerate(batches, 1):
            gather = Gather(np.empty(1 << 16, np.uint8))
            gather.add(("boot", 1), number, batch(number, frames), 0)
            files.write(gather)
        return counters


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    return folder


@pytest.fixture
def make_recorder(recordings: Path) -> Iterator[Callable[[], Recorder]]:
    """Recorders that gather for 1 s and do not sync; closed at the end."""
    made: list[Recorder] = []

    def make() -> Recorder:
        settings = RecordingSettings(gather_s=1.0, durability="process")
        made.append(Recorder(recordings, settings))
        return made[-1]

    yield make
    for recorder in made:
        with suppress(AssertionError):  # a test's own
            recorder.close(0)
