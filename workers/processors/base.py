"""The base of every processor: hooks that do nothing. One instance per call."""

from pathlib import Path
from typing import Literal

import msgspec

from gateway.wire.descriptor import Event
from workers.audio import Block, Call, Emit, Stream


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a plug-in runs."""

    data: Path  # the node's data folder
    pool: str


class Processor:
    """Sees a call's audio in blocks, in order for each stream, and hands blocks on.

    Override what you need; call `emit(block)` none, one or many times: it is the next stage's
    function. Every hook runs in the worker's loop: never block in one. What a hook raises is
    counted and logged, and takes the processor out of that call, or ends the call at this pool
    (`on_error`).
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """The table `[processors.NAME]`. Inherit from it in a class of the same name."""

        on_error: Literal["bypass", "end_call"] = "bypass"

    def __init__(self, settings: Settings, place: Place) -> None:
        self.settings = settings
        self.place = place

    def open(self, call: Call) -> None:
        """The call's first session has opened at this worker."""

    def stream_opened(self, stream: Stream) -> None:
        """Before the first block of `stream`."""

    def process(self, block: Block, emit: Emit) -> None:
        """A block. What is not emitted goes no further."""

    def event(self, event: Event) -> None:
        """What happened in the call that is no audio: DTMF, metadata, ..."""

    def stream_closed(self, stream: Stream, emit: Emit) -> None:
        """After the last block of `stream`: emit what was held back of it."""

    def close(self, emit: Emit) -> None:
        """The call's last session has closed at this worker: the last hook."""
