import pytest

from gateway.wire.counters import collect
from gateway.wire.layout import Layout
from workers.calls import Calls
from workers.config import workers_config
from workers.errors import ConfigError
from workers.pools import Reporter, build_consumer, build_worker, gateways_to_come
from workers.recorder import Recorder
from workers.worker import RoundsWorker, Worker

TAP = {"pools": {"tap": {"processors": ["level"], "sinks": ["wav"], "delivery": "replay"}}}


def consumer_of(pool, document, tmp_path):
    config = workers_config(document)
    return build_consumer(pool, config.pools[pool], config, Layout(tmp_path))


def test_record_pool_records(tmp_path):
    consumer = consumer_of("record", {}, tmp_path)

    assert isinstance(consumer, Recorder)
    consumer.close(0)


def test_no_gateway_is_gone_while_nobody_can_look(tmp_path, out_of_descriptors):
    log = tmp_path / "log" / "gateway-0" / "boot"
    log.mkdir(parents=True)
    (log / "lock").touch()

    with out_of_descriptors(), pytest.raises(OSError, match="Too many open files"):
        gateways_to_come(Layout(tmp_path))

    assert {"boot"} == gateways_to_come(Layout(tmp_path))


def test_every_other_pool_runs_its_plug_ins(tmp_path):
    assert isinstance(consumer_of("tap", TAP, tmp_path), Calls)


def test_worker_of_a_pool_runs_and_reports(tmp_path):
    worker = build_worker("tap", 2, Layout(tmp_path), TAP)
    assert isinstance(worker, Worker)

    worker.drain()
    worker.run()

    [snapshot] = collect(Layout(tmp_path).metrics)
    assert ("tap-2", "worker", "tap", 2, False, "draining") == (
        snapshot.process,
        snapshot.role,
        snapshot.pool,
        snapshot.index,
        snapshot.ready,
        snapshot.reason,
    )
    assert {"worker_batches", "calls_frames", "worker_report_failures"} <= {
        figure.name for figure in snapshot.series
    }


def test_finish_pool_finishes(tmp_path):
    worker = build_worker("finish", 0, Layout(tmp_path), {})

    worker.drain()
    worker.run()

    assert isinstance(worker, RoundsWorker)
    [snapshot] = collect(Layout(tmp_path).metrics)
    assert "finish-0" == snapshot.process


def test_pool_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\[pools\] nothing: no such pool; there are"):
        build_worker("nothing", 0, Layout(tmp_path), {})


def test_data_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "data").write_text("a file")

    with pytest.raises(OSError, match="data"):
        build_worker("tap", 0, Layout(tmp_path / "data"), TAP)


def test_report_that_cannot_be_written_is_counted(tmp_path):
    layout = Layout(tmp_path)
    layout.run.mkdir()
    layout.metrics.write_text("a file")
    reporter = Reporter("tap", 0, layout)
    worker = build_worker("tap", 0, layout, TAP)

    reporter(worker)
    layout.metrics.unlink()
    reporter(worker)

    [snapshot] = collect(layout.metrics)
    assert [1] == [f.value for f in snapshot.series if f.name == "worker_report_failures"]
    worker.drain()
    worker.run()


def test_what_is_wrong_with_a_disk_makes_a_worker_not_ready(tmp_path):
    layout = Layout(tmp_path)
    worker = build_worker("finish", 0, layout, {})
    reporter = Reporter("finish", 0, layout)
    reporter.storage_fault = lambda: "the disk is full"

    reporter(worker)

    [snapshot] = collect(layout.metrics)
    assert (False, "the disk is full") == (snapshot.ready, snapshot.reason)
