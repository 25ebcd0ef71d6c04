from bench.faults.sent import SETTLE_S, SentCall, SentSocket


def test_a_call_is_the_same_after_it_was_kept() -> None:
    call = SentCall(3, "id", 2, 1000, [SentSocket(1, 0, 10, 20, "closed")])

    assert call == SentCall.from_json(call.as_json())
    assert 20 == call.packets


def test_what_was_handed_over_is_told_by_participant() -> None:
    assert [3, 2, 2] == [SentSocket(0, 0, 9, 7).handed_of(place, 3) for place in range(3)]


def test_a_gateway_killed_soon_after_a_sockets_end_may_have_kept_less() -> None:
    def end(gateway: int, at_s: float, before: str = "closed") -> str:
        socket = SentSocket(1, 0, 10, 20, before, dialled_s=100, over_s=120)
        SentCall(3, "id", 2, 1000, [socket]).mark_killed([(gateway, at_s)])
        return socket.end

    assert "killed" == end(1, 110)
    assert "killed" == end(1, 120 + SETTLE_S, "half-closed")
    assert "closed" == end(1, 121 + SETTLE_S)
    assert "closed" == end(1, 99)
    assert "closed" == end(0, 110)
    assert "closed by the server, 1011" == end(1, 110, "closed by the server, 1011")
