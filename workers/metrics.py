"""Counters: plain integers on the objects that count, summed up when somebody asks."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from gateway.wire.counters import Series


@dataclass(slots=True)
class LinkCounters:
    """What came over the links of a worker."""

    batches: int = 0
    bad_batches: int = 0
    repeated_batches: int = 0
    stale_batches: int = 0
    missing_batches: int = 0
    bad_messages: int = 0
    unknown_messages: int = 0
    links_opened: int = 0
    links_gone: int = 0
    links_silent: int = 0


@dataclass(slots=True)
class CallsCounters:
    """What became of the frames that a pipeline's worker took."""

    frames: int = 0
    repeated_frames: int = 0
    unknown_frames: int = 0
    bad_frames: int = 0
    dropped_frames: int = 0
    missing_frames: int = 0
    filled_samples: int = 0
    calls_opened: int = 0
    calls_closed: int = 0
    sessions_vanished: int = 0
    processor_faults: Counter[str] = field(default_factory=Counter)
    sink_faults: Counter[str] = field(default_factory=Counter)


#: What each counter counts; one that is missing here is shown by its name alone.
HELP = {
    "batches": "Batches taken.",
    "bad_batches": "Batches that could not be read.",
    "repeated_batches": "Batches of a number that was taken already.",
    "stale_batches": "Batches of a dead link.",
    "missing_batches": "Times a batch number was left out, so that the link was opened anew.",
    "bad_messages": "Control messages that could not be read.",
    "unknown_messages": "Control messages of an unknown kind.",
    "links_opened": "Links opened to gateways.",
    "links_gone": "Links that a gateway gave up.",
    "links_silent": "Links given up because the gateway said nothing.",
    "frames": "Audio frames read.",
    "repeated_frames": "Frames seen before.",
    "unknown_frames": "Frames of a stream that was never opened, or of an unknown kind.",
    "bad_frames": "Frames that are not what they claim to be.",
    "dropped_frames": "Frames that the gateway's ledger left out.",
    "missing_frames": "Frames that gateways say their full logs dropped.",
    "filled_samples": "Samples of silence where there was no audio.",
    "calls_opened": "Calls that were opened at this worker.",
    "calls_closed": "Calls that were closed at this worker.",
    "sessions_vanished": "Sessions that ended because no gateway sent them any more.",
    "processor_faults": "Exceptions raised by processors.",
    "sink_faults": "Exceptions raised by sinks.",
}


def series(prefix: str, counters: Any) -> list[Series]:
    """Every counter of a dataclass, by name; one of plug-ins has a figure for each plug-in."""
    found = []
    for name in (each.name for each in fields(counters)):
        value = getattr(counters, name)
        text = HELP.get(name, f"{name.replace('_', ' ').capitalize()}.")
        figures = value.items() if isinstance(value, Counter) else [(None, value)]
        for plugin, count in figures:
            labels = {} if plugin is None else {"plugin": plugin}
            found.append(
                Series(
                    name=f"{prefix}_{name}", kind="counter", help=text, labels=labels, value=count
                )
            )
    return found
