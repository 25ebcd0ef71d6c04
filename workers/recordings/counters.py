"""What the recorder and `finish` count: plain integers that only go up."""

from dataclasses import dataclass


@dataclass(slots=True)
class RecorderCounters:
    """Of one recorder process. A frame is counted when it is written, not when it comes."""

    batches: int = 0
    #: Frames written, repeats included.
    frames: int = 0
    #: AUDIO frames whose lengths or position contradict each other.
    frames_bad: int = 0
    #: AUDIO frames of a stream that no OPEN has named.
    frames_unknown: int = 0
    #: Frames of sessions whose recording is finished and closed for good: repeats.
    frames_sealed: int = 0
    #: Frames of a kind that this version does not know.
    frames_skipped: int = 0
    descriptors_bad: int = 0
    gathers: int = 0
    bytes_written: int = 0
    storage_errors: int = 0


@dataclass(slots=True)
class FinishCounters:
    """Of one `finish` process."""

    recordings_finished: int = 0
    recordings_incomplete: int = 0
    recordings_retired: int = 0
    #: Turns that ended in an error; the recording is tried again.
    recordings_failed: int = 0
    #: Of those, and of looks for what is due, the ones that a disk refused.
    storage_errors: int = 0
    markers_bad: int = 0
    #: Sessions ended because their gateway and its log are gone.
    sessions_orphaned: int = 0
