"""A log whose disks are full, or not there at all."""

import pytest
from node import eventually

from gateway.log.adoption import adopt
from gateway.log.folder import dead_logs, parts_of
from gateway.log.limits import LogLimits

MIB = 1024 * 1024


def test_a_full_disk_is_written_again_when_there_is_room(begin, disk, big, numbers, is_written):
    log = begin(disk.path / "gateway-0")
    log.append(big(1, snapshot=True))
    eventually(lambda: is_written(log))
    disk.fill()
    for number in range(2, 12):
        log.append(big(number))
    eventually(lambda: log.fault)
    said, waiting = log.reason, log.pending_from(2)
    disk.mend()
    eventually(lambda: is_written(log))

    assert "the log cannot be written (No space left on device): audio waits in memory" == said
    assert 10 == len(waiting)
    assert list(range(1, 12)) == numbers(log)
    eventually(lambda: not log.reason)


def test_both_folders_of_a_log_are_adopted_as_one_and_removed(begin, disk, other, big, is_written):
    roots = disk.path, other.path
    log = begin(*(root / "gateway-0" for root in roots))
    log.append(big(1, snapshot=True))
    eventually(lambda: is_written(log))
    disk.fill()
    log.append(big(2))
    eventually(lambda: is_written(log))
    live = dead_logs(*roots)
    folders = log.folders
    log.close(remove=False)
    disk.mend()
    [dead] = dead_logs(*roots)
    adopted = adopt(dead, roots)
    assert adopted is not None
    again = adopt(dead, roots)
    parts = parts_of(dead, roots)
    adopted.remove()

    assert ([], folders[0], None) == (live, dead, again)
    assert folders == parts
    assert [1, 2] == [adopted.first, adopted.last]
    assert not any(folder.exists() for folder in folders)


def test_a_folder_that_cannot_be_made_is_passed_over(begin, tmp_path, big, numbers, is_written):
    (tmp_path / "file").touch()
    log = begin(tmp_path / "file" / "gateway-0", tmp_path / "other" / "gateway-0")
    log.append(big(1, snapshot=True))
    eventually(lambda: is_written(log))

    assert [tmp_path / "other" / "gateway-0" / "boot-1"] == log.folders
    assert [1] == numbers(log)


def test_without_any_folder_there_is_no_log(begin, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="Not a directory"):
        begin(tmp_path / "file" / "gateway-0")


def test_new_calls_are_refused_at_80_percent(begin, big):
    log = begin(limits=LogLimits(MIB, 0, MIB))
    log.append(big(1, snapshot=True))
    found = []
    for number in range(2, 40):
        log.append(big(number))
        found.append((log.fill >= 0.8, bool(log.refuses)))

    assert (False, False) == found[0]
    assert (True, True) == found[-1]
    assert all(full == refused for full, refused in found[-5:])
    assert log.dropped["audio"] > 0
    assert "the log is full, on disk and in memory: audio is dropped" == log.reason
    assert not log.is_segment_due(2**62)


def test_closing_gives_up_on_a_disk_that_refuses(begin, disk, big, caplog, is_written):
    log = begin(disk.path / "gateway-0")
    log.append(big(1, snapshot=True))
    eventually(lambda: is_written(log))
    disk.fill()
    log.append(big(2))
    eventually(lambda: log.fault)
    log.close(remove=False)

    assert "1 ticks could not be written and are lost" in caplog.text
    assert [log.folder] == dead_logs(disk.path)
