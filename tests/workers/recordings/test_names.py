import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.recordings import names

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "",
    ".",
    "..",
    "-rf",
    "~",
    "~root",
    "a\0b",
    "a\nb",
    "x" * 65,
    "x" * 4000,
    "%2e%2e",
    "\u202egnp.exe",
    "caf\u00e9",
    "cafe\u0301",
    "CON:",
    "a b",
    "a.b",
    "4:+491234567",
    "call~2",
    "\ud800",
]
SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}(~[0-9a-f]{16})?")


def test_a_plain_id_is_its_own_name():
    assert "0a1B-c_2" == names.safe_name("0a1B-c_2")
    assert "x" * 64 == names.safe_name("x" * 64)


@pytest.mark.parametrize("raw", HOSTILE)
def test_a_hostile_id_gets_a_safe_name(raw):
    name = names.safe_name(raw)
    assert SAFE.fullmatch(name)
    assert raw != name
    assert names.FOLDER.fullmatch(f"2025/01/02/{name}")


def test_hostile_ids_have_different_names():
    assert len(HOSTILE) == len({names.safe_name(raw) for raw in HOSTILE})
    assert len(HOSTILE) == len({names.track_name(raw, 16_000) for raw in HOSTILE})


@given(st.lists(st.text(), unique=True, max_size=5))
def test_names_are_safe_and_tell_ids_apart(ids):
    made = [names.safe_name(raw) for raw in ids]
    assert all(SAFE.fullmatch(name) for name in made)
    assert len(ids) == len(set(made))


def test_a_tracks_name_does_not_show_the_participant():
    assert re.fullmatch(
        r"tracks/participant-[0-9a-f]{16}\.wav", names.track_name("4:+491234567", 16_000)
    )
    assert re.fullmatch(
        r"tracks/participant-[0-9a-f]{16}-24000\.wav", names.track_name("4:+491234567", 24_000)
    )
    assert "tracks/participant-none.wav" == names.track_name(None, 16_000)


def test_times_are_iso_8601_with_microseconds():
    assert "1970-01-01T00:00:00.000000Z" == names.iso(0)
    assert "2025-11-24T16:00:00.000001Z" == names.iso(1_764_000_000_000_001)


@pytest.mark.parametrize("time_us", [-(2**63), 2**63 - 1])
def test_times_beyond_the_calendar_are_its_ends(time_us):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", names.iso(time_us))
    assert names.FOLDER.fullmatch("/".join((*names.date_of(time_us), "call")))


def test_a_date_is_of_utc():
    assert ("2025", "11", "24") == names.date_of(1_764_000_000_000_000)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("00000000000000ff-3.wav", ("00000000000000ff", 3, "wav")),
        ("00000000000000ff-0.json", ("00000000000000ff", 0, "json")),
        (".00000000000000ff-3.wav.12-ab", None),
        ("ff-3.wav", None),
        ("notes.txt", None),
    ],
)
def test_files_of_streams_are_told_from_others(name, parsed):
    assert parsed == names.parse_stream_file(name)
