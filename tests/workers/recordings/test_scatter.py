from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.frame import FRAME_DTYPE, FrameFlag, FrameKind
from workers.recordings import scatter as scattering
from workers.recordings.index import ENTRY, ENTRY_BYTES
from workers.recordings.scatter import Discarded, scatter

AUDIO = FrameKind.AUDIO


def run(frames, firsts):
    """Frames are (session, stream, seq, position, payload, flags, samples)."""
    heads = np.zeros(len(frames), FRAME_DTYPE)
    for index, (session, stream, seq, position, payload, flags, samples) in enumerate(frames):
        heads[index] = (AUDIO, flags, stream, len(payload), session, seq, samples, 0, position)
    source = np.frombuffer(b"".join(frame[4] for frame in frames), np.uint8)
    discarded = []
    files: dict = {}
    for runs in scatter([heads.tobytes()], source, firsts, discarded):
        audio, entries = files.setdefault(runs.key, ({}, {}))
        for position, view in runs.audio:
            for at, sample in enumerate(bytes(view)):
                audio[position * 2 + at] = sample
        for seq, view in runs.entries:
            for at, entry in enumerate(np.frombuffer(view, ENTRY)):
                entries[seq + at] = entry.item()
    return files, discarded[0]


def frame(*place, payload=b"\1\2", flags=0, samples=None):
    """`place`: session, stream, seq, position."""
    return (*place, payload, flags, len(payload) // 2 if samples is None else samples)


@given(st.data())
def test_every_sample_and_entry_of_a_known_stream_finds_its_place(data):
    keys = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2)), min_size=1))
    frames, at = [], dict.fromkeys(keys, (0, -7))
    for key in keys:
        seq, position = at[key]
        position += data.draw(st.sampled_from([0, 0, 5]))
        payload = data.draw(st.binary(min_size=0, max_size=4).map(lambda pcm: pcm * 2))
        frames.append(frame(*key, seq, position, payload=payload))
        at[key] = seq + 1, position + len(payload) // 2
    firsts = {key: -7 for key in keys if key[0]}
    order = data.draw(st.permutations(frames + frames[:3]))
    files, discarded = run(order, firsts)
    expected: dict = {}
    for session, stream, seq, position, payload, _, samples in frames:
        if session:
            audio, entries = expected.setdefault((session, stream), ({}, {}))
            audio.update({position * 2 + index: byte for index, byte in enumerate(payload)})
            entries[seq] = (0, position, samples, 0, 1, 0)
    assert expected == files
    assert Discarded(0, sum(not each[0] for each in order)) == discarded


def test_contiguous_frames_of_interleaved_streams_are_one_run_each():
    frames = [frame(9, 1 + at % 2, at // 2, at // 2) for at in range(40)]
    heads = np.zeros(40, FRAME_DTYPE)
    for index, (session, stream, seq, position, _, _, samples) in enumerate(frames):
        heads[index] = (AUDIO, 0, stream, 2, session, seq, samples, 0, position)
    source = np.frombuffer(b"\1\2" * 40, np.uint8)
    found = sorted(scatter([heads[:7], heads[7:]], source, {(9, 1): 0, (9, 2): 0}, []))
    assert [((9, 1), 1, 1), ((9, 2), 1, 1)] == [
        (runs.key, len(runs.audio), len(runs.entries)) for runs in found
    ]
    assert [(0, 40)] == [(position, len(view)) for position, view in found[0].audio]
    assert [(0, 20 * ENTRY_BYTES)] == [(seq, len(view)) for seq, view in found[0].entries]


def test_a_packet_without_data_is_silence():
    frames = [
        frame(1, 1, 0, 0),
        frame(1, 1, 1, 1, payload=b"", flags=FrameFlag.NO_DATA, samples=2),
    ]
    files, _ = run(frames, {(1, 1): 0})
    assert {0: 1, 1: 2, 2: 0, 3: 0, 4: 0, 5: 0} == files[1, 1][0]


def test_a_packet_that_was_left_out_has_an_entry_and_no_samples():
    files, _ = run([frame(1, 1, 0, 5, payload=b"", flags=FrameFlag.DROPPED)], {(1, 1): 5})
    assert ({}, {0: (0, 5, 0, FrameFlag.DROPPED, 1, 0)}) == files[1, 1]


@pytest.mark.parametrize(
    "bad",
    [
        frame(1, 1, 0, -1),  # before the stream
        frame(1, 1, 0, 2**62),
        frame(1, 1, 0, 0, samples=2),  # fewer bytes than samples
        frame(1, 1, 0, 0, payload=b"\1\2\3"),
        frame(1, 1, 0, 0, payload=b"", samples=1),
        frame(1, 1, 0, 0, payload=b"", flags=FrameFlag.NO_DATA, samples=2**31),
        frame(1, 1, 0, 0, flags=FrameFlag.DROPPED, samples=0),
    ],
)
def test_a_frame_that_contradicts_itself_is_left_out_alone(bad):
    files, discarded = run([bad, frame(1, 1, 1, 1)], {(1, 1): 0})
    assert ({2: 1, 3: 2}, [1]) == (files[1, 1][0], list(files[1, 1][1]))
    assert Discarded(1, 0) == discarded


def test_streams_are_brought_into_order_in_pieces(monkeypatch):
    monkeypatch.setattr(scattering, "_CHUNK_BYTES", 5)
    frames = [frame(session, 1, 0, 0, payload=bytes([session, 1]) * 2) for session in range(1, 9)]
    files, _ = run(frames, {(session, 1): 0 for session in range(1, 9)})
    expected = {(session, 1): {0: session, 1: 1, 2: session, 3: 1} for session in range(1, 9)}
    assert expected == {key: audio for key, (audio, _) in files.items()}


def test_streams_whose_sort_keys_collide_are_kept_apart():
    # (a, s) and (a + C, s - 1) have the same mixture, C being the mixture's factor.
    factor = 0x9E3779B97F4A7C15
    frames = [
        frame(each, stream, seq, seq)
        for seq in range(3)
        for each, stream in ((1, 2), (1 + factor, 1))
    ]
    files, _ = run(frames, {(1, 2): 0, (1 + factor, 1): 0})
    assert [3, 3] == [len(entries) for _, entries in files.values()]
    assert all(
        later - earlier == 1 for audio, _ in files.values() for earlier, later in pairwise(audio)
    )
