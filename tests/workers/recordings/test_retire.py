import pytest

from workers.recordings import retire as retiring
from workers.recordings.finish import finish_folder
from workers.recordings.folder import find_folder, lock_folder
from workers.recordings.manifest import read_manifest
from workers.recordings.retire import retire


@pytest.fixture
def folder(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    folder = find_folder(recordings, "call")
    with lock_folder(folder, wait=True):
        finish_folder(folder, sync=False)
    return folder


def test_streams_and_link_go_and_the_rest_stays(recordings, folder):
    (folder / ".manifest.json.77-abcd").write_bytes(b"left by a killed process")
    assert retire(recordings, folder)
    assert {".lock", "manifest.json", "mixed.wav", "tracks"} == {
        path.name for path in folder.iterdir()
    }
    assert find_folder(recordings, "call") is None


def test_a_recording_that_is_not_finished_stays(recordings, folder, source):
    source.record(recordings, [source.Session(6).open()])
    assert not retire(recordings, folder)
    assert folder == find_folder(recordings, "call")


def test_a_recording_without_manifest_stays(recordings, folder):
    (folder / "manifest.json").unlink()
    assert not retire(recordings, folder)
    assert (folder / "streams").exists()


def test_a_session_that_comes_at_the_last_moment_keeps_the_recording(
    recordings, folder, source, monkeypatch
):
    release = retiring.release_folder

    def come_then_release(*args):
        source.record(recordings, [source.Session(6).open()])
        release(*args)

    monkeypatch.setattr(retiring, "release_folder", come_then_release)
    assert not retire(recordings, folder)
    assert folder == find_folder(recordings, "call")
    assert 2 == len({path.name[:16] for path in (folder / "streams").iterdir()})
    assert "open" == read_manifest(folder).state


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_at", ["os.rename", "shutil.rmtree"])
def test_a_retirement_that_was_killed_is_completed(recordings, folder, monkeypatch, killed_at):
    def kill(*_args):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(killed_at, kill)
        with pytest.raises(KilledError):
            retire(recordings, folder)
    assert retire(recordings, folder)
    assert not (folder / "streams").exists()
    assert not (folder / ".retired").exists()
