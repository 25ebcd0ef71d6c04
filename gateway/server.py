"""One front process: its life from the first look at the data folder to the last acknowledgement.

The shell around the cores: the loop, the timers, the signals, and what may wait for a disk.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from pathlib import Path

from gateway import metrics, systemd
from gateway.admission import Refusal, UpgradeRequest, admit
from gateway.bus.rendezvous import Endpoint, remove_dead_endpoints
from gateway.bus.zmq import ZmqHub
from gateway.capacity import STOPPING, CapacityLimits
from gateway.catch_up import Read
from gateway.clock import Clock
from gateway.config import Config
from gateway.door import MEASURE_S, SharedDoor, descriptors_max
from gateway.ending import ACKNOWLEDGE_S, Ending, EndLimits
from gateway.errors import Unavailable
from gateway.front import Front, SocketLimits
from gateway.links import Link
from gateway.listener import Listener, TlsContext
from gateway.log.adoption import Adopted, adopt
from gateway.log.folder import dead_logs
from gateway.log.ticks import Tick
from gateway.log.writer import Log
from gateway.pace import Pace, patient_flush_ms
from gateway.placement import open_gate
from gateway.router import Router
from gateway.session import Identity, Limits, Session
from gateway.sweep import Sweeper
from gateway.websocket import MediaSocket
from gateway.wire.counters import PUBLISH_MS, Snapshot, publish
from gateway.wire.layout import Layout, make_private

logger = logging.getLogger(__name__)

TEND_S = 0.1
FRONT_TEND_S = 0.25
ADOPT_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says of one front process."""

    name: str
    index: int
    layout: Layout
    listener: socket.socket
    tls: TlsContext | None
    #: For how long calls go on after SIGTERM, and how long the process has then.
    drain_s: float
    leave_s: float = inf
    parent_fd: int | None = None
    ready_fd: int | None = None


class Server:
    """Everything that one front process holds."""

    def __init__(self, options: Options, config: Config) -> None:
        """Take a place on the bus and begin a log. Raises `Unavailable`."""
        self._options = options
        self._config = config
        self._clock = Clock()
        self._boot_id = secrets.token_hex(8)
        self._sessions_opened = 0
        self._session_base = secrets.randbits(40) << 24
        #: Bad packets of sessions that are over, by error class.
        self.bad_packets: Counter[str] = Counter()
        self.sessions: dict[int, Session] = {}
        self._disk = ThreadPoolExecutor(2, thread_name_prefix="disk")
        self._reroutes = 0
        self._flushed_us = 0
        layout = options.layout
        try:
            make_private(layout.run)
            self._endpoint = Endpoint(layout, self._boot_id)
            remove_dead_endpoints(layout)
            self.log = self._begin_log(layout)
            self._hub = ZmqHub(self._endpoint.address)
        except OSError as fault:
            raise Unavailable(
                f"the data folder {layout.data} cannot be used: {fault}; "
                "make it writable or choose another with --data"
            ) from fault
        self.router = Router(config.pools, self.log, self._hub.send, self._run_read)

    def _begin_log(self, layout: Layout) -> Log | None:
        if all(pool.delivery != "replay" for pool in self._config.pools.values()):
            return None
        settings = self._config.log
        with contextlib.suppress(OSError):  # another folder may do
            make_private(layout.log)
        return Log(
            layout.log / self._options.name,
            self._boot_id,
            further=[root / self._options.name for root in self._log_roots[1:]],
            limits=settings.limits,
            sync_ms=settings.sync_ms,
            segment_s=settings.segment_s,
            power=settings.durability == "power",
        )

    @property
    def _log_roots(self) -> list[Path]:
        """Where logs may lie, in the order in which they are used."""
        return [self._options.layout.log, *map(Path, self._config.log.dirs)]

    async def run(self) -> None:
        """Serve until told to stop, and then until everything is where it has to be."""
        settings = self._config.gateway
        loop = asyncio.get_running_loop()
        self.front = self._open_front()
        tls = self._options.tls
        self.door = self._open_door()
        self._listener = Listener(
            self._options.listener,
            lambda slot: MediaSocket(self.front, slot),
            tls,
            settings.handshake_s,
            self.door,
        )
        limits = EndLimits(
            calls_s=self._options.drain_s, close_s=settings.close_s, leave_s=self._options.leave_s
        )
        self._ending = Ending(self.front, self._listener, limits, self._tell_draining)
        self._watch_signals(loop)
        loop.add_reader(self._hub.fileno(), self._hear)
        timers = [
            self._every(settings.flush_ms / 1000, self._tick),
            self._every(TEND_S, lambda: self.router.tend(self._clock())),
            self._every(FRONT_TEND_S, lambda: self.front.tend(loop.time())),
            self._every(MEASURE_S, self.door.measure),
            self._every(PUBLISH_MS / 1000, self._publish),
        ]
        adopting = loop.create_task(self._adopt_dead_logs())
        self._listener.start()
        self._say_ready()
        await self._drain()
        adopting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await adopting
        for timer in timers:
            timer.cancel()
        loop.remove_reader(self._hub.fileno())
        self.door.close()
        await self._leave()

    def _open_front(self) -> Front:
        settings = self._config.gateway
        limits = SocketLimits(
            handshake_s=settings.handshake_s,
            message_bytes_max=settings.message_bytes_max,
            ping_s=settings.ping_s,
            pong_s=settings.pong_s,
            close_s=settings.close_s,
        )
        return Front(self._admit, limits, Sweeper(Pace(settings.coalesce_ms_max), self._latency_ms))

    def _open_door(self) -> SharedDoor:
        settings = self._config.gateway
        limits = CapacityLimits(
            sessions_max=settings.sessions_max,
            memory_bytes_max=settings.memory_bytes_max,
            memory_free_min=settings.memory_free_min,
            descriptors_max=descriptors_max(),
            lag_ms_max=settings.lag_ms_max,
        )
        gate = open_gate(self._options.layout.placement, self._options.listener.fileno())
        return SharedDoor(limits, gate, lambda: self.log.refuses if self.log else "")

    def _watch_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(signal.SIGTERM, self._ending.stop)
        loop.add_signal_handler(signal.SIGINT, self._ending.stop)
        loop.add_signal_handler(signal.SIGUSR1, self._ending.retire)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        if self._options.parent_fd is not None:
            # End of pipe: the parent is dead.
            loop.add_reader(self._options.parent_fd, self._parent_has_died, loop)

    def _parent_has_died(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._options.parent_fd is not None:
            loop.remove_reader(self._options.parent_fd)
        self._ending.stop()

    def _reload(self) -> None:
        if self._options.tls is None:
            return
        try:
            self._options.tls.reload()
        except (OSError, ValueError) as fault:
            logger.error("the old certificate stays in force: %s", fault)
        else:
            logger.info("certificate and key were read again")

    def _say_ready(self) -> None:
        self._publish()
        if self._options.ready_fd is not None:
            os.write(self._options.ready_fd, b"READY\n")
            os.close(self._options.ready_fd)
        systemd.tell("READY=1")

    def _tell_draining(self) -> None:
        self.door.is_closing = True
        self.door.measure()
        self.router.drain()
        logger.info("draining: %d sessions run", len(self.sessions))

    async def _drain(self) -> None:
        """Run the calls out when told to, and then be heard to the end."""
        await self._ending.calls_over()
        self._tick()
        await self._ending.until(
            lambda: self.router.is_idle() or not self.router.is_heard(), ACKNOWLEDGE_S
        )
        if not self.router.is_idle():
            logger.warning("not everything was acknowledged; the next process delivers the log")

    async def _leave(self) -> None:
        is_idle = self.router.is_idle()
        self.router.leave()
        if self.log is not None:
            log = self.log
            await asyncio.get_running_loop().run_in_executor(
                self._disk, lambda: log.close(remove=is_idle)
            )
        self._hub.close()
        self._endpoint.close()
        self._disk.shutdown()

    def _every(self, seconds: float, do: Callable[[], None]) -> "_Timer":
        return _Timer(asyncio.get_running_loop(), seconds, do)

    def _admit(self, request: UpgradeRequest) -> Session | Refusal:
        """A session for a socket that may come in."""
        admitted = admit(request, lambda: str(uuid.uuid4()))
        if isinstance(admitted, Refusal):
            return admitted
        if self._ending.refuses:
            return self.door.refuse(admitted.call_id, STOPPING)
        if request.shortage is not None:
            return self.door.refuse(admitted.call_id, request.shortage)
        self._sessions_opened += 1
        session_id = self._session_base + self._sessions_opened
        identity = Identity(
            session_id,
            admitted.call_id,
            admitted.correlation_id,
            self._options.name,
            self._boot_id,
            self._clock(),
        )
        settings = self._config.gateway
        limits = Limits(settings.bad_packets_run_max, settings.streams_max)
        route = self.router.open(session_id, admitted.call_id)
        session = Session(identity, route, limits, self._clock, self._session_over)
        self.router.attach(session_id, session)
        self.sessions[session_id] = session
        return session

    def _session_over(self, session: Session) -> None:
        self.bad_packets.update(session.bad_packets)
        del self.sessions[session.id]

    def _latency_ms(self, handler: object) -> float:
        """How long a session's packets may wait to be read, for all who hear it live."""
        links = handler.route.links if isinstance(handler, Session) else ()
        least_ms = _least_ms(links)
        return least_ms - patient_flush_ms(self._config.gateway.flush_ms, least_ms)

    def _tick(self) -> None:
        self._hear()
        now_us = self._clock()
        if now_us - self._flushed_us >= self._flush_us():
            self._flushed_us = now_us
            self.router.flush(now_us)
        self._follow_routes()

    def _flush_us(self) -> float:
        """How long frames may wait for a tick now; what is replayed goes on with every turn."""
        if not self.front.sweeper.interval_ms or self.router.catch_ups:
            return 0
        flush_ms = self._config.gateway.flush_ms
        # The timer's turns are not exact: the one nearest to the time is taken.
        patient_ms = patient_flush_ms(flush_ms, _least_ms(self.router.links))
        return (patient_ms - flush_ms / 2) * 1000

    def _hear(self) -> None:
        """Take what workers have sent. The descriptor is edge-triggered: all of it."""
        now_us = self._clock()
        while (message := self._hub.receive()) is not None:
            self.router.receive(*message, now_us)
        self._follow_routes()

    def _follow_routes(self) -> None:
        """Read sockets as often as those need it who hear them now."""
        if self.router.reroutes != self._reroutes:
            self._reroutes = self.router.reroutes
            self.front.sweeper.reconsider()

    def _run_read(self, read: Read, done: Callable[[list[Tick] | None], None]) -> None:
        """Read where it may wait; an error is told as None, and asked again at the next tick."""
        loop = asyncio.get_running_loop()

        def finish(future: "asyncio.Future[list[Tick]]") -> None:
            fault = future.exception()
            if fault is not None:
                logger.error("log: cannot be read: %s", fault)
            done(None if fault is not None else future.result())

        loop.run_in_executor(self._disk, read).add_done_callback(finish)

    async def _adopt_dead_logs(self) -> None:
        """Look after the logs of processes that have died."""
        loop = asyncio.get_running_loop()
        while True:
            if self.log is not None and not self._ending.has_begun:
                for adopted in await loop.run_in_executor(self._disk, self._find_dead_logs):
                    self.router.adopt(adopted)
                    logger.info(
                        "adopted the log of a dead process: %d frames of %d sessions",
                        adopted.frames,
                        len(adopted.sessions),
                    )
            await asyncio.sleep(ADOPT_S)

    def _find_dead_logs(self) -> list[Adopted]:
        roots = self._log_roots
        found = [adopt(folder, roots) for folder in dead_logs(*roots)]
        return [adopted for adopted in found if adopted is not None]

    def _fault(self) -> str:
        """Why no calls should come here now; empty where they may."""
        if self.log is not None and self.log.reason:
            return self.log.reason
        return self.door.fault

    def _publish(self) -> None:
        reason = "draining" if self._ending.has_begun else self._fault()
        snapshot = Snapshot(
            process=self._options.name,
            role="gateway",
            pool=None,
            index=self._options.index,
            pid=os.getpid(),
            at_us=self._clock(),
            ready=not reason,
            reason=reason,
            series=metrics.series(self),
        )
        try:
            publish(self._options.layout.metrics, snapshot)
        except OSError as fault:
            logger.debug("metrics are not published: %s", fault)


def _least_ms(links: Iterable[Link]) -> float:
    """What the least patient of some workers can bear."""
    return min((link.latency_ms for link in links), default=inf)


class _Timer:
    """Calls something again and again; a turn that comes late is not made up for."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, do: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._do = do
        self._handle = loop.call_later(seconds, self._turn)

    def _turn(self) -> None:
        self._handle = self._loop.call_later(self._seconds, self._turn)
        self._do()

    def cancel(self) -> None:
        self._handle.cancel()
