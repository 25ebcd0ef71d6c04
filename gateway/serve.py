"""`acs-ingest gateway`: one front process, as `up` and systemd start it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import socket

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--index", type=click.IntRange(0), default=0, show_default=True, help="Number on this node."
)
@click.option(
    "--listen",
    default=None,
    metavar="HOST:PORT",
    help="Where calls come in; `fd:N` or `systemd` for a socket that listens already.  "
    "[default: 127.0.0.1:8080]",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="The node's data folder.  [default: data]",
)
@click.option("--config", "config_path", type=_FILE, help="A TOML file.  [default: none is needed]")
@click.option("--tls-cert", type=_FILE, help="PEM file; read again on SIGHUP.")
@click.option("--tls-key", type=_FILE, help="PEM file, without a passphrase.")
@click.option("--insecure", is_flag=True, help="Allow an address that other machines reach.")
@click.option(
    "--drain-s",
    type=click.FloatRange(0),
    default=None,
    help="Seconds that calls may still run after SIGTERM.  [default: `[up] drain_s`]",
)
@click.option(
    "--leave-s",
    type=click.FloatRange(0),
    default=None,
    help="Seconds that the process has when these are over.  [default: as it needs]",
)
@click.option("--parent-fd", type=click.IntRange(0), help="A pipe whose end means SIGTERM.")
@click.option("--ready-fd", type=click.IntRange(0), help="Where to write READY when accepting.")
def gateway(
    *,
    index: int,
    listen: str | None,
    data: Path | None,
    config_path: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
    drain_s: float | None,
    leave_s: float | None,
    parent_fd: int | None,
    ready_fd: int | None,
) -> None:
    """Run one front process until SIGTERM; a second signal ends its calls at once.

    SIGUSR1: take no new calls, leave when the last one has ended; again: close those that are left.

    Workers find it through the data folder. `acs-ingest up` starts both.
    """
    import gc
    import os
    from math import inf

    # numpy's own threads would spin for nothing: our arrays are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    import uvloop

    from gateway.config import load
    from gateway.listener import TlsContext
    from gateway.server import Options, Server
    from gateway.wire import logs
    from gateway.wire.layout import Layout

    config = load(config_path)
    name = f"{config.gateway.name}-{index}"
    logs.start(name)
    layout = Layout(data or Path(config.up.data))
    certificate = tls_cert or _path(config.gateway.tls_cert)
    key = tls_key or _path(config.gateway.tls_key)
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    options = Options(
        name=name,
        index=index,
        layout=layout,
        listener=_listener(listen or config.up.listen, insecure=insecure),
        tls=TlsContext(certificate, key) if certificate and key else None,
        drain_s=config.up.drain_s if drain_s is None else drain_s,
        leave_s=inf if leave_s is None else leave_s,
        parent_fd=parent_fd,
        ready_fd=ready_fd,
    )

    async def serve() -> None:
        server = Server(options, config)
        # What lives now lives for ever; the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        await server.run()

    uvloop.run(serve())


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _listener(listen: str, *, insecure: bool) -> socket.socket:
    """The socket to accept on: inherited, or bound here. Raises `GatewayError`."""
    import socket

    from gateway.address import bind, parse_address, require_loopback
    from gateway.errors import ConfigError, Unavailable
    from gateway.systemd import listener

    if listen == "systemd":
        return listener()
    if listen.startswith("fd:"):
        try:
            inherited = socket.socket(fileno=int(listen.removeprefix("fd:")))
            inherited.setblocking(False)
            inherited.getsockname()
        except (OSError, ValueError) as fault:
            raise Unavailable(f"--listen {listen}: no socket that listens: {fault}") from fault
        return inherited
    try:
        address = parse_address(listen)
    except ValueError as fault:
        raise ConfigError("--listen", str(fault)) from fault
    if not insecure:
        require_loopback(address, "--listen")
    return bind(address, "--listen")
