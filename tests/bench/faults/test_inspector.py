import json

from bench.faults.inspector import Inspector


def inspected(by_hand, tmp_path, name: str = "a-call") -> Inspector:
    """The recording of a call that has just ended, looked at until there is a verdict."""
    by_hand.folder = tmp_path / "recordings" / "2026" / "11" / "23" / name
    by_hand.write()
    calls = [by_hand.call]
    inspector = Inspector(
        tmp_path / "recordings",
        tmp_path / "evidence",
        by_hand.speech,
        lambda: calls.pop() if calls else None,
        [],
        patience_s=0.0,
        keep_s=0.0,
    )
    inspector.finish()
    assert inspector.fault is None
    return inspector


def test_a_right_recording_is_counted_and_taken_away(by_hand, tmp_path):
    inspector = inspected(by_hand, tmp_path)

    assert (1, 40, 40) == (
        inspector.totals.calls,
        inspector.totals.sent,
        inspector.totals.written,
    )
    assert [] == inspector.totals.differences
    assert not by_hand.folder.exists()
    assert [] == inspector.strangers()


def test_a_wrong_recording_is_kept_as_evidence(by_hand, tmp_path):
    by_hand.blocks[3] = 0

    inspector = inspected(by_hand, tmp_path)

    [difference] = inspector.totals.differences
    kept = tmp_path / "evidence" / "a-call"
    assert any("packet 3" in line for line in difference["faults"])
    assert by_hand.call.as_json() == json.loads((kept / "sent.json").read_text())
    assert (kept / "recording-0" / "manifest.json").exists()
    assert "packet 3" in (kept / "differences.txt").read_text()


def test_a_call_without_a_recording_and_a_recording_without_a_call_are_found(by_hand, tmp_path):
    inspector = inspected(by_hand, tmp_path, "nobody")

    [difference] = inspector.totals.differences
    assert ["there are 0 recordings of the call"] == difference["faults"]
    assert ["nobody"] == inspector.strangers()
