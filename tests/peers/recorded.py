"""A finished recording as the files tell it, without what depends on time: to compare two runs.

Imports nothing of what it judges.
"""

import hashlib
import json
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OF_A_SESSION = ("id", "gateway", "opened_at", "closed_at")
_OF_AN_EVENT = ("at", "offset_us")


@dataclass
class Recorded:
    """`pcm` by participant. Two are equal if every file is, byte by byte, and what it says."""

    manifest: dict[str, Any]
    #: Size and SHA-256 of each audio file, by its name.
    files: dict[str, tuple[int, str]]
    pcm: dict[str | None, bytes]
    folder: Path

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recorded):
            return NotImplemented
        return (self.manifest, self.files) == (other.manifest, other.files)

    __hash__ = None  # type: ignore[assignment]  # compared, never looked up


def manifest_of(data: Path, call_id: str) -> tuple[dict[str, Any], Path] | None:
    """A call's manifest and folder."""
    for path in data.glob("recordings/*/*/*/*/manifest.json"):
        manifest: dict[str, Any] = json.loads(path.read_text())
        if manifest["call_id"] == call_id:
            return manifest, path.parent
    return None


def recorded(data: Path, call_id: str, revision: int = 1) -> Recorded | None:
    """A call's recording; None while it is open."""
    found = manifest_of(data, call_id)
    if found is None or found[0]["state"] == "open" or found[0]["revision"] < revision:
        return None
    manifest, folder = found
    files, pcm = {}, {}
    for track in [*manifest["tracks"], manifest["mixed"]]:
        content = (folder / track["file"]).read_bytes()
        files[track["file"]] = len(content), hashlib.sha256(content).hexdigest()
        assert files[track["file"]][1] == track["sha256"], f"{track['file']} is not what it says"
    for track in manifest["tracks"]:
        with wave.open(str(folder / track["file"])) as file:
            pcm[track["participant"]] = file.readframes(file.getnframes())
    return Recorded(_timeless(manifest), files, pcm, folder)


def _timeless(manifest: dict[str, Any]) -> dict[str, Any]:
    sessions = [_without(session, _OF_A_SESSION) for session in manifest["sessions"]]
    events = [_without(event, _OF_AN_EVENT) for event in manifest["events"]]
    names = ("call_id", "correlation_id")
    return {**_without(manifest, names), "sessions": sessions, "events": events}


def _without(members: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key not in names}
