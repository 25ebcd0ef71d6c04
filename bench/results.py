"""Results of benches: one JSON object in a line of a file, with what the figures hang on.

`figures` of a result are numbers to compare with those of other runs: the lower the better, but
for those in `HIGHER_IS_BETTER`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("uvloop", "websockets", "orjson", "pybase64", "numpy", "pyzmq", "aiohttp", "picows")
HIGHER_IS_BETTER = frozenset(("knee_calls",))

Result = dict[str, Any]


def head(bench: str, settings: Result) -> Result:
    """How every result begins."""
    return {
        "bench": bench,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "settings": settings,
    }


def machine() -> Result:
    """What the figures hang on."""
    cpu: list[str] = []
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = [line for line in lines if "model name" in line]
    return {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit that is checked out, `+` behind it where files differ; empty without git."""
    argv = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    folder = Path(__file__).parent
    try:
        described = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return described.stdout.strip()


def write_line(path: Path, found: Result) -> None:
    """Append a result to a file of JSON lines. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(found) + "\n")


def read_lines(path: Path) -> Iterator[Result]:
    """The results of a file, or of all `*.jsonl` in a folder. Raises OSError, ValueError."""
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                found = json.loads(line)
                found["bench"], found["at"], found["figures"], found["settings"]
            except (ValueError, KeyError, TypeError) as fault:
                raise ValueError(f"{file}, line {number}: no result of a bench") from fault
            yield found
