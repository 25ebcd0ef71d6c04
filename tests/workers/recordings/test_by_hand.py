import fcntl
import os
from pathlib import Path

import pytest

from workers.recordings import due
from workers.recordings.by_hand import finish_by_hand
from workers.recordings.folder import find_folder, lock_folder
from workers.recordings.manifest import Manifest, read_manifest


@pytest.fixture
def data(recordings, source):
    """One call that was cut off, one that is due, one that is finished."""
    for number, call_id in enumerate(("cut", "due", "done"), 1):
        frames = source.one_session(source.Session(number, call_id), {"anna": source.tone(320)})
        source.record(recordings, frames[:-1] if call_id == "cut" else frames)
    for _ in finish_by_hand(find_folder(recordings, "done")):
        pass
    for note in due.Notes(recordings).scan():
        if note.folder.name == "done":
            due.put_away(note)
    return recordings.parent


def states(data):
    names = ("cut", "due", "done")
    return [read_manifest(find_folder(data / "recordings", name)).state for name in names]


def test_all_of_a_data_folder_that_is_not_finished_is_finished(data):
    made = {path.name: outcome.state for path, outcome in finish_by_hand(data)}
    assert {"cut": "incomplete", "due": "complete"} == made
    assert ["incomplete", "complete", "complete"] == states(data)
    assert {True} == {note.retires for note in due.Notes(data / "recordings").scan()}


def test_one_recording_is_finished_alone(data):
    folder = find_folder(data / "recordings", "cut")
    ((path, outcome),) = finish_by_hand(folder)
    assert (folder, "incomplete") == (path, outcome.state)
    assert ["incomplete", "open", "complete"] == states(data)


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_may_be_given_from_where_one_is(data, monkeypatch, inside):
    folder = find_folder(data / "recordings", "cut")
    monkeypatch.chdir(folder if inside else data)
    given = Path() if inside else folder.relative_to(data)

    ((path, outcome),) = finish_by_hand(given)

    assert folder == path
    assert "incomplete" == outcome.state


def test_a_copy_of_a_recording_can_be_finished_anywhere(data, tmp_path):
    copy = tmp_path / "copy"
    find_folder(data / "recordings", "cut").rename(copy)
    ((_, outcome),) = finish_by_hand(copy)
    assert "incomplete" == outcome.state


def test_while_something_runs_open_sessions_stay_open(data):
    (data / "run").mkdir()
    running = os.open(data / "run" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(running, fcntl.LOCK_SH)
    made = {path.name: outcome for path, outcome in finish_by_hand(data)}
    os.close(running)
    assert "session is open" in made["cut"]
    assert isinstance(made["due"], Manifest)
    assert ["open", "complete", "complete"] == states(data)


def test_a_recording_that_cannot_be_finished_is_told(data):
    streams = find_folder(data / "recordings", "due") / "streams"
    (streams / "0000000000000002-1.wav").unlink()
    (streams / "0000000000000002-1.wav").mkdir()
    made = {path.name: outcome for path, outcome in finish_by_hand(data)}
    assert made["due"].startswith("cannot be finished: ")
    assert "incomplete" == made["cut"].state


def test_what_is_neither_is_told(tmp_path):
    ((_, outcome),) = finish_by_hand(tmp_path)
    assert "neither" in outcome


def test_the_folder_is_locked_meanwhile(data):
    folder = find_folder(data / "recordings", "cut")
    for _ in finish_by_hand(folder):
        pass
    with lock_folder(folder, wait=False) as is_ours:
        assert is_ours
