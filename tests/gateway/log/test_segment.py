"""One file of the log: whole records, whatever happens to a write."""

import errno
import os

import pytest

from gateway.log.folder import make_folder, segment_path
from gateway.log.place import Place
from gateway.log.reader import Cursor, Damages
from gateway.log.segment import begin_segment, record_of


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path / "gateway-0", "boot-1", 0)
    place.prepare()
    yield place
    os.close(place.lock)


@pytest.fixture
def segment(place, make):
    segment = begin_segment(
        place, segment_path(place.folder, 1), 1, [make.tick(1, snapshot=True)], spend=False
    )
    yield segment
    os.close(segment.descriptor)


def read(folder):
    damages = Damages()
    cursor = Cursor([folder], 1, damages)
    found = []
    while ticks := cursor.read(1):
        found += [tick.number for tick in ticks]
    return found, sum(vars(damages).values())


class ShortWrites:
    """A disk that takes some bytes of a write, and then as many as it likes, or none."""

    def __init__(self, monkeypatch, *takes):
        self._takes = list(takes)
        self._write = os.write
        monkeypatch.setattr(os, "writev", lambda fd, parts: self.write(fd, b"".join(parts)))
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor, data):
        takes = self._takes.pop(0) if self._takes else len(data)
        if takes is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(descriptor, data[:takes])


def test_a_write_that_is_cut_short_goes_on(segment, make, monkeypatch):
    ShortWrites(monkeypatch, 10, 100, 7)
    segment.append(record_of(make.tick(2)), 2)

    assert ([1, 2], 0) == read(segment.path.parent)
    assert (2, segment.path.stat().st_size) == (segment.last, segment.size)


def test_of_a_write_that_fails_halfway_nothing_is_left(segment, make, monkeypatch):
    before = segment.size
    with monkeypatch.context() as patch:
        ShortWrites(patch, 10, None)
        with pytest.raises(OSError, match="No space"):
            segment.append(record_of(make.tick(2)), 2)
    left = segment.path.stat().st_size
    segment.append(record_of(make.tick(3)), 3)

    assert (before, before) == (segment.size - (segment.path.stat().st_size - before), left)
    assert ([1, 3], 0) == read(segment.path.parent)


def test_a_segment_that_cannot_be_begun_leaves_no_file(place, make, monkeypatch):
    path = segment_path(place.folder, 1)
    ShortWrites(monkeypatch, 64, None)
    with pytest.raises(OSError, match="No space"):
        begin_segment(place, path, 1, [make.tick(1)], spend=False)

    assert not path.exists()


def test_a_segment_never_overwrites_another(segment, place, make):
    with pytest.raises(FileExistsError):
        begin_segment(place, segment.path, 1, [make.tick(9)], spend=False)

    assert ([1], 0) == read(place.folder)


def test_a_folder_that_cannot_be_made_leaves_no_lock(tmp_path):
    (tmp_path / "gateway-0").touch()
    with pytest.raises(OSError, match="gateway-0"):
        make_folder(tmp_path / "gateway-0", "boot-1")
