"""The bus over real ZeroMQ sockets: nothing is lost without being told."""

import time

import pytest

from gateway.bus.base import Sent
from gateway.bus.zmq import HIGH_WATER_MARK, ZmqHub, ZmqSpokes


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


def arrives(receive, seconds: float = 5):
    """Poll until a message is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        message = receive()
        if message is not None:
            return message
        time.sleep(0.001)
    raise AssertionError("no message came")


def test_messages_go_both_ways_in_order(hub, spokes, address):
    spoke = spokes.connect(address)
    for number in range(20):
        spoke.send(b"%d" % number)
    heard = [arrives(hub.receive) for _ in range(20)]
    peer = heard[0][0]
    for number in range(20):
        assert Sent.DONE is hub.send(peer, b"%d" % number)

    assert [(peer, b"%d" % number) for number in range(20)] == heard
    assert [b"%d" % number for number in range(20)] == [arrives(spoke.receive) for _ in range(20)]


def test_a_peer_that_never_was_is_unreachable(hub):
    assert Sent.UNREACHABLE is hub.send(b"nobody", b"x")


def test_a_peer_that_has_gone_becomes_unreachable(hub, spokes, address):
    spoke = spokes.connect(address)
    spoke.send(b"hello")
    peer, _ = arrives(hub.receive)
    spoke.close()

    assert arrives(lambda: hub.send(peer, b"x") is Sent.UNREACHABLE or None)


def test_a_full_queue_is_told_and_not_waited_for(hub, spokes, address):
    spoke = spokes.connect(address)
    spoke.send(b"hello")
    peer, _ = arrives(hub.receive)
    message = bytes(10_000)
    sent = set()
    for _ in range(20 * HIGH_WATER_MARK):
        sent.add(hub.send(peer, message))
        if Sent.FULL in sent:
            break

    assert {Sent.DONE, Sent.FULL} == sent


def test_an_address_that_cannot_be_bound_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="cannot bind"):
        ZmqHub(f"ipc://{tmp_path}/missing/hub.ipc")


def test_a_wait_without_messages_lasts_though_one_is_there(hub, spokes, address):
    spoke = spokes.connect(address)
    spoke.send(b"hello")
    peer, _ = arrives(hub.receive)
    hub.send(peer, b"there")
    spokes.wait(30)
    began_s = time.monotonic()
    spokes.wait(0.05, messages=False)
    assert time.monotonic() - began_s >= 0.05
    spokes.wake()
    spokes.wait(30, messages=False)
    assert b"there" == spoke.receive()


def test_a_wait_ends_when_a_message_comes_and_when_it_is_woken(hub, spokes, address):
    spoke = spokes.connect(address)
    spoke.send(b"hello")
    peer, _ = arrives(hub.receive)
    hub.send(peer, b"news")
    spokes.wait(30)

    assert b"news" == arrives(spoke.receive)
    spokes.wake()
    spokes.wait(30)
