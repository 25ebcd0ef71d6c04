"""What a packet costs on the way from a ROUTER to DEALERs, by transport, batch and number of peers.

CPU time of both ends and of ZeroMQ's own threads. The baseline is what a gateway does: batches of
100 frames over ipc to one worker. Names say who sends to whom.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import pytest
import zmq

from bench.load.frames import PCM_BYTES
from bench.micro.measure import Measure
from gateway.wire.frame import FRAME

FRAME_BYTES = FRAME.size + PCM_BYTES
#: Messages under way at once: less than any high-water mark, so that nothing is dropped.
BURST = 50
PACKETS = 5000
RECEIVE_MS_MAX = 5000


@contextlib.contextmanager
def _star(
    transport: str, dealers: int
) -> Iterator[tuple[zmq.Socket[bytes], list[zmq.Socket[bytes]]]]:
    """A ROUTER and DEALERs that it knows by one byte each."""
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        folder = stack.enter_context(TemporaryDirectory(prefix="acs-ingest-bus-"))
        router = stack.enter_context(context.socket(zmq.ROUTER))
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.RCVTIMEO, RECEIVE_MS_MAX)
        address = {
            "ipc": f"ipc://{Path(folder) / 'bus.ipc'}",
            "tcp": "tcp://127.0.0.1:*",
            "inproc": "inproc://bus",
        }[transport]
        router.bind(address)
        peers = []
        for number in range(dealers):
            dealer = stack.enter_context(context.socket(zmq.DEALER))
            dealer.setsockopt(zmq.ROUTING_ID, b"p%d" % number)
            dealer.setsockopt(zmq.RCVTIMEO, RECEIVE_MS_MAX)
            dealer.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
            dealer.send(b"")
            router.recv_multipart()
            peers.append(dealer)
        yield router, peers


def _send_all(
    router: zmq.Socket[bytes], peers: list[zmq.Socket[bytes]], message: bytes, messages: int
) -> int:
    """`messages` to the peers in turn; returns a checksum of the last one."""
    names = [b"p%d" % number for number in range(len(peers))]
    last = b""
    for first in range(0, messages, BURST):
        numbers = range(first, min(first + BURST, messages))
        for number in numbers:
            router.send_multipart((names[number % len(peers)], message), copy=False)
        for number in numbers:
            last = peers[number % len(peers)].recv()
    return crc32(last)


def _measure(
    measure: Measure, transport: str, frames: int, dealers: int = 1, *, baseline: bool = False
) -> None:
    message = bytes(range(256)) * (FRAME_BYTES * frames // 256 + 1)
    message = message[: FRAME_BYTES * frames]
    with _star(transport, dealers) as (router, peers):
        measure(
            lambda: _send_all(router, peers, message, PACKETS // frames), PACKETS, baseline=baseline
        )


def bench_baseline_one_to_one_ipc_100(measure: Measure) -> None:
    _measure(measure, "ipc", 100, baseline=True)


@pytest.mark.parametrize("frames", [1, 10, 250])
def bench_one_to_one_ipc(measure: Measure, frames: int) -> None:
    _measure(measure, "ipc", frames)


@pytest.mark.parametrize("transport", ["inproc", "tcp"])
@pytest.mark.parametrize("frames", [1, 10, 100])
def bench_one_to_one(measure: Measure, transport: str, frames: int) -> None:
    _measure(measure, transport, frames)


@pytest.mark.parametrize("frames", [1, 100])
def bench_one_to_three_ipc(measure: Measure, frames: int) -> None:
    _measure(measure, "ipc", frames, dealers=3)


def bench_three_to_one_ipc_acknowledgements(measure: Measure) -> None:
    """The way back: one small message for each batch of 100."""
    with _star("ipc", 3) as (router, peers):

        def run() -> int:
            for number in range(PACKETS // 100):
                peers[number % 3].send(b"ack")
                name, _ = router.recv_multipart()
            return crc32(name)

        measure(run, PACKETS)
