"""An upgrade: a generation of new processes beside the present one, which then takes its place.

All of the new ones must be there before the first old one is told to leave, so a generation that
cannot start changes nothing. The parent stays what it is: what starts anew is every gateway and
every worker, in a fresh interpreter, with the software and the configuration of that moment.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.errors import EX_CONFIG, EX_SOFTWARE, EX_UNAVAILABLE
from gateway.up.supervisor import Child, Place

#: How long a new process may take until it is ready.
READY_S = 60.0
#: How long an old worker is waited for; it leaves when every gateway has given its calls away.
HANDED_OVER_S = 60.0
_CHECK_S = 60.0
_LOOK_S = 0.05

Say = Callable[[str], None]


class Crew(Protocol):
    """The processes of a node, as an upgrade sees them."""

    @property
    def is_draining(self) -> bool:
        """Whether the node ends."""

    def places(self) -> Sequence[Place]:
        """Every process that the node should have."""

    async def start_beside(self, place: Place) -> Child:
        """Start a new process beside the one that holds the place. Raises OSError."""

    def unready(self, child: Child) -> str:
        """Why a live process is not ready; empty if it is."""

    def promote(self, child: Child) -> Child | None:
        """Give a new process its place; returns the old one, told to leave, if there is one."""

    def dismiss(self, child: Child) -> None:
        """Tell a process that holds no place to leave; a gateway when its calls are over."""

    def calls(self, child: Child) -> int:
        """How many calls a process has."""


class _Failed(Exception):
    """The new generation cannot take over: why, and the exit code."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


async def upgrade(crew: Crew, check: Sequence[str], say: Say) -> int:
    """Replace every process; returns the exit code. `say` is given a line for each step.

    `check` is a command that fails where the new software refuses the configuration.
    """
    tried: list[Child] = []
    try:
        await _check(check)
        say("the configuration can be used")
        for place in crew.places():
            await _try(crew, place, tried, say)
        for child in sorted(tried, key=lambda child: child.stage):
            await _replace(crew, child, say)
    except _Failed as failed:
        # One that was tried has been open to calls like any other: it leaves when they are over.
        for child in tried:
            crew.dismiss(child)
        say(f"failed: {failed}; every process that was not replaced goes on")
        return failed.code
    say("done: every process is new")
    return 0


async def _check(line: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *line,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_CHECK_S):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise _Failed("the new software does not start", EX_SOFTWARE) from None
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["it does not say why"]
        code = EX_CONFIG if process.returncode == EX_CONFIG else EX_SOFTWARE
        raise _Failed(f"`acs-ingest check`: {lines[-1].removeprefix('Error: ')}", code)


async def _try(crew: Crew, place: Place, tried: list[Child], say: Say) -> None:
    """Start a new process and wait until it is ready."""
    _go_on(crew)
    try:
        child = await crew.start_beside(place)
    except OSError as fault:
        reason = f"{place.name} cannot be started: {fault.strerror}"
        raise _Failed(reason, EX_UNAVAILABLE) from fault
    tried.append(child)
    pid = child.pid
    reason = "is starting"
    try:
        async with asyncio.timeout(READY_S):
            while child.pid is not None and (reason := crew.unready(child)):
                _go_on(crew)
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        reason = f"the new {place.name} is not ready after {READY_S:g} s: {reason}"
        raise _Failed(reason, EX_UNAVAILABLE) from None
    _require_alive(child)
    say(f"{place.name}: process {pid} is ready")


async def _replace(crew: Crew, child: Child, say: Say) -> None:
    """Have a new process take its place; a worker's calls are handed over before the next one's."""
    _go_on(crew)
    _require_alive(child)
    old = crew.promote(child)
    name, pid = child.place.name, old and old.pid
    if old is None:
        say(f"{name}: there was no old process")
        return
    if child.place.role == "gateway":
        calls = crew.calls(old)
        has_some = f"it leaves when its calls are over, {calls} now" if calls else "it leaves"
        say(f"{name}: process {pid} takes no new calls; {has_some}")
        return
    await _has_left(crew, old)
    if old.pid is None:
        say(f"{name}: process {pid} has left")
    else:
        say(f"{name}: process {pid} has been told to leave and is still there")


async def _has_left(crew: Crew, old: Child) -> None:
    for _ in range(int(HANDED_OVER_S / _LOOK_S)):
        if old.pid is None:
            return
        _go_on(crew)
        await asyncio.sleep(_LOOK_S)


def _go_on(crew: Crew) -> None:
    if crew.is_draining:
        raise _Failed("the node ends", EX_UNAVAILABLE)


def _require_alive(child: Child) -> None:
    if child.pid is None:
        reason = f"the new {child.place.name} has ended with code {child.code}, and has said why"
        code = EX_CONFIG if child.code == EX_CONFIG else EX_SOFTWARE
        raise _Failed(f"{reason} on the stderr of `acs-ingest up`", code)
