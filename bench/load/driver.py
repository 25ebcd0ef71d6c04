"""One process of the load generator: dials, speaks and hangs up calls as its parent says.

`python -m bench.load.driver`: orders come as lines of JSON on stdin, reports go to stdout. Every
packet has its instant on an absolute schedule; what it costs and how late it was is reported.
"""

from __future__ import annotations

import gc
import heapq
import json
import os
import sys
import time
from array import array
from bisect import insort
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bench.load.frames import VARIANTS, Speech
from bench.load.histogram import Histogram
from bench.load.lines import Line, State, Switchboard
from bench.load.processes import punctual
from bench.load.rig import LISTEN_EVERY_S, TICK_S, Lane, send_tick

REPORT_TICKS = 10
#: A burst is dialled so many at a time, so that packets of running calls stay in time.
DIALS_A_TURN = 16
DIAL_EVERY_S = 0.001


@dataclass(slots=True)
class Counts:
    """What this process has done so far."""

    packets: int = 0
    unsent: int = 0
    late: Histogram = field(default_factory=Histogram)


class Driver:
    """The calls of one process."""

    def __init__(self, port: int, speech: Speech, calls_path: Path) -> None:
        self._speech = speech
        self._board = Switchboard(port, speech, calls_path)
        self._counts = Counts()
        self._lanes: list[Lane] = []
        self._due: deque[tuple[float, int]] = deque()  # (when by perf_counter, line's number)
        self._ends: list[tuple[int, int, Line]] = []  # (tick, number, line), a heap
        self._call_ticks: int | None = None
        self._late_s: array[float] = array("d")
        self._tick = 0
        # Stamps are whole ms, and an age is counted from them: so the schedule begins at one.
        now_ns = time.time_ns()
        self._begin_ms = now_ns // 1_000_000 + 20
        self._begin_s = time.perf_counter() + self._begin_ms / 1e3 - now_ns / 1e9
        self.is_over = False

    def obey(self, order: dict[str, Any]) -> None:
        """Do as the parent says."""
        if order["do"] == "dial":
            call_s = order["call_s"]
            self._call_ticks = None if call_s is None else max(1, round(call_s / TICK_S))
            now_s = time.perf_counter()
            numbers = order["numbers"]
            for place, number in enumerate(numbers):
                self._due.append((now_s + order["over_s"] * place / len(numbers), number))
        elif order["do"] == "hang-up":
            self._due.clear()
            self._call_ticks = None
            self._ends.clear()
            for line in list(self._board.open):
                self._hang_up(line)
        elif order["do"] == "leave":
            self.is_over = True

    def turn(self) -> None:
        """One tick."""
        tick = self._tick
        begin_s = self._begin_s + tick * TICK_S
        self._end_calls(tick)
        self._listen()
        self._begin_calls(tick)
        if self._lanes:
            frames = self._speech.frames(tick, self._begin_ms + tick * 20)
            flat = [frame for of_variant in frames for frame in of_variant]
            failed = send_tick(self._lanes, flat, begin_s, self._late_s, self._listen)
            self._counts.packets += len(self._lanes) - len(failed)
            self._count_unsent(failed)
        self._tick += 1
        while (left_s := begin_s + TICK_S - time.perf_counter()) > 0:
            time.sleep(max(0.0001, min(left_s, self._listen())))

    def report(self) -> dict[str, Any]:
        """All there is to say, from the start on."""
        self._counts.late.add_ms(1000 * late_s for late_s in self._late_s)
        self._late_s = array("d")
        board = self._board
        return {
            "at_s": time.monotonic(),
            "pid": os.getpid(),
            "cpu_s": time.process_time(),
            "packets": self._counts.packets,
            "messages": self._counts.packets + board.dialled,
            "unsent": self._counts.unsent,
            "dialled": board.dialled,
            "open": len(board.open),
            "pending": board.pending + len(self._due),
            "ended": board.ended,
            "refused": dict(board.refused),
            "lost": board.lost,
            "late": self._counts.late.pairs(),
            "accept": board.accept.pairs(),
        }

    def close(self) -> None:
        """Cut what is left."""
        self._board.close()

    def _listen(self) -> float:
        now_s = time.perf_counter()
        for _ in range(DIALS_A_TURN):
            if not self._due or self._due[0][0] > now_s:
                break
            self._board.dial(self._due.popleft()[1])
        self._board.listen(now_s)
        return DIAL_EVERY_S if self._board.pending or self._due else LISTEN_EVERY_S

    def _begin_calls(self, tick: int) -> None:
        for line in self._board.take_opened():
            line.first_tick = tick
            for stream, offset_s in enumerate(line.place.offsets_s()):
                number = line.place.number % VARIANTS * self._speech.streams + stream
                lane = Lane(offset_s, line.send, number)
                line.lanes.append(lane)
                insort(self._lanes, lane, key=lambda each: each.offset_s)
            if self._call_ticks is not None:
                heapq.heappush(self._ends, (tick + self._call_ticks, line.place.number, line))

    def _end_calls(self, tick: int) -> None:
        for line in self._board.take_lost():
            self._silence(line)
        while self._ends and self._ends[0][0] <= tick:
            _, number, line = heapq.heappop(self._ends)
            if line.state is State.OPEN:
                self._hang_up(line)
                self._due.append((time.perf_counter(), number))

    def _hang_up(self, line: Line) -> None:
        self._silence(line)
        self._board.hang_up(line)

    def _silence(self, line: Line) -> None:
        """It speaks no more; what it has said is known now."""
        line.ticks = self._tick - line.first_tick if line.lanes else 0
        gone = {id(lane) for lane in line.lanes}
        if gone:
            self._lanes = [lane for lane in self._lanes if id(lane) not in gone]
            line.lanes.clear()

    def _count_unsent(self, failed: list[Lane]) -> None:
        self._counts.unsent += len(failed)
        whose = {id(lane): line for line in self._board.open for lane in line.lanes}
        for lane, times in Counter(id(lane) for lane in failed).items():
            if lane in whose:
                whose[lane].unsent += times


def _orders(descriptor: int, rest: bytearray) -> list[dict[str, Any]]:
    """What has been said since; at the end of the pipe: leave."""
    try:
        data = os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return []
    if not data:
        return [{"do": "leave"}]
    rest += data
    *lines, last = bytes(rest).split(b"\n")
    rest[:] = last
    return [json.loads(line) for line in lines]


def _say(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--streams", type=int, required=True)
@click.option("--rate", type=int, required=True)
@click.option("--mixed", is_flag=True)
@click.option("--seed", type=int, required=True)
@click.option("--calls", type=click.Path(path_type=Path), required=True)
def main(*, port: int, streams: int, rate: int, mixed: bool, seed: int, calls: Path) -> None:
    """Obey until stdin ends."""
    driver = Driver(port, Speech(streams, rate, mixed, seed), calls)
    os.set_blocking(0, False)
    rest = bytearray()
    gc.collect()
    gc.freeze()
    try:
        with punctual():
            turns = 0
            while not driver.is_over:
                for order in _orders(0, rest):
                    driver.obey(order)
                driver.turn()
                turns += 1
                if turns % REPORT_TICKS == 0:
                    _say(driver.report())
    except BrokenPipeError:
        pass  # the parent has left
    finally:
        driver.close()


if __name__ == "__main__":
    main()
