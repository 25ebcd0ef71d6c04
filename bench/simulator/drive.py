"""Drives the calls of one run: dials them, sends every packet at its instant, closes them.

One pacer serves all calls by an absolute schedule, so that lateness never adds up. Packets that
wait because the server does not read are counted apart from those that this process sent late.
"""

from __future__ import annotations

import asyncio
import heapq
import ssl
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from bench.simulator import packets
from bench.simulator.calls import (
    TICK_US,
    CallPlan,
    Emission,
    Scenario,
    Tone,
    block_ticks,
    emissions,
    plan_call,
)
from bench.simulator.peer import Peer, Refused, Unreachable, WebSocketURI, dial
from bench.simulator.voices import Voices, silent_packets

DIALLING_MAX = 32
#: A server that reads nothing for so long has given the call up.
STALL_S_MAX = 30.0
SLICE_S = 0.003
IDLE_S = 0.005
HELD_RETRY_S = 0.005


class End(StrEnum):
    """How a call went."""

    DONE = "done"
    REFUSED = "refused"
    BROKEN = "broken"


@dataclass(slots=True)
class CallOutcome:
    """One call, after it: `sent` is the packets of each track of the plan, in their order."""

    plan: CallPlan
    call_id: str
    correlation_id: str
    end: End = End.DONE
    #: The HTTP status or what else refused it, the close code of a broken one.
    detail: str = ""
    sent: list[int] = field(default_factory=list)
    tones: list[Tone] = field(default_factory=list)
    texts_heard: int = 0
    bytes_heard: int = 0


class Lateness:
    """How late packets were sent: counts by tenths of a millisecond up to a second."""

    def __init__(self) -> None:
        self._counts = [0] * 10_001
        self.packets = 0
        self.max_ms = 0.0
        #: Packets that waited because the server did not read; not in the figures.
        self.held = 0

    def add(self, late_s: float) -> None:
        """One packet was sent `late_s` after its instant."""
        late_ms = max(late_s * 1000, 0.0)
        self._counts[min(int(late_ms * 10), 10_000)] += 1
        self.packets += 1
        self.max_ms = max(self.max_ms, late_ms)

    def percentile_ms(self, part: float) -> float:
        """The lateness that `part` (0 to 1) of the packets did not exceed."""
        left = part * self.packets
        for tenths, count in enumerate(self._counts):
            left -= count
            if left <= 0 and count:
                return min((tenths + 1) / 10, self.max_ms)
        return self.max_ms

    @property
    def is_generator_limited(self) -> bool:
        """One packet in a hundred was sent more than a packet's length too late, by our fault."""
        return self.percentile_ms(0.99) > TICK_US / 1000


class LiveCall:
    """One accepted call: what is to be sent next, and what was."""

    def __init__(self, outcome: CallOutcome, peer: Peer, voices: Voices, speed: float) -> None:
        self.outcome = outcome
        self.peer = peer
        self.over = asyncio.get_running_loop().create_future()
        self._voices = voices
        self._speed = speed
        self._writers = [packets.AudioPacket(t.participant) for t in outcome.plan.tracks]
        self._queue: deque[Emission] = deque()
        self._pcm: list[tuple[bytes, list[bool]]] = []
        self._block_begins = 0
        self._block_ends = 0
        self._start_s = 0.0
        self._start_ms = 0
        self._held_since_s: float | None = None

    def begin(self, start_s: float, start_ms: int) -> float:
        """The call's start, on the monotonic clock and as Unix time; returns when to send first."""
        self._start_s, self._start_ms = start_s, start_ms
        rate = self.outcome.plan.scenario.rate
        self.outcome.sent = [0] * len(self.outcome.plan.tracks)
        self.peer.send([packets.metadata(str(uuid.uuid4()), rate)])
        self._plan_block()
        return self._due_s() if self._queue else start_s

    def send_due(self, now_s: float, lateness: Lateness) -> float | None:
        """Send what is due; returns when to come again, None when the call is over."""
        if not self.peer.is_open or not self._queue:
            return None
        if self.peer.is_full:
            return self._hold(now_s)
        texts = []
        while self._queue and (due_s := self._due_s()) <= now_s:
            if self._held_since_s is None:
                lateness.add(now_s - due_s)
            else:
                lateness.held += 1
            texts.append(self._text(self._queue.popleft()))
            if not self._queue:
                self._plan_block()
        self._held_since_s = None
        self.peer.send(texts)
        return self._due_s() if self._queue else None

    def _hold(self, now_s: float) -> float | None:
        if self._held_since_s is None:
            self._held_since_s = now_s
        if now_s - self._held_since_s > STALL_S_MAX:
            self.outcome.detail = "stalled"
            self.peer.abort()
            return None
        return now_s + HELD_RETRY_S

    def _due_s(self) -> float:
        return self._start_s + self._queue[0].due_us / (1e6 * self._speed)

    def _text(self, emission: Emission) -> bytes:
        unix_ms = self._start_ms + emission.stamp_us // 1000
        tone = emission.tone
        if tone is not None:
            self.outcome.tones.append(tone)
            return packets.dtmf(tone.tone, None if tone.bare else unix_ms, tone.participant)
        pcm, silent = self._pcm[emission.track]
        place = emission.tick - self._block_begins
        size = len(pcm) // len(silent)
        self.outcome.sent[emission.track] += 1
        return self._writers[emission.track].of(
            pcm[place * size : (place + 1) * size], unix_ms, silent=silent[place]
        )

    def _plan_block(self) -> None:
        """Lay out the next second: its instants and its audio."""
        plan = self.outcome.plan
        first = self._block_begins = self._block_ends
        count = min(block_ticks(plan.number, first), plan.scenario.ticks - first)
        if count <= 0:
            return
        self._block_ends = first + count
        self._queue.extend(emissions(plan, first, count))
        packet = plan.scenario.packet_samples
        self._pcm = []
        for track in plan.tracks:
            pcm = self._voices.sum_of(track.speakers, first * packet, count * packet)
            silent = silent_packets(pcm, packet)
            self._pcm.append((pcm.astype("<i2", copy=False).tobytes(), silent))


class Pacer:
    """Sends all calls' packets at their instants until each is over."""

    def __init__(self, lateness: Lateness) -> None:
        self._lateness = lateness
        self._heap: list[tuple[float, int, LiveCall]] = []

    def add(self, call: LiveCall) -> None:
        """Begin a call: its phase within a packet is its own, as calls' phases are."""
        number = call.outcome.plan.number
        phase_s = number * 0.618 % 1.0 * TICK_US / 1e6
        due_s = call.begin(time.monotonic() + phase_s, time.time_ns() // 1_000_000)
        heapq.heappush(self._heap, (due_s, number, call))

    async def run(self) -> None:
        """Serve the calls until cancelled."""
        while True:
            now_s = time.monotonic()
            if not self._heap or self._heap[0][0] > now_s:
                wait_s = self._heap[0][0] - now_s if self._heap else IDLE_S
                await asyncio.sleep(min(max(wait_s, 0.001), IDLE_S))
                continue
            self._send_slice(now_s + SLICE_S)
            await asyncio.sleep(0)

    def stop(self) -> None:
        """No more audio: every call is over now."""
        for _, _, call in self._heap:
            _finish(call)
        self._heap.clear()

    def _send_slice(self, until_s: float) -> None:
        heap = self._heap
        while heap:
            now_s = time.monotonic()
            due_s, number, call = heap[0]
            if due_s > now_s or now_s > until_s:
                return
            next_s = call.send_due(now_s, self._lateness)
            if next_s is None:
                heapq.heappop(heap)
                _finish(call)
            else:
                heapq.heapreplace(heap, (next_s, number, call))


def _finish(call: LiveCall) -> None:
    if not call.over.done():
        call.over.set_result(None)


class Run:
    """One run of the simulator. Raises Unreachable from `play` if there is no server at all."""

    def __init__(
        self,
        uri: WebSocketURI,
        tls: ssl.SSLContext | None,
        scenario: Scenario,
        voices: Voices,
        speed: float = 1.0,
    ) -> None:
        self.scenario = scenario
        self.voices = voices
        self.lateness = Lateness()
        self.outcomes: list[CallOutcome] = []
        #: Calls that are over, however; for the progress bar.
        self.over = 0
        self._uri = uri
        self._tls = tls
        self._speed = speed
        self._pacer = Pacer(self.lateness)
        self._dialling = asyncio.Semaphore(DIALLING_MAX)
        self._stopping = False

    @property
    def packets_sent(self) -> int:
        """Audio packets and tones sent up to now."""
        return self.lateness.packets + self.lateness.held

    def stop(self) -> None:
        """End all calls properly, and dial no more."""
        self._stopping = True
        self._pacer.stop()

    async def play(self) -> list[CallOutcome]:
        """All calls, from dialling to the end of the last one; the outcomes in order of number."""
        plans = [plan_call(self.scenario, number) for number in range(self.scenario.calls)]
        pacing = asyncio.create_task(self._pacer.run())
        try:
            first = await self._dial(plans[0])  # alone: it tells whether there is a server
            async with asyncio.TaskGroup() as group:
                group.create_task(self._converse(*first))
                for plan in plans[1:]:
                    group.create_task(self._call(plan))
        finally:
            pacing.cancel()
            await asyncio.gather(pacing, return_exceptions=True)
        self.outcomes.sort(key=lambda outcome: outcome.plan.number)
        return self.outcomes

    async def _call(self, plan: CallPlan) -> None:
        async with self._dialling:
            if self._stopping:
                return
            try:
                outcome, peer = await self._dial(plan)
            except Unreachable as error:
                self._refused(plan, str(error))
                return
        await self._converse(outcome, peer)

    async def _dial(self, plan: CallPlan) -> tuple[CallOutcome, Peer | None]:
        outcome = CallOutcome(plan, str(uuid.uuid4()), str(uuid.uuid4()))
        headers = {
            "x-ms-call-connection-id": outcome.call_id,
            "x-ms-call-correlation-id": outcome.correlation_id,
        }
        try:
            return outcome, await dial(self._uri, headers, self._tls)
        except Refused as error:
            outcome.end, outcome.detail = End.REFUSED, str(error)
            return outcome, None

    async def _converse(self, outcome: CallOutcome, peer: Peer | None) -> None:
        if peer is not None:
            call = LiveCall(outcome, peer, self.voices, self._speed)
            if peer.is_open and not self._stopping:
                self._pacer.add(call)
                await asyncio.wait([call.over, peer.lost], return_when=asyncio.FIRST_COMPLETED)
            code, agreed = await peer.close()
            outcome.texts_heard, outcome.bytes_heard = peer.texts_heard, peer.bytes_heard
            if not agreed or code != 1000:
                outcome.end = End.BROKEN
                outcome.detail = outcome.detail or str(code)
        self._over(outcome)

    def _refused(self, plan: CallPlan, why: str) -> None:
        self._over(CallOutcome(plan, "", "", End.REFUSED, why))

    def _over(self, outcome: CallOutcome) -> None:
        self.outcomes.append(outcome)
        self.over += 1
