"""One part of a run: a node, its calls, and a schedule of faults; at the end, what came of it."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.faults import clock, disks, tracing
from bench.faults.callers import Callers
from bench.faults.injector import Injector
from bench.faults.inspector import Inspector
from bench.faults.node import Node
from bench.faults.report import part_result, recovery_ms
from bench.faults.schedule import CLASSES, schedule
from bench.faults.sent import SentCall
from bench.faults.speech import Speech
from bench.load.processes import RigError
from bench.results import Result

LOG_BYTES = 512 << 20
RECORDINGS_BYTES = 4 << 30
TURN_S = 0.01
HANG_UP_S = 90.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a part is."""

    seed: int
    seconds: float
    calls: int
    classes: tuple[str, ...] = tuple(CLASSES)


class Stage:
    """What of the machine is used: mounts, tracing, the clock; and why some of it is not."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        """To be made in the main thread before there are others."""
        self.skipped: dict[str, str] = {}
        wanted = set(classes)
        self.mounts = ""
        if wanted & {"recordings-full", "log-full"}:
            self.mounts = disks.enter_mounts()
        if wanted & {"syscall-error", "syscall-delay"} and (reason := tracing.why_not()):
            self.skipped |= dict.fromkeys(("syscall-error", "syscall-delay"), reason)
        self.preload = clock.library() if "clock-jump" in wanted else None
        if self.preload is None:
            self.skipped["clock-jump"] = "there is no libfaketime"
        self.skipped = {name: why for name, why in self.skipped.items() if name in wanted}
        self.classes = tuple(name for name in classes if name not in self.skipped)

    def disks(self, data: Path, stack: ExitStack) -> dict[str, disks.Disk]:
        """A small disk for each of what can be full; none where nothing may be mounted."""
        found: dict[str, disks.Disk] = {}
        if not self.mounts:
            for name, size in (("recordings", RECORDINGS_BYTES), ("log", LOG_BYTES)):
                if f"{name}-full" in self.classes:
                    found[name] = disks.Disk(data / name, size)
                    stack.callback(found[name].close)
        return found


def run_part(settings: Settings, part: int, stage: Stage, say: Say) -> Result:
    """Play it. The folder of evidence is kept where something differs. Raises `RigError`."""
    if not stage.classes:
        raise RigError(f"nothing can be done here: {stage.skipped}")
    folder = Path(tempfile.mkdtemp(prefix="acs-faults-"))
    with ExitStack() as stack:
        kept = stack.enter_context(ExitStack())
        kept.callback(shutil.rmtree, folder, ignore_errors=True)
        played = _Part(settings, part, stage, folder, stack)
        result = played.play(say)
        if result["differences"]:
            kept.pop_all()
            played.keep_evidence()
            result["evidence"] = str(folder / "evidence")
    if result["differences"]:
        shutil.rmtree(folder / "data", ignore_errors=True)
    return result


class _Part:
    """A part under way."""

    def __init__(
        self, settings: Settings, part: int, stage: Stage, folder: Path, stack: ExitStack
    ) -> None:
        self._settings = settings
        self._part = part
        self._stage = stage
        self._folder = folder
        data = folder / "data"
        small = stage.disks(data, stack)
        watch = clock.Clock(folder / "clock", stage.preload) if stage.preload else None
        self._node = Node(folder, watch.environment if watch else {})
        stack.callback(self._node.close)
        self._node.await_ready()
        speech = Speech(settings.seed)
        name = f"{settings.seed}/{part}/calls"
        self._callers = Callers(name, self._node.ports, settings.calls, speech)
        stack.callback(self._end_calls)
        self._inspector = Inspector(
            data / "recordings", folder / "evidence", speech, self._take, self._callers.kills
        )
        self._injector = Injector(self._node, self._callers, small, watch, folder / "traced")

    def _take(self) -> SentCall | None:
        return self._callers.ended.popleft() if self._callers.ended else None

    def _end_calls(self) -> None:
        self._callers.finish()
        self._callers.join(5)

    def play(self, say: Say) -> Result:
        """All of it."""
        begin_s = time.monotonic()
        self._faults(begin_s, say)
        self._injector.mend()
        self._callers.finish()
        until_s = time.monotonic() + HANG_UP_S
        while not self._callers.join(0.2) and time.monotonic() < until_s:
            self._node.watch()
            say(f"{len(self._callers.calls)} calls are ending")
        say("the last recordings are compared")
        self._inspector.finish()
        self._check_threads()
        return self._result(time.monotonic() - begin_s)

    def _faults(self, begin_s: float, say: Say) -> None:
        settings, injector = self._settings, self._injector
        faults = schedule(settings.seed, self._part, settings.seconds, self._stage.classes)
        due = iter(faults)
        fault = next(due, None)
        said_s = 0.0
        while (now_s := time.monotonic() - begin_s) < settings.seconds:
            injector.turn()
            self._node.watch()
            while fault is not None and fault.at_s <= now_s:
                injector.inject(fault)
                fault = next(due, None)
            if now_s - said_s >= 1:
                said_s = now_s
                say(self._progress(settings.seconds - now_s))
                self._check_threads()
            time.sleep(TURN_S)

    def _progress(self, left_s: float) -> str:
        totals = self._inspector.totals
        return (
            f"{left_s:.0f} s to go: {len(self._injector.done)} faults, {self._callers.streams()} "
            f"streams, {totals.sent:,} packets of {totals.calls} calls compared, "
            f"{len(totals.differences)} differ"
        )

    def _check_threads(self) -> None:
        for fault in (self._callers.fault, self._inspector.fault):
            if fault is not None:
                raise RigError(f"the bench itself has failed: {fault!r}") from fault

    def _result(self, wall_s: float) -> Result:
        injector = self._injector
        return part_result(
            settings={**asdict(self._settings), "part": self._part},
            wall_s=wall_s,
            done=injector.done,
            missed=dict(injector.missed),
            skipped=self._stage.skipped,
            idle=injector.idle,
            totals=self._inspector.totals,
            refused=self._callers.refused,
            recovery=recovery_ms(injector.done, self._node.notes.read_text()),
            strange=[
                *self._node.ended,
                *(f"a recording of nobody: {name}" for name in self._inspector.strangers()),
                *(f"a call has not ended: {call.call_id}" for call in self._callers.calls),
            ],
        )

    def keep_evidence(self) -> None:
        """What the processes have said, and what was done to them."""
        place = self._folder / "evidence"
        place.mkdir(exist_ok=True)
        shutil.copy(self._node.log_path, place / "node.log")
        lines = [json.dumps(each._asdict()) for each in self._injector.done]
        (place / "faults.jsonl").write_text("\n".join(lines) + "\n")
