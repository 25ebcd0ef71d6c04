import pytest

from bench.faults.checker import TORN_S_MAX, Found, check
from bench.faults.sent import SentSocket


def found_in(by_hand) -> Found:
    by_hand.write()
    return check(by_hand.call, by_hand.folder, by_hand.speech)


def faults_of(by_hand) -> str:
    return " | ".join(found_in(by_hand).faults)


def test_a_right_recording_has_no_faults(by_hand):
    found = found_in(by_hand)

    assert [] == found.faults
    assert (40, 40, 0, 0) == (found.sent, found.written, found.declared, found.unread)
    assert 50 * 320 == found.samples


def test_a_missing_packet_is_found(by_hand):
    by_hand.blocks[7] = 0

    faults = faults_of(by_hand)

    assert "packet 7: neither there nor in a gap" in faults
    assert "packet 7: is missing in the middle" in faults


def test_a_missing_packet_that_is_declared_and_should_be_there_is_found(by_hand):
    by_hand.blocks[40:50] = 0
    by_hand.gaps.append((40, 10, "not_received"))

    assert "packet 40: and 9 more are missing" in faults_of(by_hand)


def test_a_packet_that_is_there_twice_is_found(by_hand):
    by_hand.blocks[25] = by_hand.blocks[12]

    assert "packet 25: is packet 12 of participant 0 of call 4" in faults_of(by_hand)


def test_a_packet_at_another_place_is_found(by_hand):
    by_hand.blocks[[8, 9]] = by_hand.blocks[[9, 8]]

    faults = faults_of(by_hand)

    assert "packet 8: is packet 9" in faults
    assert "packet 9: is packet 8" in faults


def test_a_packet_of_another_call_is_found(by_hand):
    by_hand.blocks[8] = by_hand.speech.packets(5, 1, 8, 1)[0]

    assert "packet 8: is packet 8 of participant 1 of call 5" in faults_of(by_hand)


def test_an_invented_packet_is_found(by_hand):
    by_hand.blocks[25, 100:110] = 1

    assert "packet 25: is altered, or nobody has sent it" in faults_of(by_hand)


def test_one_altered_sample_is_found(by_hand):
    by_hand.blocks[44, 319] += 1

    assert "packet 44" in faults_of(by_hand)


def test_audio_behind_what_was_sent_is_found(by_hand):
    by_hand.call.sockets[1].packets = 18

    assert "packet 48: is packet 48" in faults_of(by_hand)


def test_silence_that_nobody_declares_is_found(by_hand):
    by_hand.gaps = []

    assert "packet 20: neither there nor in a gap" in faults_of(by_hand)


def test_a_gap_over_audio_is_found(by_hand):
    by_hand.gaps = [(20, 11, "not_received")]

    assert "packet 30: in a gap, but there" in faults_of(by_hand)


@pytest.mark.parametrize("end", ["killed", "cut"])
def test_the_last_packets_of_a_torn_socket_may_be_missing(by_hand, end):
    by_hand.torn(end, kept=12)

    found = found_in(by_hand)

    assert [] == found.faults
    assert (40, 32, 8, 0) == (found.sent, found.written, found.declared, found.unread)
    assert [(end, 160)] == found.torn_ms


def test_a_packet_in_the_middle_of_a_torn_socket_may_not(by_hand):
    by_hand.torn("killed", kept=12)
    by_hand.blocks[5] = 0
    by_hand.gaps.insert(0, (5, 1, "gateway_died"))

    assert "packet 5: is missing in the middle" in faults_of(by_hand)


def test_what_was_sent_long_before_a_socket_was_torn_may_not_be_missing(by_hand):
    long = int(TORN_S_MAX * 50)
    by_hand.torn("killed", kept=12)
    by_hand.call.sockets[0].packets = 20 + long
    by_hand.call.sockets[1].first += long
    by_hand.call.sockets[1].packets = 0
    by_hand.ends_after(12)
    by_hand.gaps = [(12, None, "gateway_died")]

    assert "packet 12: and 7 more are missing" in faults_of(by_hand)


def test_what_is_missing_behind_the_end_is_declared_by_a_gap_without_a_length(by_hand):
    by_hand.call.sockets.pop()
    by_hand.torn("killed", kept=12)
    by_hand.ends_after(12)
    by_hand.gaps = [(12, None, "gateway_died")]

    found = found_in(by_hand)

    assert [] == found.faults
    assert (20, 12, 8, 0) == (found.sent, found.written, found.declared, found.unread)


def test_what_is_missing_behind_the_end_and_not_declared_is_found(by_hand):
    by_hand.call.sockets.pop()
    by_hand.torn("killed", kept=12)
    by_hand.ends_after(12)
    by_hand.gaps = []

    assert "8 are missing behind the end, nothing says so" in faults_of(by_hand)


def test_what_a_gateway_could_not_read_of_a_call_that_we_cut_is_counted(by_hand):
    by_hand.call.sockets.pop()
    by_hand.torn("cut", kept=12)
    by_hand.ends_after(12)
    by_hand.gaps = []

    found = found_in(by_hand)

    assert ([], 8) == (found.faults, found.unread)


def late(by_hand, end: str) -> None:
    """The recording begins with the second socket."""
    by_hand.blocks = by_hand.blocks[30:]
    by_hand.begin = 30
    by_hand.gaps = []
    by_hand.call.sockets[0].end = end
    by_hand.died = end == "killed"


def test_packets_missing_before_the_begin_are_found(by_hand):
    late(by_hand, "cut")

    assert "20 are missing before the track's begin" in faults_of(by_hand)


def test_a_session_that_its_gateway_took_along_is_counted_by_itself(by_hand):
    late(by_hand, "killed")

    found = found_in(by_hand)

    assert [] == found.faults
    assert (40, 20, 0, 20) == (found.sent, found.written, found.declared, found.unplaced)


def test_a_long_session_that_its_gateway_took_along_must_be_named(by_hand):
    late(by_hand, "killed")
    by_hand.call.sockets[0].packets = 60
    by_hand.call.sockets[1].first = 70
    by_hand.begin = 70
    by_hand.blocks = by_hand.speech.packets(4, 0, 70, 20)
    by_hand.manifest = {"sessions": [{"cause": None}], "state": "complete"}

    assert "nothing says so" in faults_of(by_hand)


def test_what_was_never_handed_over_is_not_missing_before_the_begin(by_hand):
    late(by_hand, "half-closed")
    by_hand.call.sockets[0].handed = 0

    found = found_in(by_hand)

    assert ([], 20, 20) == (found.faults, found.written, found.unread)


def test_what_was_never_handed_over_is_not_missing_behind_the_end(by_hand):
    by_hand.call.sockets.pop()
    by_hand.call.sockets[0].end = "killed"
    by_hand.call.sockets[0].handed = 18
    by_hand.ends_after(18)
    by_hand.gaps = []

    found = found_in(by_hand)

    assert ([], 2) == (found.faults, found.unread)


def test_a_participant_of_whom_nothing_left_us_needs_no_track(by_hand):
    by_hand.call.sockets = [SentSocket(0, 0, 1, 0, "half-closed")]
    by_hand.manifest = {"tracks": [], "mixed": None, "sessions": [{"cause": None}]}

    found = found_in(by_hand)

    assert found.is_right
    assert (1, 1) == (found.sent, found.unread)


def test_a_participant_who_was_heard_and_has_no_track_is_found(by_hand):
    by_hand.manifest = {"tracks": [], "mixed": None}

    assert any("participant 0 has no track" in fault for fault in found_in(by_hand).faults)


def test_packets_that_never_left_us_need_not_be_there(by_hand):
    by_hand.torn("half-closed", kept=18)
    by_hand.call.sockets[0].handed = 18

    assert [] == found_in(by_hand).faults


def test_a_counter_that_is_wrong_is_found(by_hand):
    by_hand.packets["received"] = 41

    assert "received is 41, not 40" in faults_of(by_hand)


def test_a_socket_that_ended_by_itself_is_found(by_hand):
    by_hand.call.sockets[1].end = "closed by the server, 1011"

    assert "closed by the server, 1011" in faults_of(by_hand)


def test_a_gateway_that_died_though_nobody_killed_it_is_found(by_hand):
    by_hand.died = True

    assert "that nobody has killed" in faults_of(by_hand)


def test_a_mix_that_is_no_sum_is_found(by_hand):
    by_hand.write()
    other = by_hand.blocks.reshape(-1).copy()
    other[3] += 1
    entry = by_hand._file("mixed.wav", other)
    text = (by_hand.folder / "manifest.json").read_text()
    by_hand.folder.joinpath("manifest.json").write_text(
        text.replace('"mixed": {', f'"mixed": {{"sha256": "{entry["sha256"]}", "was": {{').replace(
            '}, "sessions"', f'}}, "file": "mixed.wav", "samples": {len(other)}}}, "sessions"'
        )
    )

    assert ["the mix is not the sum of the tracks"] == (
        check(by_hand.call, by_hand.folder, by_hand.speech).faults
    )


def test_a_recording_without_a_manifest_is_a_fault(by_hand):
    assert "cannot be read" in check(by_hand.call, by_hand.folder, by_hand.speech).faults[0]
