import os
import subprocess
import sys
import time

import pytest

from bench.faults import clock as clocks
from bench.faults.clock import Clock, library

CODE = "import time; time.sleep(0.01); print(time.time())"


def test_the_wall_clock_of_a_process_jumps_and_it_can_sleep(tmp_path):
    preload = library()
    if preload is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no libfaketime")
        pytest.skip("there is no libfaketime")
    clock = Clock(tmp_path / "clock", preload)
    clock.jump(-3600)
    line = [sys.executable, "-c", CODE]
    said = subprocess.check_output(line, env={**os.environ, **clock.environment}, timeout=30)

    assert -3700 < float(said) - time.time() < -3500


def test_what_is_kept_of_a_process_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(clocks, "SHARED_MEMORY", tmp_path)
    for name in ("faketime_shm_7", "sem.faketime_sem_7", "faketime_shm_77"):
        (tmp_path / name).touch()

    clocks.forget(7)
    clocks.forget(8)

    assert ["faketime_shm_77"] == [path.name for path in tmp_path.iterdir()]
