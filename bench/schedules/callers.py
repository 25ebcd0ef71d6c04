"""ACS, as a world sees it: calls that talk, over sockets that break and are dialled again."""

from __future__ import annotations

import base64
import json
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import numpy as np

from bench.schedules.schedule import START_US, Schedule
from bench.schedules.sent import (
    PACKET_SAMPLES,
    PACKET_US,
    RATE,
    Packet,
    SentCall,
    SentSession,
    Tone,
)

#: A session's packets come without a gap for so long: its clock is the median of their stamps.
SETTLED_US = 1_200_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_METADATA = json.dumps(
    {
        "kind": "AudioMetadata",
        "audioMetadata": {"encoding": "PCM", "sampleRate": RATE, "channels": 1, "length": 640},
    }
).encode()


class Delivery(NamedTuple):
    """A message on its way, and what is noted when a gateway has read it."""

    message: bytes
    packet: Packet | None = None
    tone: Tone | None = None


class Answers(Protocol):
    """A gateway that may take a socket."""

    def accept(self, socket: Socket) -> bool:
        """Whether it takes the socket."""


class Socket:
    """What the service has sent and no gateway has read yet lies in `inbox`."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.opened_us = call.now_us
        self.inbox: deque[Delivery] = deque((Delivery(_METADATA),))
        #: Close code and whether it was proper, once the service has closed it.
        self.closed: tuple[int | None, bool] | None = None
        #: Its gateway has gone.
        self.is_cut = False


class Call:
    """Talks for as long as it runs; every participant says a packet at each beat."""

    def __init__(self, callers: Callers, sent: SentCall, participants: int) -> None:
        self.sent = sent
        self._callers = callers
        self._participants = [f"8:acs:{sent.call_id}-{number}" for number in range(participants)]
        self.sockets: list[Socket] = []
        self.is_over = False
        self._silent_until_us = 0

    @property
    def now_us(self) -> int:
        return self._callers.schedule.now_us

    def beat(self) -> None:
        """100 ms of everybody's talk, sent over every socket that is open."""
        schedule = self._callers.schedule
        if schedule.chance(0.03) and self._is_settled():
            self._silent_until_us = schedule.now_us + schedule.between(PACKET_US, 8 * PACKET_US)
        if schedule.now_us < self._silent_until_us:
            return
        beats = (schedule.now_us - START_US) // PACKET_US
        said = [self._callers.packet(each, beats) for each in self._participants]
        if schedule.chance(0.05):
            said.append(self._callers.tone())
        for socket in self.sockets:
            if socket.closed is None and not socket.is_cut:
                socket.inbox.extend(self._copy(each) for each in said)

    def _is_settled(self) -> bool:
        """Not so while a session's clock may still be taken from stamps around the silence."""
        now_us = self._callers.schedule.now_us
        return all(now_us - socket.opened_us > SETTLED_US for socket in self.sockets)

    @staticmethod
    def _copy(said: Delivery) -> Delivery:
        """Each socket's copy has a fate of its own."""
        packet, tone = said.packet, said.tone
        return Delivery(
            said.message,
            packet and Packet(packet.number, packet.participant, packet.stamp_us),
            tone and Tone(tone.name),
        )

    def tend(self) -> None:
        """Dial where no socket is left, and sometimes where one is."""
        schedule = self._callers.schedule
        self.sockets = [each for each in self.sockets if each.closed is None and not each.is_cut]
        if self.is_over:
            return
        if not self.sockets or (len(self.sockets) < 2 and schedule.chance(0.02)):
            self._callers.dial(self)
        elif schedule.chance(0.02):
            self.hang_up(self.sockets[0], proper=schedule.chance(0.3))

    def hang_up(self, socket: Socket, *, proper: bool) -> None:
        """Close a socket; without a close frame something that was sent may not arrive."""
        socket.closed = (1000, True) if proper else (None, False)
        if not proper:
            for _ in range(self._callers.schedule.random.randrange(len(socket.inbox) + 1)):
                socket.inbox.pop()

    def end(self) -> None:
        """Everybody hangs up."""
        self.is_over = True
        for socket in self.sockets:
            if socket.closed is None:
                self.hang_up(socket, proper=True)


class Callers:
    """All calls of a world."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.calls: list[Call] = []
        self.gateways: list[Answers] = []
        self._packets = 0
        self._tones = 0
        self._texts: dict[int, str] = {}

    def begin(self, participants: int) -> None:
        """A new call."""
        sent = SentCall(f"call-{len(self.calls)}")
        call = Call(self, sent, participants)
        self.calls.append(call)
        name = sent.call_id
        self.dial(call)

        def beat() -> None:
            if not call.is_over:
                call.beat()
                self.schedule.after(PACKET_US, None, "", f"{name} talks", beat)

        def tend() -> None:
            call.tend()
            if not call.is_over:
                delay_us = self.schedule.between(50_000, 400_000)
                self.schedule.after(delay_us, None, "", f"{name} tends", tend)

        # In step with the clock of the whole world: stamps of all sockets lie on one grid.
        phase_us = -(self.schedule.now_us - START_US) % PACKET_US
        self.schedule.after(phase_us, None, "", f"{name} talks", beat)
        self.schedule.after(100_000, None, "", f"{name} tends", tend)

    def dial(self, call: Call) -> None:
        """Open a socket to some gateway, if any is there."""
        socket = Socket(call)
        takers = list(self.gateways)
        self.schedule.random.shuffle(takers)
        if any(taker.accept(socket) for taker in takers):
            call.sockets.append(socket)

    def session(self, call: Call, session: int) -> SentSession:
        """Note a session of a call."""
        sent = SentSession(f"{session:016x}", call.sent.call_id)
        call.sent.sessions.append(sent)
        return sent

    def packet(self, participant: str, beat: int) -> Delivery:
        """One packet that nobody else says."""
        self._packets += 1
        number = self._packets
        pcm = np.full(PACKET_SAMPLES, number, "<i2")
        pcm[0] = -number
        stamp_us = START_US + beat * PACKET_US
        data = base64.b64encode(pcm.tobytes()).decode()
        message = (
            f'{{"kind":"AudioData","audioData":{{"timestamp":"{self._text(stamp_us)}",'
            f'"participantRawID":"{participant}","data":"{data}","silent":false}}}}'
        )
        return Delivery(message.encode(), Packet(number, participant, stamp_us))

    def _text(self, stamp_us: int) -> str:
        if stamp_us not in self._texts:
            at = _EPOCH + timedelta(microseconds=stamp_us)
            self._texts[stamp_us] = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
        return self._texts[stamp_us]

    def tone(self) -> Delivery:
        """One key with a name that no other has."""
        self._tones += 1
        name = f"key-{self._tones}"
        at = self._text(self.schedule.now_us // 1000 * 1000)
        body = {"kind": "DtmfData", "dtmfData": {"data": name, "timestamp": at}}
        return Delivery(json.dumps(body).encode(), None, Tone(name))
