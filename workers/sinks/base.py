"""The base of every sink: hooks that do nothing. One instance per call."""

import msgspec

from workers.audio import Block, Call, Outcome
from workers.processors.base import Place


class Sink:
    """Keeps what the last processor has emitted.

    A sink may meet streams that no gateway opened: processors make streams of their own. What a
    hook raises is counted and logged, and closes the sink for that call.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """The table `[sinks.NAME]`. Inherit from it in a class of the same name."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self.settings = settings
        self.place = place

    def open(self, call: Call) -> None:
        """The call's first session has opened at this worker."""

    def write(self, block: Block) -> None:
        """A block; after a worker's death it may come again, with the same place and samples."""

    def flush(self) -> None:
        """Make safe what was written: the audio is acknowledged once this has returned."""

    def close(self, outcome: Outcome) -> None:
        """The last hook; `flush` was called before unless it failed."""
