import os
import shutil
import subprocess
import sys

import pytest

from bench.faults.tracing import Injection, Tracer, why_not

CODE = """
import os, sys
file = open(sys.argv[1], "wb")
print("ready", flush=True)
while sys.stdin.readline():
    try:
        os.fdatasync(file.fileno())
        print("synced", flush=True)
    except OSError as fault:
        print(fault.errno, flush=True)
"""


@pytest.fixture
def syncing(tmp_path):
    """A process that syncs a file for each line, and says what came of it."""
    if reason := why_not():
        if os.environ.get("CI") == "true" and shutil.which("strace") is None:
            pytest.fail(reason)
        pytest.skip(reason)
    line = [sys.executable, "-c", CODE, str(tmp_path / "file")]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert "ready\n" == process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def sync(process) -> str:
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_process_meets_the_error_and_then_goes_on(syncing, tmp_path):
    injection = Injection("fdatasync", "error=EIO:when=1+")
    tracer = Tracer(syncing.pid, injection, tmp_path / "notes")
    for _ in range(2000):  # until it is attached
        if "5" == (last := sync(syncing)):
            break

    assert ("5", True) == (last, tracer.end())
    assert "synced" == sync(syncing)


def test_it_is_known_when_nothing_was_met(syncing, tmp_path):
    tracer = Tracer(syncing.pid, Injection("pwrite64", "error=EIO:when=1"), tmp_path / "notes")

    assert not tracer.end()


def test_a_process_without_a_log_has_no_log_to_fail(syncing, tmp_path):
    injection = Injection("writev", "error=EIO:when=1", is_log=True)

    with pytest.raises(LookupError):
        Tracer(syncing.pid, injection, tmp_path / "notes")
