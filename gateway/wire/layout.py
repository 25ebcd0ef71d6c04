"""Where things lie in a node's data folder. Names only; who needs a folder makes it.

DATA/run/lock                 held by `up` alone, or shared by processes that run without it
DATA/run/processes.json       what `up` has started
DATA/run/bus/BOOT.ipc         a gateway's endpoint, with BOOT.lock beside it
DATA/run/bus.path             another folder for endpoints, where DATA is too long for a socket
DATA/run/metrics/PROCESS.json counters and readiness of each process
DATA/log/GATEWAY/BOOT/        the log of one gateway process
DATA/recordings/              see `workers/recordings/folder.py`
"""

from pathlib import Path


class Layout:
    """The paths under one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.run = data / "run"
        self.lock = self.run / "lock"
        self.processes = self.run / "processes.json"
        self.bus = self.run / "bus"
        self.bus_path = self.run / "bus.path"
        self.metrics = self.run / "metrics"
        self.log = data / "log"
        self.recordings = data / "recordings"
