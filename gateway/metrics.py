"""What a front process counts, as series for `/metrics`. Counters are plain integers elsewhere."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from gateway.wire.counters import Series

if TYPE_CHECKING:
    from gateway.log.writer import Log
    from gateway.server import Server

Kind = Literal["counter", "gauge"]


def series(server: "Server") -> list[Series]:
    """Every figure of a front process, as it stands now."""
    return [*_front(server), *_door(server), *_sweeper(server), *_router(server), *_log(server)]


def _one(name: str, kind: Kind, text: str, value: float, **labels: str) -> Series:
    return Series(name=name, kind=kind, help=text, value=value, labels=labels)


def _front(server: "Server") -> Iterator[Series]:
    front = server.front.counters
    yield _one("sessions", "gauge", "Sockets that carry a call now.", len(server.sessions))
    for name, text, value in front.totals():
        yield _one(name, "counter", text, value)
    for name, label, text, values in front.breakdowns():
        for key, value in sorted(values.items()):
            yield _one(name, "counter", text, value, **{label: key})
    bad = server.bad_packets.copy()
    for session in server.sessions.values():
        bad.update(session.bad_packets)
    for error, count in sorted(bad.items()):
        yield _one("bad_packets", "counter", "Packets that could not be used.", count, error=error)


def _door(server: "Server") -> Iterator[Series]:
    capacity, gate = server.door.capacity, server.door.gate
    yield _one("slots", "gauge", "Connections that have room here.", capacity.slots)
    text = "Calls that one process may have; 0: any number."
    yield _one("sessions_max", "gauge", text, capacity.limits.sessions_max)
    text = "Whether this process takes new calls; where not, others on its socket may."
    yield _one("accepting", "gauge", text, float(server.door.is_accepting))
    text = "Calls refused, by what there was too little of."
    for name in ("sessions", "descriptors", "memory", "lag", "log", "stopping"):
        count = capacity.refused[name]
        yield _one("refused_calls", "counter", text, count, reason=name)
    yield _one("memory_bytes", "gauge", "Memory of the process.", capacity.memory_bytes)
    yield _one("loop_lag_seconds", "gauge", "How late the event loop is.", capacity.lag_ms / 1000)
    text = "Times that a connection was left to a process with fewer calls."
    yield _one("step_backs", "counter", text, gate.step_backs)
    text = "Connections that were accepted because nobody else did."
    yield _one("step_backs_in_vain", "counter", text, gate.insisted)


def _sweeper(server: "Server") -> Iterator[Series]:
    sweeper = server.front.sweeper
    text = "How long packets gather before a socket is read; 0: read at once."
    yield _one("coalesce_seconds", "gauge", text, sweeper.interval_ms / 1000)
    yield _one("coalesced_sockets", "gauge", "Sockets that sweeps read.", sweeper.paused)
    yield _one("sweeps", "counter", "Turns in which sweeps read sockets.", sweeper.sweeps)
    yield _one("coalesced_reads", "counter", "Reads by sweeps.", sweeper.reads)
    text = "Reads by sweeps that found nothing."
    yield _one("coalesced_reads_empty", "counter", text, sweeper.empty_reads)


def _router(server: "Server") -> Iterator[Series]:
    router = server.router
    yield _one("frames", "counter", "Frames that left sessions, of all kinds.", router.frames)
    yield _one("ticks", "counter", "Flushes that had frames.", router.tick - 1)
    yield _one(
        "replayed_frames",
        "counter",
        "Frames read back from a log.",
        router.catch_ups.replayed_frames,
    )
    yield _one("catch_ups", "gauge", "Links that are served from a log.", len(router.catch_ups))
    yield _one("links_lost", "counter", "Workers that died or hung.", router.links_lost)
    text = "Logs of dead gateways that are being delivered."
    yield _one("adopted_logs", "gauge", text, len(router.adopted))
    yield _one(
        "stale_messages",
        "counter",
        "Messages on links that were over; refused.",
        router.stale_messages,
    )
    yield _one(
        "bad_messages", "counter", "Messages of workers that were none.", router.bad_messages
    )
    for pool in router.pools.values():
        yield _one("workers", "gauge", "Workers of a pool.", len(pool.links), pool=pool.name)
        in_flight = sum(link.batches_in_flight for link in pool.links)
        yield _one(
            "batches_in_flight", "gauge", "Batches not made safe.", in_flight, pool=pool.name
        )
    for pool_name, reasons in sorted(router.dropped.frames.items()):
        for reason, count in sorted(reasons.items()):
            text = "Frames that a pool was not given."
            yield _one("dropped_frames", "counter", text, count, pool=pool_name, reason=reason)


def _log(server: "Server") -> Iterator[Series]:
    log = server.log
    if log is None:
        return
    yield _one("log_bytes", "counter", "Bytes written to the log.", log.bytes)
    yield _one("log_syncs", "counter", "Syncs of the log.", log.syncs)
    cpu_s = log.writer_cpu_s + log.syncer_cpu_s
    yield _one("log_cpu_seconds", "counter", "CPU time of the log's threads.", cpu_s)
    yield _one("log_write_errors", "counter", "Writes that the disk refused.", log.write_errors)
    yield _one("log_sync_errors", "counter", "Syncs that failed.", log.sync_errors)
    yield _one("log_segments", "gauge", "Segments that are kept.", log.segments)
    yield from _log_limits(log)
    for what, count in vars(log.damages).items():
        text = "What was not sound when the log was read."
        yield _one("log_damages", "counter", text, count, what=what)


def _log_limits(log: "Log") -> Iterator[Series]:
    limits = log.limits
    text = "How full the log is, 0 to 1; from 0.8 on new calls are refused."
    yield _one("log_fill", "gauge", text, log.fill)
    yield _one("log_kept_bytes", "gauge", "Bytes of the log on disk.", log.kept_bytes)
    yield _one("log_bytes_max", "gauge", "What it may be at most.", limits.bytes_max)
    text = "Bytes that are kept free for the log."
    yield _one("log_reserved_bytes", "gauge", text, log.reserved_bytes)
    yield _one("log_pending_ticks", "gauge", "Ticks in memory, not yet written.", log.ticks_pending)
    text = "Bytes in memory, not yet written."
    yield _one("log_pending_bytes", "gauge", text, log.pending_bytes)
    text = "Bytes in memory, written and not yet synced."
    yield _one("log_unsynced_bytes", "gauge", text, log.copies_bytes)
    text = "What the log may hold in memory at most."
    yield _one("log_retain_bytes_max", "gauge", text, limits.retain_bytes_max)
    text = "For how long the present write or sync has waited for its disk."
    yield _one("log_wait_seconds", "gauge", text, log.waits_s)
    text = "Frames that the log had no room for, on disk and in memory."
    for kind in ("audio", "event"):
        yield _one("log_dropped_frames", "counter", text, log.dropped[kind], what=kind)
