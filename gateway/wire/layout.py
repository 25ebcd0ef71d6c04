"""Where things lie in a node's data folder. Names; who needs a folder makes it.

DATA/run/lock                 held by `up` and its children: no second `up` uses the folder
DATA/run/processes.json       what `up` has started
DATA/run/bus/BOOT.ipc         a gateway's endpoint, with BOOT.lock beside it
DATA/run/bus.path             another folder for endpoints, where DATA is too long for a socket
DATA/run/bus/up.sock          where `up` is told to upgrade
DATA/run/placement            how many calls each gateway has, for those that share a socket
DATA/run/metrics/NAME.PID.json  counters and readiness of each process
DATA/log/GATEWAY/BOOT/        the log of one gateway process (goes on in `[log] dirs`)
DATA/recordings/              see `workers/recordings/folder.py`
"""

import os
from pathlib import Path

FOLDER_MODE = 0o700


class Layout:
    """The paths under one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.run = data / "run"
        self.lock = self.run / "lock"
        self.processes = self.run / "processes.json"
        self.bus = self.run / "bus"
        self.bus_path = self.run / "bus.path"
        self.placement = self.run / "placement"
        self.metrics = self.run / "metrics"
        self.log = data / "log"
        self.recordings = data / "recordings"


def make_private(folder: Path) -> None:
    """Make a folder, and those that it is in, for our eyes only: calls are heard there.

    One that is there, is ours and is open to others is closed. Raises OSError.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=FOLDER_MODE, exist_ok=True)
    found = folder.stat()
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        folder.chmod(FOLDER_MODE)
