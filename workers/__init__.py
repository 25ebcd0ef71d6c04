"""What whoever writes a plug-in imports; see `docs` and `workers.testing`. Loaded when asked for.

from workers import Block, Emit, Processor
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.wire.descriptor import Event
    from workers.audio import Block, Call, Emit, Outcome, Pcm, Stream
    from workers.processors.base import Processor
    from workers.sinks.base import Sink

__all__ = ["Block", "Call", "Emit", "Event", "Outcome", "Pcm", "Processor", "Sink", "Stream"]

_HOMES = {
    "Block": "workers.audio",
    "Call": "workers.audio",
    "Emit": "workers.audio",
    "Event": "gateway.wire.descriptor",
    "Outcome": "workers.audio",
    "Pcm": "workers.audio",
    "Processor": "workers.processors.base",
    "Sink": "workers.sinks.base",
    "Stream": "workers.audio",
}


def __getattr__(name: str) -> object:
    """Import a name's module at its first use: `import workers` itself loads no numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
