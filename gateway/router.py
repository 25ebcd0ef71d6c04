"""Which worker of each pool hears a call, and how a tick gets there. Pure.

A session has a *seat* in each pool: a link, and whether its frames go there live. Sessions with the
same live links share a route. At each tick what gathered in the routes is logged and sent. Whoever
must have every frame (`replay`) and cannot take them live, because it has just come, has taken over
from a dead worker or has no credit, is served by a *catch-up* from the log until that has reached
the present; then its sessions are live again. Repeats do no harm, so only one thing must be exact:
a tick is retired from the log when every seat has passed it, and not before.
"""

import logging
from collections.abc import Iterator

from gateway.bus.base import Sent
from gateway.catch_up import CatchUp, CatchUps, RunRead
from gateway.dropped import Dropped
from gateway.links import SILENCE_US_MAX, Link, PoolState, Send
from gateway.log.adoption import Adopted
from gateway.log.ticks import Tick, frames_tick, joined, of_sessions
from gateway.log.writer import Log
from gateway.retention import first_needed, resume_ticks
from gateway.route import Route, Routes
from gateway.seats import Routable, Routed, Seat
from gateway.wire import messages
from gateway.wire.errors import WireError
from gateway.wire.frame import FRAME, SESSION_STREAM, FrameKind
from gateway.wire.topology import FINISH_POOL, Pool

logger = logging.getLogger(__name__)


class Router:
    """The gateway's side of the bus."""

    def __init__(
        self, pools: dict[str, Pool], log: Log | None, send: Send, run_read: RunRead
    ) -> None:
        """`log` is None where no pool has `replay`. `run_read` runs a read where it may wait."""
        self.log = log
        #: Number of the tick that gathers now.
        self.tick = 1
        self.pools = {
            name: PoolState(name, pool, is_configured=True)
            for name, pool in pools.items()
            if name != FINISH_POOL
        }
        self.frames = 0
        self.links_lost = 0
        #: How often the links that hear a session live have changed.
        self.reroutes = 0
        self.stale_messages = 0
        self.bad_messages = 0
        self._send = send
        self._run_read = run_read
        self._now_us = 0
        self._links: dict[bytes, Link] = {}
        self._sessions: dict[int, Routed] = {}
        #: Sessions whose last frame is in the tick that gathers.
        self._closing: list[Routed] = []
        self._routes = Routes(lambda: self.flush(self._now_us), self._heard_control)
        self.dropped = Dropped(self._sessions)
        self.catch_ups = CatchUps(log, send, run_read, self._sessions)
        #: Logs of dead gateways that are being delivered.
        self.adopted: list[Adopted] = []

    @property
    def links(self) -> tuple[Link, ...]:
        """Every link that lives."""
        return tuple(self._links.values())

    def open(self, session: int, call_id: str) -> Route:
        """The route of a new session; `attach` its owner before the next tick."""
        routed = Routed(session, call_id, source=None)
        self._sessions[session] = routed
        for pool in self.pools.values():
            link = pool.link_for(call_id, self._now_us)
            is_live = link is not None and (link.has_credit() or not pool.replays)
            self._sit(routed, pool, link, self.tick, is_live=is_live)
        return self._routes.to(routed.live_links())

    def attach(self, session: int, owner: Routable) -> None:
        """Say whose `route` is to be exchanged when the session's links change."""
        owner.dropped = self._sessions[session].dropped
        self._sessions[session].owner = owner

    def _sit(
        self, routed: Routed, pool: PoolState, link: Link | None, since: int, *, is_live: bool
    ) -> None:
        """Give a session a seat; one that is not live is served from tick `since` on."""
        if link is None and not pool.replays:
            return  # nothing is kept for whom nothing is replayed
        seat = Seat(link, since, is_live=is_live)
        routed.seats[pool.name] = seat
        if link is None:
            return
        link.calls[routed.call_id] += 1
        if not is_live:
            self.catch_ups.serve(routed.source, link, routed.id, since)

    def _sit_behind(self, routed: Routed, pool: PoolState, since: int) -> None:
        """`replay`: a seat that is served from the log, from tick `since` on."""
        link = pool.link_for(routed.call_id, self._now_us)
        self._sit(routed, pool, link, since, is_live=False)

    def _leave(self, routed: Routed, pool: PoolState) -> None:
        seat = routed.seats.pop(pool.name, None)
        if seat is not None and seat.link is not None:
            seat.link.calls[routed.call_id] -= 1
            if not seat.link.calls[routed.call_id]:
                del seat.link.calls[routed.call_id]

    def _heard_control(self, kind: FrameKind, session: int, head: bytes, payload: bytes) -> None:
        """An OPEN, EVENT or CLOSE passes into a route."""
        routed = self._sessions[session]
        stream = FRAME.unpack(head)[2]
        if kind is FrameKind.OPEN:
            routed.opens[stream] = (head, payload)
        elif kind is FrameKind.CLOSE and stream == SESSION_STREAM:
            self._closing.append(routed)
            routed.owner = None

    def _reroute(self, routed: Routed) -> None:
        """Exchange a session's route. Only while all routes are empty: order within a tick."""
        if routed.owner is not None:
            routed.owner.route = self._routes.to(routed.live_links())
            self.reroutes += 1

    def flush(self, now_us: int) -> None:
        """One tick: log what gathered, send it to the live links, go on with the catch-ups."""
        self._turn(now_us)
        if routes := self._routes.filled():
            self._begin_segment(now_us)
            parts = [(route, route.take(self.tick, now_us)) for route in routes]
            tick = joined(part for _, part in parts)
            self.frames += tick.frames
            gap = None if self.log is None else self.log.append(tick)
            self.tick += 1
            for routed in self._closing:
                routed.closed_tick = tick.number
            self._closing.clear()
            self.dropped.unheard(self.pools.values(), tick.heads)
            for route, part in parts:
                for link in route.links:
                    link.outbox.append(part)
            if gap is not None:
                self._tell(gap)
        for link in self.links:
            if (link.outbox or link.waiting) and self._lives(link):
                self._post(link)
        present, unreachable = self.catch_ups.advance(self.tick, now_us)
        for catch_up in present:
            self._is_present(catch_up)
        for link in unreachable:
            self._link_down(link, "unreachable")

    def _turn(self, now_us: int) -> None:
        """Take note of the time; after a long pause of our own nobody else is silent."""
        if now_us - self._now_us > SILENCE_US_MAX // 2:
            for link in self.links:
                link.heard_us = now_us
        self._now_us = now_us

    def _tell(self, gap: Tick) -> None:
        """What the log threw away, to those who hear live: others find it in the log."""
        for link in self.links:
            if link.pool.replays:
                live = [routed.id for routed, seat in self._seated(link) if seat.is_live]
                told = of_sessions(gap, live)
                if told.heads:
                    link.outbox.insert(0, told)  # before the CLOSE of its stream

    def _lives(self, link: Link) -> bool:
        return self._links.get(link.peer) is link

    def _begin_segment(self, now_us: int) -> None:
        """Let the log begin a segment where one is due, with the OPENs of all that is not over."""
        if self.log is None or not self.log.is_segment_due(now_us):
            return
        opens = (
            frame
            for routed in self._sessions.values()
            if routed.source is None and not routed.is_over
            for frame in routed.opens.values()
        )
        snapshot = frames_tick(self.tick, now_us, opens)
        self.log.append(snapshot._replace(snapshot=True))
        self.tick += 1

    def _post(self, link: Link) -> None:
        """Send a link what this tick has for it."""
        if link.pool.replays:
            tick = joined(link.outbox)
            sent = link.send(self._send, None, tick, self._now_us)
            if sent is Sent.FULL:
                self._fall_behind(link, tick.number)
        else:
            sent = link.send_newest(self._send, self.dropped.count, self._now_us)
        if sent is Sent.UNREACHABLE:
            self._link_down(link, "unreachable")
        link.outbox.clear()

    def _fall_behind(self, link: Link, tick: int) -> None:
        """A link without credit: its sessions go on from the log."""
        for routed, seat in self._seated(link):
            if seat.is_live:
                seat.is_live = False
                self.catch_ups.serve(None, link, routed.id, tick)
                self._reroute(routed)

    def _is_present(self, catch_up: CatchUp) -> None:
        """A catch-up has reached the present: its sessions are live from the next tick on."""
        for session in catch_up.sessions:
            routed = self._sessions.get(session)
            seat = routed.seats.get(catch_up.link.pool.name) if routed else None
            if routed is not None and seat is not None and seat.link is catch_up.link:
                seat.is_live = True
                self._reroute(routed)

    def adopt(self, adopted: Adopted) -> None:
        """Deliver the log of a dead gateway to every pool that must have every frame."""
        self.adopted.append(adopted)
        for session, logged in adopted.sessions.items():
            routed = Routed(session, logged.call_id, source=adopted)
            routed.opens = dict(logged.opens)
            routed.closed_tick = adopted.last_words.number
            self._sessions[session] = routed
            for pool in self.pools.values():
                if pool.replays:
                    self._sit_behind(routed, pool, adopted.first)

    def receive(self, peer: bytes, message: bytes, now_us: int) -> None:
        """Take one message of a worker."""
        self._turn(now_us)
        try:
            body = messages.unpack_from_worker(message)
        except WireError as fault:
            self.bad_messages += 1
            logger.warning("bus: a message was refused: %s", fault)
            return
        if isinstance(body, messages.Hello):
            self._link_up(peer, body)
        elif body is not None:
            self._heard(peer, body)

    def _heard(self, peer: bytes, body: messages.Ack | messages.Bye | messages.Heartbeat) -> None:
        link = self._links.get(peer)
        if link is None or link.number != body.link:
            self.stale_messages += 1
            self._send(peer, messages.pack(messages.Gone(link=body.link, reason="no such link")))
            return
        link.heard_us = self._now_us
        match body:
            case messages.Ack():
                link.in_flight.acknowledge(body.safe, body.taken, self._now_us)
            case messages.Bye():
                self._link_down(link, "bye")
            case messages.Heartbeat():
                link.unsynced_us = body.unsynced_us

    def _link_up(self, peer: bytes, hello: messages.Hello) -> None:
        """A worker has come: give it the calls that wait for one."""
        old = self._links.get(peer)
        if old is not None and old.number == hello.link:
            return  # it has not heard from us yet; the next heartbeat tells
        if old is not None:
            self._link_down(old, "said hello again")
        self.flush(self._now_us)  # before the pool is looked up: it may end with this
        pool = self.pools.get(hello.pool)
        if pool is None:
            settings = Pool(delivery=hello.delivery or "newest")
            pool = PoolState(hello.pool, settings, is_configured=False)
            self.pools[hello.pool] = pool
        link = Link(peer, hello, pool, self._now_us)
        link.shunned_until_us = pool.shunned.get(link.boot_id, 0)
        self._links[peer] = link
        pool.links.append(link)
        self._beat(link)
        logger.info("worker %s has joined pool %s", hello.name, hello.pool)
        self._seat_waiting(pool)

    def _seat_waiting(self, pool: PoolState) -> None:
        """Give the sessions of a pool that have no link one of those that are there."""
        for routed in self._sessions.values():
            seat = routed.seats.get(pool.name)
            if seat is not None and seat.link is not None:
                continue
            if not pool.replays:
                self._sit_live(routed, pool)
            elif seat is not None or not pool.is_configured:
                since = seat.since if seat is not None else self.tick
                self._sit_behind(routed, pool, since)

    def _sit_live(self, routed: Routed, pool: PoolState) -> None:
        """`newest`: tell the worker what is open and let it hear from now on."""
        link = pool.link_for(routed.call_id, self._now_us)
        if link is None or routed.is_over:
            return
        self._sit(routed, pool, link, self.tick, is_live=True)
        if routed.opens:
            link.outbox.append(frames_tick(self.tick, self._now_us, routed.opens.values()))
        self._reroute(routed)

    def _link_down(self, link: Link, reason: str) -> None:
        """A link is over: its calls go to others, from the first tick that may be missing."""
        if not self._lives(link):
            return
        del self._links[link.peer]
        self._send(link.peer, messages.pack(messages.Gone(link=link.number, reason=reason)))
        self.flush(self._now_us)  # what gathered has a number before anybody changes seats
        pool = link.pool
        pool.links.remove(link)
        pool.deserted_us = self._now_us
        if not pool.replays:
            link.drop_rest(self.dropped.count)
        self.links_lost += reason != "bye"
        logger.info("worker %s has left pool %s: %s", link.name, pool.name, reason)
        moved = [(routed, seat) for routed, seat in self._seated(link)]
        resume = resume_ticks(link, (None, *self.adopted), self.catch_ups, self.tick)
        self.catch_ups.drop(link)
        self._routes.forget(link)
        for routed, _ in moved:
            self._leave(routed, pool)
            self._move(routed, pool, resume[routed.source])

    def _move(self, routed: Routed, pool: PoolState, since: int | None) -> None:
        """A session has lost its link; `since` is None where it had had everything."""
        if not pool.replays:
            self._sit_live(routed, pool)
        elif since is not None and (routed.closed_tick is None or since <= routed.closed_tick):
            self._sit_behind(routed, pool, since)
        self._reroute(routed)

    def _seated(self, link: Link) -> Iterator[tuple[Routed, Seat]]:
        for routed in tuple(self._sessions.values()):
            seat = routed.seats.get(link.pool.name)
            if seat is not None and seat.link is link:
                yield routed, seat

    def tend(self, now_us: int) -> None:
        """A few times a second: heartbeats, workers that hang, and what nobody needs any more."""
        self._turn(now_us)
        for link in self.links:
            if sickness := link.sickness(now_us):
                self._link_down(link, sickness)
            elif link.is_heartbeat_due(now_us):
                self._beat(link)
        for pool in [pool for pool in self.pools.values() if pool.is_over(now_us)]:
            self._end(pool)
        self._forget()

    def _end(self, pool: PoolState) -> None:
        """A pool is no more; what the log may still have for it is let go."""
        logger.info("pool %s has no workers any more", pool.name)
        for routed in self._sessions.values():
            routed.seats.pop(pool.name, None)
        del self.pools[pool.name]

    def _beat(self, link: Link) -> None:
        link.sent_us = self._now_us
        sent = self._send(link.peer, messages.pack(messages.Heartbeat(link=link.number)))
        if sent is Sent.UNREACHABLE:
            self._link_down(link, "unreachable")

    def _forget(self) -> None:
        """Drop sessions that every seat has passed, adopted logs and segments likewise."""
        passed = {source: self._passed(source) for source in (None, *self.adopted)}
        for routed in tuple(self._sessions.values()):
            limit = passed[routed.source]
            if routed.closed_tick is not None and (limit is None or routed.closed_tick < limit):
                for pool in self.pools.values():
                    self._leave(routed, pool)
                del self._sessions[routed.id]
        for adopted in tuple(self.adopted):
            if passed[adopted] is None:
                self.adopted.remove(adopted)
                self._run_read(adopted.remove, lambda _: None)
        if self.log is not None:
            self.log.retire(passed[None] or self.tick)

    def _passed(self, source: Adopted | None) -> int | None:
        """The first tick of a log that somebody still needs; None: nobody needs any."""
        return first_needed(source, self.links, self._sessions.values(), self.catch_ups, self.tick)

    def drain(self) -> None:
        """Tell every worker that this gateway takes no new calls."""
        for link in self.links:
            self._send(link.peer, messages.pack(messages.Drain(link=link.number)))

    def leave(self) -> None:
        """Release every worker; the bus is closed next."""
        for link in self.links:
            self._send(link.peer, messages.pack(messages.Gone(link=link.number, reason="leaving")))

    def is_idle(self) -> bool:
        """Whether everything that came in is where it has to be."""
        return not self._sessions and not self.adopted

    def is_heard(self) -> bool:
        """Whether anybody is there to acknowledge what is not yet safe."""
        return any(link.pool.replays for link in self.links)
