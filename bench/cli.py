"""`acs-ingest bench`: every bench that has a command; each is imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

#: name: (module, attribute)
COMMANDS: dict[str, tuple[str, str]] = {
    "compare": ("bench.compare", "compare"),
    "faults": ("bench.faults.cli", "faults"),
    "peers": ("bench.peers.cli", "peers"),
    "plot": ("bench.plot", "plot"),
    "run": ("bench.load.cli", "run"),
    "schedules": ("bench.schedules.cli", "schedules"),
}


class Benches(click.Group):
    """Commands that are imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported; None where there is no such."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=Benches)
def bench() -> None:
    """Measure this product, and try to break it, on this machine alone."""
