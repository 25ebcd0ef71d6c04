"""What can be wrong with bytes that came over the bus or out of the log.

WireError
 +-- VersionError     a version that this side does not speak: nothing of it is used
 +-- TruncatedError   shorter than its own header says
"""


class WireError(ValueError):
    """A message or a record is not what it claims; raised by unpacking, caught where it came in."""


class VersionError(WireError):
    """Written by a version outside `VERSION - 1 .. VERSION`."""


class TruncatedError(WireError):
    """The bytes end before the lengths in the header are used up."""
