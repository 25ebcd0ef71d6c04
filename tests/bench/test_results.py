from pathlib import Path

import pytest

from bench.results import head, read_lines, write_line


def test_results_are_lines_of_a_file_or_of_a_folder_of_files(tmp_path: Path) -> None:
    found = {**head("load/steady", {"calls": 2}), "figures": {"age_p99_ms": 20.0}}

    write_line(tmp_path / "new" / "one.jsonl", found)
    write_line(tmp_path / "new" / "one.jsonl", found)

    assert [found, found] == list(read_lines(tmp_path / "new" / "one.jsonl"))
    assert [found, found] == list(read_lines(tmp_path / "new"))
    assert found["machine"]["python"]


def test_line_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"bench": "load/steady"}\n')

    with pytest.raises(ValueError, match=r"one.jsonl, line 1: no result of a bench"):
        list(read_lines(tmp_path))
