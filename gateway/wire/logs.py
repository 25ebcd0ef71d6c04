"""How every process of a node logs: to stderr, one line an entry.

JSON lines where a program reads them, short lines where stderr is a terminal. What is logged holds
no audio, no secrets and no raw participant ids: that is up to whoever logs.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

import msgspec

_STANDARD = frozenset(
    (*vars(logging.LogRecord("", 0, "", 0, "", None, None)), "message", "asctime", "taskName")
)


def start(process: str, *, stream: TextIO | None = None) -> None:
    """Send what this process logs, from level INFO on, to `stream` (stderr).

    `process` is its name in every line (`gateway-0`). A second call replaces the first.
    """
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    is_terminal = stream is not None and stream.isatty()
    handler.setFormatter(ShortFormatter(process) if is_terminal else JsonFormatter(process))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)


class JsonFormatter(logging.Formatter):
    """`{"at", "level", "process", "logger", "message"}`, what `extra` gave, and `exception`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The entry as one line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, object] = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry, enc_hook=str).decode()


class ShortFormatter(logging.Formatter):
    """`12:30:59 warning gateway-0: message`, by local time."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s %(lowered)s {process}: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The entry, with a traceback below it where there is one."""
        record.lowered = record.levelname.lower()
        return super().format(record)
