"""The end of a front process: until when it takes calls, and how long the present ones go on.

SIGTERM drains: no new calls, running ones have `calls_s`. SIGUSR1 retires: no new calls, running
ones have all the time they need, for another process takes the new ones. Each, said again, closes
what is left.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from gateway.front import Front
from gateway.listener import Listener

logger = logging.getLogger(__name__)

#: How long a process waits for acknowledgements once its calls are over.
ACKNOWLEDGE_S = 5.0
#: How long a socket has, beyond `close_s`, until it is cut.
CUT_S = 1.0
#: What is left of all this after a second signal.
HURRY_S = 1.0
GOING_AWAY = 1001


@dataclass(frozen=True, kw_only=True)
class EndLimits:
    """Seconds. `leave_s`: between the end of the last call and the end of the process."""

    calls_s: float
    close_s: float
    leave_s: float = inf


class Ending:
    """Made inside the loop, before a signal can come."""

    def __init__(
        self, front: Front, listener: Listener, limits: EndLimits, tell: Callable[[], None]
    ) -> None:
        """`tell()` is called when no new calls are taken any more."""
        self._front = front
        self._listener = listener
        self._limits = limits
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._told = asyncio.Event()
        self._retiring: asyncio.Task[None] | None = None
        self._calls_s = limits.calls_s
        #: When, by the loop's time, nothing is waited for any more.
        self._end_s = inf
        #: Nothing is accepted any more.
        self.has_begun = False

    @property
    def refuses(self) -> bool:
        """Whether a socket that was accepted may no longer become a call."""
        return self._told.is_set()

    def stop(self) -> None:
        """Drain; asked for a second time, close what is left at once."""
        if self._told.is_set():
            self._end_s = min(self._end_s, self._loop.time() + HURRY_S)
            self._close_all()
        self._told.set()

    def retire(self) -> None:
        """Take no new calls, leave after the last one; asked for again, close those left."""
        if self._retiring is not None or self._told.is_set():
            self._calls_s = 0.0
            self._told.set()
            return
        self._begin()
        self._retiring = self._loop.create_task(self._outlive_calls())

    async def calls_over(self) -> None:
        """Wait until the process is to end and its last socket is gone, or cut."""
        await self._told.wait()
        self._begin()
        if not await self.until(self._is_quiet, self._calls_s):
            now_s, limits = self._loop.time(), self._limits
            self._end_s = min(self._end_s, now_s + limits.leave_s)
            self._close_all()
            close_s = min(limits.close_s + CUT_S, limits.leave_s / 2)
            if not await self.until(self._is_quiet, close_s):
                self._front.abort_all()
                await asyncio.sleep(0.01)  # in which the loop tells them
        self._end_s = min(self._end_s, self._loop.time() + self._limits.leave_s)

    async def until(self, is_so: Callable[[], bool], limit_s: float) -> bool:
        """Wait until something is so; False where it is not in time."""
        until_s = self._loop.time() + limit_s
        while not is_so():
            if self._loop.time() >= min(until_s, self._end_s):
                return False
            await asyncio.sleep(0.01)
        return True

    def _begin(self) -> None:
        if self.has_begun:
            return
        self.has_begun = True
        self._listener.close()
        self._tell()

    async def _outlive_calls(self) -> None:
        await self.until(lambda: self._is_quiet() or self._told.is_set(), inf)
        self._told.set()

    def _is_quiet(self) -> bool:
        """Whether there is no socket, and none on its way through a TLS handshake."""
        return not self._front.sockets and not self._listener.is_connecting

    def _close_all(self) -> None:
        self._front.close_all(GOING_AWAY, "the server stops")
