"""The OPENs of all that is not over at one place of a log: what a segment begins with. Pure."""

from gateway.log.ticks import Tick, controls_of, frames_tick
from gateway.wire.frame import SESSION_STREAM, FrameKind


class Opens:
    """What the ticks noted so far have opened and not closed."""

    def __init__(self) -> None:
        self._sessions: dict[int, dict[int, tuple[bytes, bytes]]] = {}

    def note(self, tick: Tick) -> None:
        """Learn from a tick. A snapshot says it all; what is noted twice changes nothing."""
        if tick.snapshot:
            self._sessions.clear()
        for control in controls_of(tick):
            if control.kind == FrameKind.OPEN:
                streams = self._sessions.setdefault(control.session, {})
                streams[control.stream] = control.head, control.payload
            elif control.stream == SESSION_STREAM:
                self._sessions.pop(control.session, None)
            else:
                self._sessions.get(control.session, {}).pop(control.stream, None)

    def before(self, tick: Tick) -> Tick:
        """The snapshot that a segment begins with whose first tick is `tick`.

        Its number is the one before, so that nobody takes the tick for read who has read this.
        """
        frames = (frame for streams in self._sessions.values() for frame in streams.values())
        snapshot = frames_tick(tick.number - 1, tick.sent_us, frames)
        return snapshot._replace(snapshot=True)
