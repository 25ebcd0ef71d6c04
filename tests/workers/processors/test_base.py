import msgspec

from workers.processors.base import Processor
from workers.testing import new_processor


def test_settings_of_a_processor_say_what_follows_its_failure():
    assert "bypass" == Processor.Settings().on_error
    assert "end_call" == new_processor(Processor, {"on_error": "end_call"}).settings.on_error


def test_settings_inherit_that_unknown_keys_are_refused():
    class Settings(Processor.Settings, frozen=True):
        depth: int = 1

    assert Settings.__struct_config__.forbid_unknown_fields
    assert isinstance(Settings(), msgspec.Struct)


def test_processor_knows_where_it_runs(tmp_path):
    place = new_processor(Processor, data=tmp_path).place

    assert (tmp_path, "test") == (place.data, place.pool)
