"""Who may come in, and as which call: decided from the upgrade request alone. Pure.

Nothing here fetches, resolves or opens anything. Paths, tokens and headers are never logged.
"""

from collections.abc import Callable
from hashlib import blake2b
from http import HTTPStatus
from typing import NamedTuple

from gateway.capacity import Shortage

MEDIA_PATH = "/media"
CALL_ID_HEADER = "x-ms-call-connection-id"
CORRELATION_ID_HEADER = "x-ms-call-correlation-id"
ID_CHARS_MAX = 4096


class UpgradeRequest(NamedTuple):
    """The head of an HTTP request: `headers` by lower-cased name, every value it came with."""

    method: str
    path: str
    headers: dict[str, list[str]]
    #: The address that it came from; None on a Unix socket.
    peer: str | None = None
    #: Why there is no room for it; None where it has a slot.
    shortage: Shortage | None = None


class Admitted(NamedTuple):
    """A socket that may come in. Two sockets of one call have the same `call_id`."""

    call_id: str
    correlation_id: str | None


class Refusal(NamedTuple):
    """A short HTTP answer instead of an upgrade."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()

    def answer(self) -> bytes:
        """The whole answer, after which nothing is said."""
        body = f"{self.reason}\n".encode()
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            "Connection: close",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


UPGRADE_REQUIRED = Refusal(426, "calls come in by a WebSocket upgrade", (("Upgrade", "websocket"),))


def admit(request: UpgradeRequest, fresh_id: Callable[[], str]) -> Admitted | Refusal:
    """Decide on a request; `fresh_id()` names a call that nothing else names."""
    path = request.path.partition("?")[0]
    if path != MEDIA_PATH and not path.startswith(f"{MEDIA_PATH}/"):
        return Refusal(404, "there is nothing here; calls come in at /media")
    if request.method != "GET":
        return Refusal(405, "calls come in by a WebSocket upgrade, a GET", (("Allow", "GET"),))
    if not _asks_for_upgrade(request):
        return UPGRADE_REQUIRED
    try:
        call_id = _id(request, CALL_ID_HEADER)
        correlation_id = _id(request, CORRELATION_ID_HEADER)
    except ValueError as fault:
        return Refusal(400, str(fault))
    token = path.removeprefix(MEDIA_PATH).removeprefix("/")
    if call_id is None:
        call_id = _id_of_token(token) if token else fresh_id()
    return Admitted(call_id, correlation_id)


def unsound(request: UpgradeRequest, status: int) -> Refusal:
    """The answer to a request that the protocol would not upgrade, and that got this status."""
    decided = admit(request, str)
    if isinstance(decided, Refusal):
        return decided
    if status == UPGRADE_REQUIRED.status:
        return UPGRADE_REQUIRED
    return Refusal(status, "not a WebSocket upgrade of version 13")


def _asks_for_upgrade(request: UpgradeRequest) -> bool:
    upgrades = ",".join(request.headers.get("upgrade", ())).lower()
    return "websocket" in (upgrade.strip() for upgrade in upgrades.split(","))


def _id(request: UpgradeRequest, header: str) -> str | None:
    """The one value of an id header; None where there is none. Raises ValueError."""
    values = {value.strip(" \t") for value in request.headers.get(header, ())} - {""}
    if len(values) > 1:
        raise ValueError(f"{header} has several values")
    for value in values:
        if len(value) > ID_CHARS_MAX:
            raise ValueError(f"{header} is longer than {ID_CHARS_MAX} characters")
        # Every byte of a header arrives as the character of its number. Ids are ASCII; should one
        # be more, it is UTF-8, and what is not that either must still be text that JSON can hold.
        return value.encode("iso-8859-1").decode("utf-8", "backslashreplace")
    return None


def _id_of_token(token: str) -> str:
    return f"token-{blake2b(token.encode(), digest_size=16).hexdigest()}"
