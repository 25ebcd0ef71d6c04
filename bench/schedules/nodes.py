"""The processes of a world: the product's own cores, each behind the thinnest shell."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bench.schedules.bus import SimulatedBus
from bench.schedules.callers import Callers, Socket
from bench.schedules.schedule import Process, Schedule
from bench.schedules.sent import Packet, SentSession, Tone
from gateway.catch_up import Read
from gateway.log.adoption import adopt
from gateway.log.folder import dead_logs
from gateway.log.limits import LogLimits
from gateway.log.ticks import Tick
from gateway.log.writer import Log
from gateway.router import Router
from gateway.session import Identity, Limits, Session
from gateway.wire.layout import Layout
from gateway.wire.topology import Pool
from workers.links import WorkerIdentity
from workers.recorder import Recorder
from workers.recordings.finish import FinishLoop
from workers.recordings.orphans import Orphans
from workers.recordings.settings import RecordingSettings
from workers.worker import Worker

POOL = "record"
#: How long a gateway that leaves waits for acknowledgements.
ACKNOWLEDGE_US = 5_000_000


class StepLog(Log):
    """A log whose ticks tell what they hold when it is handed them."""

    on_append: Callable[[Tick, bool], None]

    def append(self, tick: Tick) -> Tick | None:
        before = self.dropped.total()
        gap = super().append(tick)
        if not tick.snapshot:
            self.on_append(tick, self.dropped.total() > before)
        return gap

    def first_unsafe(self, *, power: bool) -> int | None:
        """The oldest tick that a kill (or a loss of power) may take; None: none may."""
        unsafe = [self.written_up_to()]
        if power:
            unsafe += [tick.number for _, tick in self._retained._copies]
        return min((tick for tick in unsafe if tick is not None), default=None)


class Reading:
    """A socket at its gateway."""

    def __init__(self, socket: Socket, session: Session, sent: SentSession) -> None:
        self.socket = socket
        self.session = session
        self.sent = sent


class GatewayProcess(Process):
    """A front process without its sockets' protocol: sessions, router, log."""

    def __init__(
        self,
        name: str,
        boot: str,
        *,
        schedule: Schedule,
        bus: SimulatedBus,
        callers: Callers,
        log_root: Path,
        session_base: int,
    ) -> None:
        super().__init__(name)
        self.boot = boot
        self.is_draining = False
        self._schedule = schedule
        self._bus = bus
        self._callers = callers
        self._log_root = log_root
        self._sessions_made = session_base
        self._readings: list[Reading] = []
        #: What was read and is in no tick yet.
        self._gathered: list[Packet | Tone] = []
        #: What is in a tick, as long as its process may take it along.
        self._ticked: list[Packet | Tone] = []
        self._leaving_us: int | None = None

    def start(self, *, segment_s: float, power: bool, limits: LogLimits) -> None:
        """As the process itself. Raises OSError where there is no room for its log."""
        schedule = self._schedule
        self.log = StepLog(
            self._log_root / self.name,
            self.boot,
            sync_ms=50,
            segment_s=segment_s,
            power=power,
            limits=limits,
            clock=lambda: schedule.now_us / 1e6,
            threads=False,
        )
        self.log.on_append = self._appended
        self.hub = self._bus.bind(self.boot)
        self.router = Router({POOL: Pool(delivery="replay")}, self.log, self.hub.send, self._read)
        schedule.every(90_000, self, "loop", "turns", self._turn)
        schedule.every(90_000, self, "writer", "writes", self._write)
        schedule.every(200_000, self, "syncer", "syncs", self.log.sync_next)
        schedule.every(1_000_000, self, "adopting", "looks for dead logs", self._adopt)

    # The loop

    def accept(self, socket: Socket) -> bool:
        """A socket, if the gateway takes any."""
        if self.is_dead or self.is_draining or self.log.refuses:
            return False
        self._sessions_made += 1
        number, call = self._sessions_made, socket.call
        sent = self._callers.session(call, number)
        call_id = call.sent.call_id

        def take() -> None:
            route = self.router.open(number, call_id)
            identity = Identity(
                session=number,
                call_id=call_id,
                correlation_id=None,
                gateway=self.name,
                boot_id=self.boot,
                opened_at_us=self._schedule.now_us,
            )
            reading = Reading(
                socket, Session(identity, route, Limits(), self._clock, lambda _: None), sent
            )
            self.router.attach(number, reading.session)
            self._readings.append(reading)

        self._schedule.after(0, self, "loop", f"accepts {sent.id} of {call_id}", take)
        return True

    def _clock(self) -> int:
        return self._schedule.now_us

    def _turn(self) -> None:
        chooser = self._schedule.random
        for reading in tuple(self._readings):
            self._receive(reading, chooser.randrange(12))
        while (message := self.hub.receive()) is not None:
            self.router.receive(*message, self._schedule.now_us)
        if chooser.random() < 0.8:
            self.router.flush(self._schedule.now_us)
        if chooser.random() < 0.4:
            self.router.tend(self._schedule.now_us)
        if self.is_draining:
            self._leave()

    def _receive(self, reading: Reading, count: int) -> None:
        socket, sent = reading.socket, reading.sent
        for _ in range(min(count, len(socket.inbox))):
            delivery = socket.inbox.popleft()
            reading.session.receive(delivery.message, True)
            if delivery.packet is not None:
                sent.packets.append(delivery.packet)
                self._gathered.append(delivery.packet)
            elif delivery.tone is not None:
                sent.tones.append(delivery.tone)
                self._gathered.append(delivery.tone)
        if self.is_draining and socket.closed is None:
            socket.closed = (1001, True)
        if socket.closed is not None and not socket.inbox:
            reading.session.closed(*socket.closed)
            self._readings.remove(reading)
            sent.end = Tone("")
            self._gathered.append(sent.end)

    def _appended(self, tick: Tick, dropped: bool) -> None:
        """What gathered has its place in the log, or none: no end is ever thrown away."""
        for each in self._gathered:
            each.tick = tick.number
            each.may_miss = dropped
        self._ticked += self._gathered
        self._gathered.clear()

    def _read(self, read: Read, done: Callable[[list[Tick] | None], None]) -> None:
        """Where a read may wait: another thread's step, and then one of the loop's."""

        def run() -> None:
            try:
                ticks: list[Tick] | None = read()
            except OSError:
                ticks = None
            delay_us = self._schedule.between(0, 60_000)
            self._schedule.after(delay_us, self, "loop", "has read", lambda: done(ticks))

        thread = f"disk-{self._schedule.random.randrange(2)}"
        self._schedule.after(self._schedule.between(0, 60_000), self, thread, "reads", run)

    # Its threads

    def _write(self) -> None:
        while self.log.write_next() and not self._schedule.chance(0.1):
            pass

    def _adopt(self) -> None:
        if self.is_draining:
            return
        for folder in sorted(dead_logs(self._log_root)):
            adopted = adopt(folder, [self._log_root])
            if adopted is not None:
                self._schedule.note(self.name, f"adopted {folder.name}")
                delay_us = self._schedule.between(0, 30_000)
                take = partial(self.router.adopt, adopted)
                self._schedule.after(delay_us, self, "loop", "takes the log", take)

    # Its end

    @property
    def is_busy(self) -> bool:
        """Whether something that it has read may not yet be where it has to be."""
        return bool(self._readings or self._gathered) or not self.router.is_idle()

    def drain(self) -> None:
        """SIGTERM."""
        if not self.is_draining:
            self.is_draining = True
            self.router.drain()

    def _leave(self) -> None:
        """Once the calls are over and all is acknowledged, or nobody does it in time."""
        if self._readings:
            return
        now_us = self._schedule.now_us
        self._leaving_us = self._leaving_us or now_us
        is_idle = self.router.is_idle()
        is_late = now_us - self._leaving_us > ACKNOWLEDGE_US
        if not (is_idle or is_late or not self.router.is_heard()):
            return
        if "writer" in self.busy or "syncer" in self.busy:
            return  # they are waited for
        self.busy |= {"writer", "syncer"}
        self.router.leave()
        self.log.close(remove=is_idle)
        self._schedule.kill(self)

    def note_losses(self, *, power: bool) -> None:
        """The process ends: what it has not written (or synced) may be missing."""
        first = self.log.first_unsafe(power=power)
        lost = [each for each in self._ticked if first is not None and (each.tick or 0) >= first]
        for each in (*lost, *self._gathered):
            each.may_miss = True

    def cut_sockets(self) -> None:
        """The process is dead, and its sockets with it."""
        for reading in self._readings:
            reading.socket.is_cut = True


class _StepWorker(Worker):
    @property
    def is_released(self) -> bool:
        return self._links.is_released


class RecorderProcess(Process):
    """A worker of the pool `record`."""

    def __init__(
        self,
        name: str,
        boot: str,
        *,
        schedule: Schedule,
        bus: SimulatedBus,
        recordings: Path,
        settings: RecordingSettings,
        gateways: Callable[[], Mapping[str, str]],
    ) -> None:
        super().__init__(name)
        #: What becomes of its looks for gateways: "", "fail" or "find none".
        self.looks = ""
        self._schedule = schedule
        self._gateways = gateways
        self.recorder = Recorder(recordings, settings, threads=False)
        self.worker = _StepWorker(
            Layout(recordings.parent),
            WorkerIdentity(POOL, name, boot),
            self.recorder,
            bus.spokes(self),
            clock=lambda: schedule.now_us,
            find=lambda _: self._find(),
        )
        schedule.every(100_000, self, "loop", "turns", self._turn)
        schedule.every(120_000, self, "writer", "writes", self._write)

    def _find(self) -> Mapping[str, str]:
        if self.looks == "fail":
            raise OSError(errno.EMFILE, "Too many open files")
        return {} if self.looks else self._gateways()

    def _write(self) -> None:
        self.recorder.write_next()

    def _turn(self) -> None:
        self.worker.turn()
        if self.worker.is_released and "writer" not in self.busy:
            self.busy.add("writer")
            self.recorder.close(self._schedule.now_us)
            self._schedule.kill(self)

    def drain(self) -> None:
        """SIGTERM."""
        self.worker.drain()


class FinishProcess(Process):
    """A worker of the pool `finish`."""

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        recordings: Path,
        settings: RecordingSettings,
        boots: Callable[[], set[str]],
    ) -> None:
        """`boots()`: of the gateways that live, or whose log is still to be delivered."""
        super().__init__(name)
        self._schedule = schedule
        self.loop = FinishLoop(recordings, settings, orphans=Orphans(recordings, boots))
        schedule.every(400_000, self, "loop", "finishes", self._turn)

    def _turn(self) -> None:
        while self.loop.turn(self._schedule.now_us):
            pass

    def drain(self) -> None:
        """SIGTERM: another process takes over."""
        self._schedule.kill(self)
