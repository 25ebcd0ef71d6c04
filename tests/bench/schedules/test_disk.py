"""What the disk of a world does to files, and what a loss of power leaves of them."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.schedules.disk import Disk
from bench.schedules.schedule import Process, Schedule
from workers.recordings.durable import write_all


class World:
    """A disk, and a process that writes to it."""

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.schedule = Schedule(seed)
        self.process = Process("writer")
        self.process.on_death = lambda: self.disk.dies(self.process)
        self.disk = Disk(str(root), self.schedule, keeps_power=True)
        self.file = root / "log" / "file"
        (root / "log").mkdir(parents=True)
        (root / "recordings").mkdir()
        assert self.disk.power is not None
        self.disk.power.settle()

    def do(self, step: Callable[[], object]) -> None:
        """As the process."""

        def run() -> None:
            step()

        self.schedule.run_as(self.process, "loop", run)

    def write(self, data: bytes, *, sync: bool = True) -> None:
        """A file, its content and its name safe."""
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, data)
        if sync:
            os.fdatasync(descriptor)
            folder = os.open(self.file.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        os.close(descriptor)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "root")
    with world.disk:
        yield world


def test_a_process_dies_in_the_midst_of_a_write_and_lets_go_of_its_files(world: World) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    world.process.ops_left = 2
    is_after = []

    def step() -> None:
        try:
            world.write(bytes(1000))
        finally:
            is_after.append(True)
            os.close(99)  # who is dead closes nothing

    world.do(step)

    assert world.process.is_dead
    assert [True] == is_after
    assert 0 <= world.file.stat().st_size <= 1000
    assert descriptors == len(os.listdir("/proc/self/fd"))


def test_a_full_disk_takes_a_part_and_then_nothing(world: World) -> None:
    def step() -> None:
        descriptor = os.open(world.file, os.O_RDWR | os.O_CREAT)
        world.disk.is_full["log"] = True
        with pytest.raises(OSError, match="No space left") as refused:
            write_all(descriptor, bytes(1000), 0)
        os.close(descriptor)
        assert errno.ENOSPC == refused.value.errno
        assert world.file.stat().st_size < 1000
        with pytest.raises(OSError, match="No space left"):
            os.mkdir(world.file.parent / "folder")
        (world.file.parents[1] / "recordings" / "folder").mkdir()

    world.do(step)
    assert not world.process.is_dead


def test_a_sync_that_fails_is_told_once_to_all_who_have_the_file_open(world: World) -> None:
    def step() -> None:
        first, second = (os.open(world.file, os.O_RDWR | os.O_CREAT) for _ in range(2))
        world.disk.syncs_fail["log"] = True
        with pytest.raises(OSError, match="Input/output"):
            os.fdatasync(first)
        world.disk.syncs_fail.clear()
        with pytest.raises(OSError, match="Input/output"):
            os.fdatasync(second)
        os.fdatasync(first)
        os.fdatasync(second)
        os.close(first)
        os.close(second)

    world.do(step)


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_survives_the_power_and_the_rest_may(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "root", seed)
    with world.disk:
        world.do(lambda: world.write(b"safe"))
        world.do(lambda: world.write(b"-and-more" * 100, sync=False))
        world.do(lambda: (world.file.parent / "new").write_bytes(b"new"))
        world.schedule.kill(world.process)
        world.disk.cut_power()

    data = world.file.read_bytes()
    assert data.startswith(b"safe")
    assert set(data) <= set(b"safe-and-more\0")


def test_a_power_cut_leaves_now_this_and_now_that(tmp_path: Path) -> None:
    sizes = set()
    for seed in range(20):
        world = World(tmp_path / str(seed), seed)
        with world.disk:
            world.write(b"safe")
            world.write(bytes(5000), sync=False)
            world.disk.cut_power()
        sizes.add(world.file.stat().st_size)

    assert {4, 5004} == sizes


def test_names_that_were_not_synced_may_be_gone(tmp_path: Path) -> None:
    found = set()
    for seed in range(20):
        world = World(tmp_path / str(seed), seed)
        folder = tmp_path / str(seed) / "recordings"
        with world.disk:
            (folder / "link").symlink_to("elsewhere")
            (folder / "sub").mkdir()
            world.disk.cut_power()
        found.add(tuple(sorted(path.name for path in folder.iterdir())))

    assert {(), ("link", "sub")} == found
