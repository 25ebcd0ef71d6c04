"""`<session>-<stream>.json`: what OPEN, EVENT, GAP and CLOSE said, a line each with its name.

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
    Gap,
)
from workers.recordings.durable import open_file

OPEN = "open"
CLOSE = "close"
_EVENT = "event-"
_GAP = "gap-"


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
        found = [(seq, self.first(name, Event)) for seq, name in self._numbered(_EVENT)]
        return [(seq, event) for seq, event in found if event is not None]

    def gaps(self) -> list[tuple[int, int]]:
        """(first seq, frames) of what the gateway has dropped, in order."""
        found = [(seq, self.all(name, Gap)) for seq, name in self._numbered(_GAP)]
        return [(seq, max(gap.frames for gap in gaps)) for seq, gaps in found if gaps]

    def _numbered(self, prefix: str) -> list[tuple[int, str]]:
        """The names that are a prefix and a number, by number."""
        found = []
        for name in self._lines:
            number = name.removeprefix(prefix)
            if name.startswith(prefix) and number.isdecimal() and number.isascii():
                found.append((int(number), name))
        return sorted(found)


def event_name(seq: int) -> str:
    """The name of the EVENT frame with that `seq`."""
    return f"{_EVENT}{seq}"


def gap_name(seq: int) -> str:
    """The name of the GAP frame with that first `seq`."""
    return f"{_GAP}{seq}"


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
    # A disk that could not keep a line may have left zeros, up to the line break of the next one.
    for line in data.replace(b"\0", b"\n").split(b"\n"):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            lines.setdefault(msgspec.json.decode(line, type=_Named).name, []).append(line)
    return Descriptions(lines)
