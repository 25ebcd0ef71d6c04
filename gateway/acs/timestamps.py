"""The service's timestamps: text to Unix microseconds. Lenient: what is no instant is `None`."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)", re.ASCII)
_TAIL = re.compile(r"(?:[.,](\d+))?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?", re.ASCII)

#: What follows the whole second in nearly every packet, to microseconds.
_PLAIN_TAIL_US = {"Z": 0} | {f".{ms:03}Z": ms * 1000 for ms in range(1000)}

_PLAIN_TAIL_BYTES_US = {tail.encode(): us for tail, us in _PLAIN_TAIL_US.items()}


def timestamp_us(text: str) -> int | None:
    """Unix time in µs (further digits cut off) of an ISO 8601 date and time, or `None`.

    Seconds must be there, fraction and zone need not: without a zone the time is UTC.
    """
    second_us = _second_us(text[:19])
    if second_us is None:
        return None
    tail_us = _PLAIN_TAIL_US.get(text[19:])
    if tail_us is None:
        tail_us = _tail_us(text[19:])
        if tail_us is None:
            return None
    return second_us + tail_us


def plain_stamp_us(second: bytes, tail: bytes) -> int | None:
    """`timestamp_us` of a text in two parts; `None` as well where the tail is not a plain one. HOT.

    `second`: the first 19 bytes; `tail`: nothing but `Z`, or `.` with three digits and `Z`.
    """
    tail_us = _PLAIN_TAIL_BYTES_US.get(tail)
    if tail_us is None:
        return None
    second_us = _second_bytes_us(second)
    return None if second_us is None else second_us + tail_us


# All calls of a process are within a few seconds of each other: a small cache serves nearly all
# packets, and what a hostile peer can make it hold is 64 texts of 19 characters.
@lru_cache(maxsize=64)
def _second_us(text: str) -> int | None:
    found = _SECOND.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        instant = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return (instant - _EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=64)
def _second_bytes_us(text: bytes) -> int | None:
    return _second_us(text.decode("ascii", "replace"))


def _tail_us(text: str) -> int | None:
    """What fraction and zone add to the whole second."""
    found = _TAIL.fullmatch(text)
    if found is None:
        return None
    fraction, sign, hours, minutes = found.groups()
    fraction_us = int(fraction[:6].ljust(6, "0")) if fraction else 0
    if sign is None:
        return fraction_us
    if int(hours) > 23 or int(minutes or 0) > 59:
        return None
    offset_us = (int(hours) * 3600 + int(minutes or 0) * 60) * 1_000_000
    return fraction_us - (offset_us if sign == "+" else -offset_us)
