"""Ticks made by hand, and logs on disks that can be filled and that sync badly."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from disks import SmallDisk

from gateway.log.limits import LogLimits
from gateway.log.ticks import Tick, frames_tick, heads_of
from gateway.log.writer import Log
from gateway.wire import descriptor
from gateway.wire.frame import FRAME, NO_STAMP, FrameKind

Frame = tuple[bytes, bytes]


class Ticks:
    """What tests build logs with. Frames are (header, payload)."""

    def audio(self, seq: int = 0, stream: int = 1, session: int = 7, size: int = 40) -> Frame:
        payload = bytes((seq + at) % 251 + 1 for at in range(size))
        fields = FrameKind.AUDIO, 0, stream, size, session, seq, size // 2, NO_STAMP, seq * 20
        return FRAME.pack(*fields), payload

    def event(self, seq: int = 0, session: int = 7) -> Frame:
        return self._said(FrameKind.EVENT, 0, session, descriptor.Event(kind="mark", at_us=1), seq)

    def open(self, stream: int = 0, session: int = 7) -> Frame:
        opened: descriptor.Body = descriptor.SessionOpen(
            call_id=f"call-{session}", session=f"{session:016x}", gateway="g", opened_at_us=1
        )
        if stream:
            opened = descriptor.StreamOpen(
                participant=None, sample_rate=16_000, zero_us=1, first_position=0
            )
        return self._said(FrameKind.OPEN, stream, session, opened)

    def close(self, stream: int = 0, session: int = 7) -> Frame:
        closed: descriptor.Body = descriptor.SessionClose(
            closed_at_us=2, close_code=1000, proper=True
        )
        if stream:
            closed = descriptor.StreamClose(packets=None)
        return self._said(FrameKind.CLOSE, stream, session, closed)

    def _said(
        self, kind: FrameKind, stream: int, session: int, body: descriptor.Body, seq: int = 0
    ) -> Frame:
        payload = descriptor.pack(body)
        head = FRAME.pack(kind, 0, stream, len(payload), session, seq, 0, NO_STAMP, 0)
        return head, payload

    def tick(self, number: int, *frames: Frame, snapshot: bool = False) -> Tick:
        made = frames_tick(number, number * 20_000, frames or (self.audio(number),))
        return made._replace(snapshot=snapshot)

    def kinds(self, tick: Tick) -> list[int]:
        return [int(kind) for kind in heads_of(tick.heads)["kind"]]

    def seqs(self, found: list[Tick]) -> list[int]:
        """The `seq` of every AUDIO frame, in order."""
        return [
            int(head["seq"])
            for tick in found
            for head in heads_of(tick.heads)
            if head["kind"] == FrameKind.AUDIO
        ]


@pytest.fixture(scope="session")
def make() -> Ticks:
    return Ticks()


MIB = 1024 * 1024
LIMITS = LogLimits(bytes_max=64 * MIB, reserve_bytes=0, retain_bytes_max=4 * MIB)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Log]]:
    """Logs that are closed at the end."""
    with ExitStack() as logs:

        def make(*parents: Path, limits: LogLimits = LIMITS, power: bool = True) -> Log:
            first, *further = parents or (tmp_path / "log" / "gateway-0",)
            log = Log(
                first,
                "boot-1",
                sync_ms=1,
                segment_s=1,
                power=power,
                limits=limits,
                further=further,
            )
            logs.callback(lambda: log.folder.exists() and log.close(remove=False))
            return log

        yield make


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "small", "4m")
    yield disk
    disk.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "other", "4m")
    yield disk
    disk.close()


@pytest.fixture
def big(make) -> Callable[..., Tick]:
    """A tick of 64 KiB."""

    def tick(number: int, *, snapshot: bool = False) -> Tick:
        frames = [make.open(), make.open(1)] if snapshot else [make.audio(number, size=65_536)]
        return make.tick(number, *frames, snapshot=snapshot)

    return tick


class Syncs:
    """`os.fdatasync`, which fails while it is told to and then has lost what it was to sync."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails = 0
        self.gate: threading.Event | None = None
        self._sync = os.fdatasync
        self._safe: dict[str, int] = {}
        monkeypatch.setattr(os, "fdatasync", self)

    def __call__(self, descriptor: int) -> None:
        if self.gate is not None:
            self.gate.wait(20)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        size = os.fstat(descriptor).st_size
        if self.fails:
            self.fails -= 1
            safe = self._safe.get(path, 0)
            os.pwrite(descriptor, bytes(size - safe), safe)
            raise OSError(errno.EIO, "Input/output error")
        self._sync(descriptor)
        self._safe[path] = size


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


@pytest.fixture
def limits() -> LogLimits:
    """Nothing is reserved, and little held in memory."""
    return LIMITS


@pytest.fixture
def numbers() -> Callable[[Log], list[int]]:
    """Of the ticks that can be read back, each once."""

    def read(log: Log) -> list[int]:
        cursor = log.cursor(1)
        found: set[int] = set()
        while ticks := cursor.read(MIB):
            found |= {tick.number for tick in ticks}
        return sorted(found - {0})

    return read


@pytest.fixture
def is_written() -> Callable[[Log], bool]:
    """Whether some disk has all that the log was handed."""
    return lambda log: log.written_up_to() is None
