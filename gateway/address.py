"""Where a process listens: HOST:PORT, what counts as loopback, and the bound socket."""

import errno
import ipaddress
import re
import socket
from typing import NamedTuple

from gateway.errors import ConfigError, Unavailable

#: Cut by the system to its own maximum.
BACKLOG = 4096

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:]*)):(?P<port>\d{1,5})", re.ASCII)


class Address(NamedTuple):
    """Port 0: any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """`HOST:PORT` or `[IPV6]:PORT`. Raises ValueError with what is wrong."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not HOST:PORT; an IPv6 address stands in brackets")
    host = found["v6"] or found["host"]
    if not host:
        raise ValueError(f"{text!r} names no host; for this machine alone write 127.0.0.1{text}")
    port = int(found["port"])
    if port > 65535:
        raise ValueError(f"{text!r}: a port is at most 65535")
    if found["v6"]:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{text!r}: what stands in brackets is no IPv6 address") from None
    return Address(host, port)


def require_loopback(address: Address, option: str) -> None:
    """Raise `ConfigError` unless nobody but this machine reaches `address`."""
    if not all(_is_loopback(sockaddr[0]) for _, sockaddr in _resolve(address, option)):
        raise ConfigError(
            option,
            f"{address} can be reached from other machines, and nobody is authenticated yet; "
            "listen on 127.0.0.1 behind a proxy, or say --insecure",
        )


def bind(address: Address, option: str) -> socket.socket:
    """A non-blocking socket that listens at `address`. Raises `Unavailable`."""
    family, sockaddr = _resolve(address, option)[0]
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as fault:
        raise _unavailable(address, option, fault) from fault
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(sockaddr)
        listener.listen(BACKLOG)
    except OSError as fault:
        listener.close()
        raise _unavailable(address, option, fault) from fault
    listener.setblocking(False)
    return listener


def bound_address(listener: socket.socket) -> Address:
    """Where a socket really listens."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def _resolve(address: Address, option: str) -> list[tuple[int, tuple[str, int]]]:
    """Families and socket addresses, IPv4 first. Raises `Unavailable`."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as fault:
        raise Unavailable(
            f"the host of {address} cannot be resolved: {getattr(fault, 'strerror', fault)}; "
            f"choose another with {option}"
        ) from fault
    places = [(int(family), sockaddr) for family, _, _, _, sockaddr in found]
    return sorted(places, key=lambda place: place[0] != socket.AF_INET)  # type: ignore[arg-type] # typeshed also has the two integers of a Python without IPv6


def _is_loopback(host: str) -> bool:
    found = ipaddress.ip_address(host)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _unavailable(address: Address, option: str, fault: OSError) -> Unavailable:
    way_out = "stop what uses it or choose" if fault.errno == errno.EADDRINUSE else "choose"
    return Unavailable(
        f"cannot listen on {address}: {fault.strerror or fault}; {way_out} another with {option}"
    )
