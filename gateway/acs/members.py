"""The members of a packet's JSON objects: found leniently by name, read strictly by type."""

from gateway.acs.errors import PacketError


class InexactIntegerError(PacketError):
    """An integer of over 64 bits, which orjson reads as a float (or, really, such a float)."""

    def __init__(self) -> None:
        super().__init__("bad_field")


class Members:
    """Reads one JSON object. Names are the wire's own, in order of preference.

    A name in exact case beats its variants in other cases, of which the last counts, and both
    beat the next name. Null is absent, and what is absent is `None`. A value of another type than
    asked for is `PacketError("bad_field")`.
    """

    __slots__ = ("_exact", "_folded")

    def __init__(self, members: dict[str, object]) -> None:
        self._exact = members
        #: Values by lower-case name, made when an exact name is first missed.
        self._folded: dict[str, object] | None = None

    def value(self, *names: str) -> object:
        for name in names:
            value = self._exact.get(name)
            if value is None:
                value = self._variant(name)
            if value is not None:
                return value
        return None

    def text(self, *names: str) -> str | None:
        value = self.value(*names)
        if value is None or isinstance(value, str):
            return value
        raise PacketError("bad_field")

    def boolean(self, *names: str) -> bool | None:
        value = self.value(*names)
        if value is None or isinstance(value, bool):
            return value
        raise PacketError("bad_field")

    def integer(self, *names: str) -> int | None:
        """Also raises `InexactIntegerError`: read the message again by `json` and try once more."""
        value = self.value(*names)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and abs(value) >= 2**63:
            raise InexactIntegerError
        raise PacketError("bad_field")

    def number(self, *names: str) -> float | None:
        value = self.value(*names)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        raise PacketError("bad_field")

    def _variant(self, name: str) -> object:
        if self._folded is None:
            self._folded = {
                key.lower(): value for key, value in self._exact.items() if value is not None
            }
        return self._folded.get(name.lower())
