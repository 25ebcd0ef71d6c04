"""A node whose children are small processes (`child.py`), started and looked at by tests."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

PARENT = Path(__file__).with_name("parent.py")
WAIT_S = 20


class RunningNode:
    """A parent process and what it leaves in its data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process: asyncio.subprocess.Process
        self._parents: list[asyncio.subprocess.Process] = []
        #: Every process that was ever seen.
        self._pids: set[int] = set()

    async def start(self, **options: Any) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PARENT), str(self.data), json.dumps(options)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._parents.append(self.process)

    def behave(self, name: str, behaviour: str) -> None:
        folder = self.data / "behaviour"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(behaviour)

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            return (await self.process.stdout.readline()).decode()

    async def end(self) -> tuple[int | None, str, str]:
        """Exit code, and the rest of stdout and stderr."""
        async with asyncio.timeout(WAIT_S):
            stdout, stderr = await self.process.communicate()
        return self.process.returncode, stdout.decode(), stderr.decode()

    def processes(self) -> list[dict[str, Any]]:
        try:
            listed: list[dict[str, Any]] = json.loads(
                (self.data / "run/processes.json").read_text()
            )
        except FileNotFoundError:
            return []
        self._pids.update(line["pid"] for line in listed)
        return listed

    def pids(self, generation: int | None = None) -> dict[str, int]:
        """By name; with several of a name the newest, or those of one generation."""
        return {
            f"{line['pool'] or line['role']}-{line['index']}": line["pid"]
            for line in self.processes()
            if generation in (None, line["generation"])
        }

    def events(self) -> list[str]:
        path = self.data / "events"
        return path.read_text().splitlines() if path.exists() else []

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for what only shows in files."""
        async with asyncio.timeout(WAIT_S):
            while not is_so():  # noqa: ASYNC110  # a file has no event
                await asyncio.sleep(0.02)

    async def settle(self) -> str:
        """The ready line, once every child also hears signals."""
        line = await self.line()
        metrics = self.data / "run" / "metrics"
        await self.until(lambda: len(list(metrics.glob("*.json"))) == len(self.processes()) - 1)
        return line

    async def close(self) -> None:
        with suppress(ValueError):
            self.processes()
        # Children first: they hold the pipes on which the parent's end shows.
        for pid in self._pids - {parent.pid for parent in self._parents}:
            with suppress(ProcessLookupError):
                if os.getsid(pid) == pid:  # ours still, and no stranger's
                    os.kill(pid, signal.SIGKILL)
        for parent in self._parents:
            if parent.returncode is None:
                parent.kill()
            async with asyncio.timeout(WAIT_S):
                await parent.communicate()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    """A node that is not started yet, of small real processes (`child.py`)."""
    running = RunningNode(tmp_path / "data")
    yield running
    await running.close()
