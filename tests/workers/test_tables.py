import msgspec
import pytest

from workers.errors import ConfigError
from workers.tables import convert


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    number: int = 1


class Outer(msgspec.Struct):
    inner: Inner = msgspec.field(default_factory=Inner)
    many: list[int] = []


def test_table_becomes_a_struct():
    assert Outer(Inner(5), []) == convert({"inner": {"number": 5}}, Outer, "here")


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ({"inner": {"number": "x"}}, "here.inner.number"),
        ({"inner": {"other": 1}}, "here.inner"),
        ({"many": [1, "x"]}, "here.many[1]"),
        (5, "here"),
    ],
)
def test_fault_is_named_by_its_path(table, path):
    with pytest.raises(ConfigError) as caught:
        convert(table, Outer, "here")

    assert path == caught.value.path
