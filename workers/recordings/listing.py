"""What `acs-ingest recordings list` and `show` say. Reads the manifests, nothing else."""

import sys
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from workers.recordings.folder import recording_folders
from workers.recordings.manifest import Manifest, Track, TrackGap, read_manifest

_US = 1_000_000
_ID_CHARS_MAX = 64


class Row(NamedTuple):
    """One line of the list. All but folder and state is null for a broken recording."""

    call_id: str | None
    state: str  # the manifest's, or `broken`
    started_at: str | None
    duration_us: int | None
    tracks: int | None
    revision: int | None
    folder: str


def list_rows(recordings: Path) -> list[Row]:
    """Every recording, the newest first; broken ones last."""
    rows = [_row(folder) for folder in recording_folders(recordings)]
    return sorted(rows, key=lambda row: row.started_at or "", reverse=True)


def print_rows(rows: list[Row], *, as_json: bool) -> None:
    """A table, or one JSON array."""
    if as_json:
        lines = (msgspec.json.encode(row._asdict()) for row in rows)
        click.echo(b"[" + b",\n ".join(lines) + b"]")  # bytes: UTF-8, whatever the terminal is
        return
    table = Table("call", "state", "started", "duration", "tracks", "revision", box=None)
    for row in rows:
        table.add_row(
            escape(_cropped(_printable(row.call_id or row.folder))),
            row.state,
            row.started_at or "-",
            "-" if row.duration_us is None else _clock(row.duration_us),
            _or_dash(row.tracks),
            _or_dash(row.revision),
        )
    _console().print(table)


def find_recordings(recordings: Path, call_id: str) -> list[tuple[Path, Manifest]]:
    """The recordings of that call, or else of those whose id begins so, in order of time."""
    exact: list[tuple[Path, Manifest]] = []
    begun: list[tuple[Path, Manifest]] = []
    for folder in recording_folders(recordings):
        manifest = read_manifest(folder)
        if manifest is not None and manifest.call_id == call_id:
            exact.append((folder, manifest))
        elif manifest is not None and manifest.call_id.startswith(call_id):
            begun.append((folder, manifest))
    return exact or begun


def print_recording(folder: Path, manifest: Manifest, *, as_json: bool) -> None:
    """Everything about one recording."""
    if as_json:
        _print_json({"folder": str(folder), **msgspec.to_builtins(manifest)})
        return
    console = _console()
    console.print(f"[bold]{escape(_printable(manifest.call_id))}[/]  {manifest.state}")
    console.print(f"  folder    {escape(str(folder))}")
    console.print(f"  started   {manifest.started_at}")
    console.print(f"  ended     {manifest.ended_at or '-'}")
    console.print(f"  revision  {manifest.revision}")
    if manifest.mixed is not None:
        console.print(f"  mix       {manifest.mixed.file}, {manifest.mixed.samples} samples")
    console.print(_tracks(manifest))
    for track in manifest.tracks:
        for gap in track.gaps:
            console.print(f"  gap in {escape(_name(track))}: {_gap(gap)}")
    for event in manifest.events:
        whose = escape(_printable(event.participant or ""))
        data = escape(_printable(msgspec.json.encode(event.data).decode()))
        console.print(f"  {event.at}  {escape(_printable(event.kind))}  {whose}  {data}")


def _row(folder: Path) -> Row:
    manifest = read_manifest(folder)
    if manifest is None:
        return Row(None, "broken", None, None, None, None, str(folder))
    return Row(
        manifest.call_id,
        manifest.state,
        manifest.started_at,
        _duration_us(manifest),
        len(manifest.tracks),
        manifest.revision,
        str(folder),
    )


def _duration_us(manifest: Manifest) -> int | None:
    if manifest.ended_at is None:
        return None
    try:
        begin, end = (
            datetime.fromisoformat(text) for text in (manifest.started_at, manifest.ended_at)
        )
    except ValueError:
        return None
    return round((end - begin).total_seconds() * _US)


def _tracks(manifest: Manifest) -> Table:
    table = Table("participant", "rate", "offset", "length", "packets", "lost", "file", box=None)
    for track in manifest.tracks:
        table.add_row(
            escape(_name(track)),
            str(track.sample_rate),
            _clock(track.offset_us),
            _clock(track.samples * _US // track.sample_rate),
            str(track.packets.received),
            str(track.packets.lost),
            track.file,
        )
    return table


def _name(track: Track) -> str:
    return "(all)" if track.participant is None else _printable(track.participant)


def _gap(gap: TrackGap) -> str:
    length = "unknown length" if gap.length_us is None else f"{gap.length_us / 1000:.3f} ms"
    return f"at {_clock(gap.start_us)}, {length}, {gap.cause}"


def _clock(time_us: int) -> str:
    minutes, us = divmod(time_us, 60 * _US)
    return f"{minutes // 60}:{minutes % 60:02}:{us / _US:06.3f}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _console() -> Console:
    """As wide as the terminal; where a program reads, wide enough not to cut anything."""
    return Console(soft_wrap=True) if sys.stdout.isatty() else Console(width=400, soft_wrap=True)


def _printable(text: str) -> str:
    """Ids come from outside: nothing of them may steer a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _cropped(text: str) -> str:
    """An id may have 4,000 characters; a table must not."""
    return text if len(text) <= _ID_CHARS_MAX else f"{text[: _ID_CHARS_MAX - 1]}…"


def _print_json(value: object) -> None:
    click.echo(msgspec.json.encode(value))
