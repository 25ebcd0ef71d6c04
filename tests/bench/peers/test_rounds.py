import pytest

from bench.load.rig import Load
from bench.peers.rounds import fault_of, too_slow
from bench.peers.servers import Counts

LOAD = Load(100, 0, 2.0, 0.5, 0.1, 0.2, 0.3)


def test_turn_in_which_all_was_received_in_time_counts() -> None:
    assert "" == fault_of(LOAD, 100, Counts(), 0)


def test_turn_of_a_server_that_does_not_count_counts() -> None:
    assert "" == fault_of(LOAD, None, Counts(), 0)


@pytest.mark.parametrize(
    ("load", "received", "counts", "lost_sockets", "said"),
    [
        (LOAD, 99, Counts(), 0, "100 packets were sent and 99 received"),
        (LOAD, 101, Counts(), 0, "100 packets were sent and 101 received"),
        (LOAD, 100, Counts(dropped=7), 0, "7 frames were dropped"),
        (LOAD, 100, Counts(replayed=5), 0, "the worker fell behind: 5 frames were read back"),
        (LOAD, 100, Counts(), 2, "2 sockets were closed"),
        (LOAD._replace(unsent=3), 100, Counts(), 0, "3 packets could not be sent"),
        (LOAD._replace(late_p99_ms=5.1), 100, Counts(), 0, "the rig was 5.1 ms late"),
    ],
)
def test_turn_does_not_count(
    load: Load, received: int, counts: Counts, lost_sockets: int, said: str
) -> None:
    assert said == fault_of(load, received, counts, lost_sockets)


def test_servers_that_more_sockets_would_fill_a_cpu_with_are_left_out() -> None:
    figures = {"quickstart": {"server_us": 46.0}, "gateway": {"server_us": 9.0}}

    assert ["quickstart"] == list(too_slow(figures, 1000))
    assert {} == too_slow(figures, 200)
