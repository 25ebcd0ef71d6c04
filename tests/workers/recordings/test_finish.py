import hashlib
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
import soundfile

from gateway.wire.descriptor import Packets
from gateway.wire.frame import FrameFlag
from workers.recordings import due, manifest
from workers.recordings.finish import FinishLoop, finish_folder
from workers.recordings.folder import find_folder, lock_folder
from workers.recordings.manifest import TrackGap, read_manifest
from workers.recordings.settings import RecordingSettings

S = 1_000_000
SETTINGS = RecordingSettings(durability="process")
SCHEMA = msgspec.json.decode(Path(manifest.__file__).with_name("manifest.schema.json").read_bytes())


def finish(recordings, call_id="call", *, force=False):
    """Finish a call's folder; what it says is checked against the schema."""
    folder = find_folder(recordings, call_id)
    with lock_folder(folder, wait=True) as is_ours:
        assert is_ours
        made = finish_folder(folder, force=force, sync=False)
    if made is not None:
        document = msgspec.json.decode((folder / "manifest.json").read_bytes())
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
        for track in made.tracks:
            path = folder / track.file
            assert track.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
            assert track.samples == soundfile.info(path).frames
    return made


def track_pcm(recordings, made, index=0, call_id="call"):
    return (find_folder(recordings, call_id) / made.tracks[index].file).read_bytes()[80:]


def mixed(recordings, call_id="call"):
    return np.frombuffer((find_folder(recordings, call_id) / "mixed.wav").read_bytes()[80:], "<i2")


def everything(folder):
    """Content of every file that is there to stay."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "streams" not in path.parts
    }


def test_one_session_gives_tracks_mix_and_manifest(recordings, source):
    session = source.Session(5)
    anna, bert = source.tone(1600), source.tone(800, seed=2)
    source.record(recordings, source.one_session(session, {"anna": anna, "bert": bert}))
    made = finish(recordings)
    assert ("complete", 1, 16_000) == (made.state, made.revision, made.sample_rate)
    assert ["anna", "bert"] == [track.participant for track in made.tracks]
    assert [1600, 800] == [track.samples for track in made.tracks]
    assert [anna, bert] == [track_pcm(recordings, made, index) for index in (0, 1)]
    assert Packets(received=5) == made.tracks[0].packets
    assert ("2025-11-24T16:00:00.000000Z", 0) == (made.started_at, made.tracks[0].offset_us)
    assert "2025-11-24T16:00:00.100000Z" == made.ended_at
    both = np.frombuffer(anna, "<i2").astype(int)
    both[:800] += np.frombuffer(bert, "<i2")
    assert both.tolist() == mixed(recordings).tolist()


def test_tracks_of_one_session_are_the_streams_own_files(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(640)}))
    made = finish(recordings)
    folder = find_folder(recordings, "call")
    stream = folder / "streams" / "0000000000000005-1.wav"
    assert stream.stat().st_ino == (folder / made.tracks[0].file).stat().st_ino


def test_where_files_cannot_have_two_names_they_are_copied(recordings, source, monkeypatch):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(640)}))

    def refuse(*_args, **_members):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    made = finish(recordings)
    assert source.tone(640) == track_pcm(recordings, made)


def test_finishing_again_gives_the_same_bytes(recordings, source):
    session = source.Session(5)
    frames = source.one_session(session, {"anna": source.tone(640)})
    source.record(recordings, [*frames[:3], session.event(0, "dtmf", data={"b": 1, "a": [2]})])
    source.record(recordings, frames)
    finish(recordings)
    folder = find_folder(recordings, "call")
    before = everything(folder)
    assert 1 == finish(recordings).revision
    assert before == everything(folder)


def test_the_mix_is_saturated(recordings, source):
    loud = np.full(320, 30_000, "<i2").tobytes()
    quiet = np.full(320, -30_000, "<i2").tobytes()
    streams = {"a": loud, "b": loud, "c": quiet + quiet, "d": quiet + quiet}
    source.record(recordings, source.one_session(source.Session(5), streams))
    finish(recordings)
    assert [0] * 320 + [-32768] * 320 == mixed(recordings).tolist()


def test_a_participant_that_goes_and_comes_has_one_track_with_silence(recordings, source):
    session, pcm = source.Session(5), source.tone(320)
    frames = [
        *(session.open(), session.open_stream(1), *session.packets(1, 0, pcm)),
        *(*session.packets(1, 16_000, pcm), session.close_stream(1), session.close()),
    ]
    source.record(recordings, frames)
    made = finish(recordings)
    assert pcm + bytes(2 * 15_680) + pcm == track_pcm(recordings, made)
    assert (TrackGap(start_us=20_000, length_us=980_000, cause="not_received"),) == made.tracks[
        0
    ].gaps
    assert ("complete", 49) == (made.state, made.tracks[0].packets.lost)


def test_participants_at_two_rates_are_mixed_at_the_higher_one(recordings, source):
    session = source.Session(5)
    slow = (8000 * np.sin(np.arange(16_000) * 0.05)).astype("<i2").tobytes()
    fast = np.full(2400, 100, "<i2").tobytes()
    frames = [
        *(session.open(), session.open_stream(1, "anna", 16_000)),
        *(session.open_stream(2, "bert", 24_000, 4800), *session.packets(1, 0, slow)),
        *(*session.packets(2, 4800, fast, size=480), session.close_stream(1)),
        *(session.close_stream(2), session.close()),
    ]
    source.record(recordings, frames)
    made = finish(recordings)
    assert (24_000, 24_000) == (made.sample_rate, made.mixed.samples)
    assert [(16_000, 0), (24_000, 200_000)] == [
        (track.sample_rate, track.offset_us) for track in made.tracks
    ]
    assert made.tracks[1].file.endswith("-24000.wav")
    sum_ = mixed(recordings).astype(float)
    sum_[4800:7200] -= 100
    wanted = 8000 * np.sin(np.arange(24_000) * 0.05 * 2 / 3)
    assert np.abs(sum_ - wanted)[500:-500].max() < 20
    before = everything(find_folder(recordings, "call"))
    finish(recordings)
    assert before == everything(find_folder(recordings, "call"))


def test_packets_of_one_sample_are_recorded(recordings, source):
    session, pcm = source.Session(5), source.tone(100)
    frames = [session.open(), session.open_stream(1), *session.packets(1, 0, pcm, size=1)]
    source.record(recordings, [*frames, session.close_stream(1), session.close()])
    made = finish(recordings)
    assert (pcm, 100, "complete") == (
        track_pcm(recordings, made),
        made.tracks[0].packets.received,
        made.state,
    )


def test_a_call_without_audio_has_a_manifest(recordings, source):
    session = source.Session(5)
    source.record(recordings, [session.open(), session.close()])
    made = finish(recordings)
    assert ("complete", (), None, None) == (made.state, made.tracks, made.mixed, made.sample_rate)
    assert "2025-11-24T15:59:59.999000Z" == made.started_at
    assert "2025-11-24T16:00:01.000000Z" == made.ended_at


def test_a_call_is_not_finished_while_a_session_is_open(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"a": source.tone(320)}))
    source.record(recordings, [source.Session(6).open()])
    assert finish(recordings) is None
    assert "open" == read_manifest(find_folder(recordings, "call")).state


def test_a_session_that_is_ended_by_force_is_incomplete(recordings, source):
    session = source.Session(5)
    frames = source.one_session(session, {"anna": source.tone(640)})
    source.record(recordings, frames[:-2])
    made = finish(recordings, force=True)
    assert ("incomplete", 1) == (made.state, made.revision)
    assert (TrackGap(start_us=40_000, length_us=None, cause="gateway_died"),) == made.tracks[0].gaps
    assert (None, "gateway_died") == (made.sessions[0].closed_at, made.sessions[0].cause)
    assert Packets(received=2) == made.tracks[0].packets
    before = everything(find_folder(recordings, "call"))
    assert 1 == finish(recordings, force=True).revision
    assert before == everything(find_folder(recordings, "call"))
    source.record(recordings, frames)
    made = finish(recordings)
    assert ("complete", 2, ()) == (made.state, made.revision, made.tracks[0].gaps)


def test_a_track_of_a_session_that_may_go_on_is_not_the_streams_file(recordings, source):
    session = source.Session(5)
    frames = source.one_session(session, {"anna": source.tone(640)})
    source.record(recordings, frames[:3])
    made = finish(recordings, force=True)
    source.record(recordings, frames)
    assert source.tone(640)[:640] == track_pcm(recordings, made)


def test_the_death_of_a_gateway_leaves_a_gap_without_length(recordings, source):
    session = source.Session(5)
    frames = source.one_session(
        session, {"anna": source.tone(640)}, cause="gateway_died", proper=False, close_code=None
    )
    bad = session.event(0, "bad_packet", participant="anna", data={"error": "not_json"})
    source.record(recordings, [*frames[:3], bad, *frames[3:]])
    made = finish(recordings)
    assert ("incomplete", {"not_json": 1}) == (made.state, made.sessions[0].bad_packets)
    assert Packets(received=2, bad=1) == made.tracks[0].packets
    assert [None] == [gap.length_us for gap in made.tracks[0].gaps]


def test_a_frame_that_is_missing_makes_a_recording_incomplete(recordings, source):
    session = source.Session(5)
    frames = source.one_session(session, {"anna": source.tone(960)})
    del frames[3]
    source.record(recordings, frames)
    made = finish(recordings)
    assert ("incomplete", "damaged") == (made.state, made.tracks[0].gaps[0].cause)


def test_audio_of_more_streams_than_a_gateway_keeps_makes_a_recording_incomplete(
    recordings, source
):
    voices = {"anna": source.tone(320)}
    source.record(
        recordings,
        source.one_session(source.Session(1), voices, bad_packets={"too_many_streams": 3}),
    )

    assert "incomplete" == finish(recordings).state


def test_an_event_that_is_missing_makes_a_recording_incomplete(recordings, source):
    session = source.Session(5)
    events = [session.event(0, "dtmf"), session.event(2, "dtmf")]
    source.record(recordings, [session.open(), *events, session.close()])
    assert "incomplete" == finish(recordings).state


@pytest.mark.parametrize("lost", ["wav", "idx", "json", "session"])
def test_files_that_are_gone_cost_what_was_in_them(recordings, source, lost):
    session = source.Session(5)
    streams = {"anna": source.tone(640), "bert": source.tone(640, 2)}
    source.record(recordings, source.one_session(session, streams))
    name = "0000000000000005-0.json" if lost == "session" else f"0000000000000005-1.{lost}"
    (find_folder(recordings, "call") / "streams" / name).unlink()
    made = finish(recordings, force=True)
    assert "incomplete" == made.state
    assert source.tone(640, 2) == track_pcm(recordings, made, len(made.tracks) - 1)
    assert "call" == made.call_id


def redial(source, *, begin_us, audio, stamps=None, **members):
    """A second session of a call, accepted `begin_us` after the first."""
    session = source.Session(6, zero_us=source.ZERO_US + begin_us)
    frames = [session.open(), session.open_stream(1)]
    for number, at in enumerate(range(0, len(audio), 640)):
        stamp_us = session.zero_us + number * 20_000 if stamps is None else stamps[number]
        frames.append(session.audio(1, at // 2, audio[at : at + 640], stamp_us=stamp_us))
    return [*frames, session.close_stream(1), session.close(**members)]


def improper(source, pcm, **members):
    given = {"proper": False, "close_code": None, **members}
    return source.one_session(source.Session(5), {"anna": pcm}, **given)


def test_what_two_sessions_brought_is_there_once(recordings, source):
    pcm = source.tone(50 * 320)
    source.record(recordings, improper(source, pcm[: 30 * 640]))
    source.record(recordings, redial(source, begin_us=400_000, audio=pcm[20 * 640 :]))
    made = finish(recordings)
    assert pcm == track_pcm(recordings, made)
    assert (50, (), "complete") == (
        made.tracks[0].packets.received,
        made.tracks[0].gaps,
        made.state,
    )
    assert ["0000000000000005", "0000000000000006"] == [each.id for each in made.sessions]


def test_a_session_that_begins_just_behind_the_other_is_joined_without_a_seam(recordings, source):
    pcm = source.tone(20 * 320)
    source.record(recordings, improper(source, pcm[: 10 * 640]))
    source.record(recordings, redial(source, begin_us=233_000, audio=pcm[10 * 640 :]))
    assert pcm == track_pcm(recordings, finish(recordings))


@pytest.mark.parametrize(
    ("cause", "said"), [(None, "not_received"), ("gateway_died", "gateway_died")]
)
def test_a_hole_between_sessions_is_silence_in_whole_packets(recordings, source, cause, said):
    pcm = source.tone(320)
    source.record(recordings, improper(source, pcm, cause=cause))
    source.record(recordings, redial(source, begin_us=1_003_000, audio=pcm))
    made = finish(recordings)
    assert pcm + bytes(2 * 15_680) + pcm == track_pcm(recordings, made)
    assert (TrackGap(start_us=20_000, length_us=980_000, cause=said),) == made.tracks[0].gaps
    assert (2, 49) == (made.tracks[0].packets.received, made.tracks[0].packets.lost)
    assert ("incomplete" if cause else "complete") == made.state


def test_sessions_are_laid_on_one_axis_by_what_their_stamps_say_on_the_whole(recordings, source):
    """The first stamp of each is 15 ms early; the others are right."""
    pcm = source.tone(50 * 320)
    late = [
        source.ZERO_US + 1_985_000,
        *(source.ZERO_US + 2 * S + at * 20_000 for at in range(1, 50)),
    ]
    source.record(recordings, improper(source, pcm))
    source.record(recordings, redial(source, begin_us=1_985_000, audio=pcm, stamps=late))
    made = finish(recordings)
    assert pcm + bytes(2 * 16_000) + pcm == track_pcm(recordings, made)


def test_where_two_sessions_differ_the_earlier_one_is_heard(recordings, source):
    first, second = source.tone(10 * 320), source.tone(10 * 320, seed=9)
    stamps = [source.ZERO_US + 100_000 + at * 20_000 + 7 for at in range(10)]
    source.record(recordings, improper(source, first))
    source.record(recordings, redial(source, begin_us=100_000, audio=second, stamps=stamps))
    made = finish(recordings)
    assert first + second[5 * 640 :] == track_pcm(recordings, made)


def test_stamps_of_whole_seconds_make_no_copies_of_different_audio(recordings, source):
    pcm = source.tone(50 * 320)
    second = [source.ZERO_US + at // 50 * S for at in range(50)]
    session = source.Session(5)
    frames = [session.open(), session.open_stream(1)]
    frames.extend(
        session.audio(1, at * 320, pcm[at * 640 : (at + 1) * 640], stamp_us=second[at])
        for at in range(30)
    )
    frames += [session.close_stream(1), session.close(proper=False)]
    source.record(recordings, frames)
    again = redial(source, begin_us=0, audio=pcm[20 * 640 :], stamps=second[20:])
    source.record(recordings, again)
    made = finish(recordings)
    assert 50 == made.tracks[0].packets.received
    assert pcm[: 30 * 640] == track_pcm(recordings, made)[: 30 * 640]


def test_a_later_session_finishes_the_recording_again(recordings, source):
    pcm = source.tone(320)
    source.record(recordings, source.one_session(source.Session(5), {"anna": pcm}))
    finish(recordings)
    source.record(recordings, redial(source, begin_us=2 * S, audio=pcm))
    folder = find_folder(recordings, "call")
    assert ("open", 1) == (read_manifest(folder).state, read_manifest(folder).revision)
    made = finish(recordings)
    assert ("complete", 2, 32_320) == (made.state, made.revision, made.tracks[0].samples)


def test_a_track_that_is_no_more_is_removed(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    finish(recordings)
    folder = find_folder(recordings, "call")
    (folder / "tracks" / "participant-0000000000000000.wav").write_bytes(b"old")
    finish(recordings)
    assert 1 == len(list((folder / "tracks").iterdir()))


def test_a_session_that_comes_while_files_are_made_keeps_the_recording_open(
    recordings, source, monkeypatch
):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    from workers.recordings import finish as finish_module

    make_mix = finish_module.make_mix

    def meanwhile(*args, **members):
        source.record(recordings, [source.Session(6).open()])
        return make_mix(*args, **members)

    monkeypatch.setattr(finish_module, "make_mix", meanwhile)
    finish(recordings)
    assert ("open", 1) == (
        read_manifest(find_folder(recordings, "call")).state,
        read_manifest(find_folder(recordings, "call")).revision,
    )


def test_events_are_told_by_time_and_once(recordings, source):
    first, second = source.Session(5), source.Session(6, zero_us=source.ZERO_US + S)
    tone = {"participant": "anna", "data": {"tone": "1"}}
    frames = [
        *(first.open(), first.event(0, "audio_metadata", data={"sample_rate": 16_000})),
        *(
            first.event(1, "dtmf", source.ZERO_US + 5, **tone),
            first.event(2, "mark", source.ZERO_US),
        ),
        *(first.event(3, "bad_packet", data={"error": "no_kind"}), first.close(proper=False)),
    ]
    again = [second.open(), second.event(0, "dtmf", source.ZERO_US + 5, **tone), second.close()]
    source.record(recordings, frames, again)
    made = finish(recordings)
    assert [("mark", None), ("dtmf", "anna")] == [
        (event.kind, event.participant) for event in made.events
    ]
    assert {"sample_rate": 16_000} == made.sessions[0].metadata
    assert ({"tone": "1"}, None) == (made.events[1].data, made.events[1].offset_us)


def test_an_event_is_placed_after_the_calls_start(recordings, source):
    session = source.Session(5)
    frames = source.one_session(session, {"anna": source.tone(320)})
    frames.insert(3, session.event(0, "dtmf", source.ZERO_US + 15_000))
    source.record(recordings, frames)
    assert 15_000 == finish(recordings).events[0].offset_us


def test_a_hostile_participant_keeps_its_id_in_the_manifest_alone(recordings, source):
    hostile = ["../../etc/passwd", "x" * 4000, "a\0b\n", ""]
    source.record(
        recordings,
        source.one_session(source.Session(5), dict.fromkeys(hostile, source.tone(320))),
    )
    made = finish(recordings)
    assert hostile == [track.participant for track in made.tracks]
    names = [path.name for path in (find_folder(recordings, "call") / "tracks").iterdir()]
    assert 4 == len(names)
    assert all(len(name) == len("participant-0123456789abcdef.wav") for name in names)


def test_a_participant_without_an_id_is_the_mix_of_all(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {None: source.tone(320)}))
    made = finish(recordings)
    assert (None, "tracks/participant-none.wav") == (
        made.tracks[0].participant,
        made.tracks[0].file,
    )


def test_files_are_readable_by_python_alone(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    made = finish(recordings)
    for name in (made.tracks[0].file, "mixed.wav"):
        with wave.open(str(find_folder(recordings, "call") / name)) as file:
            assert source.tone(320) == file.readframes(1000)


KILLED = """
import os, signal, sys
from pathlib import Path
from workers.recordings.finish import finish_folder

left = int(sys.argv[2])
def counting(call):
    def run(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return run

for name in ("open", "rename", "link", "pwrite", "mkdir", "unlink", "ftruncate", "fsync"):
    setattr(os, name, counting(getattr(os, name)))
print(finish_folder(Path(sys.argv[1])).state, left)
"""


def test_finish_may_be_killed_at_any_moment(recordings, source, tmp_path):
    pcm = source.tone(10 * 320)
    source.record(recordings, improper(source, pcm[:3200]))
    finish(recordings)
    source.record(recordings, redial(source, begin_us=300_000, audio=pcm[3200:]))
    folder = find_folder(recordings, "call")
    for moment in range(1, 200, 6):
        command = [sys.executable, "-c", KILLED, str(folder), str(moment)]
        run = subprocess.run(command, capture_output=True, timeout=30, check=False)
        said = read_manifest(folder)
        if run.returncode != -signal.SIGKILL:
            break
        assert said.state == "open" or said.revision == 2
        for track in said.tracks:
            assert (folder / track.file).exists()
    assert (0, b"complete") == (run.returncode, run.stdout.split()[0])
    killed = everything(folder)
    finish(recordings)
    assert killed == everything(folder)
    assert 2 == read_manifest(folder).revision
    assert {".lock", "manifest.json", "mixed.wav", "streams", "tracks"} == {
        path.name for path in folder.iterdir() if not path.name.startswith(".manifest.json.")
    }


class Wall:
    """The wall clock of a finish process."""

    def __init__(self, recordings, **members):
        self.settings = msgspec.structs.replace(SETTINGS, **members)
        self.loop = FinishLoop(recordings, self.settings)
        self.counters = self.loop.counters

    def turns(self, now_us, **members):
        """How many turns have something to do."""
        return next(at for at in range(100) if not self.loop.turn(now_us, **members))


END_US = 1_764_000_000_000_000 + S  # when `one_session` closes


def state(recordings):
    return read_manifest(find_folder(recordings, "call")).state


def test_a_call_that_closed_properly_is_finished_at_once(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    wall = Wall(recordings)
    assert 1 == wall.turns(END_US)
    assert ("complete", 1) == (state(recordings), wall.counters.recordings_finished)
    assert 0 == wall.turns(END_US + 60 * S)


def test_after_an_improper_close_another_socket_is_waited_for(recordings, source):
    source.record(recordings, improper(source, source.tone(320)))
    wall = Wall(recordings)
    assert 0 == wall.turns(END_US + 30 * S - 1)
    assert "open" == state(recordings)
    assert 1 == wall.turns(END_US + 30 * S)
    assert "complete" == state(recordings)


def test_whoever_drains_waits_for_nobody(recordings, source):
    source.record(recordings, improper(source, source.tone(320)))
    wall = Wall(recordings)
    assert 0 == wall.turns(END_US)
    assert 1 == wall.turns(END_US, drain=True)


def test_a_clock_that_was_set_back_keeps_no_recording_open(recordings, source):
    source.record(recordings, improper(source, source.tone(320)))
    wall = Wall(recordings)
    before_us = END_US - 86_400 * S
    assert 0 == wall.turns(before_us)
    assert 1 == wall.turns(before_us + 30 * S)


def test_the_last_close_says_whether_to_wait(recordings, source):
    source.record(recordings, improper(source, source.tone(320)))
    source.record(
        recordings,
        redial(source, begin_us=S, audio=source.tone(320), closed_at_us=END_US + 3 * S),
    )
    assert 1 == Wall(recordings).turns(END_US)


def test_a_call_with_an_open_session_is_left_until_that_ends(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    other = source.Session(6)
    source.record(recordings, [other.open()])
    wall = Wall(recordings)
    assert 1 == wall.turns(END_US + 3600 * S)
    assert ("open", 0) == (state(recordings), wall.counters.recordings_finished)
    source.record(recordings, [other.open(), other.close()])
    assert 1 == wall.turns(END_US)
    assert "complete" == state(recordings)


def test_stream_files_go_when_no_session_can_follow(recordings, source):
    pcm = source.tone(320)
    source.record(recordings, source.one_session(source.Session(5), {"anna": pcm}))
    folder = find_folder(recordings, "call")
    wall = Wall(recordings, reopen_s=100)
    assert 1 == wall.turns(END_US)
    assert 0 == wall.turns(END_US + 100 * S - 1)
    before = everything(folder)
    assert 1 == wall.turns(END_US + 100 * S)
    assert (1, None) == (wall.counters.recordings_retired, find_folder(recordings, "call"))
    assert before == everything(folder)
    assert not (folder / "streams").exists()
    assert [] == list((recordings / ".due").iterdir())


def test_a_recording_that_was_opened_again_keeps_its_streams(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    wall = Wall(recordings, reopen_s=100)
    assert 1 == wall.turns(END_US)
    source.record(recordings, [source.Session(6).open()])
    assert 1 == wall.turns(END_US + 100 * S)
    assert 0 == wall.counters.recordings_retired
    assert (find_folder(recordings, "call") / "streams").exists()


def test_a_recording_that_is_closed_for_good_is_never_made_again(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    folder = find_folder(recordings, "call")
    wall = Wall(recordings, reopen_s=0)
    assert 2 == wall.turns(END_US)
    before = everything(folder)
    streams = folder / "streams"
    streams.mkdir()
    (streams / "0000000000000009-0.json").write_bytes(b"")
    with lock_folder(folder, wait=True):
        assert finish_folder(folder, force=True, sync=False) is None
    assert before == everything(folder)


def test_what_another_process_holds_is_left_to_it(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    wall = Wall(recordings)
    with lock_folder(find_folder(recordings, "call"), wait=True):
        assert 0 == wall.turns(END_US)
    assert 1 == wall.turns(END_US)


def test_a_recording_that_cannot_be_finished_holds_up_no_other(recordings, source, monkeypatch):
    for number, call_id in enumerate(("bad", "good"), 5):
        frames = source.one_session(source.Session(number, call_id), {"anna": source.tone(320)})
        source.record(recordings, frames)
    from workers.recordings import finish as finish_module

    make_track = finish_module.make_track

    def fail(plan, target, **members):
        if plan.pieces[0].session.opened.call_id == "bad":
            raise OSError(28, "No space left on device")
        make_track(plan, target, **members)

    wall = Wall(recordings)
    with monkeypatch.context() as patch:
        patch.setattr(finish_module, "make_track", fail)
        assert 1 == wall.turns(END_US)
        assert 0 == wall.turns(END_US + 1)
    assert (1, 1) == (wall.counters.recordings_failed, wall.counters.recordings_finished)
    assert 1 == wall.turns(END_US + 60 * S)
    assert "complete" == read_manifest(find_folder(recordings, "bad")).state


def test_a_recording_that_somebody_has_deleted_is_forgotten(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    folder = find_folder(recordings, "call")
    folder.rename(recordings / "away")
    assert 0 == Wall(recordings).turns(END_US)
    assert [] == due.Notes(recordings).scan()


def test_a_note_that_a_killed_process_had_taken_is_followed(recordings, source):
    source.record(recordings, source.one_session(source.Session(5), {"anna": source.tone(320)}))
    due.take(due.Notes(recordings).scan()[0])
    assert 1 == Wall(recordings).turns(END_US)
    assert "complete" == state(recordings)


def test_dropped_and_corrected_packets_are_told_and_harm_nothing(recordings, source):
    session, pcm = source.Session(5), source.tone(320)
    frames = [
        *(session.open(), session.open_stream(1), *session.packets(1, 0, pcm)),
        session.audio(1, 320, b"", flags=FrameFlag.DROPPED | FrameFlag.SILENT),
        session.audio(1, 640, pcm, flags=FrameFlag.CLOCK),
        session.close_stream(1, Packets(received=3, dropped=1, filled=1, silent=1)),
        session.close(),
    ]
    source.record(recordings, frames)
    made = finish(recordings)
    assert "complete" == made.state
    assert [(20_000, 0, "clock"), (20_000, 20_000, "clock")] == [
        (gap.start_us, gap.length_us, gap.cause) for gap in made.tracks[0].gaps
    ]
    assert pcm + bytes(640) + pcm == track_pcm(recordings, made)
