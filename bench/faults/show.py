"""Progress on stderr: a line that changes on a terminal, elsewhere one now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

EVERY_S = 15.0


class Show:
    """`say` what is going on; `close` it."""

    def __init__(self) -> None:
        self._status: Any = None
        self._said_s = -EVERY_S
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

            self._status = Console(stderr=True).status("starting")
            self._status.start()

    def say(self, text: str) -> None:
        """It replaces what was said before, or is left out if that is not long ago."""
        if self._status is not None:
            self._status.update(text)
        elif time.monotonic() - self._said_s >= EVERY_S:
            self._said_s = time.monotonic()
            click.echo(text, err=True)

    def close(self) -> None:
        """No more progress."""
        if self._status is not None:
            self._status.stop()
