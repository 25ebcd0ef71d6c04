import resource
import subprocess
import sys

import pytest

from bench.faults.disks import limit_files

MOUNTS = """
import errno, os, sys
from pathlib import Path
from bench.faults.disks import Disk, enter_mounts
if reason := enter_mounts():
    sys.exit(reason)
disk = Disk(Path(sys.argv[1]), 4 << 20)
(disk.path / "before").write_bytes(bytes(1 << 20))
assert disk.fill()
try:
    (disk.path / "file").write_bytes(bytes(1 << 21))
except OSError as fault:
    print(errno.errorcode[fault.errno])
disk.mend()
(disk.path / "file").write_bytes(bytes(1 << 21))
print((disk.path / "before").stat().st_size)
disk.close()
"""


def test_a_disk_is_full_and_then_not(tmp_path):
    line = [sys.executable, "-c", MOUNTS, str(tmp_path / "disk")]
    found = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    if found.returncode and "mount" in found.stderr:
        pytest.skip(found.stderr.strip())

    assert "ENOSPC\n1048576\n" == found.stdout, found.stderr


def test_the_files_of_a_process_cannot_grow_and_then_can():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert limit_files(child.pid, is_full=True)
        assert 0 == resource.prlimit(child.pid, resource.RLIMIT_FSIZE)[0]
        assert limit_files(child.pid, is_full=False)
        soft, hard = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
        assert hard == soft
    finally:
        child.kill()
        child.communicate()

    assert not limit_files(child.pid, is_full=True)
