"""What a peer meets at the sockets of a real node: TLS, close codes, deadlines, a drain."""

import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import acs_packets as acs
import pytest
from certificates import Pair, make_pair, trusting
from node import Node, eventually, fetch, samples
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect

RECORDING = "[recording]\ngather_s = 0.3\nredial_wait_s = 0.5\n"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One for every test that does not end it."""
    data = tmp_path_factory.mktemp("node") / "data"
    node = Node(data, config=f"{RECORDING}[gateway]\nhandshake_s = 2\n")
    yield node
    node.kill()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def dial(node: Node, call_id: str = "", trust: ssl.SSLContext | None = None) -> ClientConnection:
    headers = {"x-ms-call-connection-id": call_id}
    return connect(node.url, additional_headers=headers, compression=None, ssl=trust)


def plain(node: Node) -> socket.socket:
    address = urlsplit(node.url)
    assert address.hostname is not None
    peer = socket.create_connection((address.hostname, address.port or 0))
    peer.settimeout(30)
    return peer


def close_code(call: ClientConnection) -> int:
    """The code of the close frame that comes."""
    with pytest.raises(ConnectionClosed) as closed:
        call.recv(timeout=30)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def talk(call: ClientConnection, packets: range) -> bytes:
    for number in packets:
        call.send(acs.audio("8:acs:a", acs.pcm(number), acs.stamp(20 * number)).decode())
    return b"".join(acs.pcm(number) for number in packets)


def recorded(node: Node, call_id: str) -> bytes:
    manifest = node.finished(call_id)
    [track] = manifest["tracks"]
    return samples(manifest, track)


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/media", 426), ("/media/x", 426)])
def test_a_plain_get_gets_a_short_answer(node, path, status):
    url = node.url.replace("ws://", "http://").removesuffix("/media") + path
    told, body = fetch(url)

    assert status == told
    assert 1 == len(body.splitlines())


def test_a_post_is_told_the_method(node):
    with plain(node) as peer:
        peer.sendall(b"POST /media HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = peer.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: GET\r\n" in answer


def test_messages_in_binary_and_in_fragments_are_packets_like_any_other(node):
    packets = [acs.audio("8:acs:a", acs.pcm(number), acs.stamp(20 * number)) for number in range(3)]
    with dial(node, "binary") as call:
        call.send(packets[0])
        call.send([packets[1][:100].decode(), packets[1][100:].decode()])
        call.send([packets[2][:1], packets[2][1:700], packets[2][700:]])

    assert b"".join(acs.pcm(number) for number in range(3)) == recorded(node, "binary")


def test_a_run_of_bad_packets_closes_with_1008(node):
    with dial(node, "bad") as call:
        for bad in ("{", "[]", '{"kind": 1}') * 16:  # 48
            call.send(bad)
        sent = talk(call, range(10))
        for _ in range(50):
            call.send("{")

        assert 1008 == close_code(call)
    assert sent == recorded(node, "bad")


@pytest.mark.parametrize("length", [10, 500])
def test_text_that_is_no_utf8_closes_with_1007(node, length):
    with dial(node) as call:
        call.send(b'"' + b"\xff" * length + b'"', text=True)

        assert 1007 == close_code(call)


def test_a_message_over_64_kib_closes_with_1009_and_one_of_64_kib_does_not(node):
    with dial(node, "long") as call:
        call.send(" " * 65_535 + "0")  # JSON, but no packet
        sent = talk(call, range(10))
        call.send(" " * 65_536 + "0")

        assert 1009 == close_code(call)
    assert sent == recorded(node, "long")


@pytest.mark.parametrize("says", [b"", b"GET /media HTTP/1.1\r\nX: "])
def test_a_handshake_that_is_never_finished_is_cut_however_it_trickles(node, says):
    with plain(node) as peer:
        peer.sendall(says)
        peer.settimeout(0.05)
        is_cut = False
        deadline = time.monotonic() + 30
        while not is_cut and time.monotonic() < deadline:
            try:
                if says:
                    peer.send(b"x")
                is_cut = peer.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                is_cut = True

    assert is_cut


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, "first")


@pytest.fixture
def tls_node(data: Path, pair: Pair) -> Iterator[Node]:
    files = ("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key))
    node = Node(data, *files, config=RECORDING)
    yield node
    node.kill()


def shown(node: Node, trust: ssl.SSLContext) -> bytes | None:
    """The certificate that a new call meets."""
    with dial(node, trust=trust) as call:
        assert isinstance(call.socket, ssl.SSLSocket)
        return call.socket.getpeercert(binary_form=True)


def test_calls_come_in_by_wss_and_sighup_renews_the_certificate(tls_node, pair, tmp_path):
    renewed = make_pair(tmp_path, "second")
    trust = trusting(pair, renewed)
    with dial(tls_node, "secure", trust) as call:
        sent = talk(call, range(50))

        assert pair.shown == shown(tls_node, trust)

        renewed.copy_to(pair)
        tls_node.process.send_signal(signal.SIGHUP)
        eventually(lambda: shown(tls_node, trust) == renewed.shown)
        pair.key.write_text("no key")
        tls_node.process.send_signal(signal.SIGHUP)
        eventually(lambda: "the old certificate stays in force" in tls_node.log())

        assert renewed.shown == shown(tls_node, trust)

        sent += talk(call, range(50, 100))

    assert sent == recorded(tls_node, "secure")


def test_a_peer_without_tls_harms_nobody(tls_node, pair):
    with plain(tls_node) as peer:
        peer.sendall(b"GET /media HTTP/1.1\r\nHost: x\r\n\r\n")
        peer.makefile("rb").read()
    with dial(tls_node, "secure", trusting(pair)) as call:
        sent = talk(call, range(10))

    assert sent == recorded(tls_node, "secure")
    assert "Traceback" not in tls_node.log()


def is_refused(node: Node) -> bool:
    """Whether no new call comes in."""
    try:
        with dial(node):
            return False
    except InvalidStatus as refused:
        return refused.response.status_code == 503
    except (OSError, InvalidMessage):
        return True  # nobody listens, or no longer: it was in the backlog


def test_a_drain_refuses_new_calls_lets_one_go_on_and_closes_it_with_1001(data):
    node = Node(data, "--drain-s", "20", config=RECORDING)  # of which calls have half
    try:
        with dial(node, "last") as call:
            sent = talk(call, range(50))
            node.process.send_signal(signal.SIGTERM)
            eventually(lambda: is_refused(node))
            sent += talk(call, range(50, 100))

            assert 1001 == close_code(call)
        exit_code = node.process.wait(30)
        manifest = node.manifest("last")
    finally:
        node.kill()

    assert 0 == exit_code
    assert manifest is not None
    assert 1001 == manifest["sessions"][0]["close_code"]
    assert sent == samples(manifest, manifest["tracks"][0])
