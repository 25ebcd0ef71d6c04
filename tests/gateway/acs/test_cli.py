import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.acs.cli import parse

CORPUS = Path(__file__).parents[2] / "corpus" / "acs"
PROGRAM = [sys.executable, "-c", "from gateway.acs.cli import parse; parse()"]


def run(stdin: bytes, *arguments: str) -> Result:
    return CliRunner().invoke(parse, arguments, input=stdin, catch_exceptions=False)


def results(stdin: bytes, *arguments: str) -> list[Any]:
    result = run(stdin, *arguments)
    assert result.exit_code == 0
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("name", ["vectors.jsonl", "more.jsonl"])
def test_corpus_given_as_json_strings_gives_its_results_in_order(name: str) -> None:
    cases = [json.loads(line) for line in (CORPUS / name).read_text("utf-8").splitlines()]
    stdin = "".join(json.dumps(case["raw"]) + "\n" for case in cases).encode()
    expected = [json.dumps(case["expect"]) for case in cases]
    assert expected == [json.dumps(result) for result in results(stdin, "--json-strings")]


def test_packets_are_lines_and_the_last_needs_no_end() -> None:
    stdin = b'{"kind":"StopAudio"}\n{"kind":"a"}\r\n{"kind":"b"}'
    expected = [
        {"kind": "stop_audio"},
        {"kind": "unknown", "raw_kind": "a"},
        {"kind": "unknown", "raw_kind": "b"},
    ]
    assert expected == results(stdin)


def test_empty_line_is_a_packet_and_no_input_is_none() -> None:
    assert results(b"\n\r\n\n") == [{"error": "not_json"}] * 3
    assert results(b"") == []


def test_only_the_line_end_is_stripped() -> None:
    size = 65_536
    fitting = b'{"kind":"x"}'.ljust(size)
    expected = [{"kind": "unknown", "raw_kind": "x"}] * 2 + [{"error": "too_large"}] * 2
    assert expected == results(
        fitting + b"\n" + fitting + b"\r\n" + fitting + b" \n" + fitting + b"\r\r\n"
    )


def test_line_of_megabytes_is_too_large_and_the_next_is_read() -> None:
    stdin = b"x" * 3_000_000 + b'\n{"kind":"StopAudio"}\n'
    assert results(stdin) == [{"error": "too_large"}, {"kind": "stop_audio"}]


def test_bytes_that_are_no_utf8_are_not_json() -> None:
    assert results(b'{"kind":"\xff"}\n') == [{"error": "not_json"}]


@pytest.mark.parametrize(
    "line", [b"", b"5", b"{}", b"null", b"[]", b'"cut', b'"\\ud800"', b'"\xff"', b'"a" "b"']
)
def test_line_that_is_no_json_string_is_not_json(line: bytes) -> None:
    assert results(line + b"\n", "--json-strings") == [{"error": "not_json"}]


def test_json_string_may_hold_line_ends_and_is_bounded_by_its_text() -> None:
    text = '\r\n{"kind":\n"x"}'
    stdin = (json.dumps(text.ljust(65_536)) + "\n" + json.dumps(text.ljust(65_537))).encode()
    expected = [{"kind": "unknown", "raw_kind": "x"}, {"error": "too_large"}]
    assert expected == results(stdin, "--json-strings")


def test_integers_of_any_size_are_printed_exactly() -> None:
    number = "123456789012345678901234567890"
    payload = f'{{"text":"é","offset":{number}}}'
    stdin = f'{{"kind":"TranscriptionData","transcriptionData":{payload}}}'.encode()
    assert f'"text":"é","format":null,"confidence":null,"offset":{number},' in run(stdin).stdout


def test_program_reads_stdin_to_its_end_and_succeeds() -> None:
    done = subprocess.run(
        PROGRAM,
        input=b'{"kind":"StopAudio"}\nnonsense\n',
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == b'{"kind":"stop_audio"}\n{"error":"not_json"}\n'
    assert done.stderr == b""


def test_reader_that_leaves_ends_the_program_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            PROGRAM,
            input=b'{"kind":"StopAudio"}\n' * 10_000,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("redirection", "reason"), [("<&-", b"is closed"), ("0>/dev/null", b"cannot read stdin")]
)
def test_input_that_cannot_be_read_is_said(redirection: str, reason: bytes) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', *PROGRAM],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 69
    assert reason in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_output_that_cannot_be_written_is_said() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            PROGRAM,
            input=b"\n",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert done.returncode == 69
    assert b"cannot write to stdout" in done.stderr
