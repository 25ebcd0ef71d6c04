"""What befalls a node: each world has faults of some kinds, and from time to time one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.schedules.schedule import Process

if TYPE_CHECKING:
    from bench.schedules.world import World

MS = 1_000
SECOND = 1_000_000


class Weather:
    """The faults of one world, until `end`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._schedule = schedule = world.schedule
        chooser = schedule.random
        kinds: list[Callable[[], None]] = [
            self._kill,
            self._kill_within,
            self._pause,
            self._break_off,
            self._fill,
            self._fail_syncs,
            self._drain,
            self._blind,
        ]
        self._kinds = [kind for kind in kinds if chooser.random() < 0.5] or [self._kill]
        if world.power and chooser.random() < 0.4:
            self._kinds.append(self._cut_power)
        self._pace_us = chooser.choice((200 * MS, 600 * MS, 2 * SECOND))
        self._is_over = False
        world.disk.slow_share = chooser.choice((0.0, 0.0, 0.01, 0.05))
        world.disk.slow_us_max = chooser.choice((5 * MS, 100 * MS, 2 * SECOND))

    def begin(self) -> None:
        """From now on."""
        self._next()

    def end(self) -> None:
        """The sky is clear: disks have room and are quick, and nobody is paused for long."""
        self._is_over = True
        disk = self._world.disk
        disk.slow_share = 0.0
        disk.is_full.clear()
        disk.syncs_fail.clear()
        for process in self._processes():
            process.ops_left = None

    def _next(self) -> None:
        delay_us = self._schedule.between(0, 2 * self._pace_us)
        self._schedule.after(delay_us, None, "", "weather", self._strike)

    def _strike(self) -> None:
        if not self._is_over:
            self._schedule.random.choice(self._kinds)()
            self._next()

    def _processes(self) -> list[Process]:
        world = self._world
        return world.living((*world.gateways, *world.recorders, *world.finishers))

    def _victim(self) -> Process | None:
        processes = self._processes()
        return self._schedule.random.choice(processes) if processes else None

    def _note(self, who: str, what: str) -> None:
        self._schedule.note(who, what)

    def _kill(self) -> None:
        if victim := self._victim():
            self._schedule.kill(victim)

    def _kill_within(self) -> None:
        """In the middle of something that it does with a disk, soon."""
        if victim := self._victim():
            victim.ops_left = 1 + self._schedule.random.randrange(40)
            self._note(victim.name, f"dies at step {victim.ops_left} of a disk")

    def _pause(self) -> None:
        if victim := self._victim():
            length_us = self._schedule.random.choice((200 * MS, 2 * SECOND, 4 * SECOND))
            victim.paused_until_us = self._schedule.now_us + length_us
            self._note(victim.name, f"paused for {length_us // MS} ms")

    def _break_off(self) -> None:
        if connections := self._world.bus.connections():
            connection = self._schedule.random.choice(connections)
            self._world.bus.break_off(connection)
            self._note(connection.worker.name, f"{connection.peer.decode()} is broken off")

    def _for_a_while(self, what: str, states: dict[str, bool]) -> None:
        area = self._schedule.random.choice(("log", "recordings"))
        states[area] = True
        self._note(area, what)
        delay_us = self._schedule.between(50 * MS, 2 * SECOND)

        def mend() -> None:
            states.pop(area, None)
            self._note(area, f"no more: {what}")

        self._schedule.after(delay_us, None, "", f"{area} mends", mend)

    def _fill(self) -> None:
        self._for_a_while("the disk is full", self._world.disk.is_full)

    def _fail_syncs(self) -> None:
        self._for_a_while("syncs fail", self._world.disk.syncs_fail)

    def _drain(self) -> None:
        if victim := self._victim():
            self._note(victim.name, "is told to leave")
            victim.drain()

    def _blind(self) -> None:
        """A recorder cannot look for gateways, or does not see those that are there."""
        recorders = [each for each in self._world.recorders if not each.is_dead]
        if recorders:
            victim = self._schedule.random.choice(recorders)
            victim.looks = self._schedule.random.choice(("fail", "find none"))
            self._note(victim.name, f"its looks {victim.looks}")

            def mend() -> None:
                victim.looks = ""

            delay_us = self._schedule.between(100 * MS, SECOND)
            self._schedule.after(delay_us, None, "", f"{victim.name} sees", mend)

    def _cut_power(self) -> None:
        self._world.cut_power()
