"""Finishing where the disk has no room: nothing half made, tried again, told, and then done."""

import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import SmallDisk

from workers.recordings import due
from workers.recordings.finish import FinishLoop
from workers.recordings.folder import find_folder
from workers.recordings.manifest import read_manifest
from workers.recordings.settings import RecordingSettings

S = 1_000_000
SETTINGS = RecordingSettings(durability="process", redial_wait_s=0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "small", "2m")
    yield disk
    disk.close()


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("trouble", [SmallDisk.fill, SmallDisk.fill_inodes])
def test_a_full_disk_leaves_nothing_half_made_and_is_tried_again(disk, source, caplog, trouble):
    recordings = disk.path / "recordings"
    recordings.mkdir()
    # Two participants: their mix needs room of its own.
    voices = {"anna": source.tone(16_000), "bert": source.tone(16_000, 2)}
    session = source.Session(5)
    source.record(recordings, source.one_session(session, voices))
    now_us = source.ZERO_US + 60 * S
    folder = find_folder(recordings, "call")
    before = names(folder)
    loop = FinishLoop(recordings, SETTINGS)
    trouble(disk)
    with caplog.at_level(logging.ERROR):
        tries = [loop.turn(now_us + second * S) for second in range(120)]
    during, said = names(folder), loop.storage_fault()
    disk.mend()
    finished = loop.turn(now_us + 150 * S)

    assert not any(tries)
    assert {"lock"} >= {name.strip(".") for name in during - before}
    assert "1 recordings cannot be finished (No space left on device) and are tried again" == said
    assert 4 <= len(caplog.records) == loop.counters.recordings_failed <= 9
    assert not any(record.exc_info for record in caplog.records)
    assert loop.counters.storage_errors == loop.counters.recordings_failed
    assert (True, "") == (finished, loop.storage_fault())
    assert "complete" == read_manifest(folder).state


def test_a_fault_of_our_own_is_told_with_its_place_and_less_and_less_often(
    recordings, source, caplog, monkeypatch
):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))

    def broken(*_args, **_members):
        raise AssertionError("our own")

    monkeypatch.setattr("workers.recordings.finish.finish_folder", broken)
    loop = FinishLoop(recordings, SETTINGS)
    now_us = source.ZERO_US + 60 * S
    for second in range(60):
        loop.turn(now_us + second * S)

    assert (
        5
        == loop.counters.recordings_failed
        == sum(record.exc_info is not None for record in caplog.records)
    )
    assert "AssertionError" in loop.storage_fault()


def test_notes_that_cannot_be_read_end_no_process(recordings, monkeypatch, caplog):
    def refuse(*_args):
        raise OSError(errno.EIO, "Input/output error")

    loop = FinishLoop(recordings, SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(due.Notes, "scan", refuse)
        done = [loop.turn(second * S) for second in range(10)]
        said = loop.storage_fault()
    loop.turn(11 * S)

    assert not any(done)
    assert ("what is due cannot be read: Input/output error", "") == (said, loop.storage_fault())
    assert (10, 1) == (loop.counters.storage_errors, len(caplog.records))
