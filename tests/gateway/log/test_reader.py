"""Damage costs what was damaged: every record that nothing has touched is read."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.log.adoption import adopt
from gateway.log.folder import make_folder, segment_path
from gateway.log.reader import Cursor, Damages
from gateway.log.segment import record_of
from gateway.wire.record import SEGMENT, pack_segment_header

PAGE = 512  # small, so that pages and records do not fall together
EACH = 20


class Written:
    """A log of three segments, with the bytes that each tick takes."""

    def __init__(self, folder: Path, make) -> None:
        self.folder = folder
        self.places: dict[int, tuple[Path, int, int]] = {}
        self.paths = [segment_path(folder, number) for number in (1, 2, 3)]
        for number, path in enumerate(self.paths):
            first = number * EACH + 1
            data = pack_segment_header(number + 1, first, 5)
            for tick in range(first, first + EACH):
                frames = [make.audio(3 * tick + each, size=100) for each in range(3)]
                record = b"".join(record_of(make.tick(tick, *frames)))
                self.places[tick] = path, len(data), len(data) + len(record)
                data += record
            path.write_bytes(data)

    def untouched(self, path: Path, begin: int, end: int) -> list[int]:
        """The ticks outside of a part of a segment."""
        return [
            tick
            for tick, (where, first, last) in self.places.items()
            if where != path or last <= begin or first >= end
        ]


def whole_ticks(folders, damages=None, bytes_max=1):
    """Numbers of the ticks that have all their frames, as a catch-up sees them."""
    cursor = Cursor(folders, 1, damages or Damages())
    found, following = [], 1
    while ticks := cursor.read(bytes_max):
        for tick in ticks:
            if tick.number >= following:
                following = tick.number + 1
                found += [tick.number] if tick.frames == 3 else []
    return found


@pytest.fixture
def template(tmp_path, make):
    folder = tmp_path / "template"
    folder.mkdir()
    return Written(folder, make)


@pytest.fixture
def damaged(tmp_path, template):
    """A copy of the log for each example."""

    def copy() -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        return shutil.copytree(template.folder, tmp_path / "copy")

    return copy


examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
segment = st.integers(0, 2)
place = st.integers(0, 10**6)


@examples
@given(which=segment, at=place, bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_tick_at_most(template, damaged, which, at, bit):
    path = damaged() / template.paths[which].name
    data = bytearray(path.read_bytes())
    at %= len(data)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    damages = Damages()

    assert template.untouched(template.paths[which], at, at + 1) == whole_ticks(
        [path.parent], damages
    )
    assert any(vars(damages).values()) or at < SEGMENT.size


@examples
@given(which=segment, at=place, length=st.integers(1, 2000))
def test_bytes_that_were_cut_out_cost_what_they_were_part_of(template, damaged, which, at, length):
    path = damaged() / template.paths[which].name
    data = path.read_bytes()
    at %= len(data)
    path.write_bytes(data[:at] + data[at + length :])

    expected = set(template.untouched(template.paths[which], at, at + length))
    assert expected <= set(whole_ticks([path.parent]))


@examples
@given(which=segment, pages=st.sets(st.integers(0, 40), min_size=1, max_size=4))
def test_zeroed_pages_cost_what_was_in_them(template, damaged, which, pages):
    path = damaged() / template.paths[which].name
    data = bytearray(path.read_bytes())
    kept = set(template.places)
    for page in pages:
        begin, end = PAGE * page, min(PAGE * page + PAGE, len(data))
        if begin < end:
            data[begin:end] = bytes(end - begin)
            kept &= set(template.untouched(template.paths[which], begin, end))
    path.write_bytes(data)

    assert kept <= set(whole_ticks([path.parent]))


@examples
@given(order=st.permutations([0, 1, 2]), bytes_max=st.sampled_from([1, 10**6]))
def test_files_whose_names_were_mixed_up_cost_nothing(template, damaged, order, bytes_max):
    folder = damaged()
    for source, target in enumerate(order):
        (folder / template.paths[source].name).rename(folder / f"new-{target}")
    for target in order:
        (folder / f"new-{target}").rename(folder / template.paths[target].name)

    assert list(template.places) == whole_ticks([folder], bytes_max=bytes_max)


@examples
@given(which=segment, junk=st.binary(max_size=3000))
def test_a_file_of_junk_costs_itself(template, damaged, which, junk):
    path = damaged() / template.paths[which].name
    path.write_bytes(junk)
    begin = which * EACH

    assert [tick for tick in template.places if not begin < tick <= begin + EACH] == whole_ticks(
        [path.parent]
    )


def test_a_log_is_not_empty_because_nothing_can_be_opened(template, out_of_descriptors):
    cursor = Cursor([template.folder], 1, Damages())
    with out_of_descriptors(), pytest.raises(OSError, match="Too many open files"):
        cursor.read(1)

    assert list(template.places) == whole_ticks([template.folder])


def test_a_log_in_two_folders_is_read_in_the_order_of_its_ticks(template, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.move(template.paths[1], other)

    assert list(template.places) == whole_ticks([template.folder, other])


def test_sectors_that_cannot_be_read_cost_what_was_in_them(template, monkeypatch):
    path, begin, _ = template.places[30]
    bad = begin + 200
    pread = os.pread

    def read(descriptor, size, at):
        is_bad = os.readlink(f"/proc/self/fd/{descriptor}") == str(path) and at <= bad < at + size
        if is_bad:
            raise OSError(5, "Input/output error")
        return pread(descriptor, size, at)

    monkeypatch.setattr(os, "pread", read)
    monkeypatch.setattr("gateway.log.reader.PAGE_BYTES", 64)
    damages = Damages()

    assert [tick for tick in template.places if tick != 30] == whole_ticks(
        [template.folder], damages
    )
    assert damages.pages >= 1


def test_audio_that_looks_like_a_record_is_never_taken_for_one(tmp_path, make):
    """Not even where a record ends past what is read at a time."""
    forged = b"".join(record_of(make.tick(999, make.open(session=666))))
    forged += bytes(-len(forged) % 4)
    data = pack_segment_header(1, 1, 5)
    for number in range(1, 600):
        head, payload = make.audio(number, size=len(forged) * 4)
        data += b"".join(record_of(make.tick(number, (head, forged * 4))))
        assert len(payload) == len(forged) * 4
    (tmp_path / "00000001.seg").write_bytes(data)
    cursor = Cursor([tmp_path], 1, Damages())
    found = []
    while ticks := cursor.read(1):
        found += ticks

    assert list(range(1, 600)) == [tick.number for tick in found]


def test_what_is_not_yet_whole_is_not_read(template):
    path, begin, _ = template.places[50]
    cursor = Cursor([template.folder], 41, Damages(), lambda each: begin if each == path else 10**9)
    found = []
    while ticks := cursor.read(1):
        found += ticks

    assert list(range(41, 50)) == [tick.number for tick in found]


def test_a_damaged_log_is_adopted_with_all_that_is_sound(tmp_path, make):
    folder, lock = make_folder(tmp_path / "log" / "gateway-0", "boot-1")
    opens = make.open(), make.open(1)
    for number, first in ((1, 1), (2, 11)):
        data = pack_segment_header(number, first, 5)
        data += b"".join(record_of(make.tick(first, *opens, snapshot=True)))
        for tick in range(first + 1, first + 10):
            data += b"".join(record_of(make.tick(tick)))
        segment_path(folder, number).write_bytes(data)
    first = segment_path(folder, 1)
    first.write_bytes(bytes(200) + first.read_bytes()[200:])
    os.close(lock)
    adopted = adopt(folder, [tmp_path / "log"])
    assert adopted is not None
    found = []
    cursor = adopted.cursor(1)
    while ticks := cursor.read(10**6):
        found += ticks
    adopted.remove()

    assert {7: "call-7"} == {number: each.call_id for number, each in adopted.sessions.items()}
    assert set(range(3, 11)) | set(range(12, 21)) <= set(make.seqs(found))
    assert (1, 20) == (adopted.damages.segments // 2, adopted.last)


def test_of_a_tick_that_was_written_again_the_sound_copy_is_read(template, make):
    path, _, end = template.places[EACH]
    with path.open("r+b") as segment:
        segment.seek(end - 8)
        segment.write(bytes(8))
    again = pack_segment_header(4, EACH, 5)
    frames = [make.audio(3 * EACH + each, size=100) for each in range(3)]
    again += b"".join(record_of(make.tick(EACH, *frames)))
    segment_path(template.folder, 4).write_bytes(again)

    assert list(range(1, 3 * EACH + 1)) == whole_ticks([template.folder])
