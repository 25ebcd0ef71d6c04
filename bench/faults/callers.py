"""Calls that talk all the time, in a thread of their own: each ends, and another begins."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence

from bench.faults.sent import SentCall
from bench.faults.sockets import CallSocket
from bench.faults.speech import PACKET_MS, PARTICIPANTS, Name, Speech, participant
from bench.load.frames import TEXT, masked
from bench.simulator.packets import AudioPacket

TICK_S = PACKET_MS / 1000
#: A socket dialled again leaves out so many packets at least, so that it is no seamless sequel.
SKIP_MIN = 6
#: What a socket has to say before its call may end.
SAY_MIN = 10
REDIAL_S = 0.3
CALL_S = (6.0, 24.0)
#: For how long after a gateway was killed its sockets may be found dead.
KILLED_S = 5.0


class Call:
    """One call, on one socket after another. Decides nothing by a clock of its own."""

    def __init__(self, number: int, chance: random.Random, ports: Sequence[int]) -> None:
        self.number = number
        self.call_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        self.length = round(chance.uniform(*CALL_S) / TICK_S)
        self.socket: CallSocket | None = None
        self.is_over = False
        self.refused = 0
        self._chance = chance
        self._ports = ports
        self._begin_s: float | None = None
        self._dial_s = 0.0
        self._next = 0
        self._last_socket = False
        self._packets = [AudioPacket(participant(number, n)) for n in range(PARTICIPANTS)]
        self.sent = SentCall(number, self.call_id, PARTICIPANTS, 0)

    def turn(self, now_s: float, speech: Speech, killed: Callable[[CallSocket], bool]) -> None:
        """What is due by now."""
        if self.socket is None:
            if now_s >= self._dial_s:
                gateway = self._chance.randrange(len(self._ports))
                self.socket = CallSocket(self.call_id, gateway, self._ports[gateway], now_s)
            return
        wire = self.socket
        was = wire.state
        is_there = wire.turn(now_s)
        if was == "dialling" and wire.state == "open":
            self._open(wire, now_s)
        if not is_there:
            wire.lose("killed" if killed(wire) else "the connection was gone")
            self._leave(wire, now_s)
        elif wire.state == "open":
            self._talk(wire, now_s, speech)

    def half_close(self, *, redials: bool) -> None:
        """Its socket ends without a close frame; the call goes on, or that was it."""
        if self.socket is not None:
            self._last_socket = not redials
            self.socket.half_close()

    def vanish(self) -> None:
        """It says no more, for ever."""
        if self.socket is not None:
            self._last_socket = True
            self.socket.vanish()

    def cut(self, now_s: float, wait_s: float) -> None:
        """Its socket is reset; it dials again."""
        if self.socket is not None:
            self.socket.cut()
            self._leave(self.socket, now_s)
            self._dial_s = now_s + wait_s

    def stall(self, until_s: float) -> None:
        """It sends nothing until then, and what has gathered in dribbles."""
        if self.socket is not None:
            self.socket.stalled_until_s = until_s
            self.socket.is_slow = True

    def hurry(self) -> None:
        """End as soon as may be."""
        self.length = 0

    def _open(self, wire: CallSocket, now_s: float) -> None:
        if self._begin_s is None:
            self._begin_s = now_s
            self.sent.base_ms = time.time_ns() // 1_000_000
        elif self._next:
            self._next = max(self._due(now_s), self._next + SKIP_MIN)
        wire.begin(self._next)
        wire.sent.dialled_s = wire.dialled_s
        self.sent.sockets.append(wire.sent)

    def _due(self, now_s: float) -> int:
        return int((now_s - (self._begin_s or now_s)) / TICK_S)

    def _talk(self, wire: CallSocket, now_s: float, speech: Speech) -> None:
        while self._next <= self._due(now_s):
            unix_ms = self.sent.base_ms + self._next * PACKET_MS
            frames = []
            for place, packet in enumerate(self._packets):
                pcm = speech.pcm(Name(self.number, place, self._next))
                key = (self._next * 0x9E3779B1 + place & 0xFFFFFFFF).to_bytes(4)
                frames.append(masked(TEXT, packet.of(pcm, unix_ms, silent=False), key))
            wire.say(frames)
            self._next += 1
        if self._next >= self.length and wire.sent.packets >= SAY_MIN:
            self._last_socket = True
            wire.hang_up()

    def _leave(self, wire: CallSocket, now_s: float) -> None:
        """A socket is over: the call is, too, or dials again."""
        wire.sent.over_s = now_s
        self.refused += wire.refusal == "503"
        self.socket = None
        self._dial_s = now_s + REDIAL_S
        # A close frame may have gone down with its gateway: dial again and say goodbye properly.
        if wire.sent.end in ("closed", "half-closed", "vanished") and self._last_socket:
            self.is_over = True
        elif wire.sent.end not in ("killed", "cut", "half-closed") and wire.state == "over":
            self.is_over = any(each is wire.sent for each in self.sent.sockets)


class Callers:
    """So many calls at a time, until `finish`; those that are over are in `ended`."""

    def __init__(self, seed: str, ports: Sequence[int], calls: int, speech: Speech) -> None:
        self.lock = threading.Lock()
        self.calls: list[Call] = []
        self.ended: deque[SentCall] = deque()
        self.packets = self.refused = 0
        self._chance = random.Random(seed)
        self._ports = ports
        self._speech = speech
        self._count = calls
        self._started = 0
        #: When a gateway was killed, by its number.
        self.kills: list[tuple[int, float]] = []
        self._is_finishing = threading.Event()
        self.fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="callers", daemon=True)
        self._thread.start()

    def gateway_killed(self, gateway: int) -> None:
        """Its sockets are found dead from now on; say it before."""
        with self.lock:
            self.kills.append((gateway, time.monotonic()))

    def open_calls(self) -> list[Call]:
        """Those that talk, in order; hold the lock."""
        return [
            call for call in self.calls if call.socket is not None and call.socket.state == "open"
        ]

    def streams(self) -> int:
        """How many participants talk."""
        with self.lock:
            return PARTICIPANTS * len(self.open_calls())

    def finish(self) -> None:
        """End every call, and begin no other."""
        self._is_finishing.set()

    def join(self, seconds: float) -> bool:
        """Whether every call has ended in time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        due_s = time.monotonic()
        try:
            while self._turn():
                due_s = max(due_s + TICK_S, time.monotonic() - 1)
                time.sleep(max(0.001, due_s - time.monotonic()))
        except BaseException as fault:
            self.fault = fault
            raise

    def _turn(self) -> bool:
        with self.lock:
            now_s = time.monotonic()
            if self._is_finishing.is_set():
                for call in self.calls:
                    call.hurry()
            elif len(self.calls) < self._count:
                chance = random.Random(self._chance.getrandbits(64))
                self.calls.append(Call(self._started, chance, self._ports))
                self._started += 1
            for call in self.calls:
                call.turn(now_s, self._speech, self._was_killed)
            for call in [call for call in self.calls if call.is_over]:
                self.calls.remove(call)
                self.ended.append(call.sent)
                self.packets += call.sent.packets
                self.refused += call.refused
            return bool(self.calls) or not self._is_finishing.is_set()

    def _was_killed(self, wire: CallSocket) -> bool:
        since_s = max(wire.dialled_s, time.monotonic() - KILLED_S)
        return any(at_s >= since_s for gateway, at_s in self.kills if gateway == wire.sent.gateway)
