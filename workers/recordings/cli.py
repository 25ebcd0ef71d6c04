"""`acs-ingest recordings`: what lies in the recordings' folders, and finishing them by hand.

Exit codes: 0; 1 nothing by that name, or something stays undone; 2 usage; 69 no data folder there.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from workers.recordings.manifest import Manifest

EXIT_UNAVAILABLE = 69

_data = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="The data folder.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="For machines.")


@click.group()
def recordings() -> None:
    """List, show and finish recordings."""


@recordings.command("list")
@_data
@_as_json
def list_command(data: Path, as_json: bool) -> None:
    """All recordings, the newest first."""
    from workers.recordings.listing import list_rows, print_rows

    print_rows(list_rows(_recordings(data)), as_json=as_json)


@recordings.command("show")
@click.argument("call_id", metavar="ID")
@_data
@_as_json
def show_command(call_id: str, data: Path, as_json: bool) -> None:
    """One recording, by its call id or the beginning of it."""
    from workers.recordings.listing import find_recordings, print_recording

    found = find_recordings(_recordings(data), call_id)
    if not found:
        raise click.ClickException(f"no recording of a call {call_id!r} in {data}")
    if len({manifest.call_id for _, manifest in found}) > 1:
        raise click.ClickException(f"{len(found)} recordings begin with {call_id!r}: say more")
    for folder, manifest in found:
        print_recording(folder, manifest, as_json=as_json)


@recordings.command("finish")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@_as_json
def finish_command(folder: Path, as_json: bool) -> None:
    """Finish by hand what lies in DIR: a data folder, or one recording's folder.

    Sessions that nobody has closed are ended, unless something runs on that data folder.
    """
    from workers.recordings.by_hand import finish_by_hand

    if not folder.is_dir():
        _unavailable(f"{folder} is no folder")
    undone = 0
    for path, outcome in finish_by_hand(folder):
        undone += isinstance(outcome, str)
        _print_finished(path, outcome, as_json=as_json)
    if undone:
        raise SystemExit(1)


def _print_finished(path: Path, outcome: "Manifest | str", *, as_json: bool) -> None:
    import msgspec

    said = outcome if isinstance(outcome, str) else outcome.state
    if as_json:
        row = {"folder": str(path), "state": None if isinstance(outcome, str) else said}
        row["error"] = said if isinstance(outcome, str) else None
        click.echo(msgspec.json.encode(row))
    else:
        click.echo(f"{path}: {said}")


def _recordings(data: Path) -> Path:
    folder = data / "recordings"
    if not data.is_dir():
        _unavailable(f"{data} is no folder")
    return folder


def _unavailable(reason: str) -> None:
    click.echo(f"Error: {reason}", err=True)
    raise SystemExit(EXIT_UNAVAILABLE)
