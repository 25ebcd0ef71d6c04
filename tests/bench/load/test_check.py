from pathlib import Path

from bench.load.check import check, sent_call
from bench.load.fleet import Sent
from bench.load.frames import Speech


def call(number: int, unsent: int = 0) -> Sent:
    return Sent(f"call-{number}", "load-0-x", number, 5, first=3, ticks=4, unsent=unsent)


def test_what_was_sent_is_made_again() -> None:
    speech = Speech(2, seed=5)

    sent = sent_call(call(6), Speech(2))

    said = [b"".join(speech.pcm(tick, 2, stream) for tick in range(3, 7)) for stream in range(2)]
    assert said == [track.pcm.tobytes() for track in sent.tracks]
    assert [speech.participant(0), speech.participant(1)] == [t.participant for t in sent.tracks]


def test_call_without_a_recording_is_not_right(tmp_path: Path) -> None:
    found = check([call(0), call(1, unsent=2)], Speech(2), tmp_path, sample=9, timeout_s=0)

    assert (2, 1, 0) == (found["calls"], found["checked"], found["right"])
    assert ["call-0: 0 recordings are finished, not one"] == found["faults"]
