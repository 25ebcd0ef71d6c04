import os
import stat
import threading

import pytest

from workers.recordings import folder as folders
from workers.recordings.folder import claim_folder, find_folder, lock_folder, recording_folders
from workers.recordings.manifest import Manifest, Session, write_manifest
from workers.recordings.touched import Touched

NOON_US = 1_764_000_000_000_000  # 2025-11-24
DATE = "2025/11/24"


def claim(recordings, call_id="call", session="00000000000000ff", at_us=NOON_US):
    return claim_folder(recordings, call_id, session, at_us, Touched(sync=False))


def finished(folder, *sessions, state="complete"):
    known = tuple(
        Session(id=each, gateway="g", opened_at="2025-11-24T16:00:00.000000Z") for each in sessions
    )
    manifest = Manifest(
        state=state,
        call_id="call",
        correlation_id=None,
        started_at="2025-11-24T16:00:00.000000Z",
        ended_at=None,
        sample_rate=None,
        sessions=known,
    )
    write_manifest(folder, manifest, sync=False)


def test_a_finished_session_gets_no_second_folder_while_its_manifest_cannot_be_opened(
    recordings, out_of_descriptors
):
    folder = claim(recordings)
    finished(folder, "00000000000000ff")
    folders.release_folder(recordings, "call", folder)

    with out_of_descriptors(), pytest.raises(OSError, match="Too many open files"):
        claim(recordings)

    assert claim(recordings) is None


def test_a_call_lies_under_the_date_of_its_first_session(recordings):
    assert recordings / DATE / "call" == claim(recordings)
    assert "../2025/11/24/call" == os.readlink(recordings / ".calls" / "call")
    assert (recordings / DATE / "call" / "streams").is_dir()


def test_a_later_session_finds_the_same_folder_on_another_day(recordings):
    first = claim(recordings)
    assert first == claim(recordings, session="00000000000000aa", at_us=NOON_US + 86_400_000_000)


def test_nobody_else_may_look_into_a_folder(recordings):
    folder = claim(recordings)
    for each in (folder, folder / "streams", folder.parent, recordings / ".calls"):
        assert 0o700 == stat.S_IMODE(each.stat().st_mode)


def test_a_link_without_its_folder_is_completed(recordings):
    (recordings / ".calls").mkdir()
    (recordings / ".calls" / "call").symlink_to("../2025/11/24/call")
    assert recordings / DATE / "call" == claim(recordings)
    assert (recordings / DATE / "call" / "streams").is_dir()


@pytest.mark.parametrize("target", ["/etc", "../../etc", "../2025/11/24/../../x", "call"])
def test_a_link_that_leads_elsewhere_is_not_followed(recordings, target):
    (recordings / ".calls").mkdir()
    (recordings / ".calls" / "call").symlink_to(target)
    assert find_folder(recordings, "call") is None


def test_a_call_whose_recording_is_closed_for_good_gets_another_folder(recordings):
    for number in (1, 2, 3):
        folder = claim(recordings, session=f"{number:016x}")
        name = "call" if number == 1 else f"call~{number}"
        assert recordings / DATE / name == folder
        finished(folder, f"{number:016x}")
        folders.release_folder(recordings, "call", folder)


def test_a_session_of_a_closed_recording_has_no_folder(recordings):
    folder = claim(recordings)
    finished(folder, "00000000000000ff")
    folders.release_folder(recordings, "call", folder)
    assert claim(recordings) is None
    assert find_folder(recordings, "call") is None


def test_an_open_recording_that_lost_its_link_is_not_written_to(recordings):
    folder = claim(recordings)
    finished(folder, "00000000000000ff", state="open")
    folders.release_folder(recordings, "call", folder)
    assert recordings / DATE / "call~2" == claim(recordings)


def test_a_link_to_a_recording_that_is_closed_for_good_is_made_anew(recordings):
    folder = claim(recordings)
    finished(folder, "00000000000000ff")
    (folder / "streams").rmdir()

    assert claim(recordings) is None
    assert recordings / DATE / "call~2" == claim(recordings, session="0000000000000100")
    assert recordings / DATE / "call~2" == find_folder(recordings, "call")


def test_only_the_link_to_the_folder_itself_is_taken_away(recordings):
    folder = claim(recordings)
    folders.release_folder(recordings, "call", folder.with_name("call~2"))
    assert folder == find_folder(recordings, "call")


def test_a_link_that_was_taken_away_can_be_put_back(recordings):
    folder = claim(recordings)
    folders.release_folder(recordings, "call", folder)
    folders.restore_folder(recordings, "call", folder)
    assert folder == find_folder(recordings, "call")


def test_a_session_of_a_closed_recording_stays_out_of_the_one_that_followed(recordings):
    first = claim(recordings)
    finished(first, "00000000000000ff")
    folders.release_folder(recordings, "call", first)
    second = claim(recordings, session="00000000000000aa")

    assert (first, None) == (second.with_name("call"), claim(recordings))
    assert second == claim(recordings, session="00000000000000aa")


def test_many_that_claim_at_once_agree(recordings):
    found, barrier = [], threading.Barrier(8)

    def run():
        barrier.wait(10)
        found.extend((number, claim(recordings, f"call{number}")) for number in range(20))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert 8 * 20 == len(found)
    assert 20 == len(set(found))


def test_a_folder_is_locked_by_one_alone(recordings):
    folder = claim(recordings)
    with lock_folder(folder, wait=False) as first, lock_folder(folder, wait=False) as second:
        assert (True, False) == (first, second)
    with lock_folder(folder, wait=True) as third:
        assert third


def test_recordings_are_found_by_date_and_nothing_else_is(recordings):
    late, early = claim(recordings, "b", at_us=NOON_US), claim(recordings, "a", at_us=0)
    (recordings / DATE / "with space").mkdir()
    (recordings / DATE / "file").write_bytes(b"")
    assert [early, late] == list(recording_folders(recordings))
