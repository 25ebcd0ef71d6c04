"""A parent process whose children are `child.py`: `parent.py DATA OPTIONS`, OPTIONS being JSON."""

import json
import sys
from pathlib import Path

import click

from gateway.address import Address, parse_address
from gateway.up import upgrade
from gateway.up.node import serve
from gateway.up.plan import Inherited, Plan
from gateway.up.supervisor import Place
from gateway.wire import logs
from gateway.wire.topology import default_pools

CHILD = Path(__file__).with_name("child.py")


def command(plan: Plan, place: Place, inherited: Inherited) -> list[str]:
    ready = inherited.ready if place.role == "gateway" else -1
    arguments = [place.name, str(plan.data), str(inherited.parent), str(ready)]
    return [sys.executable, "-I", "-S", str(CHILD), *arguments]


def main() -> None:
    options = json.loads(sys.argv[2])
    admin = options.get("admin")
    plan = Plan(
        data=Path(sys.argv[1]),
        listen=Address("127.0.0.1", 0),
        admin=parse_address(admin) if admin else None,
        gateways=options.get("gateways", 1),
        pools=default_pools(**options.get("processes", {})),
        drain_s=options.get("drain_s", 30),
        config=Path(options["config"]) if "config" in options else None,
        tls=(Path("cert"), Path("key")) if options.get("tls") else None,
    )
    upgrade.READY_S = options.get("ready_s", upgrade.READY_S)
    logs.start("up")
    serve(plan, lambda url: click.echo(f"ready {url}"), command)


main()
