"""Calls that are spoken packet by packet, the same in every run: only their ids differ."""

import random
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack

import acs_packets as acs
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

PACKET_MS = 20
PARTICIPANTS = ("8:acs:a", "8:acs:b")
SEND_S_MAX = 10.0


def pcm(seed: int, participant: int, number: int) -> bytes:
    """Packet `number` of a participant, by its seed alone."""
    return random.Random(seed * 1_000_003 + participant * 500_009 + number).randbytes(640)


class Caller:
    """One call; each packet has the stamp of its number, whenever it is sent."""

    def __init__(self, url: str, seed: int, call_id: str | None = None) -> None:
        self.seed = seed
        self.call_id = call_id or str(uuid.uuid4())
        #: Packet numbers that were handed to the socket.
        self.sent: list[int] = []
        self.is_broken = False
        self._sockets = ExitStack()
        self._dial(url)

    def _dial(self, url: str) -> None:
        headers = {"x-ms-call-connection-id": self.call_id}
        self.socket: ClientConnection = self._sockets.enter_context(
            connect(url, additional_headers=headers, compression=None, close_timeout=SEND_S_MAX)
        )
        self.is_broken = False
        self.socket.send(acs.metadata().decode())

    def dial_again(self, url: str) -> None:
        """Another socket of the same call; the present one is broken."""
        self._dial(url)

    def say(self, number: int) -> None:
        """One packet of each participant; nothing once the socket is broken."""
        if self.is_broken:
            return
        try:
            for place, participant in enumerate(PARTICIPANTS):
                data = pcm(self.seed, place, number)
                text = acs.audio(participant, data, acs.stamp(PACKET_MS * number))
                self.socket.send(text.decode())
        except (ConnectionClosed, OSError):
            self.is_broken = True
        else:
            self.sent.append(number)

    def hang_up(self) -> None:
        """A proper close of every socket that is not broken."""
        self._sockets.close()

    def pcm(self, place: int, numbers: range | None = None) -> bytes:
        """What a participant said, all of it or some."""
        return b"".join(pcm(self.seed, place, n) for n in numbers or self.sent)


class Callers:
    """Several calls, spoken in step by a thread."""

    def __init__(
        self, urls: Sequence[str], calls: int, call_ids: Sequence[str] | None = None
    ) -> None:
        """Call number n goes to url n of `urls`, in turn; its seed is n."""
        ids = call_ids or [None] * calls
        self.callers = [Caller(urls[n % len(urls)], n, ids[n]) for n in range(calls)]
        self._next = 0
        self._thread: threading.Thread | None = None

    def talk(self, until: int, *, pace_s: float = 0.01) -> None:
        """Say every packet up to number `until`, and wait for it."""
        self.begin_to_talk(until, pace_s=pace_s)
        self.wait()

    def begin_to_talk(self, until: int, *, pace_s: float = 0.01) -> None:
        """Say every packet up to number `until`, in the background."""
        numbers = range(self._next, until)
        self._next = until
        self._thread = threading.Thread(target=self._talk, args=(numbers, pace_s))
        self._thread.start()

    def wait(self) -> None:
        """Until everything has been said."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _talk(self, numbers: range, pace_s: float) -> None:
        due_s = time.monotonic()
        for number in numbers:
            for caller in self.callers:
                caller.say(number)
            due_s += pace_s
            time.sleep(max(0.0, due_s - time.monotonic()))

    def hang_up(self) -> None:
        """Close every call properly."""
        self.wait()
        for caller in self.callers:
            caller.hang_up()
