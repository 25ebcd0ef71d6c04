"""A recorder of the product that notes when a batch comes that was read back from a log.

Nothing else is different. Each note is a line: the system's monotonic clock in s, and frames.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from gateway.cli import main
from workers.links import LinkKey
from workers.recorder import Recorder

NOTES = "ACS_BENCH_FAULTS_NOTES"
_REPLAYED = 1


def note_replays(path: Path) -> None:
    """From now on recorders of this process append to a file what comes out of a log."""
    notes = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    receive = Recorder.receive

    def noting(self: Recorder, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        receive(self, link, number, message, now_us)
        if message[5] & _REPLAYED:
            frames = int.from_bytes(message[24:28], "little")
            os.write(notes, f"{time.monotonic():.6f} {frames}\n".encode())

    Recorder.receive = noting  # type: ignore[method-assign]  # that is the point


if __name__ == "__main__":
    note_replays(Path(os.environ[NOTES]))
    sys.argv[0] = "acs-ingest"
    main()
