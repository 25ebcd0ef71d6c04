import os
import shutil

import pytest

from workers.recordings.finish import FinishLoop
from workers.recordings.folder import find_folder
from workers.recordings.manifest import read_manifest
from workers.recordings.orphans import LOOK_US, SETTLE_US, Orphans
from workers.recordings.settings import RecordingSettings

S = 1_000_000
BEGIN_US = 1_764_000_100 * S


class House:
    """Finishing, with gateways that come and go."""

    def __init__(self, recordings, *boots):
        self.recordings = recordings
        self.boots = set(boots)
        self.orphans = Orphans(recordings, lambda: self.boots)
        settings = RecordingSettings(durability="process", redial_wait_s=0)
        self.loop = FinishLoop(recordings, settings, orphans=self.orphans)
        self.now_us = BEGIN_US

    def after(self, passed_us):
        """Turns, a second apart, until then."""
        until_us = self.now_us + passed_us
        while self.now_us < until_us:
            self.now_us = min(self.now_us + S, until_us)
            while self.loop.turn(self.now_us):
                pass

    def manifest(self):
        return read_manifest(find_folder(self.recordings, "call"))


def half_a_session(source, number=1, **opening):
    session = source.Session(number)
    pcm = source.tone(640)
    return [session.open(**opening), session.open_stream(1), *session.packets(1, 0, pcm)]


def touch(folder, at_us):
    """All of a recording was written to at that time."""
    for file in (*folder.glob("*.json"), *folder.glob("streams/*")):
        os.utime(file, ns=(at_us * 1000, at_us * 1000))


def test_a_session_of_a_gateway_that_is_gone_with_its_log_is_ended(recordings, source):
    source.record(recordings, half_a_session(source, boot_id="dead"))
    house = House(recordings, "alive")

    house.after(SETTLE_US + 2 * S)

    manifest = house.manifest()
    assert "incomplete" == manifest.state
    assert "gateway_died" == manifest.sessions[0].cause
    assert 640 == manifest.tracks[0].samples
    assert 1 == house.loop.counters.sessions_orphaned


def test_a_session_of_a_gateway_that_lives_goes_on(recordings, source):
    source.record(recordings, half_a_session(source, boot_id="alive"))
    house = House(recordings, "alive")

    house.after(2 * LOOK_US)

    assert "open" == house.manifest().state


def test_a_gateway_that_goes_is_given_time_for_its_last_words(recordings, source):
    source.record(recordings, half_a_session(source, boot_id="dying"))
    house = House(recordings, "dying")
    house.after(LOOK_US)

    house.boots.clear()
    house.after(SETTLE_US - S)
    assert "open" == house.manifest().state

    house.after(3 * S)
    assert "incomplete" == house.manifest().state


def test_a_session_of_a_gateway_that_comes_while_folders_are_read_goes_on(recordings, source):
    source.record(recordings, half_a_session(source, boot_id="new"))
    asked = []
    orphans = Orphans(recordings, lambda: asked.append(1) or ({"new"} if len(asked) > 2 else set()))

    orphans.turn(BEGIN_US, sync=False)
    orphans.turn(BEGIN_US + SETTLE_US, sync=False)

    assert 3 == len(asked)
    assert 0 == orphans.ended


def test_an_ended_session_is_left_as_it_is(recordings, source):
    session = source.Session(1)
    frames = [session.open(boot_id="dead"), session.close()]
    source.record(recordings, frames)
    house = House(recordings)

    house.after(SETTLE_US + 2 * S)

    assert "complete" == house.manifest().state
    assert 0 == house.loop.counters.sessions_orphaned


def test_a_session_of_which_nobody_knows_the_gateway_is_left_as_it_is(recordings, source):
    source.record(recordings, half_a_session(source))
    house = House(recordings)

    house.after(2 * LOOK_US)

    assert "open" == house.manifest().state


def test_a_session_whose_open_went_with_the_power_is_ended(recordings, source):
    source.record(recordings, half_a_session(source, boot_id="dead"))
    folder = find_folder(recordings, "call")
    os.truncate(folder / "streams" / f"{1:016x}-0.json", 0)
    house = House(recordings, "alive")
    touch(folder, BEGIN_US)

    house.after(SETTLE_US + 2 * S)

    manifest = house.manifest()
    assert "incomplete" == manifest.state
    assert 640 == manifest.tracks[0].samples


def test_a_session_without_an_open_that_is_still_written_goes_on(recordings, source):
    source.record(recordings, half_a_session(source, boot_id="dead"))
    folder = find_folder(recordings, "call")
    os.truncate(folder / "streams" / f"{1:016x}-0.json", 0)
    house = House(recordings, "alive")
    touch(folder, BEGIN_US + SETTLE_US)

    house.after(SETTLE_US + 2 * S)

    assert "open" == house.manifest().state


@pytest.mark.parametrize("follows", [False, True])
def test_a_session_of_which_the_power_left_only_the_manifest_is_ended(recordings, source, follows):
    source.record(recordings, half_a_session(source, boot_id="dead"))
    folder = find_folder(recordings, "call")
    shutil.rmtree(folder / "streams")
    if follows:
        session = source.Session(2)
        source.record(recordings, source.one_session(session, {"anna": source.tone(320)}))
    house = House(recordings, "alive")
    touch(folder, BEGIN_US)

    house.after(SETTLE_US + 2 * S)

    manifest = house.manifest()
    assert "incomplete" == manifest.state
    assert {f"{1:016x}": "gateway_died"} == {
        session.id: session.cause for session in manifest.sessions if session.cause
    }


def test_gateways_that_die_again_and_again_put_nothing_off(recordings, source):
    source.record(recordings, half_a_session(source, boot_id="first"))
    house = House(recordings, "first")
    house.after(2 * SETTLE_US)

    for number in range(10):
        house.boots = {f"next-{number}"}
        house.after(SETTLE_US // 5)

    assert "incomplete" == house.manifest().state
