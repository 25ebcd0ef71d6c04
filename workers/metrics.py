"""Counters: plain integers on the objects that count, summed up when somebody asks."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class LinkCounters:
    """What came over the links of a worker."""

    batches: int = 0
    bad_batches: int = 0  # could not be read; counted as taken
    repeated_batches: int = 0  # of a number that was taken already
    stale_batches: int = 0  # of a link that is dead
    missing_batches: int = 0  # a number was left out: the link was given up
    bad_messages: int = 0
    unknown_messages: int = 0  # of a kind that this version does not know
    links_opened: int = 0
    links_gone: int = 0  # given up by the gateway
    links_silent: int = 0  # given up because the gateway said nothing


@dataclass(slots=True)
class CallsCounters:
    """What became of the frames that a pipeline's worker took."""

    frames: int = 0
    repeated_frames: int = 0  # seen before: a replay
    unknown_frames: int = 0  # of a stream that was never opened, or of an unknown kind
    bad_frames: int = 0  # not what they claim to be
    dropped_frames: int = 0  # left out by the gateway's ledger
    filled_samples: int = 0  # silence where there was no audio
    calls_opened: int = 0
    calls_closed: int = 0
    sessions_vanished: int = 0  # ended because no gateway sent them any more
    processor_faults: Counter[str] = field(default_factory=Counter)  # by plug-in
    sink_faults: Counter[str] = field(default_factory=Counter)


#: Shown beside the figures; a counter that is missing here is a mistake that a test finds.
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
    "filled_samples": "Samples of silence where there was no audio.",
    "calls_opened": "Calls that were opened at this worker.",
    "calls_closed": "Calls that were closed at this worker.",
    "sessions_vanished": "Sessions that ended because no gateway sent them any more.",
    "processor_faults": "Exceptions raised by processors.",
    "sink_faults": "Exceptions raised by sinks.",
}
