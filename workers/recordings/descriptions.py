"""`<session>-<stream>.json`: what OPEN, EVENT and CLOSE said, a line each with its name.

Lines are only ever appended, whole, and may be there more than once: a reader goes by their names.
Every append begins with a line break, so a torn line never spoils the next one.
"""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from gateway.wire.descriptor import (
    Body,
    Descriptor,
    Event,
)
from workers.recordings.durable import open_file

OPEN = "open"
CLOSE = "close"
_EVENT = "event-"


class _Named(msgspec.Struct):
    name: str


class Descriptions:
    """The lines of one file, by name, in the order of the file. Torn ones are left out."""

    def __init__(self, lines: dict[str, list[bytes]]) -> None:
        self._lines = lines

    def first(self, name: str, kind: type[Descriptor]) -> Descriptor | None:
        """The first valid line of that name: what OPEN and EVENT say does not change."""
        return next(iter(self.all(name, kind)), None)

    def last(self, name: str, kind: type[Descriptor]) -> Descriptor | None:
        """The last valid line of that name: the latest CLOSE knows the most."""
        return next(iter(reversed(self.all(name, kind))), None)

    def all(self, name: str, kind: type[Descriptor]) -> list[Descriptor]:
        """Every valid line of that name."""
        valid = []
        for line in self._lines.get(name, ()):
            with suppress(msgspec.DecodeError):
                valid.append(msgspec.json.decode(line, type=kind))
        return valid

    def events(self) -> list[tuple[int, Event]]:
        """(seq, event), each once, in order of `seq`."""
        found = []
        for name in self._lines:
            number = name.removeprefix(_EVENT)
            if name.startswith(_EVENT) and number.isdecimal() and number.isascii():
                event = self.first(name, Event)
                if event is not None:
                    found.append((int(number), event))
        return sorted(found, key=lambda numbered: numbered[0])


def event_name(seq: int) -> str:
    """The name of the EVENT frame with that `seq`."""
    return f"{_EVENT}{seq}"


def pack_line(name: str, body: Body) -> bytes:
    """One line, its line break before it."""
    return b"\n" + msgspec.json.encode({"name": name, **msgspec.to_builtins(body)})


def append(descriptor: int, lines: list[bytes]) -> None:
    """Append lines to a file opened with O_APPEND, in one write. Raises OSError if torn."""
    data = b"".join(lines)
    if os.write(descriptor, data) < len(data):
        raise OSError(f"only a part of {len(data)} bytes could be appended")


def read_descriptions(path: Path) -> Descriptions:
    """What a file says; one that is not there says nothing. Raises OSError."""
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return Descriptions({})
    with open(descriptor, "rb") as file:
        data = file.read()
    lines: dict[str, list[bytes]] = {}
    for line in data.split(b"\n"):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            lines.setdefault(msgspec.json.decode(line, type=_Named).name, []).append(line)
    return Descriptions(lines)
