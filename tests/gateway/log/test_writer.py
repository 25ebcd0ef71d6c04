"""The log on a real disk: what is handed over is read back, and survives its process."""

import os
import time

import pytest
from node import eventually

from gateway.log.adoption import adopt
from gateway.log.folder import dead_logs, make_folder, segments, take
from gateway.log.ticks import Tick, frames_tick
from gateway.log.writer import Log
from gateway.wire import descriptor
from gateway.wire.frame import FRAME, NO_STAMP, FrameKind


def frame(kind: FrameKind, stream: int, payload: bytes, session: int = 7) -> tuple[bytes, bytes]:
    return FRAME.pack(kind, 0, stream, len(payload), session, 0, 1, NO_STAMP, 0), payload


def tick(number: int, *frames: tuple[bytes, bytes], snapshot: bool = False) -> Tick:
    audio = frames or (frame(FrameKind.AUDIO, 1, number.to_bytes(4, "little") * 100),)
    return frames_tick(number, number * 20_000, audio)._replace(snapshot=snapshot)


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "gateway-0", "boot-1", sync_ms=1, segment_s=1, power=True)
    yield log
    if log.folder.exists():
        log.close(remove=True)


def written(log: Log) -> None:
    for _ in range(5000):
        if log.written_up_to() is None:
            return
        time.sleep(0.001)
    raise AssertionError("the writer does not get done")


def read_all(cursor, bytes_max: int = 1) -> list[Tick]:
    found: list[Tick] = []
    while ticks := cursor.read(bytes_max):
        found += ticks
    return found


def test_ticks_are_read_back_as_they_were_handed_over(log):
    ticks = [tick(number, snapshot=number in (1, 40)) for number in range(1, 100)]
    for each in ticks:
        log.append(each)
    written(log)

    assert ticks == read_all(log.cursor(1))
    assert ticks[59:] == read_all(log.cursor(60), 10_000_000)
    assert 2 == len(segments(log.folder))


def test_a_cursor_at_the_end_goes_on_when_more_is_written(log):
    log.append(tick(1, snapshot=True))
    written(log)
    cursor = log.cursor(1)
    first = read_all(cursor)
    log.append(tick(2))
    log.append(tick(3, snapshot=True))
    written(log)

    assert [1] == [each.number for each in first]
    assert [2, 3] == [each.number for each in read_all(cursor)]


def test_only_segments_that_nobody_needs_are_retired(log):
    for number in range(1, 61):
        log.append(tick(number, snapshot=number % 10 == 1))
    written(log)
    log.retire(25)

    assert [21, 22] == [each.number for each in log.cursor(1).read(1_000_000)][:2]
    eventually(lambda: len(segments(log.folder)) == 4)


def test_a_cursor_in_a_segment_that_is_retired_goes_on_in_the_next(log):
    log.append(tick(1, snapshot=True))
    written(log)
    cursor = log.cursor(1)
    read_all(cursor)
    log.append(tick(2, snapshot=True))
    written(log)
    log.retire(2)

    assert [2] == [each.number for each in read_all(cursor)]


def test_a_log_whose_process_lives_is_not_adopted(log, tmp_path):
    assert [] == dead_logs(tmp_path)
    assert take(log.folder) is None


def test_a_log_that_is_closed_without_removal_can_be_adopted_once(log, tmp_path):
    opened = descriptor.pack(
        descriptor.SessionOpen(call_id="c", session="7", gateway="g", opened_at_us=1)
    )
    stream = descriptor.pack(
        descriptor.StreamOpen(participant=None, sample_rate=16_000, zero_us=1, first_position=0)
    )
    log.append(tick(1, frame(FrameKind.OPEN, 0, opened), snapshot=True))
    log.append(tick(2, frame(FrameKind.OPEN, 1, stream)))
    log.append(tick(3))
    log.close(remove=False)
    [folder] = dead_logs(tmp_path)
    adopted = adopt(folder)
    assert adopted is not None

    assert adopt(folder) is None
    assert (1, 3) == (adopted.first, adopted.last)
    assert {7: "c"} == {session: logged.call_id for session, logged in adopted.sessions.items()}
    assert 2 == adopted.last_words.frames
    adopted.remove()
    assert not folder.exists()


def test_a_torn_tail_and_a_flipped_bit_cost_what_they_touch(log, tmp_path):
    for number in range(1, 21):
        log.append(tick(number, snapshot=number == 1))
    log.close(remove=False)
    [segment] = segments(log.folder)
    data = bytearray(segment.read_bytes())
    size = (len(data) - 64) // 20
    data[64 + 5 * size + size - 3] ^= 1  # the payload of tick 6
    data[64 + 9 * size + 1] ^= 1  # the header of tick 10
    segment.write_bytes(data[:-7])
    adopted = adopt(log.folder)
    assert adopted is not None
    found = read_all(adopted.cursor(1))
    adopted.remove()

    assert [n for n in range(1, 20) if n != 10] == [each.number for each in found]
    assert [6] == [each.number for each in found if not each.frames]
    assert 1 <= adopted.damages.frames


def test_a_disk_that_refuses_is_asked_again_and_nothing_is_lost(tmp_path):
    log = Log(tmp_path / "gateway-0", "boot-1", sync_ms=1, segment_s=1, power=True)
    log.append(tick(1, snapshot=True))
    written(log)
    hidden = log.folder.with_name("hidden")
    log.folder.rename(hidden)
    log.append(tick(2, snapshot=True))
    for _ in range(5000):
        if log.write_errors:
            break
        time.sleep(0.001)
    waiting = log.pending_from(2)
    hidden.rename(log.folder)
    written(log)
    found = read_all(log.cursor(1))
    log.close(remove=True)

    assert [tick(2, snapshot=True)] == waiting
    assert [1, 2] == [each.number for each in found]
    assert "" == log.fault


def test_a_new_log_is_locked_before_it_is_seen(tmp_path):
    folder, lock = make_folder(tmp_path / "gateway-0", "boot-9")
    seen = dead_logs(tmp_path)
    os.close(lock)

    assert [] == seen
    assert [folder] == dead_logs(tmp_path)


def test_what_is_written_again_after_a_failed_sync_is_read_in_order(tmp_path, make, syncs):
    now_s = iter(range(100, 10_000))  # a second at each look: nothing is refused for long
    log = Log(
        tmp_path / "gateway-0",
        "boot-1",
        sync_ms=1,
        segment_s=1,
        power=True,
        clock=lambda: float(next(now_s)),
        threads=False,
    )
    for number in (1, 2, 3, 4, 5):
        log.append(make.tick(number, snapshot=number in {1, 4}))
        assert log.write_next()
    syncs.fails = 1
    log.sync_next()
    log.append(make.tick(6))
    while log.write_next():
        pass

    cursor, found = log.cursor(1), []
    while ticks := cursor.read(1):
        found += [tick.number for tick in ticks if tick.number > max(found, default=0)]
    assert [1, 2, 3, 4, 5, 6] == found
    log.close(remove=True)
