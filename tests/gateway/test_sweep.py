"""Sockets that sweeps read: the same is delivered and the same ends are found as by the loop."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from math import inf

from certificates import make_pair, trusting
from hypothesis import given, settings
from hypothesis import strategies as st
from media_door import (
    PING,
    Door,
    Peer,
    close_frame,
    frame,
    on_uvloop,
    request,
    sweeper_in_force,
    until,
)
from paper_socket import PaperSocket

from gateway.listener import TlsContext
from gateway.pace import Pace
from gateway.sweep import (
    GATHERED_BYTES_MAX,
    READ_BYTES,
    REST_S,
    SPARSE_BYTES_MAX,
    Sweeper,
)


def swept(interval_ms: float = 20, latency_ms: Callable[[object], float] = lambda _: inf) -> Door:
    return Door(sweeper=sweeper_in_force(interval_ms, latency_ms))


def texts(total_bytes: int, size: int = 1000) -> list[bytes]:
    return [b"%07d" % number * (size // 7) for number in range(total_bytes // size)]


def frames(messages: list[bytes]) -> bytes:
    return b"".join(frame(message) for message in messages)


@on_uvloop
async def test_what_gathers_on_a_paused_socket_is_read_once_and_heard_in_order():
    async with swept(interval_ms=300) as door:
        peer, handler = await door.call()
        assert 1 == door.sweeper.paused
        messages = texts(10_000)
        for message in messages:
            await peer.send(frame(message))

        assert messages == await handler.heard(10)
        assert door.sweeper.reads < 10


@on_uvloop
async def test_without_an_interval_the_loop_reads():
    async with Door(sweeper=Sweeper(Pace(200))) as door:
        peer, handler = await door.call()
        await peer.send(frame(b"a"))

        assert [b"a"] == await handler.heard(1)
        assert (0, 0) == (door.sweeper.paused, door.sweeper.reads)


async def loaded(door: Door, peer: Peer, is_so: Callable[[], bool]) -> None:
    """Send, and tend the sweeper, until something is so."""
    packets = 0
    for now_s in count():
        if is_so():
            return
        packets += 50_000
        door.sweeper.tend(packets, now_s)
        await peer.send(frame(b"a"))
        await asyncio.sleep(0.005)


@on_uvloop
async def test_load_lets_sockets_be_swept_and_calm_gives_them_back():
    async with Door(sweeper=Sweeper(Pace(200))) as door:
        peer, handler = await door.call()
        await loaded(door, peer, lambda: door.sweeper.paused == 1)
        assert 200 == door.sweeper.interval_ms
        for now_s in range(1000, 1100):
            door.sweeper.tend(50_000_000, now_s)

        assert (0, 0) == (door.sweeper.interval_ms, door.sweeper.paused)
        heard = len(handler.messages)
        await peer.send(frame(b"b"))
        await handler.until(lambda: handler.texts[-1:] == [b"b"])
        assert heard < len(handler.messages)


@on_uvloop
async def test_the_end_of_what_a_peer_sends_is_found():
    async with swept() as door:
        peer, handler = await door.call()
        await peer.send(frame(b"a"))
        peer.socket.shutdown(socket.SHUT_WR)

        assert (None, False) == await handler.over()
        assert [b"a"] == handler.texts
        await door.empty()
        assert 0 == door.sweeper.paused


@on_uvloop
async def test_a_reset_is_found_by_the_read():
    async with swept() as door:
        peer, handler = await door.call()
        peer.reset()

        assert (None, False) == await handler.over()
        await door.empty()
        assert 0 == door.sweeper.paused


@on_uvloop
async def test_a_close_frame_is_answered_and_the_loop_reads_the_rest():
    async with swept() as door:
        peer, handler = await door.call()
        await peer.send(frame(b"a") + close_frame(1000))

        assert 1000 == await peer.close_code()
        assert (1000, True) == await handler.over()
        assert [b"a"] == handler.texts
        assert 0 == door.sweeper.paused
        assert b"" == await peer.rest()


@on_uvloop
async def test_a_socket_that_we_close_goes_back_to_the_loop_and_is_heard_to_the_end():
    async with swept(interval_ms=300) as door:
        peer, handler = await door.call()
        await peer.send(frame(b"a"))
        door.front.close_all(1001, "the server stops")
        assert 0 == door.sweeper.paused
        assert 1001 == await peer.close_code()
        await peer.send(frame(b"b") + close_frame(1001))

        assert (1001, True) == await handler.over()
        assert [b"a", b"b"] == handler.texts


@on_uvloop
async def test_a_descriptor_that_is_used_again_is_read_for_its_new_owner_only():
    async with swept(interval_ms=50) as door:
        old_peer, old = await door.call()
        await old_peer.send(frame(b"old"))
        door.sockets[0].abort()
        await old.over()
        peer, handler = await door.call()
        await peer.send(frame(b"new"))

        assert [b"new"] == await handler.heard(1)
        assert b"new" not in old.texts
        assert 1 == door.sweeper.paused


@on_uvloop
async def test_a_socket_that_was_cut_is_not_read_any_more():
    async with swept() as door:
        peer, handler = await door.call()
        await peer.send(frame(b"a"))
        swept_one = next(iter(door.sweeper._sockets.values()))
        door.sockets[0].abort()
        door.sweeper._read(swept_one, 0.0)

        assert 0 == door.sweeper.reads
        await handler.over()
        assert [] == handler.messages


@on_uvloop
async def test_a_socket_that_was_empty_in_two_turns_goes_back_to_the_loop_for_a_while():
    async with swept() as door:
        peer, handler = await door.call()
        assert 1 == door.sweeper.paused
        await until(lambda: door.sweeper.paused == 0)
        assert 2 == door.sweeper.empty_reads == door.sweeper.reads
        await peer.send(frame(b"a"))

        assert [b"a"] == await handler.heard(1)
        assert 2 == door.sweeper.reads
        now_s = asyncio.get_running_loop().time()
        door.sweeper.tend(0, now_s)
        assert 0 == door.sweeper.paused
        door.sweeper.tend(0, now_s + REST_S + 0.1)
        assert 1 == door.sweeper.paused


@on_uvloop
async def test_a_buffer_that_was_filled_is_read_again_and_the_socket_left_to_the_loop():
    async with swept() as door:
        peer, handler = await door.call()
        messages = texts(5 * READ_BYTES)
        await peer.send(frames(messages))

        assert messages == await handler.heard(len(messages))
        assert 0 == door.sweeper.paused


@on_uvloop
async def test_a_socket_on_which_much_gathers_is_read_more_often_until_less_does():
    async with swept(interval_ms=50) as door:
        peer, handler = await door.call()
        [one] = door.sweeper._sockets.values()
        messages = texts(GATHERED_BYTES_MAX + 4000)
        await peer.send(frames(messages))
        await handler.heard(len(messages))
        assert (1, 0.025) == (door.sweeper.paused, one.interval_s)
        more = texts(SPARSE_BYTES_MAX - 1000)
        await peer.send(frames(more))

        assert messages + more == await handler.heard(len(messages + more))
        assert (1, 0.05) == (door.sweeper.paused, one.interval_s)


@on_uvloop
async def test_one_that_may_not_wait_is_read_by_the_loop_and_swept_when_it_may():
    latency_ms = 0.0
    async with swept(latency_ms=lambda _: latency_ms) as door:
        peer, handler = await door.call()
        assert 0 == door.sweeper.paused
        latency_ms = inf
        door.sweeper.reconsider()
        assert 1 == door.sweeper.paused
        await peer.send(frame(b"a"))
        await handler.heard(1)
        latency_ms = 29.0  # a turn comes up to 10 ms late
        door.sweeper.reconsider()

        assert 0 == door.sweeper.paused


@on_uvloop
async def test_a_shorter_interval_holds_at_once():
    latency_ms = inf
    async with swept(5000, lambda _: latency_ms) as door:
        peer, handler = await door.call()
        await peer.send(frame(b"a"))
        latency_ms = 30.0
        begin_s = asyncio.get_running_loop().time()
        door.sweeper.reconsider()
        [one] = door.sweeper._sockets.values()

        assert one.turn_s <= begin_s + 0.03
        assert [b"a"] == await handler.heard(1)


@on_uvloop
async def test_many_sockets_are_spread_over_the_interval():
    async with swept(5000) as door:
        for _ in range(20):
            await door.call()
        turns = sorted(one.turn_s for one in door.sweeper._sockets.values())

        assert max(later - turn for turn, later in pairwise(turns)) < 0.6


class Broken(asyncio.Protocol):
    """A socket of ours that fails on everything."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def feed(self, data: bytes) -> None:
        raise AssertionError

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


@on_uvloop
async def test_a_socket_that_fails_is_cut_and_the_others_are_read():
    async with swept() as door:
        peer, handler = await door.call()
        listening = socket.create_server(("127.0.0.1", 0))
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
        near.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, broken = await loop.connect_accepted_socket(Broken, near)
        door.sweeper.join(broken, transport, None)
        far.sendall(b"a")
        await peer.send(frame(b"a"))
        await broken.lost.wait()
        door.sweeper.leave(broken)

        assert [b"a"] == await handler.heard(1)
        listening.close()
        far.close()


@on_uvloop
async def test_a_socket_with_tls_stays_with_its_transport(tmp_path_factory):
    pair = make_pair(tmp_path_factory.mktemp("tls"), "pair")
    tls = TlsContext(pair.certificate, pair.key)
    async with Door(tls=tls, sweeper=sweeper_in_force()) as door:
        _, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=trusting(pair))
        writer.write(request() + frame(b"a"))
        handler = await door.handler()

        assert [b"a"] == await handler.heard(1)
        assert (0, 0) == (door.sweeper.paused, door.sweeper.reads)
        writer.transport.abort()


async def test_on_another_loop_than_uvloop_nothing_is_swept():
    async with asyncio.timeout(10), swept() as door:
        peer, handler = await door.call()
        await peer.send(frame(b"a"))

        assert [b"a"] == await handler.heard(1)
        assert (0, 0) == (door.sweeper.paused, door.sweeper.reads)


def borders(length: int, places: list[int]) -> Iterator[tuple[int, int]]:
    cuts = [0, *sorted(place % (length + 1) for place in places), length]
    yield from pairwise(cuts)


pieces = st.one_of(
    st.integers(0, 40_000).map(
        lambda length: frame(bytes(97 + length % 26 for _ in range(length)))
    ),
    st.binary(max_size=125).map(lambda payload: frame(payload, PING)),
)


@settings(max_examples=40, deadline=None)
@given(
    stream=st.lists(pieces, min_size=1, max_size=8).map(b"".join),
    cuts=st.lists(st.tuples(st.integers(0, 300_000), st.sampled_from(["loop", "sweep", "wait"]))),
)
def test_the_same_is_heard_and_answered_whoever_reads_and_however_often_that_changes(stream, cuts):
    whole = PaperSocket()
    whole.feed([stream, close_frame()])
    movements = dict(sorted((place % (len(stream) + 1), what) for place, what in cuts))

    @on_uvloop
    async def moved() -> None:
        latency_ms = inf
        async with swept(latency_ms=lambda _: latency_ms) as door:
            peer, handler = await door.call()
            for begin, end in borders(len(stream), list(movements)):
                await peer.send(stream[begin:end])
                if movements.get(end) == "wait":
                    await asyncio.sleep(0.012)
                else:
                    latency_ms = 0.0 if movements.get(end) == "loop" else inf
                    door.sweeper.reconsider()
            await peer.send(close_frame())
            assert await handler.over() == (1000, True)
            assert whole.handler.messages == handler.messages
            assert whole.transport.written == await peer.rest()

    moved()
