"""`acs-ingest parse`: packets on stdin, one per line, to what the gateway makes of them."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import click


@click.command()
@click.option(
    "--json-strings",
    is_flag=True,
    help="Each line is a JSON string that holds the packet's text, so that it may span lines.",
)
def parse(*, json_strings: bool) -> None:
    """Parse packets from stdin, one per line, and print each as one line of JSON.

    A line that is no packet gives {"error": "<class>"}. An empty line is a packet, too.
    """
    if sys.stdin is None or sys.stdout is None:  # closed by whoever started us
        raise _UnavailableError("stdin or stdout is closed")
    lines = _lines(sys.stdin.buffer)
    try:
        for result in _results(_unquoted(lines) if json_strings else lines):
            sys.stdout.buffer.write(result + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has seen enough
        _discard_output()
    except OSError as error:
        _discard_output()
        raise _UnavailableError(f"cannot write to stdout: {error.strerror}") from None


class _UnavailableError(click.ClickException):
    """A stream that cannot be used."""

    exit_code = 69


def _lines(stdin: BinaryIO) -> Iterator[bytes]:
    """The lines without their ends. Other white space belongs to the packet."""
    try:
        for line in stdin:
            yield line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\n") else line
    except OSError as error:
        raise _UnavailableError(f"cannot read stdin: {error.strerror}") from None


def _unquoted(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The text that each line holds as a JSON string; `b""`, no packet, for any other line."""
    import orjson

    for line in lines:
        try:
            text = orjson.loads(line)
        except orjson.JSONDecodeError:
            text = None
        yield text.encode() if isinstance(text, str) else b""


def _results(messages: Iterable[bytes]) -> Iterator[bytes]:
    import orjson

    from gateway.acs import packets
    from gateway.acs.errors import PacketError

    for message in messages:
        result: dict[str, object]
        try:
            result = packets.normalise(packets.parse(message))
        except PacketError as fault:
            result = {"error": fault.error}
        try:
            yield orjson.dumps(result)
        except TypeError:  # an integer of over 64 bits
            yield json.dumps(result, separators=(",", ":"), ensure_ascii=False).encode()


def _discard_output() -> None:
    """Lets what is still buffered go nowhere, or the interpreter complains of it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
