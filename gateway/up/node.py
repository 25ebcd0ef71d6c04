"""The parent process of a node: does what the supervisor decides, and tells it what happened."""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial

from gateway.address import bind, bound_address
from gateway.errors import EX_CONFIG, EX_UNAVAILABLE, Unavailable
from gateway.up import upgrade
from gateway.up.admin import Admin
from gateway.up.control import Control, Request, Say
from gateway.up.folder import Claim, Running, claim, iso_now, write_processes
from gateway.up.plan import Commands, Inherited, Plan, check_line, command_line
from gateway.up.state import State, of_children
from gateway.up.supervisor import Child, Place, Signal, Start, Supervisor
from gateway.wire.counters import collect
from gateway.wire.layout import Layout

#: How often the node is looked at until it accepts.
_LOOK_S = 0.1

logger = logging.getLogger(__name__)


def serve(plan: Plan, announce: Callable[[str], None], commands: Commands = command_line) -> None:
    """Run a node until it has drained, on SIGTERM or SIGINT.

    `announce(url)` is called once, when the node accepts. Raises `Unavailable` for a folder or a
    port that is not to be had, before anything is started.
    """
    layout = Layout(plan.data)
    held = claim(layout)
    try:
        with bind(plan.listen, "--listen") as listener:
            admin = None
            if plan.admin is not None:
                admin = bind(plan.admin, "--admin, or none with --admin off")
            node = Node(plan, layout, listener, held=held, announce=announce, commands=commands)
            asyncio.run(_serve(node, admin))
    finally:
        held.close()


async def _serve(node: "Node", admin_listener: socket.socket | None) -> None:
    async with AsyncExitStack() as opened:
        if admin_listener is not None:
            admin = Admin(admin_listener, node.state)
            opened.push_async_callback(admin.close)
            await admin.start()
        opened.push_async_callback(node.control.close)
        try:
            await node.control.start()
        except OSError as fault:
            raise Unavailable(f"no socket for `acs-ingest upgrade` can be made: {fault}") from fault
        await node.run()


class Node:
    """The children of one `up`, from the first start to the last exit."""

    def __init__(
        self,
        plan: Plan,
        layout: Layout,
        listener: socket.socket,
        *,
        held: Claim,
        announce: Callable[[str], None],
        commands: Commands,
    ) -> None:
        self._plan = plan
        self._layout = layout
        self._listener = listener
        self._lock = held.lock
        self._url = plan.url(bound_address(listener))
        #: None once it was called.
        self._announce: Callable[[str], None] | None = announce
        self._commands = commands
        self._supervisor = Supervisor(plan.places(), plan.budget())
        self.control = Control(layout, self._upgrade)
        self._is_upgrading = False
        self._self = Running("up", None, 0, os.getpid(), iso_now())
        self._running: dict[int, Running] = {}  # by pid
        self._wake = asyncio.Event()
        #: A process has ended.
        self._left = asyncio.Event()
        self._watchers: set[asyncio.Task[None]] = set()
        #: Pipes on which gateways will say READY, by pid.
        self._ears: dict[int, int] = {}
        # Nobody but us ever holds the write end: its end is our death, whatever we died of.
        self._parent_end, self._life = os.pipe()

    def state(self) -> State:
        """The node as it is now."""
        children = list(self._supervisor.children.values())
        beside = list(self._supervisor.beside)
        return State(
            children=children,
            beside=beside,
            snapshots=of_children(children + beside, collect(self._layout.metrics)),
            replay_pools=self._plan.replay_pools(),
            is_draining=self._supervisor.is_draining,
            now_us=time.time_ns() // 1000,
        )

    async def run(self) -> None:
        """Start everything, keep it running, return when a drain is over."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            self._write_processes()
            while True:
                self._wake.clear()
                await self._do(self._supervisor.decide(_now_us()))
                if self._supervisor.is_done:
                    break
                self._announce_if_due()
                await self._sleep()
        finally:
            self._close()

    def stop(self) -> None:
        """Drain; called again: end at once."""
        if self._supervisor.is_draining:
            logger.info("ending at once")
        else:
            logger.info("draining, for up to %g s", self._plan.drain_s)
        self._supervisor.drain(_now_us())
        self._listener.close()
        self._wake.set()

    def reload(self) -> None:
        """Have the gateways read certificate and key again."""
        if self._plan.tls is None:
            logger.warning("SIGHUP: there is no certificate to read again")
            return
        for child in self._supervisor.children.values():
            # One that does not accept yet has no handler, would die, and reads the files anyhow.
            if child.accepts and child.pid is not None:
                _signal(child.pid, signal.SIGHUP)

    @property
    def is_draining(self) -> bool:
        """Whether the node ends."""
        return self._supervisor.is_draining

    def places(self) -> list[Place]:
        """Every process that the node should have."""
        return self._plan.places()

    async def start_beside(self, place: Place) -> Child:
        """Start a new process beside the one that holds the place. Raises OSError."""
        process, ear = await self._spawn(place)
        child = self._supervisor.tries(place, process.pid, _now_us())
        self._look_after(child, process, ear)
        self._wake.set()
        return child

    def unready(self, child: Child) -> str:
        """Why a live process is not ready; empty if it is."""
        if child.place.role == "gateway":
            return "" if child.accepts else "does not accept"
        return self.state().fault(child)

    def promote(self, child: Child) -> Child | None:
        """Give a new process its place; returns the old one, told to leave, if there is one."""
        old, told = self._supervisor.promote(child)
        self._tell(told)
        return None if told is None else old

    def dismiss(self, child: Child) -> None:
        """Tell a process that holds no place to leave; a gateway when its calls are over."""
        self._tell(self._supervisor.dismiss(child))

    def calls(self, child: Child) -> int:
        """How many calls a process has said that it has."""
        snapshot = None if child.pid is None else self.state().snapshots.get(child.pid)
        series = [] if snapshot is None else snapshot.series
        return sum(int(each.value) for each in series if each.name == "sessions")

    async def _upgrade(self, request: Request, say: Say) -> int:
        if self._is_upgrading or self.is_draining:
            say(f"failed: {'the node ends' if self.is_draining else 'an upgrade is under way'}")
            return EX_UNAVAILABLE
        self._is_upgrading = True
        self._supervisor.generation += 1

        def tell(line: str) -> None:
            logger.info("upgrade: %s", line)
            say(line)

        try:
            code = await upgrade.upgrade(self, check_line(self._plan), tell)
        finally:
            self._is_upgrading = False
        if request.drain_s is not None and not code:
            self._supervisor.bound(_now_us() + int(request.drain_s * 1_000_000))
            self._wake.set()
        while request.wait and not code and self._supervisor.beside:
            self._left.clear()
            await self._left.wait()
        return code

    def _tell(self, told: Signal | None) -> None:
        if told is not None:
            _signal(told.pid, told.number)

    async def _sleep(self) -> None:
        """Until something happened or is due."""
        next_us = self._supervisor.next_us()
        timeout_s = None if next_us is None else max(0.0, (next_us - _now_us()) / 1_000_000)
        if self._announce is not None and not self._supervisor.is_draining:
            timeout_s = _LOOK_S if timeout_s is None else min(timeout_s, _LOOK_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()

    def _announce_if_due(self) -> None:
        if self._announce is None or self._supervisor.is_draining or not self.state().accepts():
            return
        announce, self._announce = self._announce, None
        try:
            announce(self._url)
        except OSError as fault:  # whoever read it is gone
            logger.warning("cannot print that %s is ready: %s", self._url, fault.strerror)

    async def _do(self, decided: list[Start | Signal]) -> None:
        was_draining = self._supervisor.is_draining
        for step in decided:
            if self._supervisor.is_draining != was_draining:
                return  # a signal came between two starts: decide anew
            if isinstance(step, Start):
                await self._start(step.place)
                continue
            if step.number == signal.SIGKILL:
                logger.warning("%s has not ended in time: killed", step.place.name)
            _signal(step.pid, step.number)

    async def _start(self, place: Place) -> None:
        try:
            process, ear = await self._spawn(place)
        except OSError as fault:
            delay_s = self._supervisor.failed(place, _now_us()) / 1_000_000
            logger.error("cannot start %s: %s; next try in %g s", place.name, fault, delay_s)
            return
        self._supervisor.started(place, process.pid, _now_us())
        self._look_after(self._supervisor.children[place], process, ear)

    async def _spawn(self, place: Place) -> tuple[asyncio.subprocess.Process, int]:
        """A new process, and where it will say READY. Raises OSError."""
        ear, mouth = os.pipe()
        inherited = Inherited(self._listener.fileno(), self._parent_end, mouth)
        descriptors = [self._parent_end, self._lock]
        if place.role == "gateway":
            descriptors += [inherited.listener, mouth]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._commands(self._plan, place, inherited),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=2,  # ours says `ready` and nothing else
                pass_fds=descriptors,
                start_new_session=True,
            )
        except BaseException:
            os.close(ear)
            raise
        finally:
            os.close(mouth)
        return process, ear

    def _look_after(self, child: Child, process: asyncio.subprocess.Process, ear: int) -> None:
        place, pid = child.place, process.pid
        self._ears[pid] = ear
        asyncio.get_running_loop().add_reader(ear, partial(self._hear, pid, ear))
        watcher = asyncio.create_task(self._watch(place, process))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        self._running[pid] = Running(
            place.role, place.pool, place.index, pid, iso_now(), child.generation
        )
        self._write_processes()

    async def _watch(self, place: Place, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self._stop_listening(process.pid)
        delay_us = self._supervisor.exited(process.pid, code, _now_us())
        _log_exit(place, code, delay_us)
        del self._running[process.pid]
        self._write_processes()
        self._wake.set()
        self._left.set()

    def _hear(self, pid: int, ear: int) -> None:
        if os.read(ear, 64).startswith(b"READY"):
            self._supervisor.accepts(pid)
            self._wake.set()
        self._stop_listening(pid)

    def _stop_listening(self, pid: int) -> None:
        ear = self._ears.pop(pid, None)
        if ear is not None:
            asyncio.get_running_loop().remove_reader(ear)
            os.close(ear)

    def _write_processes(self) -> None:
        write_processes(self._layout, [self._self, *self._running.values()])

    def _close(self) -> None:
        for pid in list(self._ears):
            self._stop_listening(pid)
        for watcher in self._watchers:
            watcher.cancel()
        os.close(self._parent_end)
        os.close(self._life)
        write_processes(self._layout, [])


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, number)


def _log_exit(place: Place, code: int, delay_us: int | None) -> None:
    how = f"was killed by {_signal_name(-code)}" if code < 0 else f"has ended with code {code}"
    if delay_us is None:
        logger.info("%s %s", place.name, how)
        return
    if code == EX_CONFIG:
        how = "refuses its configuration; mend it and try `acs-ingest check`"
    logger.error("%s %s; next start in %g s", place.name, how, delay_us / 1_000_000)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
