"""One accepted socket of a call: packets in, frames out. HOT; guarded by `bench/micro`.

No I/O and no loop: time comes from the `clock` that is handed in, and is asked for rarely. A bad
packet is counted and skipped; a run of them ends the session with a close code.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from gateway.acs.errors import PacketError
from gateway.acs.packets import AudioMetadata, Event, normalise
from gateway.acs.reader import PacketReader
from gateway.kernel import take
from gateway.ledger import JUMP_US_MAX, STAMP_US_MIN, Axis, Place, is_quiet
from gateway.route import Route
from gateway.stream import Held, Stream
from gateway.wire import descriptor
from gateway.wire.frame import FRAME, NO_STAMP, SESSION_STREAM, FrameFlag, FrameKind

RATE_DEFAULT = 16_000
RATE_MIN = 8_000
RATE_MAX = 48_000
#: Sample rate by the size of a packet of 20 ms, until metadata has come.
RATE_BY_BYTES = {640: 16_000, 960: 24_000}

GO_ON = 0
INVALID_UTF8 = 1007
POLICY_VIOLATION = 1008

AUDIO = int(FrameKind.AUDIO)
SILENT = int(FrameFlag.SILENT)
LATE = int(FrameFlag.LATE)
DROPPED = int(FrameFlag.DROPPED)
NO_DATA = int(FrameFlag.NO_DATA)
CLOCK = int(FrameFlag.CLOCK)

HEAD_BYTES = FRAME.size
_pack_head = FRAME.pack


class Identity(NamedTuple):
    """Which session this is."""

    session: int  # the frame header's `session`
    call_id: str
    correlation_id: str | None
    gateway: str
    boot_id: str
    opened_at_us: int


class Limits(NamedTuple):
    """What a session puts up with."""

    bad_packets_run_max: int = 50
    streams_max: int = 256


class Session:
    """What the socket hands its messages to."""

    def __init__(
        self,
        identity: Identity,
        route: Route,
        limits: Limits,
        clock: Callable[[], int],
        on_over: "Callable[[Session], None]",
    ) -> None:
        """`clock()` is Unix us; it never jumps. `on_over` is called when all frames are out."""
        self.id = identity.session
        self.call_id = identity.call_id
        #: Where frames go; the router exchanges it between two ticks.
        self.route = route
        self.bad_packets: Counter[str] = Counter()
        #: Frames that pools were not given, by pool and reason; the router counts.
        self.dropped: dict[str, dict[str, int]] = {}
        #: Packets read, bad ones included.
        self.packets = 0
        reader = PacketReader()
        self._read = reader.read
        self._layouts = reader.layouts
        self._identity = identity
        self._limits = limits
        self._clock = clock
        self._on_over = on_over
        self._axis: Axis | None = None
        self._rate: int | None = None
        #: The streams at the rate in force; every stream of the session is in `_all`.
        self._streams: dict[str | None, Stream] = {}
        self._all: dict[tuple[str | None, int], Stream] = {}
        self._last: Stream | None = None
        self._bad_run = 0
        self._unplaced_bad = 0
        self._events = 0
        self._emit(FrameKind.OPEN, SESSION_STREAM, self._descriptor())

    def receive(self, message: bytes, _text: bool) -> int:
        """Take one message of the socket; returns `GO_ON`, or the code to close the socket with."""
        self.packets += 1
        try:
            packet = self._read(message)
        except PacketError as fault:
            return self._bad(fault, message)
        self._bad_run = 0
        if not isinstance(packet, tuple):
            self._event(packet)
            return GO_ON
        participant, pcm, silent, stamp_us = packet
        stream = self._streams.get(participant)
        if stream is None or not pcm or stream.held is not None or stream.place.owed:
            return self._audio_with_care(participant, pcm, silent, stamp_us)
        self._last = stream
        place = stream.place
        position = place.place(stamp_us, len(pcm) >> 1)
        if position is None:
            stream.held = Held(stamp_us, pcm, silent)
            return GO_ON
        flags = 0
        if silent:
            stream.silent += 1
            flags = SILENT
        if place.is_late:
            flags |= LATE
        elif place.is_clock_jump:
            flags |= CLOCK
        length = len(pcm)
        route = self.route
        route.heads.append(
            _pack_head(
                AUDIO,
                flags,
                stream.index,
                length,
                self.id,
                place.seq - 1,
                length >> 1,
                NO_STAMP if stamp_us is None else stamp_us,
                position,
            )
        )
        route.payloads.append(pcm)
        route.room -= length + HEAD_BYTES
        if route.room <= 0:
            route.overflow()
        return GO_ON

    def take(self, data: bytes | bytearray, at: int, bytes_max: int) -> tuple[int, int]:
        """Take usual packets out of masked frames, from `data[at]` on, as far as that goes.

        Returns where it ended and how many there were. The same as `receive` for each of them; what
        is not usual, or begins at the end of the route's room, is left to that.
        """
        if take is None:
            return at, 0
        route = self.route
        at, packets, room, stream = take(
            data, at, bytes_max, self._layouts, self._streams, self.id,
            route.heads, route.payloads, route.room,
        )  # fmt: skip
        if packets:
            self.packets += packets
            self._bad_run = 0
            self._last = stream
            route.room = room
            if room <= 0:
                route.overflow()
        return at, packets

    def closed(self, code: int | None, proper: bool) -> None:
        """The socket is gone: end every stream, then the session."""
        for stream in self._all.values():
            if stream.held is not None:
                self._settle(stream, None)
        for stream in self._all.values():
            end = descriptor.StreamClose(packets=self._counters(stream))
            self._emit(FrameKind.CLOSE, stream.index, end)
        close = descriptor.SessionClose(
            closed_at_us=self._clock(),
            close_code=code,
            proper=proper,
            bad_packets=dict(self.bad_packets),
            dropped=self.dropped,
        )
        self._emit(FrameKind.CLOSE, SESSION_STREAM, close)
        self._on_over(self)

    def _audio_with_care(
        self, participant: str | None, pcm: bytes, silent: bool, stamp_us: int | None
    ) -> int:
        """An audio packet that is not the usual case. Never loses one."""
        stream = self._streams.get(participant)
        if stream is None:
            stream = self._begin(participant, len(pcm), stamp_us)
            if stream is None:
                return GO_ON
        if stream.held is not None:
            self._settle(stream, stamp_us)
        self._last = stream
        packet = Held(stamp_us, pcm, silent)
        place = stream.place
        if place.owed and silent and is_quiet(pcm):
            stream.silent += 1
            self._frame(stream, packet, place.leave_out(), DROPPED)
            return GO_ON
        samples = self._samples(stream, packet)
        position = place.place(stamp_us, samples)
        if position is None:
            stream.held = packet
            return GO_ON
        self._placed(stream, packet, position, samples)
        return GO_ON

    def _samples(self, stream: Stream, packet: Held) -> int:
        """Samples that a packet stands for; one that is silent and empty stands for a packet."""
        if packet.pcm or not packet.silent:
            return len(packet.pcm) >> 1
        return stream.place.packet_samples

    def _settle(self, stream: Stream, next_stamp_us: int | None) -> None:
        """Place the packet that was held, now that it is known what came after it."""
        packet, stream.held = stream.held, None
        if packet is None:
            raise AssertionError("no packet is held")
        samples = self._samples(stream, packet)
        self._placed(stream, packet, stream.place.place_held(samples, next_stamp_us), samples)

    def _placed(self, stream: Stream, packet: Held, position: int, samples: int) -> None:
        if stream.place.seq == 1:
            self._open(stream)
        flags = LATE if stream.place.is_late else CLOCK if stream.place.is_clock_jump else 0
        if packet.silent:
            stream.silent += 1
            if not packet.pcm:
                flags |= NO_DATA
                stream.place.filled += 1
        self._frame(stream, packet, position, flags, samples)

    def _frame(
        self, stream: Stream, packet: Held, position: int, flags: int, samples: int = 0
    ) -> None:
        pcm = b"" if flags & DROPPED else packet.pcm
        stamp_us = NO_STAMP if packet.stamp_us is None else packet.stamp_us
        head = _pack_head(
            AUDIO,
            flags | (SILENT if packet.silent else 0),
            stream.index,
            len(pcm),
            self.id,
            stream.place.seq - 1,
            samples,
            stamp_us,
            position,
        )
        self.route.add(head, pcm)

    def _begin(self, participant: str | None, length: int, stamp_us: int | None) -> Stream | None:
        """A participant's first packet at the rate in force. None where there are too many."""
        rate = self._rate or RATE_BY_BYTES.get(length, RATE_DEFAULT)
        stream = self._all.get((participant, rate))
        if stream is None:
            if len(self._all) >= self._limits.streams_max:
                self._count_bad("too_many_streams", None)
                return None
            if self._axis is None:
                self._axis = Axis(self._zero(stamp_us))
            stream = Stream(len(self._all) + 1, participant, Place(self._axis, rate))
            stream.bad, self._unplaced_bad = self._unplaced_bad, 0
            self._all[participant, rate] = stream
        self._streams[participant] = stream
        return stream

    def _zero(self, stamp_us: int | None) -> int:
        """The first stamp; the wall clock where there is none, or none to be believed."""
        now_us = self._clock()
        if stamp_us is None or not STAMP_US_MIN <= stamp_us <= now_us + JUMP_US_MAX:
            return now_us
        return stamp_us

    def _open(self, stream: Stream) -> None:
        if self._axis is None or stream.place.first_position is None:
            raise AssertionError("a stream is opened by its first placed packet")
        opened = descriptor.StreamOpen(
            participant=stream.participant,
            sample_rate=stream.place.rate,
            zero_us=self._axis.zero_us,
            first_position=stream.place.first_position,
        )
        self._emit(FrameKind.OPEN, stream.index, opened)

    def _event(self, packet: Event) -> None:
        """Everything that is not audio: passed on, and metadata heeded."""
        if isinstance(packet, AudioMetadata):
            self._heed(packet)
        data = normalise(packet)
        kind = str(data.pop("kind"))
        at_us = data.get("timestamp_us")
        participant = data.pop("participant", None)
        self._emit_event(
            descriptor.Event(
                kind=kind,
                at_us=at_us if isinstance(at_us, int) else self._clock(),
                participant=participant if isinstance(participant, str) else None,
                data=data,
            )
        )

    def _heed(self, metadata: AudioMetadata) -> None:
        """Metadata names the rate; another rate than before begins new streams."""
        rate = metadata.sample_rate
        if rate is None or not RATE_MIN <= rate <= RATE_MAX:
            return
        self._rate = rate
        for stream in self._streams.values():
            if stream.held is not None and stream.place.rate != rate:
                self._settle(stream, None)
        self._streams = {
            participant: stream
            for (participant, stream_rate), stream in self._all.items()
            if stream_rate == rate
        }

    def _bad(self, fault: PacketError, message: bytes) -> int:
        self._count_bad(fault.error, fault.participant)
        if fault.error == "not_json" and not _is_utf8(message):
            return INVALID_UTF8
        self._bad_run += 1
        return POLICY_VIOLATION if self._bad_run >= self._limits.bad_packets_run_max else GO_ON

    def _count_bad(self, error: str, participant: str | None) -> None:
        """Count a packet that could not be used with the stream that it names, else the last one.

        So the streams' counts add up to the session's, whenever it has a stream at all.
        """
        self.bad_packets[error] += 1
        stream = self._streams.get(participant) if participant is not None else None
        stream = stream or self._last
        if stream is None:
            self._unplaced_bad += 1
        else:
            stream.bad += 1
        self._emit_event(
            descriptor.Event(
                kind="bad_packet",
                at_us=self._clock(),
                participant=stream.participant if stream else None,
                data={"error": error},
            )
        )

    def _counters(self, stream: Stream) -> descriptor.Packets:
        place = stream.place
        return descriptor.Packets(
            received=place.seq,
            silent=stream.silent,
            lost=place.lost,
            late=place.late,
            dropped=place.dropped,
            filled=place.filled,
            bad=stream.bad,
        )

    def _descriptor(self) -> descriptor.SessionOpen:
        return descriptor.SessionOpen(
            call_id=self.call_id,
            session=f"{self.id:016x}",
            gateway=self._identity.gateway,
            boot_id=self._identity.boot_id,
            opened_at_us=self._identity.opened_at_us,
            correlation_id=self._identity.correlation_id,
        )

    def _emit_event(self, event: descriptor.Event) -> None:
        self._emit(FrameKind.EVENT, SESSION_STREAM, event, self._events)
        self._events += 1

    def _emit(self, kind: FrameKind, stream: int, body: descriptor.Body, seq: int = 0) -> None:
        payload = descriptor.pack(body)
        head = _pack_head(kind, 0, stream, len(payload), self.id, seq, 0, NO_STAMP, 0)
        self.route.add_control(kind, self.id, head, payload)


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True
