"""The rounds of the peers: every server in turn, one loaded at a time."""

from __future__ import annotations

import contextlib
import gc
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.load.processes import RigError, machine_busy_s, preferred, punctual, running_on, two_cpus
from bench.load.rig import TICK_S, Caller, Load, Rig
from bench.peers.servers import Counts, Server

#: Load before that which is measured: a gateway needs two seconds to find its read interval.
LEAD_IN_S = 2.4
#: Load with which the sessions are opened, before all rounds: the first second of a call is not
#: like the others, for sockets, streams, files and baselines are new.
OPENING_S = 1.0
READY_S = 30.0
SETTLE_S_MAX = 60.0
QUIET_S = 0.3
LATE_P99_MS_MAX = 5.0
SPARE_DESCRIPTORS = 200

Say = Callable[[str], None]


#: Of one CPU: a server that would need more is not loaded.
SHARE_MAX = 0.85
PACKETS_A_SECOND = 50


class Settings(NamedTuple):
    """What was asked for."""

    sockets: int
    seconds: float
    rounds: int
    servers: tuple[str, ...]


class Turn(NamedTuple):
    """One server in one round. CPU times are in us for one packet."""

    server: str
    round: int
    load: Load
    received: int | None  # None: the server does not say
    server_us: float
    worker_us: float | None
    log_us: float | None
    server_share: float  # of one CPU, while loaded and until all was safe
    rig_share: float
    elsewhere_share: float  # of one CPU, by processes that are not ours
    fault: str  # why the turn does not count; empty where it does


class Opening(NamedTuple):
    """What it took to open all sessions of a server, with the first packets. CPU times in s."""

    server: str
    sockets: int
    packets: int
    server_s: float
    worker_s: float | None
    replayed: int  # frames that the worker, busy with it, had to be given once more


def measure(settings: Settings, say: Say) -> tuple[list[Opening], list[Turn]]:
    """The sessions' opening, and all turns of all rounds. Raises `RigError`."""
    _allow_descriptors(settings.sockets * len(settings.servers) + SPARE_DESCRIPTORS)
    server_cpus, rig_cpus = two_cpus()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acs-ingest-load-")))
        stack.enter_context(running_on(rig_cpus))
        servers: list[Server] = []
        stack.callback(_end, servers)
        # On a shared machine others would make the rig late, and servers read in gulps.
        with preferred():
            servers.extend(
                Server(name, folder / name, server_cpus, rig_cpus) for name in settings.servers
            )
        stack.enter_context(punctual())
        rig = Rig()
        stack.callback(rig.close)
        _await_ready(servers)
        calls, openings = [], []
        for server in servers:
            say(f"{server.name}: pid {server.process.pid}, {settings.sockets} sockets")
            caller, opening = _open(rig, server, settings.sockets)
            calls.append((server, caller))
            openings.append(opening)
        gc.collect()
        gc.freeze()
        return openings, _rounds(settings, rig, calls, say)


def too_slow(figures: dict[str, dict[str, float]], sockets: int) -> dict[str, float]:
    """The servers that could not serve so many, and the share of a CPU that they would need.

    `figures` are the medians of a run with fewer sockets.
    """
    shares = {
        name: of["server_us"] * sockets * PACKETS_A_SECOND / 1e6 for name, of in figures.items()
    }
    return {name: share for name, share in shares.items() if share > SHARE_MAX}


def _open(rig: Rig, server: Server, sockets: int) -> tuple[Caller, Opening]:
    """Dial, speak for a moment, and wait until all of it has been dealt with."""
    before = _read(server)
    caller = rig.dial(server.port, sockets)
    load = rig.load(caller, _ticks(OPENING_S))
    _settle(rig, server, caller.sent)
    after = _read(server)
    worker_s = after.worker_s - before.worker_s if server.worker else None
    replayed = server.counts().replayed
    server_s = after.server_s - before.server_s
    return caller, Opening(server.name, sockets, load.sent, server_s, worker_s, replayed)


def _rounds(
    settings: Settings, rig: Rig, calls: list[tuple[Server, Caller]], say: Say
) -> list[Turn]:
    turns = []
    for number in range(1, settings.rounds + 1):
        for server, caller in calls:
            turn = _turn(rig, server, caller, number, settings.seconds)
            turns.append(turn)
            say(
                f"round {number} of {settings.rounds}, {server.name}: {turn.server_us:.2f} us, "
                f"rig {turn.rig_share:.0%} of a CPU, late p99 {turn.load.late_p99_ms:.2f} ms, "
                f"elsewhere {turn.elsewhere_share:.0%}{turn.fault and f'; INVALID: {turn.fault}'}"
            )
    return turns


class _Reading(NamedTuple):
    """Clocks at one moment."""

    at_s: float
    server_s: float
    worker_s: float
    log_s: float
    rig_s: float
    machine_s: float


def _read(server: Server) -> _Reading:
    return _Reading(
        time.monotonic(),
        server.process.cpu_s(),
        server.worker.cpu_s() if server.worker else 0.0,
        server.counts().log_cpu_s,
        time.process_time(),
        machine_busy_s(),
    )


def _turn(rig: Rig, server: Server, caller: Caller, number: int, seconds: float) -> Turn:
    """Load one server, and wait until all of it has been dealt with."""
    replayed_before = server.counts().replayed
    rig.load(caller, _ticks(min(LEAD_IN_S, seconds)))
    before = _read(server)
    load = rig.load(caller, _ticks(seconds))
    _settle(rig, server, caller.sent)
    after = _read(server)
    sent_before = caller.sent - load.sent
    counts = server.counts()
    received = counts.messages - sent_before if server.counts_messages else None
    counts = counts._replace(replayed=counts.replayed - replayed_before)
    wall_s = after.at_s - before.at_s
    ours_s = sum(
        getattr(after, name) - getattr(before, name) for name in ("server_s", "worker_s", "rig_s")
    )
    a_packet = 1e6 / max(1, load.sent)
    has_log = server.worker is not None and after.log_s > 0
    return Turn(
        server=server.name,
        round=number,
        load=load,
        received=received,
        server_us=(after.server_s - before.server_s) * a_packet,
        worker_us=(after.worker_s - before.worker_s) * a_packet if server.worker else None,
        log_us=(after.log_s - before.log_s) * a_packet if has_log else None,
        server_share=(after.server_s - before.server_s) / wall_s,
        rig_share=load.rig_cpu_s / load.wall_s,
        elsewhere_share=max(0.0, after.machine_s - before.machine_s - ours_s) / wall_s,
        fault=fault_of(load, received, counts, rig.lost_sockets),
    )


def _ticks(seconds: float) -> int:
    return max(1, round(seconds / TICK_S))


def fault_of(load: Load, received: int | None, counts: Counts, lost_sockets: int) -> str:
    """Why a turn does not count; empty where it does."""
    faults = {
        f"{lost_sockets} sockets were closed": lost_sockets,
        f"{load.unsent} packets could not be sent": load.unsent,
        f"{load.sent} packets were sent and {received} received": received not in (None, load.sent),
        f"{counts.dropped} frames were dropped": counts.dropped,
        f"the worker fell behind: {counts.replayed} frames were read back": counts.replayed,
        f"the rig was {load.late_p99_ms:.1f} ms late": load.late_p99_ms > LATE_P99_MS_MAX,
    }
    return next((what for what, is_so in faults.items() if is_so), "")


def _settle(rig: Rig, server: Server, messages: int) -> None:
    """Wait until `messages` have come in all and all is safe, or until that takes too long."""
    since_us = time.time_ns() // 1000
    until_s = time.monotonic() + SETTLE_S_MAX
    rig.wait(QUIET_S)
    while server.counts_messages and time.monotonic() < until_s:
        counts = server.counts()
        is_fresh = counts.at_us > since_us + QUIET_S * 1e6 / 2
        if is_fresh and not counts.in_flight and counts.messages == messages:
            return
        rig.wait(0.02)


def _await_ready(servers: list[Server]) -> None:
    until_s = time.monotonic() + READY_S
    for server in servers:
        server.process.wait_until_ready()
        while not server.is_ready:
            if time.monotonic() >= until_s and server.worker is not None:
                raise server.worker.fault("did not join")
            time.sleep(0.02)


def _end(servers: list[Server]) -> None:
    for server in servers:
        server.stop()
    for server in servers:
        server.end()


def _allow_descriptors(needed: int) -> None:
    """Raise the soft limit; children inherit it. Raises `RigError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (resource.RLIM_INFINITY,) and needed > hard:
        raise RigError(f"{needed} descriptors are needed and {hard} allowed: fewer sockets, please")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
