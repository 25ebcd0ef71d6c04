"""A worker that speaks the bus by hand, for tests of the gateway's side."""

from collections import defaultdict

import msgspec

from gateway.bus.memory import MemoryHub, MemorySpoke
from gateway.wire import messages
from gateway.wire.frame import MAGIC, Frame, FrameKind, iterate, unpack_batch


class HandWorker:
    """Says what it is told to say, and keeps what it hears."""

    def __init__(self, hub: MemoryHub, name: str, pool: str = "record", link: int = 1) -> None:
        self.spoke = MemorySpoke(hub)
        self.name = name
        self.pool = pool
        self.link = link
        self.frames: list[Frame] = []
        self.batches: list[int] = []
        self.control: list[object] = []

    def hello(self, **members: object) -> None:
        self.say(
            messages.Hello(
                pool=self.pool,
                name=self.name,
                boot_id=f"boot-{self.name}",
                link=self.link,
                **members,
            )
        )

    def say(self, message: messages.FromWorker) -> None:
        self.spoke.send(messages.pack(message))

    def beat(self) -> None:
        self.say(messages.Heartbeat(link=self.link))

    def ack(self, safe: int | None = None) -> None:
        """Acknowledge everything, or say that only batches up to `safe` are safe."""
        taken = self.batches[-1] if self.batches else 0
        self.say(messages.Ack(link=self.link, safe=taken if safe is None else safe, taken=taken))

    def listen(self) -> list[Frame]:
        """Take what has come; returns the new frames."""
        heard: list[Frame] = []
        while (message := self.spoke.receive()) is not None:
            if message.startswith(MAGIC):
                self.batches.append(unpack_batch(message).number)
                heard += iterate(message)
            else:
                self.control.append(msgspec.json.decode(message))
        self.frames += heard
        return heard

    def die(self) -> None:
        self.spoke.close()

    def audio(self) -> dict[tuple[int, int], dict[int, Frame]]:
        """Every AUDIO frame heard so far: (session, stream) -> seq -> frame."""
        found: dict[tuple[int, int], dict[int, Frame]] = defaultdict(dict)
        for frame in self.frames:
            if frame.kind == FrameKind.AUDIO:
                found[frame.session, frame.stream][frame.seq] = frame
        return found
