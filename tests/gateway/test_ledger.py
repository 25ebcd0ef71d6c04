"""The ledger's promises, over many seeds and by hypothesis; positions in packets of 20 ms."""

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import US, Axis, Place, is_quiet

ZERO_US = 1_731_698_172_925_000
PACKET_US = 20_000
SAMPLES = 320
SEEDS = range(60)

Stamper = Callable[[int], int | None]


class Stream:
    """Feeds packets to a place as a session does, and keeps where each one went."""

    def __init__(self, axis: Axis, rate: int = 16_000) -> None:
        self.place = Place(axis, rate)
        self.positions: dict[int, int] = {}
        self._held: tuple[int, int] | None = None

    def feed(self, index: int, stamp_us: int | None, samples: int = SAMPLES) -> None:
        if self._held is not None:
            held, held_samples = self._held
            self._held = None
            self.positions[held] = self.place.place_held(held_samples, stamp_us)
        position = self.place.place(stamp_us, samples)
        if position is None:
            self._held = (index, samples)
        else:
            self.positions[index] = position

    def end(self) -> None:
        if self._held is not None:
            self.positions[self._held[0]] = self.place.place_held(self._held[1], None)


def jittered(rng: random.Random, jitter_ms: float) -> Stamper:
    """Stamps of packets in step, in whole milliseconds, off by up to `jitter_ms`."""
    return lambda index: (
        (ZERO_US + index * PACKET_US + int(rng.uniform(-jitter_ms, jitter_ms) * 1000))
        // 1000
        * 1000
    )


def play(
    stamper: Stamper, packets: int, streams: int = 1, missing: range = range(0)
) -> list[Stream]:
    first = stamper(0)
    axis = Axis(ZERO_US if first is None else first)
    played = [Stream(axis) for _ in range(streams)]
    for index in range(packets):
        for number, stream in enumerate(played):
            stamp_us = first if index == number == 0 else stamper(index)
            if index not in missing:
                stream.feed(index, stamp_us)
    for stream in played:
        stream.end()
    return played


def in_step(packets: int) -> dict[int, int]:
    return {index: index * SAMPLES for index in range(packets)}


def test_two_participants_in_step_stay_in_step_and_no_sample_moves_under_15_ms_of_jitter():
    for seed in SEEDS:
        streams = play(jittered(random.Random(seed), 15), 400, streams=2)

        assert [in_step(400)] * 2 == [stream.positions for stream in streams], f"seed {seed}"


@pytest.mark.parametrize("jitter_ms", [0, 5])
def test_a_missing_second_is_a_gap_of_exactly_a_second(jitter_ms):
    for seed in SEEDS:
        [stream] = play(jittered(random.Random(seed), jitter_ms), 400, missing=range(200, 250))

        expected = {i: p for i, p in in_step(400).items() if i not in range(200, 250)}
        assert expected == stream.positions, f"seed {seed}"
        assert stream.place.lost == 50


def from_a_whole_second(stamper: Stamper) -> Stamper:
    """The same, the first stamp on a whole second, as the coarsest clock would have it."""
    first = stamper(0)
    assert first is not None
    shift_us = -first % US

    def shifted(index: int) -> int | None:
        stamp_us = stamper(index)
        return None if stamp_us is None else stamp_us + shift_us

    return shifted


@pytest.mark.parametrize("jitter_ms", [0, 1, 5])
def test_a_missing_second_is_exact_in_a_call_that_begins_on_a_whole_second(jitter_ms):
    for seed in SEEDS:
        stamper = from_a_whole_second(jittered(random.Random(seed), jitter_ms))
        [stream] = play(stamper, 400, missing=range(50, 100))

        expected = {i: p for i, p in in_step(400).items() if i not in range(50, 100)}
        assert expected == stream.positions, f"seed {seed}"


def test_a_participant_who_comes_on_a_whole_second_is_in_place():
    axis = Axis(ZERO_US)
    early, late = Stream(axis), Stream(axis)
    whole = next(i for i in range(100) if (ZERO_US + i * 5000) % US == 0) * 5000
    for index in range(20):
        early.feed(index, ZERO_US + index * PACKET_US)
    for index in range(50):
        late.feed(index, ZERO_US + whole + US + index * PACKET_US)

    distance = (whole + US) / PACKET_US - late.positions[0] / SAMPLES
    assert -0.5 <= distance <= 0.5


def test_a_missing_second_is_right_within_a_packet_under_15_ms_of_jitter():
    for seed in SEEDS:
        [stream] = play(jittered(random.Random(seed), 15), 400, missing=range(200, 250))

        assert abs(stream.positions[250] - 250 * SAMPLES) <= SAMPLES, f"seed {seed}"


@pytest.mark.parametrize("ppm", [200, -200])
def test_a_drifting_clock_stays_within_40_ms_for_two_hours_and_no_speech_is_left_out(ppm):
    def stamp_us(index: int) -> int:
        return (ZERO_US + int(index * PACKET_US * (1 + ppm / US))) // 1000 * 1000

    axis = Axis(ZERO_US)
    place = Place(axis, 16_000)
    worst_us = 0
    for index in range(360_000):
        is_pause = index // 100 % 5 == 0  # two seconds in ten
        if place.owed and is_pause:
            place.leave_out()
            continue
        position = place.place(stamp_us(index), SAMPLES)
        worst_us = max(worst_us, abs(stamp_us(index) - ZERO_US - position * US // 16_000))

    assert worst_us < 40_000
    assert pytest.approx(place.dropped + place.filled, abs=2) == 72
    assert place.lost + place.late == 0


def test_a_backward_correction_waits_for_silence():
    axis = Axis(ZERO_US)
    place = Place(axis, 16_000)
    for index in range(200):
        place.place(ZERO_US + index * PACKET_US, SAMPLES)
    for index in range(200, 320):
        place.place(ZERO_US + index * PACKET_US - 30_000, SAMPLES)

    assert place.position == 320 * SAMPLES
    assert place.owed == 2


@pytest.mark.parametrize("rate", [16_000, 24_000])
@pytest.mark.parametrize("packet_ms", [10, 20])
def test_packets_of_other_rates_and_lengths_are_placed_one_behind_the_other(rate, packet_ms):
    samples = rate * packet_ms // 1000
    stream = Stream(Axis(ZERO_US), rate)
    for index in range(300):
        stream.feed(index, ZERO_US + index * packet_ms * 1000, samples)

    assert [index * samples for index in range(300)] == list(stream.positions.values())


def test_packets_of_one_sample_are_placed_one_behind_the_other():
    stream = Stream(Axis(ZERO_US))
    for index in range(1000):
        stream.feed(index, (ZERO_US + index * 62) // 1000 * 1000, 1)

    assert list(range(1000)) == list(stream.positions.values())


def test_stamps_without_a_fraction_move_nothing():
    for phase_ms in range(0, 1000, 40):
        stamper: Stamper = lambda index, at=phase_ms: (  # noqa: E731  # one of many phases
            (ZERO_US // US * US + at * 1000 + index * PACKET_US) // US * US
        )
        streams = play(stamper, 500, streams=2)

        assert [in_step(500)] * 2 == [stream.positions for stream in streams], f"{phase_ms} ms"


def test_absent_stamps_follow_their_predecessors():
    streams = play(lambda _: None, 200, streams=2)

    assert [in_step(200)] * 2 == [stream.positions for stream in streams]


def test_a_stream_that_gets_stamps_late_does_not_move():
    [stream] = play(lambda i: None if i < 100 else ZERO_US - 3600 * US + i * PACKET_US, 300)

    assert in_step(300) == stream.positions


@pytest.mark.parametrize("at", [0, 1, 2, 10, 200, 399])
@pytest.mark.parametrize("wild_us", [73 * 365 * 86400 * US, -5 * 365 * 86400 * US, 2 * 3600 * US])
def test_one_wild_stamp_moves_nothing(at, wild_us):
    steady = jittered(random.Random(at), 5)
    [stream] = play(lambda i: steady(i) + (wild_us if i == at else 0), 400)

    assert in_step(400) == stream.positions


def test_a_clock_that_steps_back_an_hour_is_believed_after_a_second_and_moves_nothing():
    streams = play(lambda i: ZERO_US + i * PACKET_US - (i >= 150) * 3600 * US, 500, streams=2)

    assert [in_step(500)] * 2 == [stream.positions for stream in streams]
    assert [stream.place.rebased for stream in streams] == [1, 1]


def test_a_clock_that_steps_ahead_an_hour_leaves_the_participants_in_step():
    streams = play(lambda i: ZERO_US + i * PACKET_US + (i >= 150) * 3600 * US, 500, streams=2)

    assert streams[0].positions == streams[1].positions
    assert streams[0].positions[499] == (499 + 180_000) * SAMPLES


def test_a_hole_of_a_minute_is_exact_though_it_is_beyond_belief_at_first():
    [stream] = play(jittered(random.Random(1), 5), 4000, missing=range(500, 3500))

    assert stream.positions[3500] == 3500 * SAMPLES
    assert stream.positions[3999] == 3999 * SAMPLES


def test_a_late_packet_is_counted_and_stays_in_its_order():
    steady = jittered(random.Random(1), 0)
    [stream] = play(lambda i: steady(i) - (300_000 if i == 77 else 0), 200)

    assert in_step(200) == stream.positions
    assert stream.place.late == 1


def test_four_participants_who_come_and_go_keep_their_own_places():
    rng = random.Random(4)
    steady = jittered(rng, 5)
    present = [
        {i for i in range(1500) if (i // (100 + 50 * number) + number) % 2 == 0 or i < 10 * number}
        for number in range(4)
    ]
    axis = Axis(steady(0))
    streams = [Stream(axis) for _ in range(4)]
    for index in range(1500):
        for number, stream in enumerate(streams):
            if index in present[number]:
                stream.feed(index, steady(index))
    for stream in streams:
        stream.end()

    for number, stream in enumerate(streams):
        misplaced = {i: p // SAMPLES for i, p in stream.positions.items() if p != i * SAMPLES}
        assert misplaced == {}, f"participant {number}"


def test_a_participant_who_comes_after_half_a_minute_of_nothing_is_in_place():
    axis = Axis(ZERO_US)
    early, late = Stream(axis), Stream(axis)
    for index in range(100):
        early.feed(index, ZERO_US + index * PACKET_US)
    for index in range(1600, 1700):
        late.feed(index, ZERO_US + index * PACKET_US)

    assert [index * SAMPLES for index in range(1600, 1700)] == list(late.positions.values())


def test_a_newcomer_after_a_clock_step_shares_the_clock_of_the_others():
    axis = Axis(ZERO_US)
    old, new = Stream(axis), Stream(axis)
    for index in range(400):
        old.feed(index, ZERO_US + index * PACKET_US - (index >= 100) * 3600 * US)
    for index in range(450, 500):
        new.feed(index, ZERO_US + index * PACKET_US - 3600 * US)

    assert new.positions[450] == 450 * SAMPLES
    assert new.place.late == 0


def stamps() -> Iterator[st.SearchStrategy[int | None]]:
    near = st.integers(ZERO_US - 10 * US, ZERO_US + 60 * US)
    far = st.integers(-(2**62), 2**62)
    return st.one_of(st.none(), near, far)


@settings(max_examples=300, deadline=None)
@given(
    packets=st.lists(st.tuples(stamps(), st.integers(0, 24_000)), max_size=60),
    rate=st.sampled_from([8_000, 16_000, 24_000, 44_100, 48_000]),
)
def test_whatever_the_stamps_say_positions_never_decrease_and_every_packet_has_one(packets, rate):
    stream = Stream(Axis(ZERO_US), rate)
    for index, (stamp_us, samples) in enumerate(packets):
        stream.feed(index, stamp_us, samples)
    stream.end()

    places = [stream.positions[index] for index in range(len(packets))]
    lengths = [samples for _, samples in packets]
    ends = [place + length for place, length in zip(places, lengths, strict=True)]
    assert all(end <= following for end, following in zip(ends, places[1:], strict=False))
    assert len(packets) == stream.place.seq


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    begin=st.integers(60, 300),
    length=st.integers(3, 400),
    is_round=st.booleans(),
)
def test_any_hole_under_5_ms_of_jitter_is_exact(seed, begin, length, is_round):
    missing = range(begin, begin + length)
    stamper = jittered(random.Random(seed), 5)
    stamper = from_a_whole_second(stamper) if is_round else stamper
    [stream] = play(stamper, begin + length + 100, missing=missing)

    assert all(index * SAMPLES == place for index, place in stream.positions.items())


@settings(max_examples=200, deadline=None)
@given(
    missing=st.sets(st.integers(1, 20), max_size=18),
    jitter_us=st.lists(st.integers(-5000, 5000), min_size=60, max_size=60),
    packet_ms=st.sampled_from([60, 100, 200]),
)
def test_holes_in_the_first_second_are_exact(missing, jitter_us, packet_ms):
    samples = 16 * packet_ms
    stream = Stream(Axis(ZERO_US))
    for index in range(60):
        if index not in missing:
            stamp_us = ZERO_US + index * packet_ms * 1000 + (jitter_us[index] if index else 0)
            stream.feed(index, stamp_us, samples)

    misplaced = {i: p / samples for i, p in stream.positions.items() if p != i * samples}
    assert {} == misplaced


def test_quiet_is_measured_at_the_peak():
    assert is_quiet(b"")
    assert is_quiet((256).to_bytes(2, "little") * 320)
    assert not is_quiet(bytes(638) + (-257).to_bytes(2, "little", signed=True))
