import pytest
from hand_gateway import audio, batch
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import messages
from gateway.wire.errors import WireError
from gateway.wire.messages import Ack, Bye, Gone, Heartbeat, Hello
from workers.links import (
    ACK_US,
    HEARTBEAT_US,
    HELLO_RETRY_US,
    SILENT_US,
    WorkerIdentity,
    WorkerLinks,
)
from workers.metrics import LinkCounters


class Taker:
    """A consumer that is told what is safe."""

    def __init__(self):
        self.taken, self.forgotten, self.safe_numbers = [], [], {}
        self.bad = set()

    def receive(self, link, number, message, now_us):
        if number in self.bad:
            raise WireError("bad")
        self.taken.append((link, number))

    def safe(self):
        return self.safe_numbers

    def unsynced_us(self, now_us):
        return 42

    def forget(self, link):
        self.forgotten.append(link)

    def advance(self, now_us): ...
    def close(self, now_us): ...
    def has_room(self):
        return True


class Bench:
    """The links of one worker, at a time that the test says."""

    def __init__(self):
        self.taker = Taker()
        self.counters = LinkCounters()
        identity = WorkerIdentity("record", "record-0", "boot-w", latency_ms=20, delivery="replay")
        self.links = WorkerLinks(identity, self.taker, self.counters)
        self.now_us = 1_000_000

    def say(self, message, gateway="g1"):
        packed = message if isinstance(message, bytes) else messages.pack(message)
        self.links.receive(gateway, packed, self.now_us)

    def after(self, passed_us):
        """Let time pass; what the worker says then, by gateway."""
        self.now_us += passed_us
        return [
            (gateway, messages.unpack_from_worker(message))
            for gateway, message in self.links.advance(self.now_us)
        ]

    def kinds(self, passed_us):
        return [type(message) for _, message in self.after(passed_us)]

    def link_up(self, gateway="g1", link=1):
        self.links.update([gateway], self.now_us)
        self.after(0)
        self.say(Heartbeat(link=link), gateway)
        self.after(0)

    def send(self, number, link=1):
        self.say(batch(audio(0), link=link, number=number))


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def up(bench):
    bench.link_up()
    return bench


def test_new_gateway_is_greeted(bench):
    assert (["g1"], []) == bench.links.update(["g1"], bench.now_us)

    [(gateway, hello)] = bench.after(0)

    assert "g1" == gateway
    assert (
        Hello(
            pool="record",
            name="record-0",
            boot_id="boot-w",
            link=1,
            latency_ms=20,
            delivery="replay",
        )
        == hello
    )


def test_known_gateway_is_not_greeted_again(up):
    assert ([], []) == up.links.update(["g1"], up.now_us)
    assert Hello not in up.kinds(HELLO_RETRY_US)


def test_hello_that_nobody_answers_is_said_again_with_the_same_number(bench):
    bench.links.update(["g1"], bench.now_us)
    bench.after(0)

    assert [] == bench.after(HELLO_RETRY_US - 1)
    [(_, hello)] = bench.after(1)

    assert 1 == hello.link
    assert not bench.links.is_linked


def test_heartbeat_answers_the_hello(up):
    assert up.links.is_linked
    assert 1 == up.counters.links_opened


def test_batch_answers_the_hello_as_well(bench):
    bench.links.update(["g1"], bench.now_us)

    bench.send(1)

    assert bench.links.is_linked
    assert [(("g1", 1), 1)] == bench.taker.taken


def test_vanished_gateway_is_forgotten(up):
    up.send(1)

    assert ([], ["g1"]) == up.links.update([], up.now_us)

    assert [("g1", 1)] == up.taker.forgotten
    assert [] == up.after(SILENT_US)


def test_gateway_that_comes_back_gets_a_link_of_another_number(up):
    up.links.update([], up.now_us)
    up.links.update(["g1"], up.now_us)

    [(_, hello)] = up.after(0)

    assert 2 == hello.link


def test_nothing_of_an_older_link_is_acknowledged_to_a_gateway_that_came_back(up):
    up.send(1)
    up.taker.safe_numbers = {("g1", 1): 1}
    up.links.update([], up.now_us)
    up.link_up(link=2)

    up.send(1, link=2)

    assert [("g1", Ack(link=2, safe=0, taken=1))] == [
        (gateway, said) for gateway, said in up.after(ACK_US) if isinstance(said, Ack)
    ]


def test_heartbeats_say_how_old_unsynced_audio_is(up):
    said = up.after(HEARTBEAT_US)

    assert [("g1", Heartbeat(link=1, unsynced_us=42))] == said
    assert [] == up.after(HEARTBEAT_US - 1)


def test_acknowledgement_says_what_is_taken_and_what_is_safe(up):
    up.send(1)
    up.send(2)
    up.taker.safe_numbers = {("g1", 1): 1}

    assert ("g1", Ack(link=1, safe=1, taken=2)) in up.after(ACK_US)


def test_acknowledgement_is_said_when_something_moved_only(up):
    up.send(1)
    assert Ack in up.kinds(ACK_US)

    assert Ack not in up.kinds(ACK_US)
    up.taker.safe_numbers = {("g1", 1): 1}

    assert Ack in up.kinds(ACK_US)


def test_acknowledgements_keep_their_distance(up):
    up.send(1)
    up.after(ACK_US)
    up.send(2)

    assert Ack not in up.kinds(ACK_US - 1)
    assert Ack in up.kinds(1)


def test_nothing_is_safe_that_was_not_taken(up):
    up.send(1)
    up.taker.safe_numbers = {("g1", 1): 9}

    assert ("g1", Ack(link=1, safe=1, taken=1)) in up.after(ACK_US)


def test_batch_that_the_consumer_cannot_read_counts_as_taken(up):
    up.taker.bad = {1}

    up.send(1)
    up.send(2)

    assert [(("g1", 1), 2)] == up.taker.taken
    assert 1 == up.counters.bad_batches
    assert ("g1", Ack(link=1, safe=0, taken=2)) in up.after(ACK_US)


def test_batch_without_a_header_is_counted(up):
    up.say(b"ACSB....")

    assert 1 == up.counters.bad_batches
    assert [] == up.taker.taken


def test_repeated_batch_is_ignored(up):
    up.send(1)
    up.send(1)

    assert 1 == up.counters.repeated_batches
    assert 1 == len(up.taker.taken)


def test_batch_of_another_link_is_ignored(up):
    up.send(1, link=7)

    assert 1 == up.counters.stale_batches
    assert [] == up.taker.taken


def test_missing_batch_ends_the_link(up):
    up.send(1)
    up.send(3)

    assert [("g1", 1)] == up.taker.forgotten
    [(_, hello)] = up.after(ACK_US)
    assert (Hello, 2) == (type(hello), hello.link)
    assert 1 == up.counters.missing_batches


def test_gone_ends_the_link_and_the_next_one_begins_at_once(up):
    up.send(1)
    up.say(Gone(link=1, reason="hung"))

    [(_, hello)] = up.after(ACK_US)

    assert 2 == hello.link
    assert [("g1", 1)] == up.taker.forgotten
    assert not up.links.is_linked


def test_batches_of_the_next_link_are_numbered_from_one(up):
    up.send(1)
    up.say(Gone(link=1, reason="hung"))
    up.say(Heartbeat(link=2))

    up.send(1, link=2)

    assert [(("g1", 1), 1), (("g1", 2), 1)] == up.taker.taken


def test_gateway_that_refuses_at_once_hears_one_hello_a_second(bench):
    bench.links.update(["g1"], bench.now_us)
    bench.after(0)
    bench.say(Gone(link=1, reason="no"))

    assert [] == bench.after(HELLO_RETRY_US - 1)
    [(_, hello)] = bench.after(1)

    assert 2 == hello.link


def test_gone_of_an_old_link_means_nothing(up):
    up.say(Gone(link=1, reason="hung"))
    up.say(Heartbeat(link=2))

    up.say(Gone(link=1, reason="hung"))

    assert up.links.is_linked
    assert [("g1", 1)] == up.taker.forgotten


def test_silent_gateway_gets_a_new_link(up):
    up.after(SILENT_US - 1)
    assert [] == up.taker.forgotten

    said = up.after(1)

    assert [("g1", 1)] == up.taker.forgotten
    assert 2 == said[0][1].link
    assert 1 == up.counters.links_silent


def test_gateway_that_speaks_keeps_its_link(up):
    for _ in range(4):
        up.say(Heartbeat(link=1))
        up.after(SILENT_US - 1)

    assert [] == up.taker.forgotten


def test_gateway_whose_messages_wait_is_not_silent(up):
    up.now_us += SILENT_US
    up.links.hear("g1", up.now_us)

    up.after(0)

    assert [] == up.taker.forgotten


def test_drain_message_changes_nothing(up):
    up.say(messages.Drain(link=1))

    assert up.links.is_linked


@pytest.mark.parametrize(
    ("message", "counter"),
    [(b"{}", "bad_messages"), (b"junk", "bad_messages"), (b'{"kind":"NEW"}', "unknown_messages")],
)
def test_messages_that_cannot_be_used_are_counted(up, message, counter):
    up.say(message)

    assert 1 == getattr(up.counters, counter)


def test_worker_that_drains_says_bye_and_goes_on(up):
    up.links.drain()

    assert Bye in up.kinds(0)
    up.send(1)
    up.taker.safe_numbers = {("g1", 1): 1}

    assert ("g1", Ack(link=1, safe=1, taken=1)) in up.after(ACK_US)
    assert not up.links.is_released


def test_bye_is_said_again_until_it_is_answered(up):
    up.links.drain()
    up.after(0)

    assert Bye not in up.kinds(HELLO_RETRY_US - 1)
    assert Bye in up.kinds(1)


def test_gone_releases_a_worker_that_drains(up):
    up.links.drain()
    up.say(Gone(link=1, reason="bye"))

    assert up.links.is_draining
    assert up.links.is_released
    assert [] == up.after(SILENT_US)
    up.links.update([], up.now_us)
    assert [("g1", 1)] == up.taker.forgotten


def test_batches_after_the_release_are_ignored(up):
    up.links.drain()
    up.say(Gone(link=1, reason="bye"))

    up.send(1)

    assert [] == up.taker.taken
    assert 1 == up.counters.stale_batches


def test_worker_waits_for_every_gateway(up):
    up.links.update(["g1", "g2"], up.now_us)
    up.links.drain()

    up.say(Gone(link=1, reason="bye"))
    assert not up.links.is_released
    up.links.update(["g1"], up.now_us)

    assert up.links.is_released


def test_silent_gateway_does_not_keep_a_worker_that_drains(up):
    up.links.drain()

    up.after(SILENT_US)

    assert up.links.is_released


def test_worker_that_drains_meets_no_new_gateways(up):
    up.links.drain()

    assert ([], []) == up.links.update(["g1", "g2"], up.now_us)


def test_worker_without_gateways_is_released_at_once(bench):
    assert not bench.links.is_released

    bench.links.drain()

    assert bench.links.is_released


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), st.integers(0, 3), st.integers(-1, 1)),
        st.tuples(st.just("gone"), st.integers(0, 1), st.just(0)),
        st.tuples(
            st.just("time"), st.sampled_from([1, ACK_US, HEARTBEAT_US, SILENT_US]), st.just(0)
        ),
        st.tuples(st.just("safe"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("drain"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_acknowledgements_hold(steps):
    bench = Bench()
    bench.link_up()
    link, acked = 1, {}
    for kind, number, beside in steps:
        if kind == "batch":
            bench.send(number, link=max(1, link + beside))
        elif kind == "gone":
            bench.say(Gone(link=max(1, link - number), reason="test"))
        elif kind == "safe":
            taken = [n for key, n in bench.taker.taken if key == ("g1", link)]
            bench.taker.safe_numbers = {("g1", link): min([number, *taken[-1:]])}
        elif kind == "drain":
            bench.links.drain()
        for _, message in bench.after(number if kind == "time" else 0):
            if isinstance(message, Hello):
                assert message.link >= link
                link = message.link
            if isinstance(message, Ack):
                numbers = [n for key, n in bench.taker.taken if key == ("g1", message.link)]
                assert list(range(1, message.taken + 1)) == numbers
                assert message.safe <= message.taken
                assert message.taken >= acked.get(message.link, 0)
                acked[message.link] = message.taken
    forgotten = bench.taker.forgotten
    assert sorted(set(forgotten)) == forgotten
