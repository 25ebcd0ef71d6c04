import pytest

from gateway.acs.errors import PacketError
from gateway.acs.members import InexactIntegerError, Members


def test_exact_name_beats_a_variant_and_a_variant_beats_the_next_name() -> None:
    assert Members({"A": 1, "a": 2, "b": 3}).value("a", "b") == 2
    assert Members({"b": 3, "A": 1}).value("a", "b") == 1
    assert Members({"B": 3, "c": 1}).value("a", "b") == 3


def test_null_is_absent_under_every_name() -> None:
    assert Members({"a": None, "A": 1}).value("a") == 1
    assert Members({"A": 1, "AA": 2, "Aa": None}).value("aa") == 2
    assert Members({"a": None}).value("a", "b") is None


def test_false_and_zero_and_empty_text_are_present() -> None:
    members = Members({"silent": False, "rate": 0, "text": "", "alias": True})
    assert members.boolean("silent", "alias") is False
    assert members.integer("rate") == 0
    assert members.text("text") == ""


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("text", 1),
        ("boolean", 1),
        ("boolean", "true"),
        ("integer", True),
        ("integer", 1.0),
        ("integer", "1"),
        ("number", True),
        ("number", "1"),
    ],
)
def test_value_of_another_type_is_a_bad_field(reader: str, value: object) -> None:
    with pytest.raises(PacketError, match="bad_field"):
        getattr(Members({"x": value}), reader)("x")


@pytest.mark.parametrize("value", [2.0**64, -(2.0**63)])
def test_float_that_may_have_been_an_integer_says_so(value: float) -> None:
    with pytest.raises(InexactIntegerError):
        Members({"x": value}).integer("x")
