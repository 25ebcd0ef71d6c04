"""Log records: what is written is read, and damage costs what was damaged."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.frame import FRAME, NO_STAMP
from gateway.wire.record import (
    SEGMENT,
    Damage,
    Record,
    SegmentHeader,
    pack_record_head,
    pack_segment_header,
    payload_sum,
    read_records,
    unpack_segment_header,
)


def record(tick: int, payloads: list[bytes]) -> bytes:
    heads = b"".join(FRAME.pack(2, 0, 1, len(p), 7, 0, 1, NO_STAMP, 0) for p in payloads)
    sums = b"".join(payload_sum(p).to_bytes(4, "little") for p in payloads)
    payload = b"".join(payloads)
    return pack_record_head(tick, 5, heads, sums, len(payload)) + payload


def read(data: bytes) -> list[tuple[int, bytes] | Damage]:
    return [
        (found.tick, bytes(found.payload)) if isinstance(found, Record) else found
        for found in read_records(memoryview(data), 0)
    ]


PAYLOADS = st.lists(st.lists(st.binary(max_size=24), max_size=4), min_size=1, max_size=6)


@given(PAYLOADS)
def test_records_are_read_as_they_were_written(ticks):
    data = b"".join(record(number, payloads) for number, payloads in enumerate(ticks))

    assert [(n, b"".join(payloads)) for n, payloads in enumerate(ticks)] == read(data)


@given(PAYLOADS, st.data())
def test_a_cut_leaves_the_records_before_it(ticks, data):
    whole = [record(number, payloads) for number, payloads in enumerate(ticks)]
    cut = data.draw(st.integers(0, sum(map(len, whole))))
    found = read(b"".join(whole)[:cut])
    intact = 0
    while sum(map(len, whole[: intact + 1])) <= cut and intact < len(whole):
        intact += 1

    assert intact == sum(1 for item in found if not isinstance(item, Damage))


@given(PAYLOADS, st.binary(min_size=1, max_size=50), st.data())
def test_junk_between_records_is_passed_over(ticks, junk, data):
    whole = [record(number, payloads) for number, payloads in enumerate(ticks)]
    at = data.draw(st.integers(0, len(whole)))
    found = read(b"".join(whole[:at]) + junk + b"".join(whole[at:]))

    assert Damage(sum(map(len, whole[:at])), len(junk)) in found
    assert len(ticks) + 1 == len(found)


@given(st.binary(max_size=64), st.integers(0, 511))
def test_a_flipped_bit_of_a_payload_changes_its_sum(payload, bit):
    if not payload:
        return
    flipped = bytearray(payload)
    flipped[bit // 8 % len(payload)] ^= 1 << bit % 8

    assert payload_sum(payload) != payload_sum(bytes(flipped))


def test_a_segment_header_tells_number_first_tick_and_time():
    head = pack_segment_header(3, 400, 5_000)

    assert SEGMENT.size == len(head)
    assert SegmentHeader(3, 400, 5_000) == unpack_segment_header(head)
