"""The packets of one session: audio that is laid out like an earlier one needs no parser. HOT.

The service writes every packet of a stream alike: between two of them the timestamp and the samples
differ, and nothing else. Once a layout is proven, a packet is compared with it byte by byte and
only those two are looked at; whatever does not match goes to `parse`, which is the truth.
"""

from typing import NamedTuple

import pybase64

from gateway.acs.errors import PacketError
from gateway.acs.packets import MESSAGE_BYTES_MAX, AudioData, Event, parse
from gateway.acs.timestamps import plain_stamp_us

Audio = tuple[str | None, bytes, bool, int | None]
"""(participant raw id, pcm, silent, stamp_us)."""

_STAMP_KEY = b'"timestamp":"'
_DATA_KEY = b'"data":"'
#: What a layout is proven with, in the places of the two values, and what must come of it.
_PROBE_STAMP = b"2000-01-01T00:00:00.001Z"
_PROBE_STAMP_US = 946_684_800_001_000
_PROBE_DATA = b"ASM="
_PROBE_PCM = b"\x01\x23"

#: Layouts of one length that are tried, and of all lengths. A session of the service has one for
#: each participant, and one more for its silence.
_ALIKE_MAX = 8
_LAYOUTS_MAX = 64


class _Layout(NamedTuple):
    """All bytes of a packet but those of timestamp and samples, and where these two are."""

    stamp: int
    second_end: int
    stamp_end: int
    data: int
    data_end: int
    head: bytes
    middle: bytes
    tail: bytes
    participant: str | None
    silent: bool


class PacketReader:
    """Reads packets as `parse` does; remembers how the audio among them is laid out."""

    __slots__ = ("_count", "layouts")

    def __init__(self) -> None:
        #: By length of the whole packet; `kernel.take` reads them as well.
        self.layouts: dict[int, list[_Layout]] = {}
        self._count = 0

    def read(self, message: bytes) -> Audio | Event:
        """The packet in one whole message. Raises `PacketError`, nothing else."""
        alike = self.layouts.get(len(message))
        if alike is not None:
            for (
                stamp, second_end, stamp_end, data, data_end,
                head, middle, tail, participant, silent,
            ) in alike:  # fmt: skip
                if (
                    message.startswith(middle, stamp_end)
                    and message.startswith(tail, data_end)
                    and message.startswith(head)
                ):
                    stamp_us = plain_stamp_us(
                        message[stamp:second_end], message[second_end:stamp_end]
                    )
                    if stamp_us is None:
                        break
                    try:
                        pcm = pybase64.b64decode(message[data:data_end], None, True)
                    except ValueError:
                        break
                    if len(pcm) & 1:
                        break
                    return participant, pcm, silent, stamp_us
        packet = parse(message)
        if not isinstance(packet, tuple):
            return packet
        if self._count < _LAYOUTS_MAX:
            self._learn(message, packet)
        return packet[:4]

    def _learn(self, message: bytes, packet: AudioData) -> None:
        """Remember the layout of an audio packet, if it has one that can be proven."""
        participant, _, silent, _, _, mark = packet
        stamp = message.find(_STAMP_KEY) + len(_STAMP_KEY)
        stamp_end = message.find(b'"', stamp)
        data = message.find(_DATA_KEY, stamp_end) + len(_DATA_KEY)
        data_end = message.find(b'"', data)
        if mark is not None or not stamp < stamp_end < data <= data_end:
            return
        alike = self.layouts.get(len(message), [])
        if len(alike) == _ALIKE_MAX or message[stamp:stamp_end] == _PROBE_STAMP:
            return
        head, middle, tail = message[:stamp], message[stamp_end:data], message[data_end:]
        if message[data:data_end] == _PROBE_DATA or not _is_proven(
            b"".join((head, _PROBE_STAMP, middle, _PROBE_DATA, tail)), participant, silent
        ):
            return
        second_end = min(stamp + len("2000-01-01T00:00:00"), stamp_end)
        places = (stamp, second_end, stamp_end, data, data_end)
        layout = _Layout(*places, head, middle, tail, participant, silent)
        self.layouts[len(message)] = [*alike, layout]
        self._count += 1


def _is_proven(probe: bytes, participant: str | None, silent: bool) -> bool:
    """Whether other values in two places of a packet change those two of its members and no more.

    Then the places are inside these members' strings, and stay so for whatever has no quote and no
    backslash in it. (The packet itself must have had other values there.)
    """
    if len(probe) > MESSAGE_BYTES_MAX:
        return False
    try:
        found = parse(probe)
    except PacketError:
        return False
    text = _PROBE_STAMP.decode()
    return found == (participant, _PROBE_PCM, silent, _PROBE_STAMP_US, text, None)
