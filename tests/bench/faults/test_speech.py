import numpy as np

from bench.faults.speech import PACKET_BYTES, PACKET_SAMPLES, Name, Speech, name_in


def test_packets_in_a_row_are_those_that_were_said_one_by_one() -> None:
    speech = Speech(5)

    found = speech.packets(70_000, 1, 65_530, 12)

    said = [speech.pcm(Name(70_000, 1, number)) for number in range(65_530, 65_542)]
    assert said == [packet.astype("<i2").tobytes() for packet in found]
    assert {PACKET_BYTES} == {len(packet) for packet in said}


def test_a_packet_says_which_it_is() -> None:
    packet = np.frombuffer(Speech(5).pcm(Name(3, 1, 99)), np.int16)

    assert Name(3, 1, 99) == name_in(packet)
    assert name_in(np.zeros(PACKET_SAMPLES, np.int16)) is None
    assert name_in(packet[:4]) is None


def test_no_two_packets_are_alike_and_none_is_silent() -> None:
    speech = Speech(5)
    said = [speech.pcm(Name(call, place, n)) for call in (1, 2) for place in (0, 1) for n in (1, 2)]

    assert 8 == len(set(said))
    assert all(np.frombuffer(packet, np.int16)[8:].all() for packet in said)
