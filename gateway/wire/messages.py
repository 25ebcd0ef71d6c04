"""Control messages of the bus: JSON objects, tagged by `kind`. See `docs/bus-protocol.md`.

A message is one ZeroMQ part. It begins with `{` (one of these) or with `ACSB` (a batch).
"""

from typing import Literal, TypeVar

import msgspec

from gateway.wire.errors import VersionError, WireError
from gateway.wire.frame import VERSION

Delivery = Literal["replay", "newest"]


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="HELLO", tag_field="kind"):
    """Worker -> gateway: opens link number `link` between the two. Answered by a heartbeat."""

    version: int = VERSION
    pool: str
    name: str  # stable over restarts: calls are given to names
    boot_id: str  # new with every start of the process
    link: int  # counted by the worker, from 1
    calls_max: int | None = None  # beyond it the worker gets no further call
    latency_ms: int = 200  # what the worker's slowest use can bear
    credit_bytes: int = 32 * 1024 * 1024  # of batches sent and not yet `taken`
    delivery: Delivery | None = None  # for a pool that no configuration names


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ACK", tag_field="kind"):
    """Worker -> gateway, a few times a second.

    All batches up to and including `safe` need never be sent again; those up to `taken` have been
    read and no longer count against the credit.
    """

    link: int
    safe: int
    taken: int


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag="BYE", tag_field="kind"):
    """Worker -> gateway: give my calls to others. Answered by `Gone` when all is acknowledged."""

    link: int


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="HEARTBEAT", tag_field="kind"):
    """Both ways, when nothing else was sent: the sender's own loop turns.

    `unsynced_us`: age of the oldest audio that a worker has taken and not made safe.
    """

    link: int
    unsynced_us: int = 0


class Gone(msgspec.Struct, frozen=True, kw_only=True, tag="GONE", tag_field="kind"):
    """Gateway -> worker: there is no link `link` (any more). Say HELLO with a new one, or leave."""

    link: int
    reason: str


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag="DRAIN", tag_field="kind"):
    """Gateway -> worker: this gateway takes no new calls and ends when the present ones have."""

    link: int


FromWorker = Hello | Ack | Bye | Heartbeat
ToWorker = Gone | Drain | Heartbeat

KINDS = frozenset(("HELLO", "ACK", "BYE", "HEARTBEAT", "GONE", "DRAIN"))
Message = TypeVar("Message")

_from_worker = msgspec.json.Decoder(FromWorker)
_to_worker = msgspec.json.Decoder(ToWorker)
_kind = msgspec.json.Decoder(dict[str, object])

pack = msgspec.json.encode


def unpack_from_worker(message: bytes) -> FromWorker | None:
    """A worker's message; None for a kind that this version does not know.

    Raises `WireError` for what is no message, `VersionError` for a HELLO of a foreign version.
    """
    hello = _unpack(_from_worker, message)
    if isinstance(hello, Hello) and not VERSION - 1 <= hello.version <= VERSION:
        raise VersionError(f"worker {hello.name} speaks version {hello.version}, we {VERSION}")
    return hello


def unpack_to_worker(message: bytes) -> ToWorker | None:
    """A gateway's message; None for a kind that this version does not know. Raises `WireError`."""
    return _unpack(_to_worker, message)


def _unpack(decoder: msgspec.json.Decoder[Message], message: bytes) -> Message | None:
    try:
        return decoder.decode(message)
    except msgspec.DecodeError as fault:
        if _is_of_unknown_kind(message):
            return None
        raise WireError(f"control message: {fault}") from fault


def _is_of_unknown_kind(message: bytes) -> bool:
    try:
        kind = _kind.decode(message).get("kind")
    except msgspec.DecodeError:
        return False
    return isinstance(kind, str) and kind not in KINDS
