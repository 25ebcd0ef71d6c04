import pytest

from gateway.memory import Sources, free_share, own_memory_bytes

GIB = 1024**3


@pytest.fixture
def machine(tmp_path):
    """A machine with half of its memory left, and the process in the group `a/b`."""
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n")
    (tmp_path / "cgroup").write_text("4:memory:/v1\n0::/a/b\n")
    (tmp_path / "mount/a/b").mkdir(parents=True)
    return Sources(tmp_path / "meminfo", tmp_path / "cgroup", tmp_path / "mount")


def limit(folder, most, taken, inactive_file=0):
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {inactive_file}\n")


def test_without_a_limit_it_is_the_machines_memory_that_counts(machine):
    limit(machine.mount / "a/b", "max", 7 * GIB)

    assert 0.5 == free_share(machine)


def test_a_containers_limit_counts_where_it_is_the_tighter_one(machine):
    limit(machine.mount / "a/b", 4 * GIB, 3 * GIB)

    assert 0.25 == free_share(machine)


def test_a_limit_around_the_own_group_counts_as_well(machine):
    limit(machine.mount / "a/b", 4 * GIB, 1 * GIB)
    limit(machine.mount / "a", 10 * GIB, 9 * GIB)

    assert 0.1 == pytest.approx(free_share(machine))


def test_cached_files_that_nobody_looks_at_are_no_use_of_memory(machine):
    limit(machine.mount / "a/b", 4 * GIB, 4 * GIB, inactive_file=2 * GIB)

    assert 0.5 == free_share(machine)


def test_a_system_that_says_nothing_of_its_memory_has_enough(tmp_path):
    nowhere = tmp_path / "missing"

    assert 1.0 == free_share(Sources(nowhere, nowhere, nowhere))


def test_memory_without_known_lines_is_enough(machine):
    machine.meminfo.write_text("Unknown: 1\n")

    assert 1.0 == free_share(machine)


def test_this_machine_says_how_much_it_has():
    assert own_memory_bytes() > 1024**2
    assert 0 < free_share() < 1
