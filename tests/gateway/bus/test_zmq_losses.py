"""What ZeroMQ loses in silence, one by one, and that it is told or cannot happen here.

A message that was handed to a socket is gone with its peer, and nobody hears of it: so a link keeps
what is in flight by number, and asks for credit long before a queue is full.
"""

import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
import zmq

from gateway.bus.base import Sent
from gateway.bus.zmq import (
    BATCH_MESSAGE_BYTES_MAX,
    BATCHES_IN_FLIGHT_MAX,
    HIGH_WATER_MARK,
    ZmqHub,
    ZmqSpokes,
)
from gateway.links import Link, PoolState
from gateway.log.ticks import Tick
from gateway.wire.frame import BATCH_BYTES_MAX, FRAME, NO_STAMP, FrameKind
from gateway.wire.messages import Hello
from gateway.wire.topology import Pool

WAIT_S = 10.0


@pytest.fixture
def address(tmp_path):
    return f"ipc://{tmp_path}/hub.ipc"


@pytest.fixture
def hub(address):
    hub = ZmqHub(address)
    yield hub
    hub.close()


@pytest.fixture
def spokes():
    spokes = ZmqSpokes()
    yield spokes
    spokes.close()


def arrives(look):
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.001)
    raise AssertionError("nothing came")


class Cable:
    """Carries connections from one path to another until they are cut."""

    def __init__(self, path, to):
        self._to = str(to)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._ends = []
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        self.cut()
        self._listener.close()

    def cut(self):
        """Break every connection that there is."""
        ends, self._ends = self._ends, []
        for end, other, threads in ends:
            end.shutdown(socket.SHUT_RDWR)
            other.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(WAIT_S)
            end.close()
            other.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                end, _ = self._listener.accept()
                other = socket.socket(socket.AF_UNIX)
                other.connect(self._to)
                threads = [
                    threading.Thread(target=self._carry, args=pair)
                    for pair in ((end, other), (other, end))
                ]
                for thread in threads:
                    thread.start()
                self._ends.append((end, other, threads))

    def _carry(self, source, target):
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)


def becomes_unreachable(hub, peer):
    return arrives(lambda: hub.send(peer, b"{}") is Sent.UNREACHABLE or None)


def a_tick(number: int, payload_bytes: int) -> Tick:
    head = FRAME.pack(FrameKind.AUDIO, 0, 1, payload_bytes, 1, number, 0, NO_STAMP, 0)
    return Tick(number, 0, head, bytes(payload_bytes))


def a_link(peer: bytes, **members) -> Link:
    hello = Hello(pool="record", name="record-0", boot_id="boot", link=1, **members)
    link = Link(peer, hello, PoolState("record", Pool(delivery="replay"), is_configured=True), 0)
    link.pool.links.append(link)
    return link


def said_hello(hub, spokes, address):
    """A spoke whose name the hub knows."""
    spoke = spokes.connect(address)
    spoke.send(b"hello")
    peer, _ = arrives(hub.receive)
    return spoke, peer


@pytest.mark.parametrize("payload_bytes", [640, 100_000])
def test_credit_ends_before_a_queue_is_full(hub, spokes, address, payload_bytes):
    _, peer = said_hello(hub, spokes, address)
    link, results, number = a_link(peer), [], 0

    def send(to, message):
        results.append(hub.send(to, message))
        return results[-1]

    while link.send(send, None, a_tick(number + 1, payload_bytes), 0) is Sent.DONE:
        number += 1

    assert {Sent.DONE} == set(results)
    assert len(results) <= BATCHES_IN_FLIGHT_MAX
    # A tick may overdraw the credit; what it holds at most stays far below the mark.
    assert BATCHES_IN_FLIGHT_MAX + 4 * 1024 * 1024 // BATCH_BYTES_MAX < HIGH_WATER_MARK


def test_what_was_queued_for_a_peer_that_died_is_known_and_comes_again(hub, spokes, address):
    spoke, peer = said_hello(hub, spokes, address)
    link = a_link(peer)
    for number in range(7, 107):
        assert Sent.DONE is link.send(hub.send, None, a_tick(number, 640), 0)
    spoke.close()  # and has read nothing
    becomes_unreachable(hub, peer)

    assert Sent.UNREACHABLE is link.send(hub.send, None, a_tick(107, 640), 0)
    assert 7 == link.in_flight.oldest_tick(None)


def test_what_was_queued_for_a_process_that_was_killed_is_known(hub, address):
    code = "import sys, time; from gateway.bus.zmq import ZmqSpokes; s = ZmqSpokes()\n"
    code += "s.connect(sys.argv[1]).send(b'hello'); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, address])
    try:
        peer, _ = arrives(hub.receive)
        link = a_link(peer)
        for number in range(1, 101):
            assert Sent.DONE is link.send(hub.send, None, a_tick(number, 20_000), 0)
    finally:
        child.kill()
        child.wait(WAIT_S)

    assert becomes_unreachable(hub, peer)
    assert 1 == link.in_flight.oldest_tick(None)


def test_a_peer_that_reconnects_is_another_one_and_the_old_one_is_unreachable(tmp_path, spokes):
    """Of the connection alone, the socket staying: what was queued for the first is known there."""
    path, through = tmp_path / "hub.ipc", tmp_path / "through.ipc"
    hub = ZmqHub(f"ipc://{path}")
    with Cable(through, path) as cable:
        spoke, peer = said_hello(hub, spokes, f"ipc://{through}")
        cable.cut()
        becomes_unreachable(hub, peer)
        spoke.send(b"again")
        other, message = arrives(hub.receive)
        assert Sent.DONE is hub.send(other, b"news")
        news = arrives(spoke.receive)
    hub.close()

    assert b"again" == message
    assert peer != other
    assert b"news" == news


def test_a_connection_cut_over_a_message_too_long_stays_cut_and_is_told(hub, spokes, address):
    """The worker's own socket hears nothing of it: silence tells, and a new socket mends it."""
    spoke, peer = said_hello(hub, spokes, address)
    assert Sent.DONE is hub.send(peer, bytes(BATCH_MESSAGE_BYTES_MAX + 1))
    becomes_unreachable(hub, peer)
    spoke.close()
    spoke, other = said_hello(hub, spokes, address)

    assert Sent.DONE is hub.send(other, b"news")
    assert b"news" == arrives(spoke.receive)


def test_a_batch_of_one_frame_as_large_as_a_configuration_allows_arrives(hub, spokes, address):
    spoke, peer = said_hello(hub, spokes, address)
    link = a_link(peer)
    assert Sent.DONE is link.send(hub.send, None, a_tick(1, 1024 * 1024), 0)

    assert len(arrives(spoke.receive)) > 1024 * 1024


def test_what_a_worker_says_before_the_gateway_is_bound_arrives(spokes, address):
    spoke = spokes.connect(address)
    for number in range(100):
        assert spoke.send(b"%d" % number)
    hub = ZmqHub(address)
    heard = [arrives(hub.receive) for _ in range(100)]
    assert Sent.DONE is hub.send(heard[0][0], b"answer")
    answer = arrives(spoke.receive)
    hub.close()

    assert [b"%d" % number for number in range(100)] == [message for _, message in heard]
    assert b"answer" == answer


def test_nothing_can_be_sent_to_a_peer_that_has_not_spoken_yet(hub, spokes, address):
    spokes.connect(address)  # joins slowly, or not at all: nobody knows a name to send to

    assert Sent.UNREACHABLE is hub.send(b"record-0", b"x")


def test_a_second_hub_at_a_path_that_is_taken_is_refused_and_the_first_goes_on(
    hub, spokes, address
):
    spoke, peer = said_hello(hub, spokes, address)
    with pytest.raises(OSError, match="another process listens there"):
        ZmqHub(address)
    late, other = said_hello(hub, spokes, address)
    hub.send(peer, b"one")
    hub.send(other, b"two")

    assert (b"one", b"two") == (arrives(spoke.receive), arrives(late.receive))


def test_a_path_that_a_killed_process_left_behind_can_be_bound(spokes, address):
    code = "import sys, os; from gateway.bus.zmq import ZmqHub; ZmqHub(sys.argv[1])\n"
    code += "os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, address], timeout=WAIT_S, check=False)
    hub = ZmqHub(address)
    said_hello(hub, spokes, address)
    hub.close()


def test_of_two_peers_that_take_the_same_name_the_first_stays(hub, address):
    """Why the protocol forbids a routing id: the second one talks to nobody, without an error."""
    context = zmq.Context()
    first, second = (context.socket(zmq.DEALER) for _ in range(2))
    for dealer in (first, second):
        dealer.setsockopt(zmq.ROUTING_ID, b"same")
        dealer.setsockopt(zmq.LINGER, 0)
    first.connect(address)
    first.send(b"first")
    arrives(hub.receive)
    second.connect(address)
    second.send(b"second")
    hub.send(b"same", b"news")
    heard = first.recv() if first.poll(WAIT_S * 1000) else None
    first.send(b"still here")
    last = arrives(hub.receive)
    for dealer in (first, second):
        dealer.close()
    context.term()

    assert b"news" == heard
    assert (b"same", b"still here") == last
