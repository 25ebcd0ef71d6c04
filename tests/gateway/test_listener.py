"""Accepting on sockets that are shared, short of descriptors, and with TLS."""

import asyncio
import errno
import logging
import os
import resource
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from certificates import Pair, make_pair, trusting
from media_door import Door, close_frame, frame, on_uvloop, request, until

from gateway.capacity import Capacity, CapacityLimits, Slot
from gateway.front import SocketLimits
from gateway.listener import PAUSE_S, Listener, TlsContext
from gateway.websocket import UNSENT_BYTES_MAX


class Visit(asyncio.Protocol):
    """A connection that was taken over: it says hello and ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")
        transport.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        listening.setblocking(False)
        yield listening


async def greeting(peer: socket.socket) -> bytes:
    """What it is told until the end; then it is closed."""
    loop = asyncio.get_running_loop()
    with peer:
        said = b""
        while piece := await loop.sock_recv(peer, 100):
            said += piece
        return said


def dial(listening: socket.socket) -> socket.socket:
    peer = socket.create_connection(listening.getsockname())
    peer.setblocking(False)
    return peer


def listener(listening: socket.socket) -> Listener:
    return Listener(listening, lambda _: Visit(), None, 5)


@on_uvloop
async def test_every_connection_gets_a_protocol_of_its_own(listening):
    accepting = listener(listening)
    accepting.start()

    assert [b"hello"] * 10 == [await greeting(dial(listening)) for _ in range(10)]
    assert (10, 0, 0) == (accepting.accepted, accepting.failed, accepting.pauses)

    accepting.close()


@on_uvloop
async def test_two_that_share_a_socket_take_turns_at_its_backlog(listening):
    peers = [dial(listening) for _ in range(20)]
    shares = [listener(listening), listener(listening.dup())]
    for share in shares:
        share.start()

    assert [b"hello"] * 20 == [await greeting(peer) for peer in peers]
    assert [10, 10] == [share.accepted for share in shares]

    for share in shares:
        share.close()


@on_uvloop
async def test_one_that_closes_leaves_the_socket_to_the_other(listening):
    shares = [listener(listening.dup()), listener(listening)]
    for share in shares:
        share.start()
    shares[0].close()
    said = [await greeting(dial(listening)) for _ in range(5)]
    shares[1].close()

    assert [b"hello"] * 5 == said
    assert [0, 5] == [share.accepted for share in shares]


@on_uvloop
async def test_after_the_last_close_connections_are_refused(listening):
    address = listening.getsockname()
    accepting = listener(listening)
    accepting.start()
    accepting.close()
    accepting.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@on_uvloop
async def test_a_unix_socket_does_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("door")
        listening.listen()
        listening.setblocking(False)
        accepting = listener(listening)
        accepting.start()
        peer = socket.socket(socket.AF_UNIX)
        peer.connect("door")
        peer.setblocking(False)

        assert b"hello" == await greeting(peer)

        accepting.close()


class Moody(socket.socket):
    """A listening socket that fails as told before it accepts."""

    moods: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        if self.moods:
            mood = self.moods.pop(0)
            raise OSError(mood, os.strerror(mood))
        return super().accept()


@on_uvloop
async def test_who_left_before_it_was_accepted_is_counted_and_a_slow_hand_is_not(caplog):
    with Moody() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        listening.moods = [errno.EAGAIN, errno.ECONNABORTED, errno.EINTR]
        accepting = listener(listening)
        accepting.start()

        assert b"hello" == await greeting(dial(listening))
        assert (1, 1, 0) == (accepting.accepted, accepting.failed, accepting.pauses)
        assert "" == caplog.text

        accepting.close()


@on_uvloop
async def test_a_fault_of_ours_is_logged_and_ends_that_connection_only(listening, caplog):
    visits = [RuntimeError("broken"), None]

    def visit(_: Slot) -> Visit:
        fault = visits.pop(0)
        if fault:
            raise fault
        return Visit()

    accepting = Listener(listening, visit, None, 5)
    accepting.start()

    assert [b"", b"hello"] == [await greeting(dial(listening)) for _ in range(2)]
    assert 1 == accepting.failed
    assert "a connection could not be taken over" in caplog.text

    accepting.close()


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing more can be opened by this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@on_uvloop
async def test_without_descriptors_it_pauses_says_so_once_and_goes_on_later(listening, caplog):
    accepting = listener(listening)
    accepting.start()
    peers = [dial(listening) for _ in range(3)]
    with no_descriptors():
        await until(lambda: accepting.pauses == 3)

        assert 0 == accepting.accepted

    assert [b"hello"] * 3 == [await greeting(peer) for peer in peers]
    assert ["connections cannot be accepted, trying again: Too many open files"] == caplog.messages

    accepting.close()


@on_uvloop
async def test_one_that_is_closed_in_its_pause_stays_closed(listening):
    accepting = listener(listening)
    with dial(listening), no_descriptors():
        accepting.start()
        await until(lambda: accepting.pauses == 1)
        accepting.close()
    await asyncio.sleep(2 * PAUSE_S)

    assert 1 == accepting.pauses


class Speaker:
    """A client whose TLS is there."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @property
    def shown(self) -> bytes:
        """The certificate of the other side."""
        return self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)

    async def upgrade(self) -> None:
        self.writer.write(request())
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")


@asynccontextmanager
async def speaker(door: Door, *pairs: Pair) -> AsyncIterator[Speaker]:
    context = trusting(*pairs)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=context)
    try:
        yield Speaker(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, "first")


@pytest.fixture
def tls(pair: Pair) -> TlsContext:
    return TlsContext(pair.certificate, pair.key)


@on_uvloop
async def test_a_call_over_tls_is_heard_and_closed_in_order(tls, pair):
    async with Door(tls=tls) as door, speaker(door, pair) as peer:
        await peer.upgrade()
        handler = await door.handler()
        peer.writer.write(frame(b"x" * 500) + frame(b"y" * 65_000) + close_frame())

        assert (1000, True) == await handler.over()
        assert [b"x" * 500, b"y" * 65_000] == handler.texts
        assert b"\x88\x02" + (1000).to_bytes(2) == await peer.reader.read()
        assert (1, 0) == (door.listener.accepted, door.listener.failed)


@on_uvloop
async def test_a_refusal_over_tls_is_read_to_its_end(tls, pair):
    async with Door(tls=tls) as door, speaker(door, pair) as peer:
        peer.writer.write(request(method="POST", without=("Upgrade",)))
        answer = await peer.reader.read()

        assert answer.startswith(b"HTTP/1.1 405 ")
        assert answer.endswith(b"a GET\n")


@on_uvloop
async def test_an_end_of_tls_without_a_close_frame_is_improper(tls, pair):
    async with Door(tls=tls) as door:
        for leave in ("close", "abort"):
            async with speaker(door, pair) as peer:
                await peer.upgrade()
                handler = await door.handler()
                getattr(peer.writer.transport, leave)()

                assert (None, False) == await handler.over()


def silent_speaker(port: int, pair: Pair, release: threading.Event) -> None:
    """Closes its call by a frame, and then neither reads nor ends its TLS."""
    plain = socket.create_connection(("127.0.0.1", port))
    with trusting(pair).wrap_socket(plain, server_hostname="127.0.0.1") as peer:
        peer.sendall(request() + close_frame())
        release.wait(10)


@on_uvloop
async def test_a_peer_that_never_ends_its_tls_is_cut(tls, pair):
    release = threading.Event()
    async with Door(SocketLimits(close_s=5), tls=tls) as door:
        silent = asyncio.create_task(asyncio.to_thread(silent_speaker, door.port, pair, release))
        handler = await door.handler()

        assert (1000, True) == await handler.over()

        door.tend(after_s=4.9)

        assert 1 == len(door.front.sockets)

        door.tend(after_s=5.1)
        await door.empty()
        release.set()
        await silent


@on_uvloop
async def test_to_a_tls_peer_that_does_not_read_only_so_much_is_kept(tls, pair):
    async with Door(tls=tls) as door, speaker(door, pair) as peer:
        await peer.upgrade()
        peer.writer.transport.pause_reading()
        [sender] = door.sockets
        sent = [sender.send_text(bytes(100_000)) for _ in range(300)]

        assert {True, False} == set(sent)
        assert sent.count(False) == door.counters.unsent_dropped
        assert sender._transport.get_write_buffer_size() <= UNSENT_BYTES_MAX


@on_uvloop
async def test_a_reload_serves_the_new_certificate_to_new_connections(tls, pair, tmp_path):
    renewed = make_pair(tmp_path, "second")
    async with Door(tls=tls) as door, speaker(door, pair) as old:
        await old.upgrade()
        renewed.copy_to(pair)
        tls.reload()
        async with speaker(door, renewed) as new:
            await new.upgrade()
            handlers = [await door.handler(), await door.handler()]
            for peer in (old, new):
                peer.writer.write(frame(b"still here"))

            assert (pair.shown, renewed.shown) == (old.shown, new.shown)
            assert [[b"still here"]] * 2 == [await handler.heard(1) for handler in handlers]


@pytest.mark.parametrize("broken", ["certificate", "key", "another key", "gone"])
@on_uvloop
async def test_a_reload_of_broken_files_keeps_the_old_certificate(tls, pair, tmp_path, broken):
    if broken == "certificate":
        pair.certificate.write_text("-----BEGIN CERTIFICATE-----\nno\n")
    elif broken == "key":
        pair.key.write_text("")
    elif broken == "another key":
        pair.key.write_bytes(make_pair(tmp_path, "second").key.read_bytes())
    else:
        pair.key.unlink()

    with pytest.raises(ValueError, match="cannot be used") as told:
        tls.reload()

    assert str(pair.certificate) in str(told.value)
    assert str(pair.key) in str(told.value)

    async with Door(tls=tls) as door, speaker(door, pair) as peer:
        assert pair.shown == peer.shown


def test_a_key_with_a_passphrase_is_refused_by_name(tmp_path):
    locked = make_pair(tmp_path, "locked", b"secret")

    with pytest.raises(ValueError, match=r"locked\.key cannot be used: .*passphrase"):
        TlsContext(locked.certificate, locked.key)


@on_uvloop
async def test_old_versions_of_tls_are_refused(tls, pair):
    context = trusting(pair)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with Door(tls=tls) as door:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("127.0.0.1", door.port, ssl=context)
        await until(lambda: door.listener.failed == 1)


@pytest.mark.parametrize("said", [request(), b"\x16\x03\x01\x00\x05hello", b""])
@pytest.mark.parametrize("ends", ["shutdown", "reset"])
@on_uvloop
async def test_a_peer_that_speaks_no_tls_is_counted_and_nothing_is_logged(tls, said, ends, caplog):
    caplog.set_level(logging.WARNING)
    async with Door(tls=tls) as door:
        peer = await door.dial()
        await peer.send(said)
        if ends == "shutdown":
            peer.socket.shutdown(socket.SHUT_WR)
        else:
            peer.reset()
        await until(lambda: door.listener.failed == 1)

        assert (1, 1) == (door.listener.accepted, door.listener.failed)
        assert "" == caplog.text
        assert not door.front.sockets


@on_uvloop
async def test_a_tls_handshake_that_is_never_finished_is_cut(tls, caplog):
    async with Door(SocketLimits(handshake_s=0.2), tls=tls) as door:
        peer = await door.dial()
        await peer.send(b"\x16\x03\x01")
        await peer.rest()
        await until(lambda: door.listener.failed == 1)

        assert "" == caplog.text


@on_uvloop
async def test_the_time_of_the_tls_handshake_counts_as_the_handshakes(tls, pair):
    async with Door(SocketLimits(handshake_s=5), tls=tls) as door, speaker(door, pair) as peer:
        await door.connected()
        peer.writer.write(request()[:20])
        door.tend(after_s=5.1)
        await door.empty()

        with pytest.raises(ConnectionResetError):
            await peer.reader.read()
        assert 1 == door.counters.handshake_timeouts


class Narrow:
    """A door that waits twice before each connection, and has one slot."""

    def __init__(self) -> None:
        self.capacity = Capacity(CapacityLimits(sessions_max=1))
        self.waits = 2
        self.happened: list[str] = []

    def wait_s(self) -> float:
        self.waits -= 1
        self.happened.append("wait" if self.waits >= 0 else "go")
        return 0.001 if self.waits >= 0 else 0.0

    def take(self) -> Slot:
        self.waits = 2
        return self.capacity.take()

    def missed(self) -> None:
        self.happened.append("missed")

    def failed(self) -> None:
        self.happened.append("failed")


@on_uvloop
async def test_the_door_decides_when_to_accept_and_who_has_a_slot(listening):
    door, slots = Narrow(), []

    def visit(slot: Slot) -> Visit:
        slots.append(slot)
        return Visit()

    accepting = Listener(listening, visit, None, 5, door)
    accepting.start()

    assert [b"hello"] * 2 == [await greeting(dial(listening)) for _ in range(2)]
    assert ["wait", "wait", "go"] * 2 == door.happened[:6]
    assert [None, "sessions"] == [each.shortage and each.shortage.name for each in slots]

    accepting.close()


@on_uvloop
async def test_a_connection_that_another_process_took_in_the_pause_is_told_as_missed(listening):
    class Patient(Narrow):
        def wait_s(self) -> float:
            return 200 * super().wait_s()

    door = Patient()
    accepting = Listener(listening, lambda _: Visit(), None, 5, door)
    accepting.start()
    with dial(listening):
        await until(lambda: bool(door.happened))
        listening.accept()[0].close()
        await until(lambda: "missed" in door.happened)

    assert (["wait", "missed"], 0) == (door.happened, accepting.accepted)

    accepting.close()


@on_uvloop
async def test_the_door_is_told_when_nothing_can_be_accepted(listening):
    door = Narrow()
    door.waits = 0
    accepting = Listener(listening, lambda _: Visit(), None, 5, door)
    with dial(listening), no_descriptors():
        accepting.start()
        await until(lambda: accepting.pauses == 1)
        accepting.close()

    assert ["go", "failed"] == door.happened


@on_uvloop
async def test_a_connection_that_fails_before_it_has_a_protocol_gives_its_slot_back(
    listening, caplog
):
    door = Narrow()

    def visit(_: Slot) -> Visit:
        raise RuntimeError("broken")

    accepting = Listener(listening, visit, None, 5, door)
    accepting.start()

    assert b"" == await greeting(dial(listening))
    assert (0, 0) == (door.capacity.slots, door.capacity.connections)

    accepting.close()
