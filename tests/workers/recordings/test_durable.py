import os
import stat

import pytest

from workers.recordings import durable


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_files_are_for_their_owner_alone(tmp_path):
    folder = durable.make_folders(tmp_path, "a", "b", sync=True)
    durable.write_new(folder / "file", b"x", sync=True)
    assert [0o700, 0o700, 0o600] == [mode(tmp_path / "a"), mode(folder), mode(folder / "file")]


def test_a_replaced_file_leaves_nothing_beside_it(tmp_path):
    for data in (b"one", b"two"):
        durable.replace_file(tmp_path / "file", data, sync=True)
    assert {"file": b"two"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    durable.replace_file(tmp_path / "file", b"old", sync=False)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match="No space"):
        durable.replace_file(tmp_path / "file", b"new", sync=False)
    assert {"file": b"old"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_file_is_created_once(tmp_path):
    assert durable.create_file(tmp_path / "file", b"first", sync=True)
    assert not durable.create_file(tmp_path / "file", b"second", sync=True)
    assert {"file": b"first"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_link_in_a_files_place_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "file").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        durable.open_file(tmp_path / "file", os.O_RDWR)


def test_a_write_that_is_cut_short_goes_on(tmp_path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:3], at))
    durable.write_new(tmp_path / "file", b"0123456789", sync=False)
    assert b"0123456789" == (tmp_path / "file").read_bytes()


def test_a_write_can_be_begun_and_synced_later(tmp_path):
    descriptor = durable.open_file(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    durable.write_all(descriptor, b"abc", 2)
    durable.start_writing(descriptor)
    os.close(descriptor)
    durable.sync_file(tmp_path / "file")
    assert b"\0\0abc" == (tmp_path / "file").read_bytes()
