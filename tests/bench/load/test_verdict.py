from collections import Counter
from typing import Any

import pytest

from bench.load.fleet import Seen
from bench.load.node import Figures
from bench.load.verdict import Limits, broken_limits, crowd_faults, rig_faults, uncounted

LIMITS = Limits(age_p99_ms=100.0, process_share=0.9)
NO_LOSS = {"dropped": {}, "unsent": 0, "refused": 0, "lost": 0}


def measured(**changes: Any) -> dict[str, Any]:
    return {
        "age": {"p99_ms": 25.0},
        "late": {"p99_ms": 0.3},
        "rig_shares": [0.2, 0.3],
        "cpu": {"gateway-0": 0.5},
        "machine_share": 0.6,
        "elsewhere_share": 0.3,
        **NO_LOSS,
        **changes,
    }


def figures(messages: int = 102, frames: int = 100, slow: int = 0, dropped: int = 0) -> Figures:
    return Figures(messages, {"slow": dropped}, {"ages": frames, "slow": slow}, {}, 0)


def test_generator_that_was_punctual_and_cheap_is_no_fault() -> None:
    assert [] == rig_faults(measured())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"late": {"p99_ms": 5.1}}, "the rig was late: p99 5.1 ms"),
        ({"rig_shares": [0.2, 0.81]}, "a rig used 81% of a CPU"),
    ],
)
def test_run_does_not_count_where_the_generator_was_the_limit(
    changes: dict[str, Any], said: str
) -> None:
    assert [said] == rig_faults(measured(**changes))


def test_limit_that_breaks_while_others_fill_the_machine_says_nothing() -> None:
    full = measured(machine_share=0.99)

    assert ["the machine was full (99%), and others used 30% of a CPU"] == crowd_faults(full)
    assert [] == crowd_faults(measured())
    assert [] == crowd_faults({**full, "elsewhere_share": 0.1})


def test_node_within_its_limits_has_broken_none() -> None:
    assert [] == broken_limits(measured(), LIMITS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"age": {"p99_ms": 100.1}}, "frame age: p99 100.1 ms"),
        ({"cpu": {"record-0": 0.95}}, "CPU: record-0 used 95% of one"),
        ({"dropped": {"ages": 3}}, "loss: the pool `ages` was not given 3 frames"),
        ({"unsent": 4}, "loss: 4 packets were not taken"),
        ({"refused": 5}, "loss: 5 calls were refused"),
        ({"lost": 6}, "loss: 6 calls were cut"),
    ],
)
def test_node_beyond_a_limit_has_broken_it(changes: dict[str, Any], said: str) -> None:
    assert [said] == broken_limits(measured(**changes), LIMITS)


def test_pool_that_is_slow_on_purpose_may_drop() -> None:
    assert [] == broken_limits(measured(dropped={"slow": 9}), LIMITS)


def test_what_is_counted_everywhere_is_not_lost() -> None:
    seen = Seen(packets=100, messages=102, refused=Counter())

    assert [] == uncounted(seen, figures(slow=60, dropped=40), 100, ["ages", "slow"])


@pytest.mark.parametrize(
    ("found", "ages", "said"),
    [
        (figures(messages=101), 100, "102 packets were sent and 101 received"),
        (
            figures(frames=99),
            100,
            "of 100 packets the pool `ages` took 99 frames and was not given 0",
        ),
        (figures(), 98, "of 100 packets 98 have come to where ages are taken"),
    ],
)
def test_packet_that_is_lost_without_being_counted_is_found(
    found: Figures, ages: int, said: str
) -> None:
    assert [said] == uncounted(Seen(packets=100, messages=102), found, ages, ["ages"])
