import pytest

from workers.recordings import due


@pytest.fixture
def folder(recordings):
    return recordings / "2025" / "11" / "24" / "call"


def test_a_note_leads_to_the_recording(recordings, folder):
    due.mark_due(recordings, folder, sync=True)
    (note,) = due.Notes(recordings).scan()
    assert (folder, False, 0) == (note.folder, note.retires, note.not_before_us)


def test_a_retirement_has_a_time(recordings, folder):
    due.mark_retirement(recordings, folder, 77, sync=False)
    (note,) = due.Notes(recordings).scan()
    assert (folder, True, 77) == (note.folder, note.retires, note.not_before_us)


def test_a_note_that_comes_while_another_is_taken_stays(recordings, folder):
    notes = due.Notes(recordings)
    due.mark_due(recordings, folder, sync=False)
    taken = due.take(notes.scan()[0])
    due.mark_due(recordings, folder, sync=False)
    due.put_away(taken)
    assert [folder] == [note.folder for note in notes.scan()]


def test_a_note_that_was_taken_and_not_followed_is_still_there(recordings, folder):
    due.mark_due(recordings, folder, sync=False)
    before = due.Notes(recordings).scan()[0]
    due.take(before)
    (after,) = due.Notes(recordings).scan()
    assert (before.key, folder) == (after.key, after.folder)
    assert after == due.take(after)


def test_a_note_that_is_put_away_is_gone(recordings, folder):
    notes = due.Notes(recordings)
    due.mark_due(recordings, folder, sync=False)
    due.put_away(notes.scan()[0])
    assert [] == notes.scan()


def test_a_note_that_is_written_again_is_another_one(recordings, folder):
    notes = due.Notes(recordings)
    due.mark_retirement(recordings, folder, 1, sync=False)
    (first,) = notes.scan()
    due.mark_retirement(recordings, folder, 2, sync=False)
    (second,) = notes.scan()
    assert (1, 2) == (first.not_before_us, second.not_before_us)
    assert first.key != second.key


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"folder":"../../etc"}', b'{"folder":"/etc"}', b'{"folder":5}', b"\xff"],
)
def test_files_that_are_no_notes_are_counted_once(recordings, content):
    (recordings / ".due").mkdir()
    (recordings / ".due" / "call").write_bytes(content)
    notes = due.Notes(recordings)
    assert ([], []) == (notes.scan(), notes.scan())
    assert 1 == notes.bad


def test_without_a_folder_of_notes_there_are_none(recordings):
    assert [] == due.Notes(recordings).scan()
