"""Workers die, hang, fall ill: the recordings are those of a run in which nothing happened."""

import resource
import signal
import time
import uuid
from pathlib import Path

import pytest
from callers import PARTICIPANTS, Callers
from node import eventually
from recorded import Recorded
from stage import CONFIG, Actor, Stage

from gateway.links import rendezvous

CALLS = 4
PACKETS = 200

pytestmark = pytest.mark.timeout(120)


def call_at_home(name: str) -> str:
    """A fresh call id that goes to the recorder of this name while two are there."""
    while True:
        call_id = str(uuid.uuid4())
        if name == max(("record-0", "record-1"), key=lambda each: rendezvous(each, call_id)):
            return call_id


class Show:
    """A stage with one gateway and `finish`; recorders come and go with each test."""

    def __init__(self, data: Path, config: str = CONFIG) -> None:
        self.stage = Stage(data, config)
        try:
            self.gateway = self.stage.gateway()
            self.stage.worker(pool="finish")
        except BaseException:
            self.stage.close()
            raise

    def callers(self, calls: int = CALLS) -> Callers:
        """New calls, half of them at home with each of two recorders."""
        ids = [call_at_home(f"record-{number % 2}") for number in range(calls)]
        return Callers([self.gateway.url], calls, ids)

    def count(self, name: str, **labels: str) -> float:
        return self.stage.figure(self.gateway, name, **labels)

    def lost_more_than(self, links: float) -> None:
        """Wait until the gateway has counted another dead link."""
        eventually(lambda: self.count("links_lost") > links)

    def recordings(self, callers: Callers, seconds: float = 60) -> list[Recorded]:
        callers.hang_up()
        return [self.stage.recording(each.call_id, 1, seconds) for each in callers.callers]


@pytest.fixture(scope="module")
def show(tmp_path_factory):
    show = Show(tmp_path_factory.mktemp("workers") / "data")
    yield show
    show.stage.close()


@pytest.fixture
def recorders(show):
    """Starts recorders, one with a fault first, and ends what is left of them."""
    started: list[Actor] = []

    def start(*indexes: int, fault: str = "") -> list[Actor]:
        count = len(indexes) + bool(fault)
        if fault:
            started.append(show.stage.faulty(fault, 0))
        started.extend(show.stage.workers(*indexes))
        return started[-count:]

    yield start
    for actor in started:
        actor.kill()


def calm(show: Show, calls: int, packets: int) -> list[Recorded]:
    """A run in which nothing happens."""
    recorders = show.stage.workers(0, 1)
    callers = show.callers(calls)
    callers.talk(packets, pace_s=0.002)
    found = show.recordings(callers)
    for recorder in recorders:
        recorder.kill()
    for caller, each in zip(callers.callers, found, strict=True):
        assert "complete" == each.manifest["state"]
        for place, participant in enumerate(PARTICIPANTS):
            assert caller.pcm(place) == each.pcm[participant]
    return found


@pytest.fixture(scope="module")
def reference(show):
    return calm(show, CALLS, PACKETS)


def tell(record_property, show: Show, words: str, since_s: float) -> None:
    """Note how long after `since_s` a link's end was noticed: a figure, not an assertion."""
    times = [at for at in show.stage.said(words) if at >= since_s]
    record_property("noticed_after_ms", [round((at - since_s) * 1000) for at in times])
    print([f"{words}: noticed after {(at - since_s) * 1000:.0f} ms" for at in times])
    assert times


def test_a_killed_recorder_changes_nothing(show, reference, recorders, record_property):
    victim, _ = recorders(0, 1)
    callers = show.callers()
    callers.talk(80)
    at_s = time.time()
    victim.kill()
    callers.talk(PACKETS)

    assert reference == show.recordings(callers)
    tell(record_property, show, "record-0 has left pool record: unreachable", at_s)


def test_a_stopped_recorder_that_is_woken_changes_nothing(
    show, reference, recorders, record_property
):
    victim, _ = recorders(0, 1)
    links = show.count("links_lost")
    callers = show.callers()
    callers.talk(60)
    at_s = time.time()
    victim.send(signal.SIGSTOP)
    callers.begin_to_talk(PACKETS)
    show.lost_more_than(links)
    victim.send(signal.SIGCONT)
    eventually(lambda: show.stage.figure(victim, "worker_links_gone"))
    callers.wait()

    assert reference == show.recordings(callers)
    assert show.count("links_lost") == links + 1
    tell(record_property, show, "record-0 has left pool record: silent", at_s)


def test_a_recorder_that_hangs_and_then_acknowledges_is_refused_and_changes_nothing(
    show, reference, recorders
):
    recorders(1, fault="sleeps")
    stale = show.count("stale_messages")
    callers = show.callers()
    callers.talk(PACKETS, pace_s=0.02)
    eventually(lambda: show.count("stale_messages") > stale)

    assert reference == show.recordings(callers)
    assert show.stage.said("record-0 has left pool record: silent")


def test_an_exception_in_a_recorder_changes_nothing(show, reference, recorders):
    victim, _ = recorders(1, fault="raises")
    callers = show.callers()
    callers.talk(PACKETS)

    assert reference == show.recordings(callers)
    assert 70 == victim.process.wait(10) or victim.process.returncode == 1


def test_a_recorder_that_runs_out_of_memory_ends_and_changes_nothing(show, reference, recorders):
    victim, _ = recorders(1, fault="hungry")
    pages = int(Path(f"/proc/{victim.pid}/statm").read_text().split()[0])
    limit_bytes = pages * resource.getpagesize() + 400 * 1024 * 1024
    resource.prlimit(victim.pid, resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    callers = show.callers()
    callers.talk(PACKETS)

    assert reference == show.recordings(callers)
    assert 0 != victim.process.wait(10)


def test_a_recorder_that_never_acknowledges_loses_its_calls(
    show, reference, recorders, record_property
):
    recorders(1, fault="mute")
    links = show.count("links_lost")
    callers = show.callers()
    at_s = time.time()
    callers.talk(PACKETS, pace_s=0.015)
    show.lost_more_than(links)

    assert reference == show.recordings(callers)
    tell(record_property, show, "record-0 has left pool record: acknowledges nothing", at_s)


def test_a_recorder_whose_disk_is_slow_keeps_its_calls(show, reference, recorders):
    recorders(1, fault="slow_disk")
    links = show.count("links_lost")
    callers = show.callers()
    callers.talk(PACKETS, pace_s=0.015)

    assert reference == show.recordings(callers)
    assert links == show.count("links_lost")


def test_one_recorder_killed_after_another_changes_nothing(show, reference, recorders):
    actors = recorders(0, 1)
    callers = show.callers()
    callers.begin_to_talk(PACKETS, pace_s=0.015)
    for number in range(3):
        actors[number % 2].kill()
        actors[number % 2] = recorders(number % 2)[0]
    callers.wait()

    assert reference == show.recordings(callers)


def test_all_recorders_dead_for_a_while_change_nothing(show, reference, recorders):
    both = recorders(0, 1)
    callers = show.callers()
    callers.talk(60)
    for actor in both:
        actor.kill()
    callers.begin_to_talk(PACKETS, pace_s=0.035)  # for 4.9 s
    callers.wait()
    recorders(0, 1)

    assert reference == show.recordings(callers)


def test_what_a_slow_live_worker_is_not_given_is_counted_and_delays_no_recording(
    tmp_path, reference
):
    config = CONFIG + '[pools.ears]\nqueue_ms_max = 200\n[pools.record]\ndelivery = "replay"\n'
    show = Show(tmp_path / "data", config)
    try:
        show.stage.workers(0, 1)
        ears = show.stage.faulty("deaf", 0)
        callers = show.callers()
        callers.talk(PACKETS)
        found = show.recordings(callers)
        links = show.count("links_lost")
        ears.kill()
        show.lost_more_than(links)
        told = [each.manifest["sessions"][0]["dropped"]["ears"] for each in found]
        for each in found:
            each.manifest["sessions"][0]["dropped"] = {}
        full = show.count("dropped_frames", pool="ears", reason="queue_full")
    finally:
        show.stage.close()

    assert reference == found
    assert all({"queue_full"} == set(each) for each in told)
    # What still waited when the calls had closed is in the metrics only.
    assert 0 < sum(each["queue_full"] for each in told) <= full


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_recorder_killed_every_two_seconds_for_a_minute_changes_nothing(show, recorders):
    packets = 3000
    reference = calm(show, CALLS, packets)
    actors = recorders(0, 1)
    callers = show.callers()
    callers.begin_to_talk(packets, pace_s=0.02)
    for number in range(30):
        actors[number % 2].kill()
        [actors[number % 2]] = recorders(number % 2)
        time.sleep(2)
    callers.wait()

    assert reference == show.recordings(callers)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_recorder_stopped_for_half_a_minute_changes_nothing(show, recorders):
    packets = 2000
    reference = calm(show, CALLS, packets)
    victim, _ = recorders(0, 1)
    callers = show.callers()
    callers.talk(100, pace_s=0.02)
    victim.send(signal.SIGSTOP)
    callers.begin_to_talk(packets, pace_s=0.02)
    time.sleep(30)
    victim.send(signal.SIGCONT)
    callers.wait()

    assert reference == show.recordings(callers)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_recorder_for_five_minutes_changes_nothing(show, recorders):
    packets = 15_200
    reference = calm(show, 2, packets)
    both = recorders(0, 1)
    callers = show.callers(2)
    callers.talk(100, pace_s=0.02)
    for actor in both:
        actor.kill()
    callers.talk(15_100, pace_s=0.02)
    recorders(0, 1)
    callers.talk(packets, pace_s=0.02)

    assert reference == show.recordings(callers, seconds=120)
