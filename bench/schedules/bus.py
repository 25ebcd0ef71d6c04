"""The bus of a world: what ZeroMQ does between gateways and workers, its losses included.

Within a connection nothing is reordered or repeated. A connection breaks as a whole: what was
under way towards the gateway arrives up to some message, what was towards the worker does not; the
gateway learns of it after a while, and until then what it sends is lost.
"""

from __future__ import annotations

from collections import deque

from bench.schedules.schedule import Process, Schedule
from gateway.bus.base import Sent, Spoke

Message = tuple[int, bytes]  # not before, what


class Connection:
    """One worker's to one gateway. `noticed_us`: when the gateway learns that it is broken."""

    def __init__(self, peer: bytes, worker: Process) -> None:
        self.peer = peer
        self.worker = worker
        self.to_gateway: deque[Message] = deque()
        self.to_worker: deque[Message] = deque()
        self.noticed_us: int | None = None


class SimulatedHub:
    """A gateway's end. `mark` messages fit into a queue."""

    def __init__(self, bus: SimulatedBus, mark: int) -> None:
        self._bus = bus
        self._mark = mark
        self.connections: dict[bytes, Connection] = {}

    def fileno(self) -> int:
        return -1

    def send(self, peer: bytes, message: bytes) -> Sent:
        connection = self.connections.get(peer)
        if connection is None:
            return Sent.UNREACHABLE
        if connection.noticed_us is not None:
            if connection.noticed_us <= self._bus.schedule.now_us:
                del self.connections[peer]
                return Sent.UNREACHABLE
            return Sent.DONE
        if len(connection.to_worker) >= self._mark:
            return Sent.FULL
        connection.to_worker.append(self._bus.stamped(connection.to_worker, message))
        return Sent.DONE

    def receive(self) -> tuple[bytes, bytes] | None:
        now_us = self._bus.schedule.now_us
        ready = [
            connection
            for connection in self.connections.values()
            if connection.to_gateway and connection.to_gateway[0][0] <= now_us
        ]
        if not ready:
            return None
        chosen = ready[self._bus.schedule.random.randrange(len(ready))] if ready[1:] else ready[0]
        return chosen.peer, chosen.to_gateway.popleft()[1]

    def close(self) -> None:
        self._bus.unbind(self)


class SimulatedSpoke:
    """A worker's end."""

    def __init__(self, bus: SimulatedBus, hub: SimulatedHub | None, worker: Process) -> None:
        self._bus = bus
        self._hub = hub
        self._worker = worker
        self._connection = None if hub is None else bus.connect(hub, worker)

    def send(self, message: bytes) -> bool:
        connection = self._alive()
        if connection is not None:
            queue = connection.to_gateway
            queue.append(self._bus.stamped(queue, message))
        return True

    def receive(self) -> bytes | None:
        connection = self._alive()
        queue = connection.to_worker if connection is not None else None
        if queue and queue[0][0] <= self._bus.schedule.now_us:
            return queue.popleft()[1]
        return None

    def close(self) -> None:
        if self._connection is not None:
            self._bus.break_off(self._connection)

    def _alive(self) -> Connection | None:
        """ZeroMQ mends a connection that broke: as another peer of the gateway."""
        connection = self._connection
        if connection is not None and connection.noticed_us is not None and self._hub is not None:
            connection = self._connection = self._bus.connect(self._hub, self._worker)
        return connection


class SimulatedBus:
    """All hubs by their address, and the weather between them and the workers."""

    def __init__(self, schedule: Schedule, *, delay_us: int, mark: int) -> None:
        """`delay_us`: how long a message takes at most."""
        self.schedule = schedule
        self._delay_us = delay_us
        self._mark = mark
        self._hubs: dict[str, SimulatedHub] = {}
        self._peers = 0

    def bind(self, address: str) -> SimulatedHub:
        """A gateway's hub."""
        hub = self._hubs[address] = SimulatedHub(self, self._mark)
        return hub

    def unbind(self, gone: SimulatedHub) -> None:
        """A gateway has ended: what it had sent may arrive, and nothing else."""
        self._hubs = {address: hub for address, hub in self._hubs.items() if hub is not gone}
        for connection in gone.connections.values():
            self._keep_some(connection.to_worker)
            connection.to_gateway.clear()
        gone.connections.clear()

    def connect(self, hub: SimulatedHub, worker: Process) -> Connection:
        """A new connection; of a hub that has gone it leads nowhere."""
        self._peers += 1
        connection = Connection(b"peer-%d" % self._peers, worker)
        if hub in self._hubs.values():
            hub.connections[connection.peer] = connection
        return connection

    def stamped(self, queue: deque[Message], message: bytes) -> Message:
        """A message with the time at which it arrives, which is not before the last one's."""
        at_us = self.schedule.now_us + int(self.schedule.random.random() * self._delay_us)
        return max(at_us, queue[-1][0] if queue else 0), message

    def break_off(self, connection: Connection) -> None:
        """A connection is broken, or its worker has ended."""
        if connection.noticed_us is None:
            connection.noticed_us = self.schedule.now_us + self.schedule.between(0, 300_000)
            connection.to_worker.clear()
            self._keep_some(connection.to_gateway)

    def _keep_some(self, queue: deque[Message]) -> None:
        for _ in range(self.schedule.random.randrange(len(queue) + 1)):
            queue.pop()

    def worker_died(self, worker: Process) -> None:
        """Break all that a worker had."""
        for connection in self.connections():
            if connection.worker is worker:
                self.break_off(connection)

    def connections(self) -> list[Connection]:
        """Every one that is not broken."""
        return [
            connection
            for hub in self._hubs.values()
            for connection in hub.connections.values()
            if connection.noticed_us is None
        ]

    def spokes(self, worker: Process) -> SimulatedSpokes:
        """What a worker connects with."""
        return SimulatedSpokes(self, worker)

    def hub_at(self, address: str) -> SimulatedHub | None:
        """The hub that is bound there."""
        return self._hubs.get(address)


class SimulatedSpokes:
    """All spokes of one worker."""

    def __init__(self, bus: SimulatedBus, worker: Process) -> None:
        self._bus = bus
        self._worker = worker

    def connect(self, address: str) -> Spoke:
        return SimulatedSpoke(self._bus, self._bus.hub_at(address), self._worker)

    def wait(self, timeout_s: float, *, messages: bool = True) -> None:
        """Return at once."""

    def wake(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self._bus.worker_died(self._worker)
