"""`wav`: each stream into a WAV file of its own, readable by ordinary tools at any moment.

Audio lies in place: a sample's offset follows from its position. So what comes again after a
worker's death, or from a worker that was thought dead, lands where it lay.
"""

import os
from pathlib import Path
from typing import Literal

from workers.audio import SAMPLE_BYTES, Block, Call, Outcome, Stream
from workers.recordings import wave_file
from workers.recordings.durable import FOLDER_MODE, open_file, sync_folder, write_all
from workers.recordings.names import safe_name, stream_name
from workers.sinks.base import Sink


class WavSink(Sink):
    """`<folder>/<call id>/<session>-<stream>.wav`, 16-bit mono at the stream's rate.

    The audio of the last second lies in memory; `flush` writes it.
    """

    class Settings(Sink.Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """The table `[sinks.wav]`."""

        #: Default: `taps/<pool>` in the data folder.
        folder: str | None = None
        #: `process`: what was flushed survives the worker's death; `power`: the machine's, too.
        durability: Literal["process", "power"] = "process"

    settings: Settings

    def open(self, call: Call) -> None:
        folder = self.settings.folder
        taps = self.place.data / "taps" / self.place.pool if folder is None else Path(folder)
        self._folder = taps / safe_name(call.call_id)
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self._files: dict[Stream, _File] = {}

    def write(self, block: Block) -> None:
        file = self._files.get(block.stream)
        if file is None:
            file = self._files[block.stream] = _File(self._path(block.stream), block.stream)
        file.add(block)

    def flush(self) -> None:
        for file in self._files.values():
            file.flush(sync=self.settings.durability == "power")

    def close(self, outcome: Outcome) -> None:
        self._files = {}

    def _path(self, stream: Stream) -> Path:
        path = self._folder / f"{stream_name(stream.session, stream.number)}.wav"
        if any(file.path == path for file in self._files.values()):
            # A processor made this stream from that one, at another rate, and passed both on.
            return path.with_stem(f"{path.stem}-{stream.sample_rate}")
        return path


class _File:
    """One stream's file; open only while it is written, so that calls cost no descriptors."""

    def __init__(self, path: Path, stream: Stream) -> None:
        self.path = path
        self._stream = stream
        self._end = 0
        #: (offset in samples, audio) not yet written; what follows without a seam is one entry.
        self._pending: list[tuple[int, bytearray]] = []
        self._is_written = True

    def add(self, block: Block) -> None:
        offset = block.position - self._stream.first_position
        pcm = block.pcm[max(0, -offset) :]
        offset = max(0, offset)
        self._end = max(self._end, offset + len(pcm))
        self._is_written = False
        if block.filled == len(block.pcm) and not pcm.any():
            return  # silence is a hole; where something lies already, it stays
        if self._pending:
            last_offset, audio = self._pending[-1]
            if last_offset + len(audio) // SAMPLE_BYTES == offset:
                audio += pcm.tobytes()
                return
        self._pending.append((offset, bytearray(pcm.tobytes())))

    def flush(self, *, sync: bool) -> None:
        if self._is_written:
            return
        descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT)
        try:
            self._write(descriptor)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if sync:
            sync_folder(self.path.parent)
        self._pending = []
        self._is_written = True

    def _write(self, descriptor: int) -> None:
        for offset, audio in self._pending:
            write_all(descriptor, bytes(audio), wave_file.HEADER_BYTES + offset * SAMPLE_BYTES)
        end = wave_file.HEADER_BYTES + self._end * SAMPLE_BYTES
        if os.fstat(descriptor).st_size < end:
            os.ftruncate(descriptor, end)
        # From the file's own size: another worker may have written further than this one.
        wave_file.settle_header(descriptor, self._stream.sample_rate)
