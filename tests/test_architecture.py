"""The shape of the source: who may import what, how long things may be, where tests live."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SIDES = ("gateway", "workers", "bench")
SOURCES = [
    path
    for side in SIDES
    for path in sorted((ROOT / side).rglob("*.py"))
    if path.name != "__init__.py"
]

#: Foreign libraries that one module of a side may import, so that it is the place to change.
ONE_IMPORTER = {
    "websockets": {
        "gateway/websocket.py",
        "bench/simulator/peer.py",
        "bench/peers/quickstart.py",
    },
    "zmq": {"gateway/bus/zmq.py", "bench/topology/bench_zmq.py"},
    "prometheus_client": {"gateway/up/admin.py"},
    "pybase64": {
        "gateway/acs/packets.py",
        "gateway/acs/reader.py",
        "bench/micro/bench_receive.py",
        "bench/peers/picows_server.py",
        "bench/simulator/packets.py",
    },
}

FUNCTION_LINES_MAX = 40
FILE_LINES_MAX = 400
#: Longer, and why.
LONG_FUNCTIONS = {
    "gateway/session.py receive": "the hot path of a packet: a call for each step would cost more",
    "gateway/websocket.py feed": "the hot path of a frame, likewise",
    "gateway/serve.py gateway": "options of a command and how they are put together",
    "gateway/up/cli.py up": "options of a command and how they are put together",
}
#: Sources whose behaviour is tested elsewhere, and where.
TESTED_ELSEWHERE = {
    "gateway/__main__.py": "tests/gateway/test_cli.py",
    "gateway/route.py": "tests/gateway/test_session.py",
    "gateway/stream.py": "tests/gateway/test_session.py",
    "gateway/seats.py": "tests/gateway/test_router.py",
    "gateway/catch_up.py": "tests/gateway/test_router.py",
    "gateway/links.py": "tests/gateway/test_router.py",
    "gateway/clock.py": "tests/gateway/test_server.py",
    "gateway/metrics.py": "tests/gateway/test_server.py",
    "gateway/serve.py": "tests/gateway/test_server.py",
    "gateway/errors.py": "tests/gateway/test_config.py",
    "gateway/acs/errors.py": "tests/gateway/acs/test_packets.py",
    "gateway/bus/base.py": "tests/gateway/bus/test_zmq.py",
    "gateway/bus/memory.py": "tests/gateway/test_router.py",
    "gateway/log/reader.py": "tests/gateway/log/test_writer.py",
    "gateway/log/folder.py": "tests/gateway/log/test_writer.py",
    "gateway/log/adoption.py": "tests/gateway/log/test_writer.py",
    "gateway/wire/errors.py": "tests/gateway/wire/test_frame.py",
    "gateway/wire/layout.py": "tests/gateway/bus/test_rendezvous.py",
    "gateway/wire/topology.py": "tests/gateway/test_config.py",
    "bench/faults/callers.py": "tests/faults/test_faults.py",
    "bench/faults/injector.py": "tests/faults/test_faults.py",
    "bench/faults/node.py": "tests/faults/test_faults.py",
    "bench/faults/recorder.py": "tests/faults/test_faults.py",
    "bench/faults/run.py": "tests/faults/test_faults.py",
    "bench/faults/show.py": "tests/faults/test_faults.py",
    "bench/faults/sockets.py": "tests/faults/test_faults.py",
    "workers/recordings/counters.py": "tests/workers/test_recorder.py",
    "workers/recordings/describe.py": "tests/workers/recordings/test_finish.py",
}


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines without the docstring) of every function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("library", ONE_IMPORTER)
def test_a_foreign_library_has_one_importer_on_each_side(library):
    importers = {
        names(path)
        for path in SOURCES
        if any(name.split(".")[0] == library for name in imports(path))
    }

    assert importers <= ONE_IMPORTER[library]


def test_workers_import_the_contract_of_gateway_and_nothing_else():
    allowed = ("gateway.wire", "gateway.bus")
    found = {
        (names(path), name)
        for path in SOURCES
        if names(path).startswith("workers/")
        for name in imports(path)
        if name.split(".")[0] == "gateway" and not name.startswith(allowed)
    }

    assert set() == found


def test_the_contract_needs_the_standard_library_and_msgspec():
    found = {
        name.split(".")[0]
        for path in SOURCES
        if names(path).startswith("gateway/wire/")
        for name in imports(path)
    }

    assert not found & {"zmq", "uvloop", "orjson", "numpy", "click", "asyncio", "structlog"}


def test_checkers_import_nothing_of_what_they_check():
    found = {
        (names(path), name)
        for path in SOURCES
        if names(path).startswith("bench/simulator/")
        for name in imports(path)
        if name.split(".")[0] in ("gateway", "workers")
    }

    assert set() == found


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_functions_and_files_are_short(path):
    long = {
        f"{names(path)} {name}": lines
        for name, lines in functions(path)
        if lines > FUNCTION_LINES_MAX and f"{names(path)} {name}" not in LONG_FUNCTIONS
    }

    assert {} == long
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if not names(path).startswith("bench/")], ids=names
)
def test_every_source_has_its_tests_in_the_mirrored_place(path):
    relative = path.relative_to(ROOT)
    mirrored = ROOT / "tests" / relative.parent / f"test_{relative.name}"
    elsewhere = TESTED_ELSEWHERE.get(names(path))

    assert mirrored.exists() or (elsewhere is not None and (ROOT / elsewhere).exists())
