"""What sockets share: each is swept, closed or cut once, and what happened is counted."""

from gateway.front import Front, SocketLimits


class Written:
    """A socket that writes down what it was told; one that is cut leaves, as real ones do."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self.told: list[tuple[object, ...]] = []
        front.sockets.add(self)

    def tend(self, now_s: float) -> None:
        self.told.append(("tend", now_s))

    def close(self, code: int, reason: str = "") -> None:
        self.told.append(("close", code, reason))

    def abort(self) -> None:
        self.told.append(("abort",))
        self._front.sockets.discard(self)


def front_of(count: int) -> tuple[Front, list[Written]]:
    def refuse(_: object) -> None:
        raise AssertionError("nobody comes in here")

    front = Front(refuse, SocketLimits())
    return front, [Written(front) for _ in range(count)]


def test_tending_reaches_every_socket_with_the_time():
    front, sockets = front_of(3)
    front.tend(12.5)

    assert [[("tend", 12.5)]] * 3 == [socket.told for socket in sockets]


def test_close_all_closes_every_socket_with_code_and_reason():
    front, sockets = front_of(2)
    front.close_all(1001, "the server stops")

    assert [[("close", 1001, "the server stops")]] * 2 == [socket.told for socket in sockets]
    assert set(sockets) == front.sockets


def test_abort_all_cuts_every_socket_although_they_leave_meanwhile():
    front, sockets = front_of(3)
    front.abort_all()

    assert [[("abort",)]] * 3 == [socket.told for socket in sockets]
    assert set() == front.sockets


def test_a_front_without_sockets_has_nothing_to_do():
    front, _ = front_of(0)
    front.tend(1.0)
    front.close_all(1001, "")
    front.abort_all()

    assert set() == front.sockets


def test_counters_begin_at_zero_and_have_names_and_texts_of_their_own():
    front, _ = front_of(0)
    totals = list(front.counters.totals())
    breakdowns = list(front.counters.breakdowns())
    names = [name for name, *_ in (*totals, *breakdowns)]

    assert {0} == {value for *_, value in totals}
    assert len(names) == len(set(names))
    assert all(text.endswith(".") for _, text, *_ in totals)
    assert not any(values for *_, values in breakdowns)


def test_counters_are_told_as_they_are():
    front, _ = front_of(0)
    counters = front.counters
    counters.accepted, counters.messages, counters.unsent_dropped = 1, 2, 3
    counters.handshake_timeouts, counters.handler_faults = 4, 5
    counters.refused["404"] += 6
    counters.closed["1000"] += 7

    assert {
        "upgrades": 1,
        "messages": 2,
        "unsent_dropped": 3,
        "handshake_timeouts": 4,
        "handler_faults": 5,
    } == {name: value for name, _, value in counters.totals()}
    assert {"refused": {"404": 6}, "closes": {"1000": 7}} == {
        name: dict(values) for name, _, _, values in counters.breakdowns()
    }
