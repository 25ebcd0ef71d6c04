import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.counters import Series, Snapshot, collect, publish, replace_file

SNAPSHOT = Snapshot(
    process="record-0",
    role="worker",
    pool="record",
    index=0,
    pid=7,
    at_us=1_900_000_000_000_000,
    ready=True,
    series=[
        Series(name="batches", kind="counter", help="Batches.", labels={"link": "1"}, value=3),
    ],
)


def test_published_snapshot_is_collected_whole(tmp_path: Path) -> None:
    publish(tmp_path, SNAPSHOT)
    assert [SNAPSHOT] == collect(tmp_path)
    assert ["record-0.json"] == [path.name for path in tmp_path.iterdir()]
    assert 0o600 == (tmp_path / "record-0.json").stat().st_mode & 0o777


def test_snapshot_replaces_the_last_one_of_its_process(tmp_path: Path) -> None:
    later = msgspec.structs.replace(SNAPSHOT, ready=False, reason="full")
    publish(tmp_path, SNAPSHOT)
    publish(tmp_path, later)
    assert [later] == collect(tmp_path)


def test_folder_is_made_where_it_is_missing(tmp_path: Path) -> None:
    publish(tmp_path / "run" / "metrics", SNAPSHOT)
    assert [SNAPSHOT] == collect(tmp_path / "run" / "metrics")


def test_missing_folder_holds_nothing(tmp_path: Path) -> None:
    assert [] == collect(tmp_path / "none")


@given(content=st.binary(max_size=40) | st.just(msgspec.json.encode(SNAPSHOT)[:-2]))
def test_broken_file_is_skipped(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "a.json").write_bytes(content)
    (folder / "b.json").mkdir()
    publish(folder, SNAPSHOT)
    assert [SNAPSHOT] == collect(folder)


def test_replacement_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "taken", b"new")
    assert ["taken"] == os.listdir(tmp_path)
