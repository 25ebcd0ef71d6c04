from dataclasses import dataclass, fields

from workers.metrics import HELP, CallsCounters, LinkCounters, series


def test_every_counter_is_a_figure():
    counters = LinkCounters(batches=3)

    found = {each.name: each.value for each in series("worker", counters)}

    assert 3 == found["worker_batches"]
    assert {f"worker_{field.name}" for field in fields(LinkCounters)} == found.keys()


def test_counter_of_plugins_is_a_figure_for_each():
    counters = CallsCounters()
    counters.sink_faults["wav"] += 2

    found = [each for each in series("calls", counters) if each.name == "calls_sink_faults"]

    assert [({"plugin": "wav"}, 2)] == [(each.labels, each.value) for each in found]


def test_every_counter_of_ours_is_explained():
    ours = {field.name for kind in (LinkCounters, CallsCounters) for field in fields(kind)}

    assert ours == HELP.keys()


def test_counter_that_nobody_explains_is_shown_by_its_name():
    @dataclass
    class Foreign:
        bytes_written: int = 1

    [figure] = series("recorder", Foreign())

    assert ("recorder_bytes_written", "Bytes written.") == (figure.name, figure.help)
