"""Where ticks are written while folders refuse them, and how much is kept."""

from node import eventually

from gateway.log.adoption import adopt
from gateway.log.folder import segments

MIB = 1024 * 1024


def test_the_next_folder_is_used_while_the_first_one_refuses(
    *, begin, disk, other, big, numbers, is_written
):
    log = begin(disk.path / "gateway-0", other.path / "gateway-0")
    log.append(big(1, snapshot=True))
    log.append(big(2))
    eventually(lambda: is_written(log))
    disk.fill()
    log.append(big(3))
    log.append(big(4))
    eventually(lambda: is_written(log))
    elsewhere = segments(log.folders[1])
    disk.mend()
    appended = iter(range(5, 100_000))

    def is_back() -> int:
        """Begin a segment; the number of its tick if it lies in the first folder again."""
        before = segments(log.folders[0])
        number = next(appended)
        log.append(big(number, snapshot=True))
        eventually(lambda: is_written(log))
        return number if segments(log.folders[0]) != before else 0

    last = eventually(is_back)

    assert ("", 1) == (log.fault, len(elsewhere))
    assert list(range(1, last + 1)) == numbers(log)


def test_a_segment_can_be_read_alone_though_it_was_begun_in_between(
    begin, disk, other, big, is_written
):
    log = begin(disk.path / "gateway-0", other.path / "gateway-0")
    log.append(big(1, snapshot=True))
    log.append(big(2))
    eventually(lambda: is_written(log))
    disk.fill()
    log.append(big(3))
    eventually(lambda: is_written(log))
    log.close(remove=False)
    folder = log.folders[1]
    adopted = adopt(folder)
    assert adopted is not None
    adopted.remove()

    assert ({7}, 2, 3) == (set(adopted.sessions), adopted.first, adopted.last)


def test_at_its_limit_the_log_waits_in_memory_until_segments_are_retired(
    begin, big, limits, is_written
):
    log = begin(limits=limits._replace(bytes_max=MIB))
    for number in range(1, 41):
        log.append(big(number, snapshot=number % 5 == 1))
    eventually(lambda: log.fault)
    said, kept, waiting = log.reason, log.kept_bytes, log.ticks_pending
    log.retire(11)
    eventually(lambda: log.ticks_pending < waiting)
    log.retire(41)
    eventually(lambda: is_written(log))

    assert "the limit of 1048576 bytes is reached" in said
    assert kept <= MIB
    assert waiting >= 20
    assert "" == log.fault


def test_a_segment_is_ended_early_where_the_log_may_hold_little(begin, big, limits, is_written):
    log = begin(limits=limits._replace(bytes_max=MIB))
    log.append(big(1, snapshot=True))
    first_us = big(1).sent_us
    before = log.is_segment_due(first_us + 600_000)
    for number in range(2, 5):
        log.append(big(number))
    eventually(lambda: is_written(log))

    assert not before
    assert log.is_segment_due(first_us + 600_000)
    assert not log.is_segment_due(first_us + 400_000)
