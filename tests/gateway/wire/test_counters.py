import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from disks import SmallDisk
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
    assert ["record-0.7.json"] == [path.name for path in tmp_path.iterdir()]
    assert 0o600 == (tmp_path / "record-0.7.json").stat().st_mode & 0o777


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


def test_snapshot_of_a_dead_process_goes_with_the_first_of_the_next_and_a_live_one_stays(
    tmp_path: Path,
) -> None:
    dead = msgspec.structs.replace(SNAPSHOT, pid=2**22 + 1)  # above every pid
    live = msgspec.structs.replace(SNAPSHOT, pid=os.getppid())
    ours = msgspec.structs.replace(SNAPSHOT, pid=os.getpid())
    publish(tmp_path, dead)
    publish(tmp_path, live)
    publish(tmp_path, ours)
    assert {live.pid, ours.pid} == {snapshot.pid for snapshot in collect(tmp_path)}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "small", "1m")
    yield disk
    disk.close()


@pytest.mark.parametrize("trouble", [SmallDisk.fill, SmallDisk.fill_inodes])
def test_on_a_full_disk_a_snapshot_is_written_over(
    disk: SmallDisk, trouble: Callable[[SmallDisk], None]
) -> None:
    publish(disk.path, SNAPSHOT)
    trouble(disk)
    changed = msgspec.structs.replace(SNAPSHOT, ready=False, reason="full")
    publish(disk.path, changed)
    publish(disk.path, shorter := msgspec.structs.replace(SNAPSHOT, series=[]))
    found = collect(disk.path)
    disk.mend()
    assert [shorter] == found
    assert 1 == len(list(disk.path.glob("*.json")))
