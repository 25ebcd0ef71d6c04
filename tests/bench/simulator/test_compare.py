"""Every way in which a track can differ gets its name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.compare import Differences, SentTrack, compare

PACKET = 320


def noise(seed: int, packets: int = 100) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 20_000, packets * PACKET).astype(np.int16)


@pytest.fixture
def sent() -> SentTrack:
    return SentTrack("one", noise(1))


def test_same_samples_at_the_same_place_do_not_differ(sent: SentTrack) -> None:
    assert compare(sent, sent.pcm, 0, PACKET) == Differences()


def test_track_that_begins_later_and_stands_there_does_not_differ() -> None:
    sent = SentTrack("one", noise(1), start=4800)
    assert compare(sent, sent.pcm, 4800, PACKET) == Differences()


@given(at=st.integers(0, 100 * PACKET - 1))
def test_one_altered_sample_is_one(at: int) -> None:
    sent = SentTrack("one", noise(1))
    recorded = sent.pcm.copy()
    recorded[at] ^= 1
    assert compare(sent, recorded, 0, PACKET) == Differences(altered=1, first_at=at)


def test_missing_end_is_lost(sent: SentTrack) -> None:
    found = compare(sent, sent.pcm[:-500], 0, PACKET)
    assert found == Differences(lost=500, first_at=100 * PACKET - 500)


def test_missing_beginning_is_lost(sent: SentTrack) -> None:
    found = compare(sent, sent.pcm[640:], 640, PACKET)
    assert found == Differences(lost=640, first_at=0)


def test_silence_instead_of_audio_is_lost(sent: SentTrack) -> None:
    recorded = sent.pcm.copy()
    recorded[3200:6400] = 0
    assert compare(sent, recorded, 0, PACKET) == Differences(lost=3200, first_at=3200)


@given(shift=st.integers(1, 2000))
def test_late_audio_is_displaced_by_whatever_it_is_late(shift: int) -> None:
    sent = SentTrack("one", noise(1))
    recorded = np.concatenate([np.zeros(shift, np.int16), sent.pcm])
    found = compare(sent, recorded, 0, PACKET)
    assert found.extra == shift
    assert found.altered <= PACKET
    # A sample of the first packet may be right by chance.
    assert len(sent.pcm) - (found.lost + found.displaced + found.altered) in range(9)
    assert found.displaced >= len(sent.pcm) - shift - PACKET


@given(shift=st.integers(1, 2000))
def test_early_audio_is_displaced(shift: int) -> None:
    sent = SentTrack("one", noise(1))
    found = compare(sent, sent.pcm[shift:], 0, PACKET)
    assert found.lost == shift
    assert len(sent.pcm) - shift - (found.displaced + found.altered) in range(9)
    assert found.displaced >= len(sent.pcm) - shift - PACKET


def test_two_packets_that_changed_places_are_displaced(sent: SentTrack) -> None:
    recorded = sent.pcm.copy()
    recorded[:PACKET], recorded[PACKET : 2 * PACKET] = sent.pcm[PACKET:640], sent.pcm[:PACKET]
    assert compare(sent, recorded, 0, PACKET) == Differences(displaced=640, first_at=0)


def test_packet_of_another_participant_is_displaced(sent: SentTrack) -> None:
    other = SentTrack("two", noise(2))
    recorded = sent.pcm.copy()
    recorded[PACKET:640] = other.pcm[PACKET:640]
    found = compare(sent, recorded, 0, PACKET, [other])
    assert found == Differences(displaced=PACKET, first_at=PACKET)


def test_audio_that_nobody_sent_is_altered(sent: SentTrack) -> None:
    recorded = sent.pcm.copy()
    recorded[3200:6400] = noise(9, 10)
    found = compare(sent, recorded, 0, PACKET)
    assert (found.lost, found.displaced, found.extra) == (0, 0, 0)
    assert found.altered == np.count_nonzero(recorded != sent.pcm)


def test_whole_track_of_noise_is_told_without_searching_for_every_packet() -> None:
    sent = SentTrack("one", noise(1, 3000))
    found = compare(sent, noise(9, 3000), 0, PACKET)
    assert found.altered > 0.99 * len(sent.pcm)


def test_more_than_was_sent_is_extra(sent: SentTrack) -> None:
    recorded = np.concatenate([sent.pcm, np.zeros(100, np.int16)])
    found = compare(sent, recorded, 0, PACKET)
    assert found == Differences(extra=100, first_at=100 * PACKET)


def test_nothing_recorded_is_all_lost(sent: SentTrack) -> None:
    found = compare(sent, np.zeros(0, np.int16), 0, PACKET)
    assert found == Differences(lost=100 * PACKET, first_at=0)


def test_recording_far_off_is_lost_and_extra(sent: SentTrack) -> None:
    found = compare(sent, sent.pcm, 10**6, PACKET)
    assert (found.lost, found.extra) == (100 * PACKET, 100 * PACKET)


def test_silence_in_a_hole_is_right() -> None:
    sent = SentTrack("one", noise(1), holes=[(3200, 6400)])
    recorded = sent.pcm.copy()
    recorded[3200:9600] = 0
    assert compare(sent, recorded, 0, PACKET) == Differences()


def test_audio_in_a_hole_is_extra() -> None:
    sent = SentTrack("one", noise(1), holes=[(3200, 6400)])
    assert compare(sent, sent.pcm, 0, PACKET) == Differences(extra=6400, first_at=3200)


def test_hole_that_was_not_kept_displaces_what_follows() -> None:
    sent = SentTrack("one", noise(1), holes=[(3200, 640)])
    recorded = np.concatenate([sent.pcm[:3200], sent.pcm[3840:]])
    found = compare(sent, recorded, 0, PACKET)
    assert (found.extra, found.lost) == (640, 640)
    assert found.displaced == len(sent.pcm) - 3200 - 1280
