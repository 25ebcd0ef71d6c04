"""A real node for tests: `acs-ingest up` and its processes, in a folder of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")
LOOPBACK = "127.0.0.1:0"


def eventually(look: Callable[[], Found], seconds: float = 30.0) -> Found:
    """Look again and again until there is something to see."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing came in {seconds} s")


def acs_ingest(*arguments: str | Path, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    line = [sys.executable, "-m", "gateway", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=timeout_s, check=False)


class Node:
    """`acs-ingest up`, started; `stop` it."""

    def __init__(
        self,
        data: Path,
        *arguments: str,
        config: str = "",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.data = data
        file = data.with_name(f"{data.name}.toml")
        file.write_text(config or "[recording]\ngather_s = 0.3\nredial_wait_s = 0.5\n")
        self._log = data.with_name(f"{data.name}.log").open("ab")
        line = [sys.executable, "-m", "gateway", "up", "--data", str(data), "--config", str(file)]
        line += ["--listen", LOOPBACK, "--admin", "off", *arguments]
        self.process = subprocess.Popen(
            line,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        try:
            assert self.process.stdout is not None
            ready = re.fullmatch(r"ready (wss?://\S+)\n", self.process.stdout.readline())
            assert ready, self.log()
            self.url = ready[1]
        except BaseException:
            self.kill()
            raise

    def log(self) -> str:
        """What its processes have said."""
        return Path(self._log.name).read_text()

    def processes(self, role: str, pool: str | None = None) -> list[int]:
        """Process ids of a role, by `processes.json`."""
        running = json.loads((self.data / "run" / "processes.json").read_text())
        return [row["pid"] for row in running if (row["role"], row["pool"]) == (role, pool)]

    def manifest(self, call_id: str) -> dict[str, Any] | None:
        """A call's manifest as it is now."""
        for path in self.data.glob("recordings/*/*/*/*/manifest.json"):
            manifest: dict[str, Any] = json.loads(path.read_text())
            if manifest["call_id"] == call_id:
                return {**manifest, "folder": path.parent}
        return None

    def finished(self, call_id: str, revision: int = 1, seconds: float = 30) -> dict[str, Any]:
        """A call's manifest once it is no longer open."""

        def look() -> dict[str, Any] | None:
            found = self.manifest(call_id)
            is_done = found and found["state"] != "open" and found["revision"] >= revision
            return found if is_done else None

        return eventually(look, seconds)

    def kill_everything(self) -> None:
        """SIGKILL to the parent and every child, at once."""
        running = json.loads((self.data / "run" / "processes.json").read_text())
        for row in running:
            os.kill(row["pid"], signal.SIGKILL)
        self.process.wait(10)

    def stop(self, seconds: float = 35) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Whatever is left of it."""
        if self.process.poll() is None:
            self.process.kill()  # its children end with its pipe
            self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()


def samples(manifest: dict[str, Any], track: dict[str, Any]) -> bytes:
    """A track's PCM, by Python's own reader."""
    with wave.open(str(manifest["folder"] / track["file"])) as file:
        return file.readframes(file.getnframes())


def fetch(url: str) -> tuple[int, str]:
    """Status and body of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, fault.read().decode()
