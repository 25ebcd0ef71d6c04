import errno
import logging
import os
import threading
import time

import pytest

from gateway.wire.errors import WireError
from workers import recorder as recorder_module
from workers.recordings.folder import find_folder
from workers.recordings.settings import RecordingSettings

LINK = ("boot", 1)
S = 1_000_000


@pytest.fixture
def session(source):
    return source.Session(5)


@pytest.fixture
def opened(session):
    return [session.open(), session.open_stream(1)]


def until(condition, what="it"):
    """The writer is a thread: wait for what it does."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        threading.Event().wait(0.002)


def stream_of(recordings):
    return find_folder(recordings, "call") / "streams" / "0000000000000005-1.wav"


def test_what_was_gathered_for_long_enough_becomes_safe(
    make_recorder, recordings, source, session, opened
):
    recorder = make_recorder()
    recorder.receive(LINK, 1, source.batch(1, opened), 0)
    recorder.receive(LINK, 2, source.batch(2, session.packets(1, 0, source.tone(640))), S // 2)
    recorder.advance(S - 1)
    assert {LINK: 0} == recorder.safe()
    assert S - 1 == recorder.unsynced_us(S - 1)
    recorder.advance(S)
    until(lambda: recorder.safe() == {LINK: 2})
    assert 0 == recorder.unsynced_us(2 * S)
    assert source.tone(640) == source.read_pcm(stream_of(recordings))


def test_close_writes_what_is_left(make_recorder, recordings, source, session, opened):
    recorder = make_recorder()
    message = source.batch(1, [*opened, session.audio(1, 0, b"\1\0")])
    recorder.receive(LINK, 1, message, 0)
    recorder.close(0)
    assert {LINK: 1} == recorder.safe()
    assert b"\1\0" == source.read_pcm(stream_of(recordings))


def test_a_bad_batch_is_refused_and_the_next_one_is_taken(make_recorder, source, opened):
    recorder = make_recorder()
    with pytest.raises(WireError):
        recorder.receive(LINK, 1, b"ACSB", 0)
    recorder.receive(LINK, 2, source.batch(2, opened), 0)
    recorder.close(0)
    assert {LINK: 2} == recorder.safe()


def test_nothing_of_a_forgotten_link_is_acknowledged(
    make_recorder, recordings, source, session, opened
):
    recorder = make_recorder()
    recorder.receive(LINK, 1, source.batch(1, [*opened, session.audio(1, 0, b"\1\0")]), 0)
    recorder.forget(LINK)
    recorder.receive(("boot", 2), 1, source.batch(1, opened, link=2), 0)
    recorder.close(0)
    assert {("boot", 2): 1} == recorder.safe()
    assert b"\1\0" == source.read_pcm(stream_of(recordings))


def test_a_link_is_forgotten_though_nothing_comes_any_more(make_recorder, source, opened):
    recorder = make_recorder()
    recorder.receive(LINK, 1, source.batch(1, opened), 0)
    recorder.advance(S)
    recorder.forget(LINK)
    recorder.advance(S)
    until(lambda: recorder.counters.gathers == 2)
    assert {} == recorder.safe()


class FullDisk:
    """Refuses every write of audio until there is room."""

    def __init__(self, monkeypatch):
        self._pwrite = os.pwrite
        self.is_full = True
        monkeypatch.setattr(os, "pwrite", self)

    def __call__(self, descriptor, data, offset):
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._pwrite(descriptor, data, offset)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(recorder_module, "_RETRY_S_MIN", 0.001)
    monkeypatch.setattr(recorder_module, "_RETRY_S_MAX", 0.002)


def test_a_full_disk_acknowledges_nothing_and_loses_nothing(
    *, make_recorder, recordings, source, session, opened, monkeypatch, impatient
):
    recorder = make_recorder()
    disk = FullDisk(monkeypatch)
    message = source.batch(1, [*opened, *session.packets(1, 0, source.tone(640))])
    recorder.receive(LINK, 1, message, 0)
    recorder.advance(S)
    until(lambda: recorder.counters.storage_errors > 3)
    assert ({LINK: 0}, 9 * S) == (recorder.safe(), recorder.unsynced_us(9 * S))
    disk.is_full = False
    until(lambda: recorder.safe() == {LINK: 1})
    assert source.tone(640) == source.read_pcm(stream_of(recordings))


def test_storage_errors_are_logged_once_a_minute(
    *, make_recorder, source, opened, monkeypatch, impatient, caplog
):
    recorder = make_recorder()
    disk = FullDisk(monkeypatch)
    recorder.receive(LINK, 1, source.batch(1, opened), 0)
    recorder.advance(S)
    seen = []
    for now_us in (2 * S, 3 * S, 63 * S):
        errors = recorder.counters.storage_errors
        until(lambda errors=errors: recorder.counters.storage_errors > errors)
        recorder.advance(now_us)
        seen.append(len(caplog.records))
    assert [1, 1, 2] == seen
    assert "ENOSPC" in caplog.text
    assert logging.ERROR == caplog.records[0].levelno
    disk.is_full = False
    until(lambda: recorder.safe() == {LINK: 1})


def test_a_failed_sync_is_not_believed_the_second_time(
    *, recordings, source, session, opened, monkeypatch, impatient
):
    """What the kernel has thrown away is written again before the next sync."""
    settings = recorder_module.RecordingSettings(gather_s=1.0)
    recorder = recorder_module.Recorder(recordings, settings)
    recorder.receive(LINK, 1, source.batch(1, [*opened, session.audio(1, 0, b"\1\0")]), 0)
    recorder.advance(S)
    until(lambda: recorder.safe() == {LINK: 1})
    path, fdatasync = stream_of(recordings), os.fdatasync
    failed = []

    def fail_once(descriptor):
        if not failed:
            failed.append(True)
            os.truncate(path, 82)
            raise OSError(errno.EIO, "Input/output error")
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", fail_once)
    recorder.receive(LINK, 2, source.batch(2, [session.audio(1, 1, b"\2\0")]), S)
    recorder.advance(2 * S)
    until(lambda: recorder.safe() == {LINK: 2})
    recorder.close(2 * S)
    assert [True] == failed
    assert b"\1\0\2\0" == source.read_pcm(path)


def test_memory_is_bounded_by_taking_no_more(
    *, make_recorder, source, session, opened, monkeypatch, impatient
):
    monkeypatch.setattr(recorder_module, "GATHER_BYTES_MAX", 4096)
    monkeypatch.setattr(recorder_module, "WAITING_BYTES_MAX", 3 * 4096)
    recorder = make_recorder()
    disk = FullDisk(monkeypatch)
    recorder.receive(LINK, 1, source.batch(1, opened), 0)
    number = 1
    while recorder.has_room():
        number += 1
        position = (number - 2) * 320
        message = source.batch(number, [session.audio(1, position, source.tone(320))])
        recorder.receive(LINK, number, message, 0)
    assert 3 * 4096 <= number * 640 <= 5 * 4096
    disk.is_full = False
    until(recorder.has_room)
    recorder.advance(S)
    until(lambda: recorder.safe() == {LINK: number})


def test_close_gives_up_on_a_disk_that_stays_full(
    *, make_recorder, source, opened, monkeypatch, impatient
):
    recorder = make_recorder()
    FullDisk(monkeypatch)
    recorder.receive(LINK, 1, source.batch(1, opened), 0)
    recorder.close(0)
    assert {LINK: 0} == recorder.safe()


def test_a_fault_of_our_own_ends_the_process_not_the_audio(
    *, make_recorder, source, opened, monkeypatch
):
    def broken(*_args, **_members):
        raise AssertionError("our own")

    monkeypatch.setattr("workers.recordings.stream_files.claim_folder", broken)
    recorder = make_recorder()
    recorder.receive(LINK, 1, source.batch(1, opened), 0)
    recorder.advance(S)

    def has_raised():
        try:
            recorder.advance(S)
        except AssertionError:
            return True
        return False

    until(has_raised)


def test_what_is_wrong_with_the_disk_is_told_while_it_lasts(
    *, make_recorder, source, opened, monkeypatch, impatient
):
    recorder = make_recorder()
    disk = FullDisk(monkeypatch)
    recorder.receive(LINK, 1, source.batch(1, opened), 0)
    recorder.advance(S)
    until(recorder.storage_fault)
    said = recorder.storage_fault()
    disk.is_full = False
    until(lambda: recorder.safe() == {LINK: 1})
    assert "recordings cannot be written (ENOSPC): audio waits" == said
    until(lambda: not recorder.storage_fault())


def test_a_slow_disk_is_told_and_holds_nobody_up(
    *, recordings, source, session, opened, monkeypatch
):
    monkeypatch.setattr(recorder_module, "SLOW_S", 0.05)
    settings = recorder_module.RecordingSettings(gather_s=1.0)
    recorder = recorder_module.Recorder(recordings, settings)
    gate, fdatasync = threading.Event(), os.fdatasync

    def slow(descriptor):
        gate.wait(10)
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    recorder.receive(LINK, 1, source.batch(1, opened), 0)
    recorder.advance(S)
    until(lambda: "slow" in recorder.storage_fault())
    recorder.receive(LINK, 2, source.batch(2, [session.audio(1, 0, b"\1\0")]), S)
    recorder.advance(2 * S)
    assert ({LINK: 0}, 5 * S) == (recorder.safe(), recorder.unsynced_us(5 * S))
    gate.set()
    until(lambda: recorder.safe() == {LINK: 2})
    recorder.close(2 * S)
    assert "" == recorder.storage_fault()


def test_after_a_failed_sync_of_a_folder_every_name_is_synced_again(
    *, recordings, source, opened, monkeypatch, impatient
):
    """The second try finds the folders there, and they may be lost all the same."""
    settings = recorder_module.RecordingSettings(gather_s=1.0)
    recorder = recorder_module.Recorder(recordings, settings)
    synced, fsync, failed = set(), os.fsync, []

    def fail_once(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.endswith("/streams") and not failed:
            failed.append(True)
            synced.clear()
            raise OSError(errno.EIO, "Input/output error")
        synced.add(path)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once)
    recorder.receive(LINK, 1, source.batch(1, opened), 0)
    recorder.advance(S)
    until(lambda: recorder.safe() == {LINK: 1})
    recorder.close(S)
    folder = find_folder(recordings, "call")
    expected = {folder / "streams", folder, *folder.parents[:4], recordings / ".calls"}
    assert {str(path) for path in expected} <= synced


def test_without_a_thread_whoever_made_it_takes_the_steps(recordings, source):
    settings = RecordingSettings(gather_s=1.0, durability="process")
    recorder = recorder_module.Recorder(recordings, settings, threads=False)
    frames = source.one_session(source.Session(1), {"anna": source.tone(320)})
    recorder.receive(LINK, 1, source.batch(1, frames), 0)
    recorder.advance(2_000_000)

    assert {LINK: 0} == recorder.safe()
    assert recorder.write_next()
    assert {LINK: 1} == recorder.safe()
    assert not recorder.write_next()
    recorder.close(2_000_000)
