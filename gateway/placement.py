"""Which of several processes accepts the next call: those that share a listening socket agree.

A table with a row for each process, which it alone writes, tells the others how many calls it has.
Who has clearly more than the least loaded one steps back for a moment. Nobody waits for long, and
nobody waits for a process that is dead, hangs or is full.
"""

import errno
import fcntl
import logging
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROWS = 1024
#: `socket`: which listening socket; `beat_us`: monotonic, of the machine; `accepting`: 0 or 1.
ROW = np.dtype([("socket", "<i8"), ("beat_us", "<i8"), ("accepting", "<i8"), ("calls", "<i8")])
#: A process that wrote nothing for so long hangs or is dead.
FRESH_US = 500_000
#: So many calls more than the least loaded process are even.
EVEN_CALLS = 2
STEP_BACK_S = 0.005
#: A process with room accepts after so many steps back; one that is full leaves it to others for as
#: long as there are any: the row of one that dies or hangs is soon stale.
STEPS_MAX = 10

logger = logging.getLogger(__name__)


class Others(NamedTuple):
    """The other processes on the same socket that accept now: how many, and the fewest calls."""

    processes: int = 0
    least_calls: int = 0


def steps_back(calls: int, steps: int, others: Others, *, is_full: bool) -> bool:
    """Whether a process with `calls` leaves the next connection to others, after `steps` of that.

    >>> steps_back(3, 0, Others(1, 0), is_full=False)
    True
    """
    if not others.processes:
        return False
    return is_full or (calls > others.least_calls + EVEN_CALLS and steps < STEPS_MAX)


class Table:
    """The shell: a file that is mapped, and a row that is ours while its lock is held.

    Rows are read from the map and never stored into it: where a disk is full or fails, that would
    be a SIGBUS and the end of the process. A write says so instead.
    """

    def __init__(self, path: Path, listener: int) -> None:
        """`listener`: descriptor of the listening socket. Raises OSError."""
        self._socket = os.fstat(listener).st_ino
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._fill()
            self._row = self._claim()
            self._map = mmap.mmap(self._file, ROWS * ROW.itemsize, prot=mmap.PROT_READ)
        except BaseException:
            os.close(self._file)
            raise
        self._rows = np.frombuffer(self._map, ROW)

    def _fill(self) -> None:
        """Give the file its room on the disk. A row that this wipes is soon written anew."""
        size, whole = os.fstat(self._file).st_size, ROWS * ROW.itemsize
        if size < whole and os.pwrite(self._file, bytes(whole - size), size) < whole - size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _claim(self) -> int:
        """A row that no living process has: the kernel drops the lock with the process."""
        for row in range(ROWS):
            try:
                fcntl.lockf(
                    self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, ROW.itemsize, row * ROW.itemsize
                )
            except (BlockingIOError, PermissionError):
                continue
            return row
        raise OSError(f"all {ROWS} rows are taken")

    def write(self, calls: int, *, is_accepting: bool, now_us: int) -> None:
        """Tell the others. Raises OSError; then they soon take us for dead.

        Members are aligned words, which nobody reads half; a row that is read between two of them
        costs one decision that could have been better.
        """
        row = np.array([(self._socket, now_us, is_accepting, calls)], ROW).tobytes()
        os.pwrite(self._file, row, self._row * ROW.itemsize)

    def others(self, now_us: int) -> Others:
        """Those on the same socket that accept and have written lately."""
        rows = self._rows
        is_there = (
            (rows["socket"] == self._socket)
            & (rows["accepting"] == 1)
            & (np.abs(now_us - rows["beat_us"]) < FRESH_US)
        )
        is_there[self._row] = False
        calls = rows["calls"][is_there]
        return Others(len(calls), int(calls.min())) if len(calls) else Others()

    def close(self) -> None:
        """Leave the row to whoever comes next."""
        with suppress(OSError):
            self.write(0, is_accepting=False, now_us=0)
        del self._rows
        self._map.close()
        os.close(self._file)


class Gate:
    """Whether to accept now. Without a table: always."""

    def __init__(self, table: Table | None = None) -> None:
        self._table = table
        self._steps = 0
        #: The last write of our row failed, and was logged.
        self._is_mute = False
        #: Times that a connection was left to others, and that it was accepted after all.
        self.step_backs = 0
        self.insisted = 0

    def wait_s(self, calls: int, *, is_full: bool, now_us: int) -> float:
        """Seconds to leave the listening socket alone; 0: accept. `now_us` is monotonic."""
        if self._table is None:
            return 0.0
        if steps_back(calls, self._steps, self._table.others(now_us), is_full=is_full):
            self._steps += 1
            self.step_backs += 1
            return STEP_BACK_S
        return 0.0

    def accepted(self) -> None:
        """A connection was accepted."""
        self.insisted += self._steps >= STEPS_MAX
        self._steps = 0

    def missed(self) -> None:
        """Nobody dials any more: another process was faster, as it should be."""
        self._steps = 0

    def others_accept(self, now_us: int) -> bool:
        """Whether another process on the socket takes the calls that this one does not."""
        return self._table is not None and bool(self._table.others(now_us).processes)

    def tell(self, calls: int, *, is_accepting: bool, now_us: int) -> None:
        """Write our row: at every change, and several times a second."""
        if self._table is None:
            return
        try:
            self._table.write(calls, is_accepting=is_accepting, now_us=now_us)
        except OSError as fault:
            if not self._is_mute:
                logger.error("calls are not shared evenly for now: %s", fault)
            self._is_mute = True
        else:
            self._is_mute = False

    def close(self) -> None:
        """Take no part any more."""
        if self._table is not None:
            self._table.close()
            self._table = None


def open_gate(path: Path, listener: int) -> Gate:
    """A gate at the table at `path`; where that is not to be had, one that is always open."""
    try:
        return Gate(Table(path, listener))
    except OSError as fault:
        logger.error("calls are not shared evenly: %s cannot be used: %s", path, fault)
        return Gate()
