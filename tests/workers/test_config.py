import pytest

from gateway.wire.topology import default_pools
from workers.config import check, load, workers_config
from workers.errors import ConfigError


def fault_of(document, judge=workers_config):
    with pytest.raises(ConfigError) as caught:
        judge(document)
    return caught.value.path


def test_empty_document_gives_the_defaults():
    config = workers_config({})

    assert default_pools() == config.pools
    assert (2.0, 30.0, 3600.0, "power") == (
        config.recording.gather_s,
        config.recording.redial_wait_s,
        config.recording.reopen_s,
        config.recording.durability,
    )


def test_table_of_a_default_pool_changes_what_it_names():
    pools = workers_config({"pools": {"record": {"processes": 3}}}).pools

    assert (3, "replay", 500) == (
        pools["record"].processes,
        pools["record"].delivery,
        pools["record"].block_ms,
    )
    assert "finish" in pools


def test_pool_of_ones_own_joins_the_default_ones():
    pools = workers_config({"pools": {"live": {"processors": ["level"]}}}).pools

    assert {"record", "finish", "live"} == pools.keys()
    assert (("level",), "newest") == (pools["live"].processors, pools["live"].delivery)


def test_tables_of_others_are_left_alone():
    workers_config({"gateway": {"anything": 1}, "nonsense": 5})


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"recording": {"gather_s": "x"}}, "recording.gather_s"),
        ({"recording": {"gather_s": -1.0}}, "recording.gather_s"),
        ({"recording": {"gather": 1.0}}, "recording"),
        ({"recording": 5}, "recording"),
        ({"pools": []}, "pools"),
        ({"pools": {"live": 1}}, "pools.live"),
        ({"pools": {"live": {"block_ms": 0}}}, "pools.live.block_ms"),
        ({"pools": {"live": {"processes": -1}}}, "pools.live.processes"),
        ({"pools": {"live": {"delivery": "maybe"}}}, "pools.live.delivery"),
        ({"pools": {"live": {"unknown": 1}}}, "pools.live"),
        ({"pools": {"a/b": {}}}, "pools.a/b"),
        ({"pools": {"record": {"sinks": ["wav"]}}}, "pools.record"),
        ({"pools": {"finish": {"processors": ["level"]}}}, "pools.finish"),
        ({"pools": {"record": {"delivery": "newest"}}}, "pools.record.delivery"),
        ({"processors": {"level": 1}}, "processors.level"),
        ({"sinks": "wav"}, "sinks"),
    ],
)
def test_fault_is_refused_with_its_path(document, path):
    assert path == fault_of(document)


def test_check_names_the_tables_that_it_handled():
    document = {"recording": {}, "pools": {"live": {"sinks": ["wav"]}}, "gateway": {}}

    assert {"recording", "pools"} == check(document)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"pools": {"live": {"processors": ["nothing"]}}}, "processors.nothing"),
        ({"pools": {"live": {"sinks": ["nothing"]}}}, "sinks.nothing"),
        ({"processors": {"level": {"window_ms": "x"}}}, "processors.level.window_ms"),
        ({"sinks": {"wav": {"durability": "x"}}}, "sinks.wav.durability"),
        ({"sinks": {"nothing": {}}}, "sinks.nothing"),
    ],
)
def test_check_loads_every_plug_in_that_is_named(document, path):
    assert path == fault_of(document, check)


def test_no_file_is_an_empty_document():
    assert {} == load(None)


def test_file_is_read_as_toml(tmp_path):
    path = tmp_path / "ingest.toml"
    path.write_text("[pools.live]\nblock_ms = 100\n")

    assert {"pools": {"live": {"block_ms": 100}}} == load(path)


@pytest.mark.parametrize("content", [None, b"[pools", b"\xff\xfe", b"a = " + b"[" * 5000])
def test_file_that_cannot_be_read_is_refused_with_its_name(tmp_path, content):
    path = tmp_path / "ingest.toml"
    if content is not None:
        path.write_bytes(content)

    assert str(path) == fault_of(path, load)
