"""Syncs that are slow, or fail."""

import threading

from node import eventually

from gateway.log.folder import segments


def test_a_failed_sync_is_never_trusted_again(begin, big, syncs, numbers, is_written):
    log = begin()
    log.append(big(1, snapshot=True))
    eventually(lambda: log.syncs)
    syncs.fails = 1
    log.append(big(2))
    eventually(lambda: log.sync_errors)
    log.append(big(3))
    eventually(lambda: is_written(log) and not log.copies_bytes)

    assert [1, 2, 3] == numbers(log)
    assert (2, 1) == (len(segments(log.folder)), log.sync_errors)
    eventually(lambda: not log.reason)


def test_while_every_sync_fails_audio_stays_in_memory_and_files_do_not_pile_up(
    *, begin, monkeypatch, big, syncs, numbers, is_written
):
    monkeypatch.setattr("gateway.log.place.RETRY_S_MIN", 0.001)
    monkeypatch.setattr("gateway.log.place.RETRY_S_MAX", 0.001)
    monkeypatch.setattr("gateway.log.writer.RETRY_S_MIN", 0.001)
    syncs.fails = 1000
    log = begin()
    log.append(big(1, snapshot=True))
    for number in range(2, 10):
        log.append(big(number))
    eventually(lambda: log.sync_errors > 20)
    said, files = log.reason, len(segments(log.folder))
    held = log.pending_bytes + log.copies_bytes
    syncs.fails = 0
    eventually(lambda: is_written(log) and not log.copies_bytes)

    assert "Input/output error" in said
    assert files <= 3
    assert held > 8 * 65_536
    assert list(range(1, 10)) == numbers(log)


def test_a_slow_sync_is_told_and_holds_nobody_up(begin, big, syncs, is_written):
    syncs.gate = threading.Event()
    log = begin()
    log.append(big(1, snapshot=True))
    said = eventually(lambda: log.reason)
    log.append(big(2))
    eventually(lambda: is_written(log))
    waits_s = log.waits_s
    syncs.gate.set()

    assert "the log's disk is slow" in said
    assert waits_s > 1
    eventually(lambda: not log.reason)
