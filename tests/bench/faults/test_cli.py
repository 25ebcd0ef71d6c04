import json

from click.testing import CliRunner

from bench.faults.cli import _next_part, faults


def test_resuming_needs_a_file():
    answer = CliRunner().invoke(faults, ["--resume"])

    assert 2 == answer.exit_code
    assert "--resume needs --out" in answer.output


def test_the_next_part_is_the_one_after_the_seeds_last():
    parts = [{"settings": {"seed": seed, "part": part}} for seed, part in ((1, 0), (1, 1), (2, 5))]

    assert [2, 6, 0] == [_next_part(parts, seed) for seed in (1, 2, 3)]


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text(json.dumps({"what": "else"}) + "\n")

    assert 2 == CliRunner().invoke(faults, ["--out", str(out)]).exit_code
