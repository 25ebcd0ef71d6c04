"""What the parent knows of its node at one moment, and whether that is good enough. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.up.supervisor import Child
from gateway.wire.counters import PUBLISH_MS, Snapshot

#: A process that published nothing for so long hangs.
SNAPSHOT_AGE_US_MAX = 10 * PUBLISH_MS * 1000


@dataclass(frozen=True, kw_only=True)
class State:
    """`children` hold the node's places, those `beside` do not: they are tried, or leave.

    `snapshots` of those that live, by pid. `now_us` is Unix us, as in the snapshots.
    """

    children: Sequence[Child]
    beside: Sequence[Child] = ()
    snapshots: Mapping[int, Snapshot]
    replay_pools: frozenset[str]
    is_draining: bool
    now_us: int

    def accepts(self) -> bool:
        """Whether every gateway accepts and every `replay` pool makes safe what comes."""
        gateways = [child for child in self.children if child.place.role == "gateway"]
        return all(child.accepts for child in gateways) and not self._pool_faults()

    def faults(self) -> list[str]:
        """Why the node should be sent no calls now; empty if it is ready. Without ids."""
        faults = ["the node drains"] if self.is_draining else []
        for child in self.children:
            fault = self.fault(child)
            if child.place.role == "gateway" and fault:
                faults.append(f"{child.place.name}: {fault}")
        return faults + self._pool_faults()

    def _pool_faults(self) -> list[str]:
        faults = []
        for pool in sorted(self.replay_pools):
            found = [
                f"{child.place.name}: {self.fault(child)}" if self.fault(child) else ""
                for child in self.children
                if child.place.pool == pool
            ]
            if all(found):
                faults.append(f"pool {pool}: no worker is ready ({'; '.join(found)})")
        return faults

    def fault(self, child: Child) -> str:
        """Why a process is not ready; empty if it is."""
        if child.pid is None:
            return "is not running"
        snapshot = self.snapshots.get(child.pid)
        if snapshot is None or (child.place.role == "gateway" and not child.accepts):
            return "is starting"
        if self.now_us - snapshot.at_us > SNAPSHOT_AGE_US_MAX:
            return "has said nothing for some seconds"
        return "" if snapshot.ready else snapshot.reason or "is not ready"


def of_children(children: Iterable[Child], snapshots: Iterable[Snapshot]) -> dict[int, Snapshot]:
    """Those snapshots, by pid, that live children have published."""
    pids = {child.pid for child in children}
    return {snapshot.pid: snapshot for snapshot in snapshots if snapshot.pid in pids}
