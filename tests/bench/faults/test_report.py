from bench.faults.injector import Done, Idle
from bench.faults.inspector import Totals
from bench.faults.report import part_result, recovery_ms, table, total
from bench.faults.schedule import CLASSES


def _totals() -> Totals:
    torn = [("killed", 40), ("cut", 20)]
    return Totals(calls=3, sent=100, written=90, declared=10, samples=32_000, torn_ms=torn)


def part(number: int, **changes: object) -> dict:
    given = {
        "settings": {"seed": 1, "part": number, "seconds": 60, "classes": list(CLASSES)},
        "wall_s": 60.0,
        "done": [Done(1.0, "worker-kill", "record-0"), Done(2.0, "socket-cut", "call 1")],
        "missed": {"clock-jump": 1},
        "skipped": {"log-full": "only root may mount"},
        "idle": [Idle(2.0, 10, 800_000, 40_000)],
        "totals": _totals(),
        "refused": 2,
        "recovery": [100.0],
        "strange": [],
    }
    return part_result(**{**given, **changes})


def test_parts_are_summed():
    found = total([part(0), part(1, recovery=[300.0])])

    assert (2, [1], 120.0) == (found["parts"], found["seeds"], found["wall_s"])
    assert {"worker-kill": 2, "socket-cut": 2} == found["faults"]
    assert {"clock-jump": 2} == found["missed"]
    assert (200, 180, 20) == tuple(found["counts"][n] for n in ("sent", "written", "declared"))
    assert [] == found["differences"]
    assert 200.0 == found["figures"]["recovery_p50_ms"]
    assert 40_000 == found["figures"]["no_worker_log_bytes_a_stream_s"]


def test_differences_and_strange_things_are_told():
    totals = Totals(differences=[{"call": {"call_id": "x"}, "faults": ["one"]}])

    found = part(0, totals=totals, strange=["finish-0 ended by itself"])

    assert ["x", None] == [each["call_id"] for each in found["differences"]]


def test_the_table_says_what_was_skipped_and_why():
    text = table(total([part(0)]))

    assert "skipped: only root may mount" in text
    assert "clock-jump" in text
    assert "differences" in text.splitlines()[-1]


def test_recovery_is_from_the_kill_to_the_first_batch_out_of_the_log():
    done = [Done(10.0, "worker-kill", "record-0"), Done(20.0, "worker-kill", "record-1")]

    assert [250.0] == recovery_ms(done, "9.900000 4\n10.250000 7\n10.300000 7\n20.100000 1\n")


def test_recovery_is_not_taken_where_something_else_may_be_the_cause():
    kill = Done(10.0, "worker-kill", "record-0")
    notes = "10.250000 7\n"

    assert [] == recovery_ms([Done(8.0, "gateway-kill", "gateway-0"), kill], notes)
    assert [] == recovery_ms([kill, Done(10.2, "gateway-stop", "gateway-0")], notes)
    assert [] == recovery_ms([kill], "17.000000 7\n")
    assert [250.0] == recovery_ms([kill, Done(10.3, "gateway-kill", "gateway-0")], notes)
    assert [250.0] == recovery_ms([Done(9.0, "socket-cut", "call 1"), kill], notes)
