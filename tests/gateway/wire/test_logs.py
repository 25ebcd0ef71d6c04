import io
import json
import logging
from collections.abc import Iterator

import pytest

from gateway.wire import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_program_gets_a_json_object_a_line_with_extras() -> None:
    stream = io.StringIO()
    logs.start("record-0", stream=stream)
    logging.getLogger("a.b").warning("late by %d ms\nand more", 3, extra={"pool": "x", "odd": {1}})
    assert 1 == stream.getvalue().count("\n")
    entry = json.loads(stream.getvalue())
    assert entry.pop("at").endswith("Z")
    expected = {
        "level": "warning",
        "process": "record-0",
        "logger": "a.b",
        "message": "late by 3 ms\nand more",
        "pool": "x",
        "odd": [1],
    }
    assert expected == entry


def test_value_that_json_does_not_know_is_written_as_text() -> None:
    stream = io.StringIO()
    logs.start("up", stream=stream)
    logging.getLogger().error("x", extra={"fault": ValueError("no"), "big": 1 << 80})
    assert ("no", str(1 << 80)) == tuple(
        str(json.loads(stream.getvalue())[key]) for key in ("fault", "big")
    )


def test_exception_is_told_within_the_line() -> None:
    stream = io.StringIO()
    logs.start("up", stream=stream)
    try:
        raise ValueError("of no use")
    except ValueError:
        logging.getLogger().exception("failed")
    assert "ValueError: of no use" in json.loads(stream.getvalue())["exception"]


def test_terminal_gets_a_short_line() -> None:
    stream = Terminal()
    logs.start("up", stream=stream)
    logging.getLogger("a").info("ready")
    assert " info up: ready\n" == stream.getvalue()[8:]


def test_debug_is_left_out_and_a_second_start_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.start("up", stream=first)
    logs.start("up", stream=second)
    logging.getLogger("a").debug("no")
    logging.getLogger("a").info("yes")
    assert ("", 1) == (first.getvalue(), second.getvalue().count("\n"))
