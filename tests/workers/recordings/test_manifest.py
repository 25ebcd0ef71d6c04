from pathlib import Path

import jsonschema
import msgspec
import pytest

from gateway.wire.descriptor import Packets, SessionOpen
from workers.recordings import manifest as manifests
from workers.recordings.manifest import (
    CallEvent,
    Manifest,
    Mix,
    Session,
    Track,
    TrackGap,
    read_manifest,
    write_manifest,
    write_open_manifest,
)
from workers.recordings.touched import Touched

SCHEMA = msgspec.json.decode(
    Path(manifests.__file__).with_name("manifest.schema.json").read_bytes()
)
AT = "2025-11-24T16:00:00.000000Z"
OPENED = SessionOpen(call_id="call", session="00000000000000ff", gateway="g0", opened_at_us=0)


@pytest.fixture
def full():
    gap = TrackGap(start_us=0, length_us=None, cause="masked")
    track = Track(
        participant="p",
        file="tracks/a.wav",
        sample_rate=16_000,
        started_at=AT,
        offset_us=0,
        samples=1,
        packets=Packets(),
        gaps=(gap,),
        sha256="0" * 64,
    )
    event = CallEvent(kind="dtmf", at=AT, offset_us=-1, participant=None, data={"tone": "1"})
    session = Session(
        id="00000000000000aa", gateway="g0", opened_at=AT, metadata={}, bad_packets={"no_kind": 1}
    )
    return Manifest(
        state="complete",
        call_id="call",
        correlation_id="c",
        started_at=AT,
        ended_at=AT,
        sample_rate=16_000,
        tracks=(track,),
        mixed=Mix(file="mixed.wav", samples=1, sha256="0" * 64),
        events=(event,),
        sessions=(session,),
        revision=3,
    )


def check(document):
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    validator.validate(document)


def test_a_manifest_reads_as_it_was_written_and_fits_the_schema(tmp_path, full):
    write_manifest(tmp_path, full, sync=True)
    assert full == read_manifest(tmp_path)
    document = msgspec.json.decode((tmp_path / "manifest.json").read_bytes())
    assert "acs-ingest.recording/1" == document["schema"]
    check(document)


def test_the_schema_has_every_member_and_no_other(full):
    document = msgspec.to_builtins(full)
    definitions = SCHEMA["$defs"]
    for part, schema in (
        (document, SCHEMA),
        (document["tracks"][0], definitions["track"]),
        (document["tracks"][0]["packets"], definitions["packets"]),
        (document["tracks"][0]["gaps"][0], definitions["gap"]),
        (document["mixed"], definitions["mix"]),
        (document["events"][0], definitions["event"]),
        (document["sessions"][0], definitions["session"]),
    ):
        assert list(part) == list(schema["properties"]) == schema["required"]
        assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    "change",
    [{"state": "done"}, {"schema": "x"}, {"started_at": "now"}, {"revision": -1}, {"more": 1}],
)
def test_the_schema_refuses_what_is_no_manifest(full, change):
    with pytest.raises(jsonschema.ValidationError):
        check({**msgspec.to_builtins(full), **change})


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", b'{"schema":"other"}'])
def test_what_is_no_manifest_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    assert read_manifest(tmp_path) is None


def open_manifest(folder, opened):
    with Touched(sync=False) as touched:
        write_open_manifest(folder, opened, touched)
        touched.make_safe()


def test_the_first_session_makes_an_open_manifest(tmp_path):
    open_manifest(tmp_path, OPENED)
    made = read_manifest(tmp_path)
    assert ("open", "call", 0, "1970-01-01T00:00:00.000000Z") == (
        made.state,
        made.call_id,
        made.revision,
        made.started_at,
    )
    check(msgspec.json.decode((tmp_path / "manifest.json").read_bytes()))


def test_a_further_session_opens_a_finished_manifest_again(tmp_path, full):
    write_manifest(tmp_path, full, sync=False)
    open_manifest(tmp_path, OPENED)
    assert msgspec.structs.replace(full, state="open") == read_manifest(tmp_path)


def test_a_session_that_is_known_changes_nothing(tmp_path, full):
    write_manifest(tmp_path, full, sync=False)
    known = msgspec.structs.replace(OPENED, session="00000000000000aa")
    open_manifest(tmp_path, known)
    assert full == read_manifest(tmp_path)
