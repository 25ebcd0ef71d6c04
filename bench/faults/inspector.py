"""Finds the recordings of calls that are over, has them checked, and takes away what is right."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.faults.checker import Found, check
from bench.faults.sent import SentCall
from bench.faults.speech import Speech

#: A call's recording is looked at so long after its end: what has been made safe twice is in.
LINGER_S = 10.0
#: A right recording stays so long: what is delivered once more, by whoever was slow, finds it.
KEEP_S = 60.0
#: After the last fault: right by then, or wrong. Before that there is no hurry.
PATIENCE_S = 120.0
RETRY_S = 2.0
POLL_S = 0.2


@dataclass(slots=True)
class Totals:
    """Sums over all calls that were checked, in packets; differences one by one."""

    calls: int = 0
    sent: int = 0
    written: int = 0
    declared: int = 0
    unread: int = 0
    unplaced: int = 0
    samples: int = 0
    torn_ms: list[tuple[str, int]] = field(default_factory=list)
    #: Of each call: s from its end to the look that found it right; at least `LINGER_S`.
    right_after_s: list[float] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)

    def add(self, found: Found) -> None:
        """One more call."""
        self.calls += 1
        for name in ("sent", "written", "declared", "unread", "unplaced", "samples"):
            setattr(self, name, getattr(self, name) + getattr(found, name))
        self.torn_ms += found.torn_ms


@dataclass(slots=True)
class _Waiting:
    call: SentCall
    ended_s: float
    look_s: float


class Inspector:
    """A thread; `take()` gives a call that is over, or None."""

    def __init__(
        self,
        recordings: Path,
        evidence: Path,
        speech: Speech,
        take: Callable[[], SentCall | None],
        kills: list[tuple[int, float]],
        *,
        patience_s: float = PATIENCE_S,
        keep_s: float = KEEP_S,
    ) -> None:
        self.totals = Totals()
        self.waiting = 0
        self.fault: BaseException | None = None
        self._recordings = recordings
        self._evidence = evidence
        self._speech = speech
        self._take = take
        self._kills = kills
        self._patience_s = patience_s
        self._keep_s = keep_s
        self._queue: list[_Waiting] = []
        #: Recordings that are right, and until when they stay.
        self._right: list[tuple[float, Path]] = []
        self._known: set[str] = set()
        self._calm_s: float | None = None
        self._is_last = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inspector", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """No more calls come: wait until all are checked."""
        self._calm_s = time.monotonic()
        self._is_last.set()
        self._thread.join(self._patience_s + 60)
        if self.fault is None and self._thread.is_alive():
            self.fault = TimeoutError("recordings are still being checked")

    def strangers(self) -> list[str]:
        """Recordings of nobody who has called; to be asked at the end."""
        names = {path.parent.name for path in self._recordings.glob("[0-9]*/*/*/*/manifest.json")}
        known = {item["call"]["call_id"] for item in self.totals.differences}
        return sorted(name for name in names if name.split("~")[0] not in known | self._known)

    def _run(self) -> None:
        try:
            while not (self._turn() and self._is_last.is_set()):
                time.sleep(POLL_S)
        except BaseException as fault:
            self.fault = fault
            raise

    def _turn(self) -> bool:
        """Look at what is due; whether nothing waits."""
        now_s = time.monotonic()
        is_last = self._is_last.is_set()
        while (call := self._take()) is not None:
            self._queue.append(_Waiting(call, now_s, now_s + LINGER_S))
        self.waiting = len(self._queue)
        for item in list(self._queue):
            if item.look_s <= now_s or (is_last and item.look_s > now_s + RETRY_S):
                item.look_s = now_s + RETRY_S
                if self._look(item, now_s):
                    self._queue.remove(item)
        while self._right and self._right[0][0] <= now_s:
            self._remove(self._right.pop(0)[1])
        return not self._queue

    def _look(self, item: _Waiting, now_s: float) -> bool:
        """Whether there is a verdict. A wrong recording may still become right."""
        is_calm = self._calm_s is not None and now_s >= self._calm_s + self._patience_s
        item.call.mark_killed(self._kills)
        folders = sorted(self._recordings.glob(f"[0-9]*/*/*/{item.call.call_id}*"))
        found = Found(sent=item.call.packets)
        if len(folders) == 1:
            found = check(item.call, folders[0], self._speech)
        else:
            found.fault(f"there are {len(folders)} recordings of the call")
        if not found.is_right and not is_calm:
            return False
        self.totals.add(found)
        self.totals.right_after_s.append(round(now_s - item.ended_s, 1))
        if found.is_right:
            self._known.add(folders[0].name)
            self._right.append((now_s + self._keep_s, folders[0]))
        else:
            self._keep(item.call, folders, found)
        return True

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (self._recordings / ".calls" / folder.name).unlink(missing_ok=True)

    def _keep(self, call: SentCall, folders: list[Path], found: Found) -> None:
        self.totals.differences.append({"call": call.as_json(), "faults": found.faults})
        place = self._evidence / call.call_id
        place.mkdir(parents=True, exist_ok=True)
        (place / "sent.json").write_text(json.dumps(call.as_json(), indent=1))
        (place / "differences.txt").write_text("".join(f"{line}\n" for line in found.faults))
        for number, folder in enumerate(folders):
            shutil.copytree(folder, place / f"recording-{number}", dirs_exist_ok=True)
