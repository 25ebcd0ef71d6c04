"""Who may come in, and as which call."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import Admitted, Refusal, UpgradeRequest, admit

UPGRADE = {"upgrade": ["websocket"], "connection": ["Upgrade"]}
CALL = "x-ms-call-connection-id"
CORRELATION = "x-ms-call-correlation-id"


def decide(path="/media", method="GET", **headers):
    named = {name.replace("_", "-"): values for name, values in headers.items()}
    return admit(UpgradeRequest(method, path, UPGRADE | named), lambda: "fresh")


def decide_ids(call=(), correlation=(), path="/media"):
    headers = {**UPGRADE, CALL: list(call), CORRELATION: list(correlation)}
    return admit(UpgradeRequest("GET", path, headers), lambda: "fresh")


@pytest.mark.parametrize("path", ["/media", "/media/", "/media?a=b", "/media/?a=b"])
def test_a_call_that_nothing_names_gets_a_fresh_id(path):
    assert Admitted("fresh", None) == decide(path)


@pytest.mark.parametrize(
    "path", ["/", "", "*", "/medi", "/mediax", "/media-2/x", "/x/media", "/Media"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_are_not_found(path, method):
    assert 404 == decide(path, method).status


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "CONNECT", "get"])
def test_other_methods_are_told_the_one_that_is_allowed(method):
    refusal = decide(method=method)

    assert (405, (("Allow", "GET"),)) == (refusal.status, refusal.headers)


@pytest.mark.parametrize("values", [[], [""], ["h2c"], ["web socket"]])
def test_a_request_without_upgrade_is_told_to_upgrade(values):
    refusal = decide(upgrade=values)

    assert (426, (("Upgrade", "websocket"),)) == (refusal.status, refusal.headers)


@pytest.mark.parametrize("values", [["WebSocket"], ["h2c, websocket"], ["h2c", "websocket"]])
def test_an_upgrade_may_be_written_in_any_way(values):
    assert isinstance(decide(upgrade=values), Admitted)


def test_the_headers_name_the_call_and_its_correlation():
    assert Admitted("call-1", "corr-1") == decide_ids(["call-1"], ["corr-1"])


def test_the_header_wins_over_the_token():
    assert Admitted("call-1", None) == decide_ids(["call-1"], path="/media/token")


def test_spaces_around_an_id_are_no_part_of_it():
    assert Admitted("call-1", None) == decide_ids([" call-1\t"])


@pytest.mark.parametrize("values", [[""], [" "], ["", "\t"]])
def test_an_empty_id_is_none(values):
    assert Admitted("fresh", None) == decide_ids(values, values)


def test_the_same_id_twice_is_one_id():
    assert Admitted("call-1", None) == decide_ids(["call-1", "call-1 "])


@pytest.mark.parametrize("header", [CALL, CORRELATION])
@pytest.mark.parametrize("values", [["a", "b"], ["x" * 4097]])
def test_an_id_that_is_ambiguous_or_too_long_is_refused_by_name(header, values):
    request = UpgradeRequest("GET", "/media", {**UPGRADE, header: values})
    refusal = admit(request, lambda: "fresh")

    assert 400 == refusal.status
    assert header in refusal.reason
    assert values[0] not in refusal.reason.replace(header, "").split()


def test_the_longest_id_is_taken():
    assert "x" * 4096 == decide_ids(["x" * 4096]).call_id


def test_a_token_stands_for_a_call_but_is_not_its_name():
    first, again, other = (
        decide(path).call_id for path in ("/media/secret", "/media/secret?a=b", "/media/secret2")
    )

    assert first == again != other
    assert re.fullmatch(r"token-[0-9a-f]{32}", first)


def test_a_token_is_everything_after_the_path():
    paths = ["/media/a", "/media/a/", "/media//a", "/media/a/b", "/media/a%2Fb"]

    assert len(paths) == len({decide(path).call_id for path in paths})


@pytest.mark.parametrize(
    ("raw", "call_id"),
    [
        ("é".encode(), "é"),
        (b"caf\xe9", "caf\\xe9"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\xc3\xa0", "à"),
    ],
)
def test_bytes_beyond_ascii_are_utf8_or_escaped(raw, call_id):
    assert call_id == decide_ids([raw.decode("latin-1")]).call_id


@given(st.lists(st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")), max_size=3))
def test_no_header_makes_it_fail_or_gives_an_id_that_json_cannot_hold(values):
    decided = decide_ids(values, values)

    assert isinstance(decided, Refusal) or json.dumps(decided.call_id).encode()


@given(st.text(st.characters(max_codepoint=127), max_size=30))
def test_no_path_makes_it_fail(path):
    assert isinstance(decide(path), Refusal | Admitted)
    assert isinstance(decide(f"/media/{path}"), Admitted)
