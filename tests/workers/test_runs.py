import numpy as np
import pytest
from hand_gateway import audio, batch, frame, ramp
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.errors import TruncatedError
from gateway.wire.frame import BATCH, FRAME, FrameFlag, FrameKind, unpack_batch
from workers.runs import BAD, audio_runs, read_heads


def runs_of(*frames):
    message = batch(*frames)
    heads, offsets = read_heads(message, unpack_batch(message))
    source, runs = audio_runs(heads, offsets, memoryview(message))
    return source, list(runs)


def pcm_of(source, run):
    return np.frombuffer(source, "<i2", run[5], run[6]).tolist()


def test_contiguous_frames_are_one_run():
    source, runs = runs_of(audio(0), audio(1), audio(2))

    assert [(0xA1, 1, 0, 0, 3, 960)] == [run[:6] for run in runs]
    assert ramp(0, 960).tolist() == pcm_of(source, runs[0])


def test_interleaved_streams_are_one_run_each():
    source, runs = runs_of(audio(0), audio(0, stream=2), audio(1), audio(1, stream=2))

    assert [(1, 2, 640), (2, 2, 640)] == [(run[1], run[4], run[5]) for run in runs]
    assert [ramp(0, 640).tolist()] * 2 == [pcm_of(source, run) for run in runs]


def test_interleaved_frames_of_different_lengths_are_joined_as_well():
    source, runs = runs_of(
        audio(0),
        audio(0, stream=2, samples=480),
        audio(1),
        audio(1, stream=2, samples=480),
    )

    assert [ramp(0, 640).tolist(), ramp(0, 960).tolist()] == [pcm_of(source, run) for run in runs]


def test_one_frame_of_each_stream_stays_where_it_is():
    message = batch(audio(5, session=9), audio(5, session=3))
    heads, offsets = read_heads(message, unpack_batch(message))

    source, runs = audio_runs(heads, offsets, memoryview(message))

    assert message == bytes(source)
    assert [9, 3] == [run[0] for run in runs]


@pytest.mark.parametrize(
    "second",
    [audio(2, position=320), audio(1, position=640), audio(1, session=7), audio(1, stream=2)],
    ids=["seq", "position", "session", "stream"],
)
def test_seam_ends_a_run(second):
    _, runs = runs_of(audio(0), second)

    assert 2 == len(runs)


def test_frame_without_payload_is_a_run_of_its_own():
    _, runs = runs_of(audio(0), audio(1, flags=FrameFlag.NO_DATA), audio(2))

    assert [0, FrameFlag.NO_DATA, 0] == [run[7] for run in runs]
    assert [1, 1, 1] == [run[4] for run in runs]


def test_flags_that_change_nothing_do_not_end_a_run():
    _, runs = runs_of(audio(0), audio(1, flags=FrameFlag.SILENT), audio(2, flags=FrameFlag.LATE))

    assert [3] == [run[4] for run in runs]


def test_payload_that_does_not_fit_its_samples_is_bad():
    odd = frame(FrameKind.AUDIO, 1, bytes(639), seq=1, samples=320, position=320)

    source, runs = runs_of(audio(0), odd, audio(2))

    assert [0, BAD, 0] == [run[7] for run in runs]
    assert ramp(640).tolist() == pcm_of(source, runs[2])


def test_frame_headers_of_a_later_version_may_be_longer():
    head, payload = audio(3)
    long_head = head + bytes(8)
    header = bytearray(batch((head, payload))[: BATCH.size])
    BATCH.pack_into(
        header, 0, b"ACSB", 1, 0, BATCH.size, FRAME.size + 8, 0, 1, 1, 2, 2 * len(payload), 0, 0
    )
    message = bytes(header) + long_head * 2 + payload * 2

    heads, offsets = read_heads(message, unpack_batch(message))

    assert [3, 3] == heads["seq"].tolist()
    assert [len(message) - 1280, len(message) - 640, len(message)] == offsets.tolist()


def test_payloads_that_end_past_the_message_are_refused():
    head, _ = audio(0)
    message = batch((head, b""))

    with pytest.raises(TruncatedError):
        read_heads(message, unpack_batch(message))


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),  # stream
            st.sampled_from([160, 160, 160, 240]),  # samples
            st.sampled_from([0, 0, 0, FrameFlag.DROPPED, FrameFlag.NO_DATA]),
            st.booleans(),  # a gap before it
        ),
        min_size=1,
        max_size=30,
    )
)
def test_runs_hold_every_frame_once_and_each_stream_in_order(shape):
    frames, seqs, places = [], {}, {}
    expected = {}
    for stream, samples, flags, gap in shape:
        seq, place = seqs.get(stream, 0), places.get(stream, 0) + 160 * gap
        frames.append(audio(seq, place, stream, samples=samples, flags=flags))
        seqs[stream], places[stream] = seq + 1, place + samples
        expected.setdefault(stream, []).append(frames[-1][1])

    source, runs = runs_of(*frames)

    got, order = {}, {}
    for _, stream, seq, _, count, samples, at, flags in runs:
        assert flags == 0 or count == 1
        order.setdefault(stream, []).extend(range(seq, seq + count))
        payload = b"" if flags else bytes(source[at : at + 2 * samples])
        got[stream] = got.get(stream, b"") + payload
    assert {stream: list(range(n)) for stream, n in seqs.items()} == order
    assert {stream: b"".join(parts) for stream, parts in expected.items()} == got
