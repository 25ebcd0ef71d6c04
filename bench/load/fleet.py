"""The load generator as its parent sees it: several drivers, their reports added up."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.load.frames import Speech
from bench.load.histogram import Histogram
from bench.load.processes import RigError, running_on

END_S = 5.0
SILENT_S_MAX = 20.0


class Sent(NamedTuple):
    """One call, as the generator has noted it when it hung up."""

    call_id: str
    correlation_id: str
    number: int
    seed: int
    first: int  # tick
    ticks: int
    unsent: int


@dataclass
class Seen:
    """What all drivers have done so far."""

    packets: int = 0
    messages: int = 0
    unsent: int = 0
    dialled: int = 0
    open: int = 0
    pending: int = 0
    ended: int = 0
    lost: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    late: Histogram = field(default_factory=Histogram)
    accept: Histogram = field(default_factory=Histogram)
    #: Of each driver: (monotonic s of its report, CPU s so far).
    cpu: list[tuple[float, float]] = field(default_factory=list)

    def add(self, report: dict[str, Any]) -> None:
        """One driver's report."""
        for name in ("packets", "messages", "unsent", "dialled", "open", "pending", "ended"):
            setattr(self, name, getattr(self, name) + report[name])
        self.lost += report["lost"]
        self.refused.update(report["refused"])
        self.late += Histogram(report["late"])
        self.accept += Histogram(report["accept"])
        self.cpu.append((report["at_s"], report["cpu_s"]))


class Driver:
    """One driver's process."""

    def __init__(self, index: int, port: int, speech: Speech, folder: Path, cpus: set[int]) -> None:
        self.seed = speech.seed
        self.calls_path = folder / f"rig-{index}.calls"
        self._log = folder / f"rig-{index}.log"
        line = [sys.executable, "-m", "bench.load.driver", "--port", str(port)]
        line += ["--streams", str(speech.streams), "--rate", str(speech.rate)]
        line += ["--seed", str(speech.seed), "--calls", str(self.calls_path)]
        line += ["--mixed"] if speech.mixed else []
        with self._log.open("wb") as log, running_on(cpus):
            self._process = subprocess.Popen(
                line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._out, self._in = self._process.stdout, self._process.stdin
        os.set_blocking(self._out.fileno(), False)
        self._rest = b""
        self._heard_s = time.monotonic()
        self.report: dict[str, Any] | None = None

    def order(self, **order: Any) -> None:
        """Say what to do. Raises `RigError`."""
        try:
            self._in.write(json.dumps(order).encode() + b"\n")
            self._in.flush()
        except BrokenPipeError:
            raise self._fault() from None

    def listen(self) -> None:
        """Take what it has reported. Raises `RigError` when it has ended, or says nothing."""
        data = self._out.read()
        if data == b"" or time.monotonic() - self._heard_s > SILENT_S_MAX:
            raise self._fault()
        *lines, self._rest = (self._rest + (data or b"")).split(b"\n")
        if lines:
            self._heard_s = time.monotonic()
            self.report = json.loads(lines[-1])

    def fileno(self) -> int:
        """Readable when it reports."""
        return self._out.fileno()

    def end(self) -> None:
        """Have it leave."""
        with contextlib.suppress(OSError):
            self._in.close()
        self._out.close()  # it may wait for somebody to read its reports
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _fault(self) -> RigError:
        said = self._log.read_text(errors="replace").splitlines()[-3:]
        return RigError(f"a rig has failed; it said: {' | '.join(said) or 'nothing'}")


class Fleet:
    """All drivers."""

    def __init__(
        self, count: int, port: int, speech: Speech, folder: Path, cpus: set[int] | None = None
    ) -> None:
        self._drivers: list[Driver] = []
        self._numbers = 0
        try:
            for index in range(count):
                own = Speech(speech.streams, speech.rate, speech.mixed, speech.seed + index)
                self._drivers.append(Driver(index, port, own, folder, cpus or set()))
            while any(driver.report is None for driver in self._drivers):
                self.listen(0.1)
        except BaseException:
            self.end()
            raise

    def dial(self, calls: int, over_s: float, call_s: float | None = None) -> None:
        """`calls` more, spread over `over_s`; each is followed by another after `call_s`."""
        numbers = range(self._numbers, self._numbers + calls)
        self._numbers += calls
        for index, driver in enumerate(self._drivers):
            own = list(numbers[index :: len(self._drivers)])
            if own:
                driver.order(do="dial", numbers=own, over_s=over_s, call_s=call_s)

    def hang_up(self) -> None:
        """End every call properly, and dial no more."""
        for driver in self._drivers:
            driver.order(do="hang-up")

    def listen(self, seconds: float) -> Seen:
        """Take reports for so long; returns what is known then. Raises `RigError`."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            readable, _, _ = select.select(self._drivers, [], [], left_s)
            for driver in readable:
                driver.listen()
        return self.seen()

    def seen(self) -> Seen:
        """What the last reports have said."""
        seen = Seen()
        for driver in self._drivers:
            if driver.report is not None:
                seen.add(driver.report)
        return seen

    def calls(self) -> Iterator[Sent]:
        """The calls that were hung up, in no order."""
        for driver in self._drivers:
            for line in driver.calls_path.read_text().splitlines():
                yield Sent(seed=driver.seed, **json.loads(line))

    def end(self) -> None:
        """End all processes."""
        for driver in self._drivers:
            driver.end()


def shares(
    before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]]
) -> list[float]:
    """Of one CPU that each driver has used between two readings of `Seen.cpu`."""
    return [
        (then[1] - once[1]) / (then[0] - once[0]) if then[0] > once[0] else 0.0
        for once, then in zip(before, after, strict=True)
    ]
