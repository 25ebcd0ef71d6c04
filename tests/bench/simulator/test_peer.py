"""One socket against small servers of the test: what it sends, answers, counts, and how it ends."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection

from bench.simulator.peer import Peer, Refused, Unreachable, dial, origin_of, parse_url

HEADERS = {"x-ms-call-connection-id": "c", "x-ms-call-correlation-id": "d"}


async def dialled(url: str) -> Peer:
    return await dial(parse_url(url), HEADERS, None)


async def test_texts_of_every_size_arrive_whole_and_in_order(serving: Any, heard: Any) -> None:
    texts = ["", "a", "b" * 125, "c" * 126, "é" * 500, "d" * 65_535, "e" * 65_536, "f" * 70_000]
    peer = await dialled(await serving(heard.listen))
    peer.send([text.encode() for text in texts])
    assert await peer.close() == (1000, True)
    await heard.settle()
    assert texts == heard.texts["c"]


async def test_headers_come_with_the_upgrade_and_nothing_is_offered(serving: Any) -> None:
    requests: list[Request] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        requests.append(connection.request)

    url = await serving(handler)
    peer = await dialled(f"{url}?secret=1")
    await peer.lost
    headers = requests[0].headers
    assert requests[0].path == "/media?secret=1"
    assert headers["x-ms-call-connection-id"] == "c"
    assert "Sec-WebSocket-Extensions" not in headers
    assert "Sec-WebSocket-Protocol" not in headers


async def test_ping_is_answered(serving: Any) -> None:
    answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        answered.set_result(await (await connection.ping()))

    peer = await dialled(await serving(handler))
    async with asyncio.timeout(10):
        assert await answered >= 0
    await peer.close()


async def test_what_the_server_says_is_counted(serving: Any) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("12345")
        await connection.send(["12", "34"])
        await connection.send(b"binary")

    peer = await dialled(await serving(handler))
    await peer.lost
    assert (peer.texts_heard, peer.bytes_heard) == (2, 9)


async def test_refusal_tells_its_status(serving: Any) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "full")

    async def handler(connection: ServerConnection) -> None:
        raise AssertionError("was to be refused")

    url = await serving(handler, process_request=refuse)
    with pytest.raises(Refused, match="HTTP 503"):
        await dialled(url)


async def test_close_in_mid_call_gives_the_server_s_code(serving: Any) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.close(1013, "later")

    peer = await dialled(await serving(handler))
    await peer.lost
    assert not peer.is_open
    assert await peer.close() == (1013, False)


async def test_connection_that_is_dropped_is_1006(serving: Any) -> None:
    async def handler(connection: ServerConnection) -> None:
        connection.transport.abort()

    peer = await dialled(await serving(handler))
    await peer.lost
    assert peer.end == (1006, False)


async def test_nothing_listens_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="refused"):
        await dialled("ws://127.0.0.1:1/media")


async def talk_to(answer: bytes) -> None:
    """Dial a server that says `answer` and hangs up."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await dialled(f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 101 x\r\n\r\n"])
async def test_server_that_is_no_websocket_server_refuses(answer: bytes) -> None:
    with pytest.raises(Refused, match="no valid answer"):
        await talk_to(answer)


async def test_server_that_is_slow_to_read_fills_the_peer_and_empties_it(
    serving: Any, heard: Any
) -> None:
    may_read = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        await may_read.wait()
        await heard.listen(connection)

    peer = await dialled(await serving(handler, max_queue=1))
    sent = 0
    while not peer.is_full:
        peer.send([b"x" * 60_000])
        sent += 60_000
        await asyncio.sleep(0)
    may_read.set()
    assert await peer.close() == (1000, True)
    assert not peer.is_full
    await heard.settle()
    assert sum(map(len, heard.texts["c"])) == sent


def test_url_that_may_be_shown_has_no_path_and_no_query() -> None:
    assert origin_of(parse_url("wss://host/secret?token=1")) == "wss://host:443"
    assert origin_of(parse_url("ws://[::1]:8080/secret")) == "ws://[::1]:8080"


@pytest.mark.parametrize("url", ["http://host", "host", "ws://", "ws://host:port/", "ws://h/#f"])
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_url(url)
