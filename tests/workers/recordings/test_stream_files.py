import errno
import os
import shutil
import wave

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.wire.frame import FrameFlag
from workers.recordings import due
from workers.recordings.contents import read_contents
from workers.recordings.counters import RecorderCounters
from workers.recordings.finish import finish_folder
from workers.recordings.folder import claim_folder, find_folder, lock_folder
from workers.recordings.gather import Gather
from workers.recordings.index import ENTRY_BYTES
from workers.recordings.manifest import read_manifest
from workers.recordings.retire import retire
from workers.recordings.stream_files import StreamFiles


@pytest.fixture
def session(source):
    return source.Session(5)


def gathered(source, frames, number=1, link=("boot", 1), forgotten=()):
    gather = Gather(np.empty(1 << 16, np.uint8))
    gather.add(link, number, source.batch(number, frames), 0)
    gather.forgotten.extend(forgotten)
    return gather


def files_of(recordings):
    """Content of every file of audio and index, header included."""
    return {
        path.name: path.read_bytes()
        for path in recordings.rglob("streams/*")
        if path.suffix in (".wav", ".idx")
    }


def test_audio_lies_at_its_position_behind_the_header(recordings, source, session):
    frames = [
        *(session.open(), session.open_stream(1, first=-320)),
        *(session.audio(1, -320, b"\1\0" * 320), session.audio(1, 640, b"\2\0" * 320)),
    ]
    counters = source.record(recordings, frames)
    path = find_folder(recordings, "call") / "streams" / "0000000000000005-1.wav"
    expected = b"\1\0" * 320 + bytes(2 * 640) + b"\2\0" * 320
    assert expected == source.read_pcm(path)
    with wave.open(str(path)) as file:
        assert (16_000, 1280) == (file.getframerate(), file.getnframes())
    assert 2 * ENTRY_BYTES == path.with_suffix(".idx").stat().st_size
    assert (2, 1280) == (counters.frames, counters.bytes_written)


def test_silence_without_data_at_the_end_makes_the_file_longer(recordings, source, session):
    silence = session.open_stream(1), session.audio(1, 0, b"\1\0")
    flags = FrameFlag.NO_DATA | FrameFlag.SILENT
    source.record(
        recordings,
        [session.open(), *silence],
        [session.audio(1, 1, b"", flags=flags, samples=320)],
    )
    path = find_folder(recordings, "call") / "streams" / "0000000000000005-1.wav"
    assert b"\1\0" + bytes(640) == source.read_pcm(path)


def test_packets_of_one_sample_make_one_file(recordings, source, session):
    pcm = source.tone(50)
    frames = [session.open(), session.open_stream(1), *session.packets(1, 0, pcm, size=1)]
    source.record(recordings, frames[:20], frames[20:])
    path = find_folder(recordings, "call") / "streams" / "0000000000000005-1.wav"
    assert pcm == source.read_pcm(path)


def test_a_new_recording_has_an_open_manifest_and_nobody_else_may_read_it(
    recordings, source, session
):
    source.record(recordings, [session.open(correlation_id="c"), session.open_stream(1)])
    folder = find_folder(recordings, "call")
    manifest = read_manifest(folder)
    assert ("open", "call", "c", 0) == (
        manifest.state,
        manifest.call_id,
        manifest.correlation_id,
        manifest.revision,
    )
    assert ["0000000000000005"] == [each.id for each in manifest.sessions]
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert {0o600} == modes


@pytest.mark.parametrize("call_id", ["../../etc/passwd", "x" * 4000, "", "a\0b", "\n"])
def test_a_hostile_id_stays_within_the_folder_of_recordings(recordings, source, call_id):
    session = source.Session(5, call_id)
    before = set(recordings.parent.parent.iterdir())
    source.record(recordings, source.one_session(session, {call_id: source.tone(640)}))
    assert call_id == read_manifest(find_folder(recordings, call_id)).call_id
    assert before == set(recordings.parent.parent.iterdir())
    assert {"recordings"} == {path.name for path in recordings.parent.iterdir()}


def test_the_end_of_a_session_is_noted_for_finish(recordings, source, session):
    source.record(recordings, source.one_session(session, {"anna": source.tone(640)}))
    (note,) = due.Notes(recordings).scan()
    assert find_folder(recordings, "call") == note.folder


def test_audio_of_a_stream_without_open_is_counted_and_not_written(recordings, source, session):
    session.open_stream(1)
    counters = source.record(recordings, [session.open(), session.audio(1, 0, b"\1\0")])
    assert (1, 0) == (counters.frames_unknown, counters.frames)


def test_opens_that_come_again_are_written_once(recordings, source, session):
    frames = [session.open(), session.open_stream(1), session.audio(1, 0, b"\1\0")]
    source.record(recordings, *[frames] * 3)
    for path in recordings.rglob("*.json"):
        assert 1 == path.read_bytes().count(b'"name":"open"') or path.name == "manifest.json"


def test_a_session_of_a_dead_link_is_forgotten(recordings, source, session):
    counters = RecorderCounters()
    files = StreamFiles(recordings, counters, sync=False)
    opened = [session.open(), session.open_stream(1)]
    files.write(gathered(source, opened, forgotten=[("boot", 1)]))
    files.write(gathered(source, [session.audio(1, 0, b"\1\0")]))
    assert 1 == counters.frames_unknown


def test_a_session_that_another_link_took_over_is_kept(recordings, source, session):
    counters = RecorderCounters()
    files = StreamFiles(recordings, counters, sync=False)
    opened = [session.open(), session.open_stream(1)]
    files.write(gathered(source, opened))
    gather = gathered(source, opened, link=("boot", 2), forgotten=[("boot", 1)])
    files.write(gather)
    files.write(gathered(source, [session.audio(1, 0, b"\1\0")], link=("boot", 2)))
    assert (0, 1) == (counters.frames_unknown, counters.frames)


def test_a_folder_that_goes_away_is_made_again_by_the_next_try(recordings, source, session):
    files = StreamFiles(recordings, RecorderCounters(), sync=False)
    files.write(gathered(source, [session.open(), session.open_stream(1)]))
    folder = find_folder(recordings, "call")
    shutil.rmtree(folder)
    gather = gathered(source, [session.audio(1, 0, b"\1\0"), session.event(0, "dtmf")])
    with pytest.raises(FileNotFoundError):
        files.write(gather)
    files.write(gather)
    (contents,) = read_contents(folder).sessions
    assert ("call", 1) == (contents.opened.call_id, len(contents.events))
    assert 1 == contents.streams[0].samples


def test_folders_that_go_away_together_cost_one_try(recordings, source):
    sessions = [source.Session(number, call_id=f"call-{number}") for number in range(1, 9)]
    files = StreamFiles(recordings, RecorderCounters(), sync=False)
    opened = [frame for each in sessions for frame in (each.open(), each.open_stream(1))]
    files.write(gathered(source, opened))
    for each in sessions:
        shutil.rmtree(find_folder(recordings, each.call_id))
    gather = gathered(source, [each.audio(1, 0, b"\1\0") for each in sessions])
    with pytest.raises(FileNotFoundError):
        files.write(gather)
    files.write(gather)
    for each in sessions:
        (contents,) = read_contents(find_folder(recordings, each.call_id)).sessions
        assert 1 == contents.streams[0].samples


def test_frames_of_a_recording_that_is_closed_for_good_are_counted_and_left(
    recordings, source, session
):
    frames = source.one_session(session, {"anna": source.tone(640)})
    source.record(recordings, frames)
    folder = find_folder(recordings, "call")
    with lock_folder(folder, wait=True):
        finish_folder(folder, sync=False)
        assert retire(recordings, folder)
    before = sorted(recordings.rglob("*"))
    counters = source.record(recordings, frames)
    assert (2, 0) == (counters.frames_sealed, counters.frames)
    assert before == sorted(recordings.rglob("*"))


def test_a_recording_that_is_closed_while_a_session_comes_is_not_written_to(
    recordings, source, session, monkeypatch
):
    source.record(recordings, source.one_session(session, {"anna": source.tone(640)}))
    folder = find_folder(recordings, "call")
    with lock_folder(folder, wait=True):
        finish_folder(folder, sync=False)
    claimed = []

    def claim_and_retire(*args, **kwargs):
        claimed.append(claim_folder(*args, **kwargs))
        if len(claimed) == 1:
            assert retire(recordings, folder)
        return claimed[-1]

    monkeypatch.setattr("workers.recordings.stream_files.claim_folder", claim_and_retire)
    other = source.Session(6)
    source.record(recordings, [other.open(), other.open_stream(1), other.audio(1, 0, b"\1\0")])
    assert folder.with_name("call~2") == find_folder(recordings, "call")
    assert "complete" == read_manifest(folder).state


def test_a_further_session_opens_a_finished_recording_again(recordings, source, session):
    source.record(recordings, source.one_session(session, {"anna": source.tone(640)}))
    folder = find_folder(recordings, "call")
    with lock_folder(folder, wait=True):
        finish_folder(folder, sync=False)
    source.record(recordings, [source.Session(6).open()])
    manifest = read_manifest(folder)
    assert ("open", 1, 1) == (manifest.state, manifest.revision, len(manifest.tracks))


def test_a_repeated_session_does_not_open_a_finished_recording(recordings, source, session):
    frames = source.one_session(session, {"anna": source.tone(640)})
    source.record(recordings, frames)
    folder = find_folder(recordings, "call")
    with lock_folder(folder, wait=True):
        finish_folder(folder, sync=False)
    source.record(recordings, frames)
    assert "complete" == read_manifest(folder).state


CALLS = ("os.open", "os.pwrite", "os.write", "os.fdatasync", "os.fsync", "os.mkdir", "os.link")


class Faults:
    """Every n-th of the system calls that write fails once."""

    def __init__(self, monkeypatch, when):
        self.count = 0
        self.when = when
        for name in CALLS:
            monkeypatch.setattr(name, self.wrapped(getattr(os, name.partition(".")[2])))

    def wrapped(self, call):
        def run(*args, **kwargs):
            self.count += 1
            if self.count == self.when:
                raise OSError(errno.EIO, "Input/output error")
            return call(*args, **kwargs)

        return run


@pytest.mark.parametrize("when", [*range(1, 60), 10_000])
def test_a_write_that_fails_anywhere_succeeds_when_done_again(
    recordings, source, session, monkeypatch, when
):
    pcm = source.tone(960)
    frames = source.one_session(session, {"anna": pcm, "bert": pcm})
    frames.insert(5, session.event(0, "dtmf"))
    files = StreamFiles(recordings, RecorderCounters(), sync=True)
    gather = gathered(source, frames)
    with monkeypatch.context() as patch:
        faults = Faults(patch, when)
        try:
            files.write(gather)
        except OSError:
            files.write(gather)
    folder = find_folder(recordings, "call")
    with lock_folder(folder, wait=True):
        manifest = finish_folder(folder, sync=False)
    assert ("complete", 2, 1) == (manifest.state, len(manifest.tracks), len(manifest.events))
    assert [pcm, pcm] == [source.read_pcm(folder / track.file) for track in manifest.tracks]
    assert 1 == len(due.Notes(recordings).scan())
    assert when < faults.count or when == 10_000


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_batching_repetition_and_company_gives_the_same_bytes(tmp_path_factory, source, data):
    root = tmp_path_factory.mktemp("any")
    frames, streams = whole_call(source)
    (root / "plain").mkdir()
    source.record(root / "plain", [frame for part in frames for frame in part])
    (root / "mixed").mkdir()
    writers = [StreamFiles(root / "mixed", RecorderCounters(), sync=False) for _ in range(2)]
    for number, part in enumerate(cut(data, frames, streams)):
        for writer in data.draw(st.sampled_from([writers, writers[:1], writers[1:]])):
            writer.write(gathered(source, part, number + 1))
    # Whoever takes a session over gets all of it that is not acknowledged, its OPENs first.
    for part in frames:
        for writer in writers:
            writer.write(gathered(source, part, 1))
    assert files_of(root / "plain") == files_of(root / "mixed")
    made = []
    for name in ("plain", "mixed"):
        folder = find_folder(root / name, "call")
        with lock_folder(folder, wait=True):
            assert finish_folder(folder, sync=False)
        made.append(
            {
                path.relative_to(folder): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file() and "streams" not in path.parts
            }
        )
    assert made[0] == made[1]


def whole_call(source):
    """Two sessions of one call, each as a list of frames; and what opens their streams."""
    parts, opens = [], []
    for number in (1, 2):
        session = source.Session(number, zero_us=source.ZERO_US + number * 1_000_000)
        opened = [session.open(), session.open_stream(1), session.open_stream(2, None, 24_000, 7)]
        frames = [
            *session.packets(1, 0, source.tone(100), size=16),
            *session.packets(2, 7, source.tone(90), size=9),
            session.audio(1, 200, b"", flags=FrameFlag.NO_DATA, samples=16),
            session.event(0, "dtmf", data={"tone": "1"}),
        ]
        closes = [session.close_stream(1), session.close_stream(2), session.close()]
        parts.append([*opened, *frames, *closes])
        opens.append(opened)
    return parts, opens


def cut(data, parts, opens):
    """Pieces of the frames but for the CLOSEs: interleaved, with repeats, OPENs always first."""
    frames = [frame for part in parts for frame in part[:-3]]
    pieces = []
    for _ in range(data.draw(st.integers(0, 5))):
        chosen = data.draw(st.lists(st.sampled_from(frames), max_size=12))
        pieces.append([frame for opened in opens for frame in opened] + chosen)
    return pieces
