import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.load.frames import Speech
from bench.load.lines import Line, Place, State, Switchboard, offsets_of
from bench.load.rig import TICK_S

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        yield listener


@pytest.fixture
def board(listener: socket.socket, tmp_path: Path) -> Iterator[Switchboard]:
    board = Switchboard(listener.getsockname()[1], Speech(2), tmp_path / "calls")
    yield board
    board.close()


def until(board: Switchboard, is_so: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline_s
        board.listen(time.perf_counter())
        time.sleep(0.001)


def answered(board: Switchboard, listener: socket.socket, answer: bytes) -> socket.socket:
    board.dial(7)
    until(board, lambda: all(line.state is State.UPGRADING for line in board._pending.values()))
    server, _ = listener.accept()
    server.settimeout(5)
    server.recv(4096)
    server.sendall(answer)
    return server


def opened(board: Switchboard, listener: socket.socket) -> tuple[Line, socket.socket]:
    server = answered(board, listener, UPGRADED)
    until(board, lambda: board.open)
    (line,) = board.take_opened()
    return line, server


def test_streams_of_neighbours_are_spread_over_the_tick() -> None:
    offsets = sorted(offset for number in range(50) for offset in Place(number, 2).offsets_s())

    gaps = [two - one for one, two in itertools.pairwise(offsets)]
    assert max(gaps) < 3 * TICK_S / 100
    assert 0 <= offsets[0] <= offsets[-1] < TICK_S


def test_correlation_id_says_when_the_streams_speak() -> None:
    place = Place(3, 2)

    assert [round(1e6 * each) for each in place.offsets_s()] == offsets_of(place.correlation_id())


def test_correlation_id_of_another_call_is_refused() -> None:
    with pytest.raises(ValueError, match="not of a call of the bench"):
        offsets_of("5b1e7c5e-7f5d-4f0a-9d3b-8c2f3f1f6f10")


def test_answered_call_is_open_and_how_long_it_took_is_known(
    board: Switchboard, listener: socket.socket
) -> None:
    line, server = opened(board, listener)

    with server:
        assert (1, 1, State.OPEN) == (board.dialled, len(board.accept), line.state)
        assert b"\x81" == server.recv(1)  # the metadata


def test_refused_call_is_counted_by_status(board: Switchboard, listener: socket.socket) -> None:
    server = answered(board, listener, b"HTTP/1.1 503 Service Unavailable\r\n\r\n")

    with server:
        until(board, lambda: board.refused)
    assert {"503": 1} == board.refused
    assert (0, 0) == (board.dialled, board.pending)


def test_call_that_the_server_cuts_is_lost(board: Switchboard, listener: socket.socket) -> None:
    line, server = opened(board, listener)

    server.close()
    until(board, lambda: board.lost)

    assert [line] == board.take_lost()


def test_hung_up_call_is_noted_and_ends_with_the_answer(
    board: Switchboard, listener: socket.socket, tmp_path: Path
) -> None:
    line, server = opened(board, listener)
    line.first_tick, line.ticks = 4, 9

    board.hang_up(line)
    with server:
        server.sendall(b"\x88\x02\x03\xe8")
        until(board, lambda: board.ended)

    noted = json.loads((tmp_path / "calls").read_text())
    assert (line.call_id, 7, 4, 9, 0) == tuple(
        noted[name] for name in ("call_id", "number", "first", "ticks", "unsent")
    )
