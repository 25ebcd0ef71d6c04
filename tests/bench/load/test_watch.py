from collections import Counter

from bench.load.fleet import Seen
from bench.load.histogram import Histogram
from bench.load.node import Figures, Process
from bench.load.watch import Reading, between


def reading(at_s: float, seen: Seen, dropped: int, cpu_s: dict[Process, float]) -> Reading:
    figures = Figures(0, {"slow": dropped}, {}, {}, 0)
    return Reading(at_s, seen, figures, Histogram([[100, seen.packets]]), cpu_s, at_s * 1.5)


def test_difference_of_two_readings_is_what_happened_between_them() -> None:
    old, new = Process("record-0", 1), Process("record-0", 2)
    gateway = Process("gateway-0", 3)
    before = Seen(packets=100, open=2, refused=Counter({"503": 1}), cpu=[(10.0, 1.0)])
    after = Seen(packets=300, open=3, refused=Counter({"503": 3}), cpu=[(12.0, 1.5)])

    found = between(
        reading(10.0, before, 5, {old: 7.0, gateway: 2.0}),
        reading(12.0, after, 8, {new: 0.5, gateway: 3.0}),
    )

    assert {"record-0": 0.25, "gateway-0": 0.5} == found["cpu"]
    assert (200, 3, 2, {"slow": 3}, [0.25], 0.5) == (
        found["packets"],
        found["calls"],
        found["refused"],
        found["dropped"],
        found["rig_shares"],
        found["elsewhere_share"],
    )
    assert 10.1 == found["age"]["p99_ms"]
