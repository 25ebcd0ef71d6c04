import numpy as np

from gateway.wire.frame import FRAME_DTYPE, NO_STAMP, FrameFlag
from workers.recordings.index import ENTRY_BYTES, pack_entries, read_index


def heads(*rows):
    made = np.zeros(len(rows), FRAME_DTYPE)
    for index, (flags, samples, stamp_us, position) in enumerate(rows):
        made[index] = (2, flags, 1, 0, 5, index, samples, stamp_us, position)
    return made


def test_an_entry_is_24_bytes_and_never_all_zeros():
    entries = pack_entries(heads((0, 0, 0, 0)))
    assert 24 == ENTRY_BYTES == len(entries.tobytes())
    assert any(entries.tobytes())


def test_an_index_reads_as_it_was_packed(tmp_path):
    entries = pack_entries(heads((0, 320, NO_STAMP, -320), (FrameFlag.SILENT, 320, 7, 0)))
    (tmp_path / "a.idx").write_bytes(entries.tobytes())
    read = read_index(tmp_path / "a.idx")
    assert [(NO_STAMP, -320, 320, 0, 1, 0), (7, 0, 320, 1, 1, 0)] == read.tolist()


def test_a_packet_that_was_left_out_has_no_samples():
    assert [0] == pack_entries(heads((FrameFlag.DROPPED, 320, 7, 0)))["samples"].tolist()


def test_a_torn_last_entry_is_left_out(tmp_path):
    entries = pack_entries(heads((0, 320, 1, 0), (0, 320, 2, 320)))
    (tmp_path / "a.idx").write_bytes(entries.tobytes()[:-1])
    assert 1 == len(read_index(tmp_path / "a.idx"))


def test_a_file_that_is_not_there_has_no_entries(tmp_path):
    assert 0 == len(read_index(tmp_path / "a.idx"))
