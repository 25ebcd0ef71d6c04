"""Recordings of a load against what was sent: all of them, or some."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.load.fleet import Sent
from bench.load.frames import VARIANTS, Speech
from bench.simulator.checker import SentCall, check_call
from bench.simulator.compare import SentTrack
from bench.simulator.verify import Recordings

FAULTS_SHOWN_MAX = 20


def check(
    calls: Sequence[Sent], speech: Speech, data: Path, *, sample: int, timeout_s: float
) -> dict[str, Any]:
    """Compare the recordings of `sample` calls, chosen by chance, with what these have sent.

    Calls of which a packet could not be sent are left out. Waits for recordings to be finished.
    """
    whole = sorted(call for call in calls if call.ticks and not call.unsent)
    chosen = {
        call.call_id: call for call in random.Random(0).sample(whole, min(sample, len(whole)))
    }
    faults: list[str] = []
    right = 0
    for call_id, folders in Recordings(data).finished(set(chosen), timeout_s):
        found = _faults(chosen[call_id], speech, [folder for folder, _ in folders])
        right += not found
        faults += [f"{call_id[:8]}: {fault}" for fault in found]
    return {
        "calls": len(calls),
        "checked": len(chosen),
        "right": right,
        "faults": faults[:FAULTS_SHOWN_MAX],
    }


def sent_call(call: Sent, speech: Speech) -> SentCall:
    """All that a call has sent, made again."""
    said = Speech(speech.streams, speech.rate, speech.mixed, call.seed)
    variant = call.number % VARIANTS
    tracks = []
    for stream in range(said.streams):
        ticks = range(call.first, call.first + call.ticks)
        pcm = np.frombuffer(b"".join(said.pcm(tick, variant, stream) for tick in ticks), "<i2")
        tracks.append(SentTrack(said.participant(stream), pcm, packets=call.ticks, silent=0))
    return SentCall(call.call_id, said.rate, tracks, call.correlation_id)


def _faults(call: Sent, speech: Speech, folders: list[Path]) -> list[str]:
    if len(folders) != 1:
        return [f"{len(folders)} recordings are finished, not one"]
    return check_call(sent_call(call, speech), folders[0]).faults
