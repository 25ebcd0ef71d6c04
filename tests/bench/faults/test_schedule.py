from collections import Counter

from bench.faults.schedule import CLASSES, NO_WORKER_EVERY, PAUSE_S, between, pick, schedule


def test_a_seed_and_a_part_give_the_same_faults_again() -> None:
    faults = schedule(7, 3, 100, tuple(CLASSES))

    assert faults == schedule(7, 3, 100, tuple(CLASSES))
    assert faults != schedule(7, 4, 100, tuple(CLASSES))
    assert faults != schedule(8, 3, 100, tuple(CLASSES))


def test_every_class_comes_about_as_often() -> None:
    counts = Counter(fault.kind for fault in schedule(1, 0, 600, tuple(CLASSES)))

    often = [counts[kind] for kind in CLASSES if kind != "no-worker"]
    assert max(often) - min(often) <= 1
    assert counts["no-worker"] == -(-max(often) // NO_WORKER_EVERY)


def test_faults_come_in_order_and_not_after_the_end() -> None:
    times = [fault.at_s for fault in schedule(1, 0, 60, tuple(CLASSES))]

    assert times == sorted(times)
    assert times[-1] < 60
    assert 60 / PAUSE_S[1] - 1 <= len(times) <= 60 / PAUSE_S[0] + 1


def test_a_class_can_be_alone() -> None:
    assert {"no-worker"} == {fault.kind for fault in schedule(1, 0, 30, ("no-worker",))}


def test_dice_choose_from_all_there_is() -> None:
    assert ["a", "a", "b"] == [pick(("a", "b"), die) for die in (0.0, 0.49, 0.999)]
    assert [2.0, 3.0] == [between(2, 4, die) for die in (0.0, 0.5)]
