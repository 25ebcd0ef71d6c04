import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import Unavailable
from gateway.up.folder import Running, claim, iso_now, write_processes
from gateway.wire.layout import Layout

#: Holds what it inherits until its stdin ends.
HOLDER = "import sys; print('holds', flush=True); sys.stdin.read()"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "deep" / "data")


def test_folders_are_made_for_their_owner_alone(layout: Layout) -> None:
    claim(layout).close()
    folders = (layout.data, layout.run, layout.metrics)
    assert [0o700] * 3 == [folder.stat().st_mode & 0o777 for folder in folders]


def test_second_claim_is_refused_with_the_first_ones_pid(layout: Layout) -> None:
    held = claim(layout)
    try:
        with pytest.raises(Unavailable, match=rf"already runs .*process {os.getpid()}"):
            claim(layout)
    finally:
        held.close()
    claim(layout).close()


def test_children_of_a_killed_parent_keep_the_folder_until_they_are_gone(layout: Layout) -> None:
    held = claim(layout)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[held.lock],
    ) as child:
        assert child.stdout is not None
        assert b"holds\n" == child.stdout.readline()
        held.close()
        with pytest.raises(Unavailable, match="still used by processes of an earlier run"):
            claim(layout, orphans_s=0.15)
        child.communicate(timeout=10)
    claim(layout).close()


def test_processes_without_a_parent_keep_the_folder_from_one(layout: Layout) -> None:
    claim(layout).close()
    with layout.lock.open() as shared:
        fcntl.flock(shared, fcntl.LOCK_SH)
        with pytest.raises(Unavailable, match="or without `up`"):
            claim(layout, orphans_s=0)


def test_snapshots_of_an_earlier_run_are_removed(layout: Layout) -> None:
    layout.metrics.mkdir(parents=True)
    (layout.metrics / "gateway-0.json").write_text("{}")
    claim(layout).close()
    assert [] == list(layout.metrics.iterdir())


def test_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(Unavailable, match=r"data is not a folder; .*--data"):
        claim(Layout(tmp_path / "data"))
    with pytest.raises(Unavailable, match="Not a directory"):
        claim(Layout(tmp_path / "data" / "below"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_rights_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Unavailable, match="Permission denied"):
        claim(Layout(tmp_path / "data"))


def test_disk_that_takes_no_more_is_named_and_the_folder_is_free_again(tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: both fail in the same write.
    program = (
        "import resource, sys, pathlib\n"
        "from gateway.up.folder import claim\n"
        "from gateway.wire.layout import Layout\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "claim(Layout(pathlib.Path(sys.argv[1])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "cannot be used: File too large" in done.stderr.splitlines()[-1]
    claim(Layout(tmp_path)).close()


def test_processes_are_listed_as_json_for_the_owner_alone(layout: Layout) -> None:
    at = iso_now()
    write_processes(layout, [Running("worker", "record", 1, 7, at)])
    line = {"role": "worker", "pool": "record", "index": 1, "pid": 7, "started_at": at}
    line["generation"] = 1
    assert [line] == json.loads(layout.processes.read_text())
    assert 0o600 == layout.processes.stat().st_mode & 0o777
    assert at.endswith("Z")


def test_list_that_cannot_be_written_costs_only_the_list(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    layout.processes.mkdir(parents=True)
    write_processes(layout, [])
    assert "cannot write" in caplog.text
