"""`acs-ingest up`, `acs-ingest upgrade` and `acs-ingest check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

if TYPE_CHECKING:
    from gateway.address import Address
    from gateway.config import Config
    from gateway.up.plan import Plan

_FILE = click.Path(dir_okay=False, path_type=Path)
_CONFIG = click.option("--config", type=_FILE, help="A TOML file.  [default: none is needed]")


class Options(TypedDict):
    """What the command line gives; None where it says nothing, and the file or a default counts."""

    config: Path | None
    gateways: int | None
    listen: str | None
    data: Path | None
    admin: str | None
    drain_s: float | None
    tls_cert: Path | None
    tls_key: Path | None
    insecure: bool


@click.command()
@_CONFIG
@click.option("--gateways", type=click.IntRange(1, 256), help="Front processes.  [default: 1]")
@click.option("--listen", metavar="HOST:PORT", help="For calls.  [default: 127.0.0.1:8080]")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of recordings, log and run files.  [default: data]",
)
@click.option(
    "--admin",
    metavar="HOST:PORT",
    help="For /healthz, /readyz and /metrics; `off` for none.  [default: 127.0.0.1:9464]",
)
@click.option(
    "--drain-s",
    type=click.FloatRange(1, 86_400),
    help="Seconds between SIGTERM and exit, at most.  [default: 30]",
)
@click.option("--tls-cert", type=_FILE, help="PEM file; read again on SIGHUP.")
@click.option("--tls-key", type=_FILE, help="PEM file, without a passphrase.")
@click.option("--insecure", is_flag=True, help="Allow addresses that other machines reach.")
def up(**options: Unpack[Options]) -> None:
    """Run a node: front processes and workers, restarted when they die.

    Prints one line, `ready ws://...`, when it accepts calls. SIGTERM or SIGINT drains: no new
    calls, running ones end or are closed, recordings are finished. A second signal ends at once.
    """
    import signal

    from gateway.up.node import serve
    from gateway.wire import logs

    plan = resolve(options)
    logs.start("up")
    serve(plan, lambda url: click.echo(f"ready {url}"))
    # It is over: one more signal shall not make a failure of it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="The data folder of the `acs-ingest up` that runs.",
)
@click.option(
    "--drain-s",
    type=click.FloatRange(0),
    help="Close calls that old processes still have after so many seconds.  [default: never]",
)
@click.option("--wait", is_flag=True, help="Until the last old process has left.")
def upgrade(*, data: Path, drain_s: float | None, wait: bool) -> None:
    """Replace the gateways and workers of a running `up` by new ones, without ending a call.

    They have the software and the configuration of this moment; calls that run stay with the old
    gateways until they end. A generation that cannot start changes nothing. `up` itself stays: what
    only it decides (addresses, numbers of processes, new pools) needs a restart.
    """
    from gateway.up.control import Request, ask
    from gateway.wire.layout import Layout

    request = Request(drain_s=drain_s, wait=wait)
    click.get_current_context().exit(ask(Layout(data), request, click.echo))


@click.command()
@_CONFIG
def check(config: Path | None) -> None:
    """Check a configuration and print what follows from it."""
    plan = resolve({**_NOTHING, "config": config, "insecure": True})
    click.echo("ok")
    for name, value in _essentials(plan):
        click.echo(f"{name:<10} {value}")


_NOTHING = Options(
    config=None,
    gateways=None,
    listen=None,
    data=None,
    admin=None,
    drain_s=None,
    tls_cert=None,
    tls_key=None,
    insecure=False,
)


def resolve(options: Options) -> Plan:
    """Command line over file over defaults. Raises `ConfigError`, `Unavailable`, `UsageError`."""
    from gateway import config as configuration
    from gateway.address import require_loopback
    from gateway.up.plan import Plan

    path = options["config"]
    config = configuration.load_checked(path)
    listen = _address("--listen", options["listen"], config.up.listen)
    admin_text = options["admin"] or config.up.admin
    admin = None if admin_text == "off" else _address("--admin", options["admin"], admin_text)
    if not options["insecure"]:
        require_loopback(listen, "--listen")
        if admin is not None:
            require_loopback(admin, "--admin")
    return Plan(
        data=(options["data"] or Path(config.up.data)).absolute(),
        listen=listen,
        admin=admin,
        gateways=options["gateways"] or config.up.gateways,
        pools=config.pools,
        drain_s=options["drain_s"] or config.up.drain_s,
        close_s=config.gateway.close_s,
        config=None if path is None else path.absolute(),
        tls=_tls(options, config),
        insecure=options["insecure"],
    )


def _address(option: str, given: str | None, configured: str) -> Address:
    from gateway.address import parse_address

    try:
        return parse_address(given or configured)
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint=option) from fault


def _tls(options: Options, config: Config) -> tuple[Path, Path] | None:
    """Certificate and key, tried once here so that a fault shows before anything starts."""
    import ssl

    from gateway.errors import ConfigError

    cert = options["tls_cert"] or (config.gateway.tls_cert and Path(config.gateway.tls_cert))
    key = options["tls_key"] or (config.gateway.tls_key and Path(config.gateway.tls_key))
    if not cert and not key:
        return None
    if not cert or not key:
        raise click.UsageError("--tls-cert and --tls-key go together")
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            path.read_bytes()
        except OSError as fault:
            raise ConfigError(option, f"{path} cannot be read: {fault.strerror}") from fault
    try:
        # Without a password of ours OpenSSL would ask the terminal for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as fault:
        reason = "no certificate and its key in PEM, without a passphrase"
        raise ConfigError("--tls-cert, --tls-key", f"{cert}, {key}: {reason}: {fault}") from fault
    return cert.absolute(), key.absolute()


def _essentials(plan: Plan) -> list[tuple[str, str]]:
    lines = [
        ("listen", plan.url(plan.listen)),
        ("admin", str(plan.admin or "off")),
        ("data", str(plan.data)),
        ("gateways", f"{plan.gateways}, drained within {plan.drain_s:g} s"),
        ("drain", f"calls go on for {plan.budget().calls_s:g} s"),
    ]
    for name, pool in plan.pools.items():
        parts = [f"{name}: {pool.processes} x {pool.delivery}", *pool.processors, *pool.sinks]
        lines.append(("pool", ", ".join(parts)))
    return lines
