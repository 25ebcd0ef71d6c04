"""What systemd hands to a process, and what it wants to hear: two small protocols of its manual.

See sd_listen_fds(3) and sd_notify(3).
"""

import os
import socket
from contextlib import suppress

from gateway.errors import Unavailable

#: The first descriptor that is handed over.
FIRST = 3


def listener() -> socket.socket:
    """The one socket that a socket unit listens on. Raises `Unavailable`."""
    handed = os.environ.get("LISTEN_FDS", "0")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or handed != "1":
        raise Unavailable(
            f"--listen systemd: one socket is needed, {handed} were handed over; start the unit "
            "with its socket unit, or listen on HOST:PORT"
        )
    os.set_inheritable(FIRST, False)
    try:
        inherited = socket.socket(fileno=FIRST)
        is_listening = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as fault:
        raise Unavailable(f"--listen systemd: descriptor {FIRST}: {fault.strerror}") from fault
    if not is_listening:
        raise Unavailable("--listen systemd: the socket does not listen; say Accept=no")
    inherited.setblocking(False)
    return inherited


def tell(state: str) -> None:
    """Tell systemd a state, `READY=1` say; nothing where it does not want to hear."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect(address)
        notify.send(state.encode())
