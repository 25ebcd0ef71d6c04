import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from workers.recordings.cli import recordings as command
from workers.recordings.folder import find_folder


@pytest.fixture
def data(recordings, source):
    for number, call_id in enumerate(("abc1", "abc2"), 1):
        session = source.Session(number, call_id)
        source.record(recordings, source.one_session(session, {"anna": source.tone(320)}))
    return recordings.parent


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_finish_then_list_then_show(data):
    finished = run("finish", data)
    assert (0, 2) == (finished.exit_code, finished.output.count(": complete"))
    listed = run("list", "--data", data, "--json")
    rows = json.loads(listed.output)
    assert [("abc1", "complete"), ("abc2", "complete")] == sorted(
        (row["call_id"], row["state"]) for row in rows
    )
    shown = run("show", "abc1", "--data", data, "--json")
    document = json.loads(shown.output)
    assert ("abc1", 1) == (document["call_id"], len(document["tracks"]))
    assert (
        0 == run("list", "--data", data).exit_code == run("show", "abc2", "--data", data).exit_code
    )


def test_finish_tells_machines_in_json(data):
    rows = [json.loads(line) for line in run("finish", data, "--json").output.splitlines()]
    assert ["complete", "complete"] == [row["state"] for row in rows]
    assert [None, None] == [row["error"] for row in rows]


@pytest.mark.parametrize("call_id", ["x", "abc"])
def test_an_id_that_is_unknown_or_not_enough_is_one_line(data, call_id):
    shown = run("show", call_id, "--data", data)
    assert (1, 1) == (shown.exit_code, len(shown.output.splitlines()))


def test_what_cannot_be_finished_is_exit_code_1(data):
    (find_folder(data / "recordings", "abc1") / "streams" / "0000000000000001-1.wav").unlink()
    (find_folder(data / "recordings", "abc1") / "streams" / "0000000000000001-1.wav").mkdir()
    finished = run("finish", data)
    assert 1 == finished.exit_code
    assert "cannot be finished" in finished.output


@pytest.mark.parametrize("arguments", [["list", "--data"], ["show", "x", "--data"], ["finish"]])
def test_a_data_folder_that_is_not_there_is_exit_code_69(tmp_path, arguments):
    shown = run(*arguments, tmp_path / "nowhere")
    assert (69, 1) == (shown.exit_code, len(shown.output.splitlines()))


def test_wrong_usage_is_exit_code_2():
    assert 2 == run("show").exit_code


def test_help_needs_no_heavy_library():
    script = (
        "import sys, workers.recordings.cli; print({'numpy', 'rich', 'msgspec'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=30, check=True
    )
    assert b"set()" == run.stdout.strip()
