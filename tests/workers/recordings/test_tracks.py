import pytest

from workers.recordings.contents import read_contents
from workers.recordings.folder import find_folder
from workers.recordings.placing import place
from workers.recordings.tracks import make_track, plan_tracks


@pytest.fixture
def planned(recordings, source):
    def run(*sessions):
        source.record(recordings, *sessions)
        return plan_tracks(place(read_contents(find_folder(recordings, "call"))))

    return run


def made(plan, tmp_path, source):
    target = tmp_path / "track.wav"
    make_track(plan, target, sync=True)
    assert 0o600 == target.stat().st_mode & 0o777
    return source.read_pcm(target)


def test_each_participant_has_a_track_for_each_rate(planned, source):
    session = source.Session(1)
    frames = [session.open()]
    for number, (who, rate) in enumerate(
        [("anna", 16_000), (None, 16_000), ("anna", 24_000), ("anna", 16_000)], 1
    ):
        first = number * 10
        frames += [
            session.open_stream(number, who, rate, first),
            session.audio(number, first, b"\1\0"),
        ]
    plans = planned(frames)
    assert [("anna", 16_000, 2), (None, 16_000, 1), ("anna", 24_000, 1)] == [
        (plan.participant, plan.sample_rate, len(plan.pieces)) for plan in plans
    ]


def test_streams_of_one_participant_at_one_rate_are_joined_on_the_axis(planned, source, tmp_path):
    session = source.Session(1)
    frames = [session.open(), session.open_stream(1), session.audio(1, 0, b"\1\0" * 4)]
    frames += [session.open_stream(2, first=10), session.audio(2, 10, b"\2\0" * 2)]
    (plan,) = planned(frames)
    assert (0, 12) == (plan.begin, plan.end)
    assert b"\1\0" * 4 + bytes(12) + b"\2\0" * 2 == made(plan, tmp_path, source)


def test_a_track_may_begin_before_the_sessions_zero(planned, source, tmp_path):
    session = source.Session(1)
    frames = [session.open(), session.open_stream(1, first=-5), session.audio(1, -5, b"\1\0")]
    (plan,) = planned([*frames, session.close_stream(1), session.close()])
    assert (-5, -4, b"\1\0") == (plan.begin, plan.end, made(plan, tmp_path, source))


def test_a_stream_that_never_had_a_packet_has_no_track(planned, source):
    session = source.Session(1)
    assert [] == planned([session.open(), session.open_stream(1)])


def test_an_unfinished_header_is_put_right(planned, source, tmp_path, recordings):
    frames = source.one_session(source.Session(1), {"anna": source.tone(640)})
    source.record(recordings, frames)
    stream = find_folder(recordings, "call") / "streams" / "0000000000000001-1.wav"
    whole = stream.read_bytes()
    with stream.open("r+b") as file:
        file.seek(76)
        file.write(bytes(4))
    (plan,) = planned(frames[:1])
    made(plan, tmp_path, source)
    assert whole == (tmp_path / "track.wav").read_bytes()


@pytest.mark.parametrize("known", [1, 2])
def test_where_a_gap_is_declared_a_track_is_silent(planned, source, tmp_path, recordings, known):
    frames = source.one_session(source.Session(1), {"anna": source.tone(960)})
    source.record(recordings, frames)
    index = find_folder(recordings, "call") / "streams" / "0000000000000001-1.idx"
    entries = bytearray(index.read_bytes())
    entries[24 * known : 24 * (known + 1)] = bytes(24)  # of a frame whose audio is there
    index.write_bytes(entries[: 48 if known == 2 else None])
    (plan,) = planned(frames[:1])
    pcm = made(plan, tmp_path, source)
    assert bytes(640) == pcm[640 * known : 640 * (known + 1)]
    assert source.tone(960)[: 640 * known] == pcm[: 640 * known]


def test_what_is_written_late_to_a_session_that_died_does_not_change_its_track(
    planned, source, tmp_path, recordings
):
    session = source.Session(1)
    frames = [session.open(), session.open_stream(1), *session.packets(1, 0, source.tone(640))]
    died = session.close(proper=False, close_code=None, cause="gateway_died")
    (plan,) = planned([*frames, session.close_stream(1), died])
    before = made(plan, tmp_path, source)
    late = session.packets(1, 640, source.tone(320))
    source.record(recordings, [*frames[:2], *late])

    assert source.tone(640) == before == source.read_pcm(tmp_path / "track.wav")
