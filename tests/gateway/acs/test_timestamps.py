from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.acs import timestamps
from gateway.acs.timestamps import timestamp_us

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda m: timezone(timedelta(minutes=m)))


def unix_us(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


@given(st.datetimes(), st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]))
def test_utc_in_every_precision_is_what_the_standard_library_reads(
    instant: datetime, precision: str
) -> None:
    text = instant.isoformat(timespec=precision) + "Z"
    assert unix_us(datetime.fromisoformat(text)) == timestamp_us(text)


@given(st.datetimes(timezones=OFFSETS))
def test_offset_is_what_the_standard_library_reads(instant: datetime) -> None:
    text = instant.isoformat()
    assert unix_us(datetime.fromisoformat(text)) == timestamp_us(text)
    assert timestamp_us(text) == timestamp_us(text[:-3] + text[-2:])


@given(st.datetimes())
def test_time_without_zone_is_utc(instant: datetime) -> None:
    text = instant.isoformat()
    assert timestamp_us(text + "Z") == timestamp_us(text)


@given(st.datetimes(), st.text("0123456789", min_size=6, max_size=30))
def test_digits_beyond_the_microsecond_are_cut_off(instant: datetime, digits: str) -> None:
    second = instant.isoformat(timespec="seconds")
    assert timestamp_us(f"{second}.{digits[:6]}Z") == timestamp_us(f"{second}.{digits}Z")


@given(st.text() | st.text("0123456789-:.,TtZz+ ", min_size=18, max_size=34))
def test_text_of_any_kind_is_an_instant_or_none(text: str) -> None:
    assert isinstance(timestamp_us(text), int | None)


@given(st.sampled_from("0123456789-:.,TtZz+ ٣\n"), st.integers(0, 23))
def test_text_with_one_character_changed_is_nothing_that_the_standard_library_refuses(
    character: str, place: int
) -> None:
    text = "2024-11-15T19:16:12.925Z"
    text = text[:place] + character + text[place + 1 :]
    if timestamp_us(text) is not None:
        assert unix_us(datetime.fromisoformat(text.upper()).replace(tzinfo=UTC)) == timestamp_us(
            text
        )


@pytest.mark.parametrize("tail", ["", "Z", ".5Z", "+02:00", "garbage"])
def test_memory_of_seconds_is_bounded(tail: str) -> None:
    for n in range(1000):
        timestamp_us(f"2024-11-15T19:{n // 60:02}:{n % 60:02}{tail}")
        timestamp_us(f"{n}" * 100)
    memory = timestamps._second_us.cache_info()
    assert memory.maxsize is not None
    assert memory.currsize <= memory.maxsize <= 1000
