"""One world: a node, its calls and what befalls them, all of it decided by one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.schedules.bus import SimulatedBus
from bench.schedules.callers import Callers
from bench.schedules.checker import check
from bench.schedules.disk import Disk
from bench.schedules.nodes import FinishProcess, GatewayProcess, RecorderProcess
from bench.schedules.schedule import Process, Schedule
from bench.schedules.weather import Weather
from gateway.log.limits import LogLimits
from workers.recordings.settings import RecordingSettings

MS = 1_000
SECOND = 1_000_000
#: How long a world has to come to rest, once nothing befalls it any more.
REST_US_MAX = 180 * SECOND
ROOMY = LogLimits(reserve_bytes=0)


class Outcome(NamedTuple):
    """What came of a seed. Right if `faults` is empty."""

    seed: int
    faults: tuple[str, ...]
    trace: tuple[tuple[int, str, str], ...]
    digest: str
    packets: int
    #: Read and rightly not in a recording: died with a process, or there was no room.
    missing: int


class World:
    """Made for one seed; `run` once."""

    def __init__(self, seed: int, root: Path) -> None:
        """`root`: an empty folder, best one in memory."""
        self.seed = seed
        self.root = root
        self.schedule = schedule = Schedule(seed)
        chooser = schedule.random
        self.power = chooser.random() < 0.5
        self.settings = RecordingSettings(
            gather_s=chooser.choice((0.1, 0.3, 0.8)),
            redial_wait_s=chooser.choice((0.1, 0.5)),
            reopen_s=chooser.choice((0.5, 3600.0, 3600.0)),
            durability="power" if self.power else "process",
        )
        self.segment_s = chooser.choice((0.2, 0.5, 1.5))
        self.limits = self._limits()
        self.disk = Disk(str(root), schedule, keeps_power=self.power)
        self.bus = SimulatedBus(
            schedule,
            delay_us=chooser.choice((0, 5 * MS, 5 * MS, 100 * MS, 900 * MS)),
            mark=chooser.choice((2000, 2000, 20, 3)),
        )
        self.callers = Callers(schedule)
        #: Gateways that make their logs and are in nobody's reach but the power's.
        self._beginning: list[GatewayProcess] = []
        self.gateways: list[GatewayProcess] = []
        self.recorders: list[RecorderProcess] = []
        self.finishers: list[FinishProcess] = []
        self.is_cutting_power = False
        self._boots = 0

    def _limits(self) -> LogLimits:
        chooser = self.schedule.random
        if self.power or chooser.random() < 0.7:
            return ROOMY
        return LogLimits(
            reserve_bytes=0,
            retain_bytes_max=chooser.choice((30_000, 100_000)),
            bytes_max=chooser.choice((60_000, 400_000)),
        )

    def run(self) -> Outcome:
        """Let it all happen, and look at what was recorded."""
        faults: list[str] = []
        with self.disk:
            try:
                self._prepare()
                self._storm()
                if not self._calm():
                    faults.append(f"no rest after {REST_US_MAX // SECOND} s: {self._unrest()}")
            except Exception as fault:  # of ours or the product's: either is to be told
                faults.append(f"{type(fault).__name__}: {fault} in {_place_of(fault)}")
        calls = [call.sent for call in self.callers.calls]
        faults = faults or check(self.root / "recordings", calls)
        read = [p for call in calls for each in call.sessions for p in each.packets]
        self.schedule.note("recordings", f"{len(read)} packets, faults: {faults}")
        return Outcome(
            self.seed,
            tuple(faults),
            tuple(self.schedule.trace),
            self.schedule.digest(),
            len(read),
            sum(packet.may_miss for packet in read),
        )

    def _prepare(self) -> None:
        chooser = self.schedule.random
        for name in ("log", "recordings"):
            (self.root / name).mkdir()
        if self.disk.power is not None:
            self.disk.power.settle()
        for number in range(chooser.choice((1, 2, 2))):
            self._start_gateway(f"gateway-{number}")
        for number in range(chooser.choice((1, 2, 2, 3))):
            self._start_recorder(f"record-{number}")
        for number in range(chooser.choice((1, 1, 2))):
            self._start_finisher(f"finish-{number}")

    def _storm(self) -> None:
        schedule = self.schedule
        for _ in range(schedule.random.choice((1, 1, 2, 3))):
            begin = partial(self.callers.begin, schedule.random.choice((1, 2, 3)))
            schedule.after(schedule.between(0, 700 * MS), None, "", "a call begins", begin)
        weather = Weather(self)
        weather.begin()
        length_us = schedule.between(800 * MS, schedule.random.choice((2, 2, 5)) * SECOND)
        is_over = []

        def end() -> None:
            weather.end()
            for call in self.callers.calls:
                call.end()
            schedule.note("world", "calm")
            is_over.append(True)

        schedule.after(length_us, None, "", "the storm ends", end)
        while not is_over:
            schedule.run_until(schedule.now_us + 100 * MS)

    def _calm(self) -> bool:
        """Nothing befalls anybody. Returns whether all comes to rest."""
        until_us = self.schedule.now_us + REST_US_MAX
        while self.schedule.now_us < until_us:
            self.schedule.run_until(self.schedule.now_us + 500 * MS)
            if not self._unrest():
                return True
        return False

    def _unrest(self) -> str:
        """What is still to be done; empty if nothing is."""
        alive = {gateway.boot for gateway in self.gateways if not gateway.is_dead}
        if any(gateway.is_busy for gateway in self.gateways if not gateway.is_dead):
            return "a gateway"
        now_us = self.schedule.now_us
        if any(each.recorder.unsynced_us(now_us) for each in self.recorders if not each.is_dead):
            return "a recorder"
        for path in self.root.glob("log/*/*"):
            if path.name not in alive and not path.name.startswith(".") and any(path.glob("*.seg")):
                return f"the log of {path.name}"
        due = self.root / "recordings" / ".due"
        if due.exists() and any(n.suffix != ".retire" and n.name[0] != "." for n in due.iterdir()):
            return "finish"
        for path in self.root.glob("recordings/[0-9]*/*/*/*/manifest.json"):
            if b'"state": "open"' in path.read_bytes():
                return f"{path.parent.name}: open"
        return ""

    @staticmethod
    def living(processes: Iterable[Process]) -> list[Process]:
        """Those that are not dead."""
        return [process for process in processes if not process.is_dead]

    # Starting and dying

    def _boot(self) -> str:
        self._boots += 1
        return f"boot-{self._boots:04d}"

    def endpoints(self) -> dict[str, str]:
        """Where the living gateways are."""
        return {each.boot: each.boot for each in self.gateways if not each.is_dead}

    def _boots_to_come(self) -> set[str]:
        logs = {lock.parent.name for lock in self.root.glob("log/*/*/lock")}
        return logs | self.endpoints().keys()

    def _start_gateway(self, name: str) -> None:
        process = GatewayProcess(
            name,
            self._boot(),
            schedule=self.schedule,
            bus=self.bus,
            callers=self.callers,
            log_root=self.root / "log",
            session_base=self._boots << 24,
        )

        def start() -> None:
            process.start(segment_s=self.segment_s, power=self.power, limits=self.limits)

        def dies() -> None:
            self.disk.dies(process)
            self._restart(lambda: self._start_gateway(name))

        process.on_death = dies
        self._beginning.append(process)
        try:
            self.schedule.run_as(process, "loop", start)
        except OSError:
            self.schedule.kill(process)
        self._beginning.remove(process)
        if process.is_dead:
            return
        self.gateways.append(process)
        self.callers.gateways.append(process)
        self._started(process, lambda: self._start_gateway(name))

    def _start_recorder(self, name: str) -> None:
        process = RecorderProcess(
            name,
            self._boot(),
            schedule=self.schedule,
            bus=self.bus,
            recordings=self.root / "recordings",
            settings=self.settings,
            gateways=self.endpoints,
        )
        self.recorders.append(process)
        self._started(process, lambda: self._start_recorder(name))

    def _start_finisher(self, name: str) -> None:
        process = FinishProcess(
            name, self.schedule, self.root / "recordings", self.settings, self._boots_to_come
        )
        self.finishers.append(process)
        self._started(process, lambda: self._start_finisher(name))

    def _started(self, process: Process, again: Callable[[], None]) -> None:
        self.schedule.note(process.name, "begins")
        process.on_death = lambda: self._died(process, again)

    def _died(self, process: Process, again: Callable[[], None]) -> None:
        self.disk.dies(process)
        if isinstance(process, GatewayProcess):
            process.note_losses(power=self.is_cutting_power)
            process.cut_sockets()
            process.hub.close()
            self.callers.gateways.remove(process)
        elif isinstance(process, RecorderProcess):
            self.bus.worker_died(process)
        self._restart(again)

    def _restart(self, again: Callable[[], None]) -> None:
        self.schedule.after(self.schedule.between(0, 700 * MS), None, "", "restart", again)

    def cut_power(self) -> None:
        """Everything ends at once; what was not synced may be gone."""
        self.schedule.note("world", "POWER CUT")
        self.is_cutting_power = True
        for process in (*self._beginning, *self.gateways, *self.recorders, *self.finishers):
            self.schedule.kill(process)
        for gateway in self.gateways:
            gateway.note_losses(power=True)
        self.is_cutting_power = False
        self.disk.cut_power()


def _place_of(fault: BaseException) -> str:
    """File and line where it was raised."""
    step = fault.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None:
        return "?"
    return f"{Path(step.tb_frame.f_code.co_filename).name}:{step.tb_lineno}"
