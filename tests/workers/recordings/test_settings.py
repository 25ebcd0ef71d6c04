import msgspec
import pytest

from workers.recordings.settings import RecordingSettings


def test_the_defaults_are_those_of_the_documentation():
    assert RecordingSettings() == msgspec.convert(
        {"gather_s": 2.0, "redial_wait_s": 30, "reopen_s": 3600, "durability": "power"},
        RecordingSettings,
    )


@pytest.mark.parametrize(
    "table", [{"gather_s": -1}, {"durability": "none"}, {"reopen_s": "1"}, {"unknown": 1}]
)
def test_what_is_no_setting_is_refused(table):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, RecordingSettings)
