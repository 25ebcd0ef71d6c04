"""How much memory there is: the process's own, and what is left of what it may have.

What it may have is the machine's, or less where a container or a unit has a limit (cgroup v2).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_STATM = Path("/proc/self/statm")


class Sources(NamedTuple):
    """The files that tell."""

    meminfo: Path = Path("/proc/meminfo")
    #: The process's control groups, and where their files are mounted.
    cgroup: Path = Path("/proc/self/cgroup")
    mount: Path = Path("/sys/fs/cgroup")


SYSTEM = Sources()


def own_memory_bytes() -> int:
    """What the process has in memory; 0 where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def free_share(sources: Sources = SYSTEM) -> float:
    """What could be had of what may be had: of the tightest limit; 1 where nothing is said."""
    return min([_machine_share(sources.meminfo), *_group_shares(sources)])


def _machine_share(meminfo: Path) -> float:
    try:
        found = _table(meminfo.read_text().replace(":", ""))
        return found["MemAvailable"] / found["MemTotal"]
    except (OSError, KeyError, ZeroDivisionError):
        return 1.0


def _group_shares(sources: Sources) -> Iterator[float]:
    """Of each group with a limit that the process is in, its own and those around it."""
    for folder in _groups(sources):
        try:
            limit = int((folder / "memory.max").read_text())  # "max" is none
            taken = int((folder / "memory.current").read_text())
            # Files that nobody looks at are given back when memory is wanted.
            spare = _table((folder / "memory.stat").read_text()).get("inactive_file", 0)
        except (OSError, ValueError):
            continue
        yield max(0.0, 1.0 - (taken - spare) / limit) if limit else 0.0


def _groups(sources: Sources) -> list[Path]:
    try:
        lines = sources.cgroup.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        hierarchy, _, path = line.split(":", 2)
        if hierarchy == "0":  # version 2
            folder = sources.mount / path.lstrip("/")
            around = [each for each in folder.parents if each.is_relative_to(sources.mount)]
            return [folder, *around]
    return []


def _table(text: str) -> dict[str, int]:
    """Lines of a name, a number and perhaps a unit."""
    fields = (line.split() for line in text.splitlines())
    return {each[0]: int(each[1]) for each in fields if len(each) > 1 and each[1].isdigit()}
