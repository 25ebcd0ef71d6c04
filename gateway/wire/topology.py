"""Pools: the part of the configuration that both sides of the bus read."""

import msgspec

from gateway.wire.messages import Delivery

RECORD_POOL = "record"
FINISH_POOL = "finish"


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table `[pools.NAME]`: equal workers that get each call once between them."""

    #: How many processes `acs-ingest up` starts; 0: somebody else starts them.
    processes: int = 1
    #: `replay`: nothing is lost, the log keeps what a worker has not made safe. `newest`: what
    #: waits for longer than `queue_ms_max` is dropped and counted.
    delivery: Delivery = "newest"
    queue_ms_max: int = 2000
    #: Length of the blocks that processors see.
    block_ms: int = 20
    #: What the pool can bear between a packet's arrival and its batch.
    latency_ms: int = 20
    #: Names of entry points, in the order in which a block passes them.
    processors: tuple[str, ...] = ()
    sinks: tuple[str, ...] = ()


def default_pools(record_processes: int = 1, finish_processes: int = 1) -> dict[str, Pool]:
    """The pools of the main job: every call is recorded, and its files are finished."""
    return {
        RECORD_POOL: Pool(
            processes=record_processes, delivery="replay", block_ms=500, latency_ms=200
        ),
        FINISH_POOL: Pool(processes=finish_processes),
    }
