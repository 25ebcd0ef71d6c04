"""The command line `acs-ingest`: one program, its commands found through entry points.

A command's module is imported for its help text and when it is called, so it must be light: what
it needs it imports when it runs.
"""

import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from gateway.errors import EX_SOFTWARE

COMMANDS_GROUP = "acs_ingest.commands"


class Commands(click.Group):
    """Commands of every side of the program, and of whoever registers one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in order."""
        return sorted({*super().list_commands(ctx), *entry_points(group=COMMANDS_GROUP).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; one that says what is wrong where it cannot be loaded."""
        for entry_point in entry_points(group=COMMANDS_GROUP, name=cmd_name):
            return _load(entry_point)
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a fault that has an exit code is one line and that code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as fault:
            code = getattr(fault, "exit_code", None)
            if not isinstance(code, int):
                traceback.print_exc()
                ctx.exit(EX_SOFTWARE)
            _fail(str(fault), code)


@click.group(
    cls=Commands,
    context_settings={"auto_envvar_prefix": "ACS_INGEST", "max_content_width": 100},
)
@click.version_option(package_name="acs-ingest", prog_name="acs-ingest")
def main() -> None:
    """Take the audio of live ACS calls, record it, and hand it to workers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without our letters shows their numbers
            stream.reconfigure(errors="backslashreplace")


def _load(entry_point: EntryPoint) -> click.Command:
    try:
        command = entry_point.load()
    except Exception as fault:  # a stranger's module may raise anything
        return _broken(entry_point, f"{type(fault).__name__}: {fault}")
    if not isinstance(command, click.Command):
        return _broken(entry_point, f"{entry_point.value} is no command")
    return command


def _broken(entry_point: EntryPoint, reason: str) -> click.Command:
    def fail() -> None:
        _fail(f"the command `{entry_point.name}` cannot be loaded: {reason}", EX_SOFTWARE)

    return click.Command(
        entry_point.name,
        callback=fail,
        short_help=f"(cannot be loaded: {reason})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


def _fail(line: str, code: int) -> NoReturn:
    click.echo(f"Error: {line}", err=True)
    raise click.exceptions.Exit(code)
