"""What is thrown away, counted: by pool and reason, and for each session by both. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from gateway.links import PoolState
from gateway.log.ticks import heads_of
from gateway.seats import Routed
from gateway.wire.frame import FrameKind


class Dropped:
    """Audio frames that pools were not given."""

    def __init__(self, sessions: Mapping[int, Routed]) -> None:
        #: By pool and reason; pools that have gone included.
        self.frames: dict[str, Counter[str]] = {}
        self._sessions = sessions

    def unheard(self, pools: Iterable[PoolState], heads: bytes) -> None:
        """These frames come while some pools have no worker."""
        for pool in pools:
            if pool.is_unheard():
                self.count(pool, heads, "no_worker")

    def count(self, pool: PoolState, heads: bytes, reason: str) -> None:
        """These frames are lost to a pool; what is no audio is not counted."""
        read = heads_of(heads)
        audio = read[read["kind"] == FrameKind.AUDIO]
        if not len(audio):
            return
        self.frames.setdefault(pool.name, Counter())[reason] += len(audio)
        sessions, frames = np.unique(audio["session"], return_counts=True)
        for session, lost in zip(sessions.tolist(), frames.tolist(), strict=True):
            routed = self._sessions.get(session)
            if routed is not None:
                by_reason = routed.dropped.setdefault(pool.name, {})
                by_reason[reason] = by_reason.get(reason, 0) + lost
