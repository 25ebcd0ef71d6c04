"""What a plug-in sees of a call: its streams, and their audio in blocks."""

import math
from collections.abc import Callable, Collection
from enum import Enum
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

#: Samples: signed 16-bit, mono, little-endian.
Pcm = npt.NDArray[np.int16]
PCM = np.dtype("<i2")
SAMPLE_BYTES = 2
#: What `dbfs` says of silence; the quietest sample that is none lies at -90.3.
FLOOR_DBFS = -120.0
_FULL_SCALE = 32768.0


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One participant at one rate in one session of a call. Hashable: use it as a key.

    `position` of a block counts samples at `sample_rate` on the session's axis, which all streams
    of a session share; its 0 lies at `zero_us`.
    """

    session: str  # 16 hex digits
    number: int  # within the session, from 1
    sample_rate: int  # Hz
    participant: str | None = None  # raw id; None for a mixed stream
    zero_us: int = 0  # Unix us
    first_position: int = 0  # of the stream's first sample

    def __repr__(self) -> str:
        """Without the participant: raw ids can be phone numbers, and reprs end up in logs."""
        return f"<Stream {self.session}-{self.number} {self.sample_rate} Hz>"


class Block(msgspec.Struct, frozen=True, eq=False):
    """Consecutive samples of one stream.

    As long as the pool's `block_ms`, but shorter at the end of a stream and where a stream stalls,
    and longer within a very long gap: accept any length. `pcm` is read-only and may be a view into
    something larger: copy what you keep for long. `filled` of its samples are silence because there
    was nothing to put there; `time_us` (Unix us) is when the first was spoken.
    """

    stream: Stream
    position: int
    pcm: Pcm
    filled: int
    time_us: int

    def with_pcm(self, pcm: Pcm) -> "Block":
        """This block with other samples in the same place; as many of them."""
        return Block(self.stream, self.position, pcm, self.filled, self.time_us)


class Call(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One call while this worker has it. `streams` is a live view of those that are open."""

    call_id: str
    correlation_id: str | None = None
    streams: Collection[Stream] = ()


class Outcome(Enum):
    """Why a call ends at this worker."""

    ENDED = "ended"  # every session was closed
    VANISHED = "vanished"  # the gateway went silent and nobody took its sessions over
    LEFT = "left"  # this worker stops; the call goes on at another
    FAILED = "failed"  # a plug-in of it failed


#: Takes what a processor has made: the next processor, or the sinks.
Emit = Callable[[Block], None]


def new_block(stream: Stream, position: int, pcm: Pcm, filled: int = 0) -> Block:
    """A block of `stream` at `position`, its `time_us` worked out."""
    time_us = stream.zero_us + position * 1_000_000 // stream.sample_rate
    return Block(stream, position, pcm, filled, time_us)


@lru_cache(maxsize=16)
def silence(samples: int) -> Pcm:
    """Read-only zeros, shared by all who ask for as many."""
    pcm = np.zeros(samples, PCM)
    pcm.setflags(write=False)
    return pcm


def dbfs(amplitude: float) -> float:
    """An amplitude (0 to 32768) in dB below full scale."""
    if amplitude <= 0:
        return FLOOR_DBFS
    return 20 * math.log10(amplitude / _FULL_SCALE)
