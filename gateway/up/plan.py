"""What `up` was asked for, after command line and file: which processes, with which arguments."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gateway.address import Address
from gateway.up.budget import Budget, budget
from gateway.up.supervisor import Place
from gateway.wire.topology import Pool

MEDIA_PATH = "/media"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One node. `admin` None: no admin address. `tls`: certificate and key files."""

    data: Path
    listen: Address
    admin: Address | None
    gateways: int
    pools: Mapping[str, Pool]
    drain_s: float
    #: How long a peer has to answer a close frame.
    close_s: float = 5.0
    config: Path | None = None
    tls: tuple[Path, Path] | None = None
    insecure: bool = False

    def places(self) -> list[Place]:
        """Every process that the node should have, in the order in which they start."""
        gateways = [Place("gateway", None, index) for index in range(self.gateways)]
        workers = [
            Place("worker", name, index)
            for name, pool in self.pools.items()
            for index in range(pool.processes)
        ]
        return gateways + workers

    def budget(self) -> Budget:
        """How the seconds of a drain are shared."""
        return budget(self.drain_s, self.close_s)

    def replay_pools(self) -> frozenset[str]:
        """Pools of this node without whose workers nothing is safe for long."""
        return frozenset(
            name
            for name, pool in self.pools.items()
            if pool.delivery == "replay" and pool.processes
        )

    def url(self, address: Address) -> str:
        """Where calls come in, if the gateways listen at `address`."""
        return f"{'wss' if self.tls else 'ws'}://{address}{MEDIA_PATH}"


class Inherited(NamedTuple):
    """Descriptors that a child gets: numbers, the same on both sides."""

    listener: int
    parent: int
    #: A gateway writes `READY` to it; workers have none.
    ready: int


def check_line(plan: Plan) -> list[str]:
    """How the software that is installed now is asked what it thinks of the configuration."""
    line = [sys.executable, "-P", "-m", "gateway", "check"]
    return line if plan.config is None else [*line, "--config", str(plan.config)]


Commands = Callable[[Plan, Place, Inherited], list[str]]


def command_line(plan: Plan, place: Place, inherited: Inherited) -> list[str]:
    """How a child is started."""
    # -P: a folder `gateway` where `up` happens to be started must not be taken for ours.
    line = [sys.executable, "-P", "-m", "gateway", place.role, "--index", str(place.index)]
    line += ["--data", str(plan.data), "--parent-fd", str(inherited.parent)]
    if plan.config is not None:
        line += ["--config", str(plan.config)]
    if place.pool is not None:
        return [*line, "--pool", place.pool]
    line += ["--listen", f"fd:{inherited.listener}", "--ready-fd", str(inherited.ready)]
    shared = plan.budget()
    line += ["--drain-s", f"{shared.calls_s:g}", "--leave-s", f"{shared.leave_s:g}"]
    if plan.tls is not None:
        line += ["--tls-cert", str(plan.tls[0]), "--tls-key", str(plan.tls[1])]
    if plan.insecure:
        line.append("--insecure")
    return line
