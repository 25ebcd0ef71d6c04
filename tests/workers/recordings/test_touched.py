import errno
import os
from pathlib import Path

import pytest

from gateway.wire.descriptor import SessionOpen
from workers.recordings.folder import claim_folder, find_folder, make_links
from workers.recordings.touched import Touched


@pytest.fixture
def synced(monkeypatch):
    """What was synced, in order."""
    paths = []
    for real in (os.fsync, os.fdatasync):

        def note(descriptor, real=real):
            paths.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
            real(descriptor)

        monkeypatch.setattr(os, real.__name__, note)
    return paths


def names_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_each_file_and_then_each_folder_is_synced_once(tmp_path, synced):
    with Touched(sync=True) as touched:
        for name in ("a", "b"):
            touched.append(tmp_path / name, [b"x"])
        folder = touched.make_folders(tmp_path, "c", "d")
        touched.append(folder / "e", [b"x"])
        touched.make_safe()

    assert [tmp_path / "a", tmp_path / "b", folder / "e"] == synced[:3]
    assert sorted([tmp_path, tmp_path / "c", folder]) == sorted(synced[3:])


def test_what_is_made_whole_has_its_name_once_its_content_is_safe(tmp_path, synced, monkeypatch):
    (tmp_path / "new").write_bytes(b"old")
    named = []
    for name in ("link", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, real=real: (named.append(len(synced)), real(*args))
        )
    with Touched(sync=True) as touched:
        touched.create(tmp_path / "first", b"1")
        touched.replace(tmp_path / "new", b"2")
        touched.create(tmp_path / "new", b"3")
        assert "first" not in names_in(tmp_path)
        touched.make_safe()

    assert {"first": b"1", "new": b"2"} == names_in(tmp_path)
    assert [3, 3, 3] == named
    assert tmp_path == synced[-1]


def test_what_was_not_made_safe_leaves_nothing(tmp_path):
    descriptors = len(os.listdir("/proc/self/fd"))
    with Touched(sync=True) as touched:
        touched.create(tmp_path / "first", b"1")
        touched.replace(tmp_path / "new", b"2")

    assert [] == list(tmp_path.iterdir())
    assert descriptors == len(os.listdir("/proc/self/fd"))


def test_a_sync_that_fails_gives_no_name(tmp_path, monkeypatch):
    def refuse(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", refuse)
    with Touched(sync=True) as touched:
        touched.create(tmp_path / "first", b"1")
        with pytest.raises(OSError, match="Input/output"):
            touched.make_safe()

    assert [] == list(tmp_path.iterdir())


def test_a_file_that_cannot_be_new_must_be_there(tmp_path):
    with Touched(sync=True) as touched, pytest.raises(FileNotFoundError):
        touched.append(tmp_path / "gone", [b"x"], may_be_new=False)


def test_folders_are_made_in_a_base_that_is_there_alone(tmp_path):
    with Touched(sync=False) as touched, pytest.raises(FileNotFoundError):
        touched.make_folders(tmp_path / "gone", "a", "b")


def test_links_are_safe_before_a_folder_is_made(recordings, source, synced):
    source.record(recordings, [source.Session(5).open()])
    folder = find_folder(recordings, "call")
    synced.clear()
    sessions = [
        SessionOpen(
            call_id=call, session=f"{number:016x}", gateway="g0", opened_at_us=source.ZERO_US
        )
        for number, call in ((5, "call"), (6, "other"))
    ]
    with Touched(sync=True) as touched:
        make_links(recordings, sessions, touched)
        assert {recordings.parent, recordings, recordings / ".calls"} == set(synced)
        assert [] == list(recordings.glob("*/*/*/other"))
        synced.clear()
        for each in sessions:
            claim_folder(recordings, each.call_id, each.session, each.opened_at_us, touched)
        assert [] == synced
        touched.make_safe()

    other = folder.with_name("other")
    assert {folder, other, *folder.parents[:4], recordings / ".calls"} == set(synced)
    assert len(synced) == len(set(synced))
