"""Many seeds, over several processes, each world in a folder of its own."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

from bench.schedules.world import Outcome, World

#: Files of a world are small and go with it: in memory where that can be had.
MEMORY = Path("/dev/shm")
_SEEDS_AT_A_TIME = 10


def play(seed: int) -> Outcome:
    """What comes of one seed, here and now."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="acs-schedules-", dir=place))
    # The cores report each kill and each full disk; here that is nothing to be told.
    logging.disable(logging.CRITICAL)
    try:
        return World(seed, folder).run()
    finally:
        logging.disable(logging.NOTSET)
        shutil.rmtree(folder, ignore_errors=True)


def play_all(seeds: Sequence[int], processes: int) -> Iterator[Outcome]:
    """What comes of each, as it comes; of those that are right the trace is left out."""
    if processes == 1:
        yield from map(_played, seeds)
        return
    with get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_played, seeds, _SEEDS_AT_A_TIME)


def _played(seed: int) -> Outcome:
    # A world is a net of references; nothing of it is wanted again.
    gc.disable()
    try:
        outcome = play(seed)
    finally:
        gc.enable()
        if seed % _SEEDS_AT_A_TIME == 0:
            gc.collect()
    return outcome if outcome.faults else outcome._replace(trace=())


def told(outcome: Outcome) -> str:
    """A failure in words: what was done and when, what is wrong, and how to see it again."""
    lines = [f"seed {outcome.seed} fails; its schedule, in seconds:"]
    lines += [f"  {at_us / 1e6:10.6f}  {who:<12} {what}" for at_us, who, what in outcome.trace]
    lines.append(f"seed {outcome.seed} (trace {outcome.digest}):")
    lines += [f"  {fault}" for fault in outcome.faults]
    lines.append(f"again: acs-ingest bench schedules --replay {outcome.seed}")
    return "\n".join(lines)
