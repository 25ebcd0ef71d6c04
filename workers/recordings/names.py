"""Names of folders and files made from ids that come from outside. Pure.

A name never holds a raw id unescaped, and different ids have different names. The raw ids are in
the manifest.
"""

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

STREAMS = "streams"
TRACKS = "tracks"
MANIFEST = "manifest.json"
MIX = "mixed.wav"
LOCK = ".lock"
#: Under `recordings/`, beside the years.
CALLS = ".calls"
DUE = ".due"

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_ESCAPED = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
_ESCAPED_CHARS_MAX = 40
_STREAM = re.compile(r"([0-9a-f]{16})-(\d{1,5})\.(wav|idx|json)", re.ASCII)
#: Of a recording's folder below `recordings/`.
FOLDER = re.compile(r"\d{4}/\d\d/\d\d/[A-Za-z0-9_][A-Za-z0-9_~-]{0,90}", re.ASCII)
_USUAL_RATE = 16_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST_US = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def safe_name(raw: str) -> str:
    """A call's name in paths: the id itself where it is harmless, else a hint and a hash."""
    if _PLAIN.fullmatch(raw):
        return raw
    hint = _ESCAPED.sub("_", raw[:_ESCAPED_CHARS_MAX])
    if not hint or hint.startswith("-"):
        hint = f"_{hint[1:]}"
    return f"{hint}~{_hash(raw)}"


def track_name(participant: str | None, sample_rate: int) -> str:
    """A track's file below the recording's folder. Raw ids may be phone numbers: only a hash."""
    whose = "none" if participant is None else _hash(participant)
    rate = "" if sample_rate == _USUAL_RATE else f"-{sample_rate}"
    return f"{TRACKS}/participant-{whose}{rate}.wav"


def stream_name(session: str, stream: int) -> str:
    """What the files of a stream have in common; stream 0 is the session as a whole."""
    return f"{session}-{stream}"


def parse_stream_file(name: str) -> tuple[str, int, str] | None:
    """(session, stream, suffix) of a file in `streams/`; None for one that is none of ours."""
    found = _STREAM.fullmatch(name)
    return None if found is None else (found[1], int(found[2]), found[3])


def date_of(time_us: int) -> tuple[str, str, str]:
    """Year, month and day (UTC) of a Unix time in µs."""
    year, month, day = _instant(time_us).strftime("%Y %m %d").split()
    return year.zfill(4), month, day


def iso(time_us: int) -> str:
    """A Unix time in µs as ISO 8601 in UTC, always with microseconds."""
    return _instant(time_us).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _instant(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=min(max(time_us, _FIRST_US), _LAST_US))


def _hash(raw: str) -> str:
    return blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
