"""What is reserved for a full disk, and who may look at it."""

from node import eventually

from gateway.log.adoption import adopt
from gateway.log.folder import RESERVE_NAME, dead_logs

MIB = 1024 * 1024


def test_what_is_reserved_is_written_to_when_the_disk_is_full(
    *, begin, disk, big, limits, numbers, is_written
):
    log = begin(disk.path / "gateway-0", limits=limits._replace(reserve_bytes=MIB))
    eventually(lambda: log.reserved_bytes == MIB)
    log.append(big(1, snapshot=True))
    eventually(lambda: is_written(log))
    disk.fill()
    for number in range(2, 10):
        log.append(big(number))
    eventually(lambda: is_written(log))
    after = log.reserved_bytes
    disk.mend()
    log.append(big(10, snapshot=True))
    eventually(lambda: log.reserved_bytes == MIB)

    assert 0 == after
    assert list(range(1, 11)) == numbers(log)
    assert "" == log.fault


def test_what_was_reserved_goes_with_the_log(begin, tmp_path, big, limits):
    log = begin(limits=limits._replace(reserve_bytes=MIB))
    eventually(lambda: log.reserved_bytes)
    log.append(big(1, snapshot=True))
    log.close(remove=False)
    [dead] = dead_logs(tmp_path / "log")
    there = (dead / RESERVE_NAME).exists()
    adopted = adopt(dead)
    assert adopted is not None
    freed = not (dead / RESERVE_NAME).exists()
    adopted.remove()

    assert (True, True, False) == (there, freed, dead.exists())


def test_folders_and_files_of_a_log_are_for_our_eyes_only(begin, tmp_path, big, limits, is_written):
    log = begin(limits=limits._replace(reserve_bytes=MIB))
    eventually(lambda: log.reserved_bytes)
    log.append(big(1, snapshot=True))
    eventually(lambda: is_written(log))
    found = [tmp_path / "log", *(tmp_path / "log").rglob("*")]

    assert {"log", "gateway-0", "boot-1", "lock", "reserve", "00000001.seg"} == {
        path.name for path in found
    }
    assert not any(path.stat().st_mode & 0o077 for path in found)
