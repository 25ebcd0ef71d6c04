"""Batches: packing, unpacking, and the golden ones that pin the version."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import errors
from gateway.wire.frame import (
    BATCH,
    FRAME,
    FRAME_DTYPE,
    NO_STAMP,
    VERSION,
    Frame,
    batch_header,
    iterate,
    pack_batch,
    pad_json,
    unpack_batch,
)

GOLDEN = Path(__file__).parents[2] / "corpus" / "wire"

FRAMES = st.lists(
    st.builds(
        Frame,
        kind=st.integers(0, 255),
        flags=st.integers(0, 255),
        stream=st.integers(0, 2**16 - 1),
        session=st.integers(0, 2**64 - 1),
        seq=st.integers(0, 2**32 - 1),
        samples=st.integers(0, 2**32 - 1),
        stamp_us=st.integers(-(2**63), 2**63 - 1),
        position=st.integers(-(2**63), 2**63 - 1),
        payload=st.binary(max_size=40),
    ),
    max_size=12,
)


def packed(frames: list[Frame], link: int = 3, number: int = 9) -> bytes:
    heads = [FRAME.pack(f.kind, f.flags, f.stream, len(f.payload), *f[3:8]) for f in frames]
    payloads = [frame.payload for frame in frames]
    size = sum(map(len, payloads))
    header = batch_header(link, number, 1_000, frames=len(frames), payload_bytes=size)
    return pack_batch(header, heads, payloads)


def golden_frames() -> list[Frame]:
    opened = pad_json(
        b'{"call_id":"c","session":"0000000000000007","gateway":"g","opened_at_us":1}'
    )
    return [
        Frame(1, 0, 0, 7, 0, 0, NO_STAMP, 0, opened),
        Frame(2, 1, 1, 7, 0, 2, 1_731_698_172_925_000, 0, b"\x01\x00\x02\x00"),
        Frame(2, 9, 1, 7, 1, 320, NO_STAMP, 2, b""),
        Frame(4, 0, 1, 7, 0, 0, NO_STAMP, 0, pad_json(b'{"packets":null}')),
    ]


@given(FRAMES)
def test_what_is_packed_unpacks(frames):
    assert frames == list(iterate(packed(frames)))


@given(FRAMES)
def test_numpy_reads_the_same_heads(frames):
    message = packed(frames)
    batch = unpack_batch(message)
    heads = np.frombuffer(message, np.dtype(FRAME_DTYPE), batch.frames, batch.heads_offset)

    assert [frame[:3] + frame[3:8] for frame in frames] == [
        tuple(int(head[name]) for name in Frame._fields[:-1]) for head in heads
    ]


@given(FRAMES, st.data())
def test_a_cut_batch_is_refused(frames, data):
    message = packed(frames)
    cut = data.draw(st.integers(0, len(message) - 1))

    with pytest.raises(errors.TruncatedError):
        unpack_batch(message[:cut])


@given(st.binary(max_size=200))
def test_anything_else_is_refused_with_a_wire_error(message):
    with pytest.raises(errors.WireError):
        list(iterate(message))


@pytest.mark.parametrize("version", [0, VERSION + 1, 255])
def test_a_foreign_version_is_refused(version):
    message = bytearray(packed(golden_frames()))
    message[4] = version

    with pytest.raises(errors.VersionError):
        unpack_batch(bytes(message))


def test_a_longer_header_and_stride_of_a_later_writer_are_read():
    header = BATCH.pack(b"ACSB", 1, 0, 56, 48, 0, 3, 9, 1, 2, 1_000, 0)
    head = FRAME.pack(2, 0, 1, 2, 7, 0, 1, NO_STAMP, 0)
    message = header + bytes(8) + head + bytes(8) + b"\x01\x02"

    assert [Frame(2, 0, 1, 7, 0, 1, NO_STAMP, 0, b"\x01\x02")] == list(iterate(message))


def test_the_golden_batch_of_version_1_has_not_changed():
    golden = bytes.fromhex((GOLDEN / "batch_v1.hex").read_text())

    assert golden == packed(golden_frames())
    assert golden_frames() == list(iterate(golden))
