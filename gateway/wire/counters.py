"""What each process of a node counts and whether it is ready: one small file per process.

Two processes of one name are two files: an old one may live beside the one that replaces it.

A process publishes twice a second, the parent collects for `/metrics` and `/readyz`. Labels and
reasons hold no ids of calls or participants.
"""

import errno
import os
from pathlib import Path
from typing import Literal

import msgspec

#: How often a process publishes.
PUBLISH_MS = 500


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. `name` without the prefix `acs_ingest_` and without `_total`."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: dict[str, str] = {}
    value: float


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One process at one moment. `process` and `pid` name the file: no slash."""

    process: str
    role: str
    pool: str | None
    index: int
    pid: int
    at_us: int  # Unix us by the wall clock
    ready: bool
    reason: str = ""  # why it is not ready
    series: list[Series] = []


_decoder = msgspec.json.Decoder(Snapshot)


def publish(folder: Path, snapshot: Snapshot) -> None:
    """Replace the process's file in `folder` (`Layout.metrics`), which is made where it is missing.

    On a full disk it is written over, for that is when somebody looks. Raises OSError. Counting
    never ends a process: the caller catches it and publishes again at the next turn.
    """
    path = folder / f"{snapshot.process}.{snapshot.pid}.json"
    if not path.exists():
        _remove_dead(folder, snapshot.process)
    content = msgspec.json.encode(snapshot)
    try:
        replace_file(path, content)
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _overwrite(path, content)


def _remove_dead(folder: Path, process: str) -> None:
    """Take away what dead processes of this name have left."""
    for path in folder.glob(f"{process}.*.json"):
        pid = path.name.removeprefix(f"{process}.").removesuffix(".json")
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (PermissionError, ValueError, OverflowError):
            continue  # somebody else's


def collect(folder: Path) -> list[Snapshot]:
    """Every snapshot that can be read, dead processes' included, in the order of their names."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(_decoder.decode(path.read_bytes()))
        except (OSError, msgspec.DecodeError):  # ValidationError is one
            continue
    return found


def replace_file(path: Path, content: bytes) -> None:
    """Make `path` hold `content` (mode 0600), so that a reader sees the old or the new, whole.

    Not synced: it need not outlive the power. Raises OSError.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = _open(partial)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = _open(partial)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _overwrite(path: Path, content: bytes) -> None:
    """Write into a file that is there: it has its room. Who reads it just now reads nothing."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
