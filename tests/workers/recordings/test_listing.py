import pytest

from workers.recordings.finish import finish_folder
from workers.recordings.folder import find_folder, lock_folder
from workers.recordings.listing import find_recordings, list_rows, print_recording, print_rows


@pytest.fixture
def calls(recordings, source):
    for number, call_id in enumerate(("abc1", "abc2", "evil\x1b[31m"), 1):
        session = source.Session(number, call_id, source.ZERO_US + number * 60_000_000)
        frames = source.one_session(session, {"4:+49123": source.tone(16_000)})
        frames.insert(1, session.event(0, "dtmf", participant="\x1b]0;x", data={"tone": "[red]"}))
        source.record(recordings, frames)
        if call_id != "abc2":
            folder = find_folder(recordings, call_id)
            with lock_folder(folder, wait=True):
                finish_folder(folder, sync=False)
    return recordings


def test_the_newest_recording_is_first_and_a_broken_one_is_a_row(calls):
    broken = find_folder(calls, "abc1") / "manifest.json"
    broken.write_bytes(b"{")
    rows = list_rows(calls)
    assert ["evil\x1b[31m", "abc2", None] == [row.call_id for row in rows]
    assert ["complete", "open", "broken"] == [row.state for row in rows]
    assert (1_000_000, 1, 1) == (rows[0].duration_us, rows[0].tracks, rows[0].revision)


def test_without_recordings_the_list_is_empty(tmp_path):
    assert [] == list_rows(tmp_path / "recordings")


def test_the_list_shows_no_participant_and_steers_no_terminal(calls, capsys):
    print_rows(list_rows(calls), as_json=False)
    said = capsys.readouterr().out
    assert "abc1" in said
    assert "0:00:01.000" in said
    assert "4:+49123" not in said
    assert "\x1b[31m" not in said


def test_an_exact_id_is_found_before_what_begins_with_it(calls, source):
    source.record(calls, [source.Session(9, "abc").open()])
    assert ["abc"] == [manifest.call_id for _, manifest in find_recordings(calls, "abc")]
    assert ["abc1", "abc2"] == sorted(
        manifest.call_id
        for _, manifest in find_recordings(calls, "ab")
        if manifest.call_id != "abc"
    )
    assert [] == find_recordings(calls, "x")


def test_a_recording_is_shown_with_tracks_gaps_and_events(calls, capsys):
    ((folder, manifest),) = find_recordings(calls, "evil")
    print_recording(folder, manifest, as_json=False)
    said = capsys.readouterr().out
    for part in ("4:+49123", "16000", "mixed.wav", "dtmf", "[red]", "complete"):
        assert part in said
    assert "\x1b]0;" not in said


def test_gaps_are_shown(recordings, source, capsys):
    frames = source.one_session(source.Session(5), {None: source.tone(320)}, cause="gateway_died")
    source.record(recordings, frames)
    folder = find_folder(recordings, "call")
    with lock_folder(folder, wait=True):
        print_recording(folder, finish_folder(folder, sync=False), as_json=False)
    assert "gap in (all): at 0:00:00.020, unknown length, gateway_died" in capsys.readouterr().out
