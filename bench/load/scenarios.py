"""The scenarios of `acs-ingest bench run`, by name: what is dialled, and what happens meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Shape = Literal["hold", "burst", "churn", "steps"]
#: Where the age of frames is taken. `live`: a processor of a pool that bears 20 ms; `recording`: a
#: worker that bears 200 ms, so that gateways read late, as where calls are only recorded.
AgesOf = Literal["live", "recording"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a run does unless its options say otherwise."""

    name: str
    about: str
    shape: Shape
    calls: int
    seconds: float  # measured; of each step where there are steps
    participants: int = 2
    rate: int = 16_000
    mixed: bool = False
    ages: AgesOf = "live"
    call_s: float | None = None  # how long calls are, where they are short
    kill_every_s: float | None = None
    has_slow_pool: bool = False

    @property
    def streams(self) -> int:
        """Of each call."""
        return 1 if self.mixed else self.participants


_ALL = (
    Scenario(
        "capacity",
        "adds --calls calls at a time until a limit is broken",
        "steps",
        calls=50,
        seconds=10,
    ),
    Scenario("steady", "the same calls all the time", "hold", calls=100, seconds=30),
    Scenario("burst", "all calls dial at once", "burst", calls=200, seconds=10),
    Scenario(
        "churn",
        "calls of --call-s, each followed by another",
        "churn",
        calls=50,
        seconds=30,
        call_s=2,
    ),
    Scenario("soak", "the same calls for an hour", "hold", calls=50, seconds=3600),
    Scenario(
        "mixed-16k",
        "one mixed stream a call, 16 kHz",
        "hold",
        calls=100,
        seconds=30,
        mixed=True,
    ),
    Scenario(
        "unmixed-24k",
        "one stream a participant, 24 kHz",
        "hold",
        calls=100,
        seconds=30,
        rate=24_000,
    ),
    Scenario(
        "worker-kill",
        "the recorder is killed again and again",
        "hold",
        calls=50,
        seconds=30,
        kill_every_s=5,
    ),
    Scenario(
        "slow-consumer",
        "a pool beside takes at most half of what comes",
        "hold",
        calls=50,
        seconds=30,
        has_slow_pool=True,
    ),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
