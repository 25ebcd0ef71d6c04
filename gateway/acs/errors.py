"""What can be wrong with a packet. The peer's fault: counted, never fatal by itself."""

from typing import Literal

ErrorClass = Literal[
    "not_json",  # no single JSON text: cut, NaN, byte order mark, lone surrogate, nested too deep
    "not_object",
    "no_kind",
    "no_payload",
    "bad_field",  # a member of the payload has a type, or lacks a value, that it must have
    "bad_base64",
    "odd_length",  # half a sample would swap the bytes of everything behind it
    "too_large",
]


class PacketError(Exception):
    """A message that is no packet.

    `error` names the class. `participant` is the raw id that the packet gives in spite of its
    fault, so that it can be counted with its stream; it is no part of the exception's text,
    because it may be a phone number.
    """

    def __init__(self, error: ErrorClass, participant: str | None = None) -> None:
        super().__init__(error)
        self.error: ErrorClass = error
        self.participant = participant
