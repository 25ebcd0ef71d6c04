import msgspec
import pytest

from workers.sinks.base import Sink
from workers.testing import new_sink


def test_sink_has_no_settings_of_its_own():
    assert () == Sink.Settings.__struct_fields__
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"folder": "x"}, Sink.Settings)


def test_sink_knows_where_it_runs(tmp_path):
    assert tmp_path == new_sink(Sink, data=tmp_path).place.data
