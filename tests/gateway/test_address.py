import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Address, bind, bound_address, parse_address, require_loopback
from gateway.errors import ConfigError, Unavailable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:0", Address("::1", 0)),
        ("calls.example:65535", Address("calls.example", 65535)),
    ],
)
def test_host_and_port_are_read_and_written_alike(text: str, expected: Address) -> None:
    assert expected == parse_address(text)
    assert text == str(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (":8080", "names no host; for this machine alone write 127.0.0.1:8080"),
        ("8080", "is not HOST:PORT"),
        ("localhost", "is not HOST:PORT"),
        ("", "is not HOST:PORT"),
        ("::1:8080", "stands in brackets"),
        ("[::1]", "is not HOST:PORT"),
        ("[calls.example]:1", "no IPv6 address"),
        ("127.0.0.1:65536", "at most 65535"),
        ("127.0.0.1:-1", "is not HOST:PORT"),
        ("127.0.0.1:http", "is not HOST:PORT"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^'") as caught:
        parse_address(text)
    assert reason in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= parse_address(text).port <= 65535


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1"])
def test_loopback_needs_nothing(host: str) -> None:
    require_loopback(Address(host, 0), "--listen")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1"])
def test_addresses_that_others_reach_are_refused_with_the_way_out(host: str) -> None:
    with pytest.raises(ConfigError, match=r"--listen: .*--insecure"):
        require_loopback(Address(host, 0), "--listen")


def test_host_that_nobody_knows_is_not_to_be_had() -> None:
    with pytest.raises(Unavailable, match="cannot be resolved"):
        require_loopback(Address("no such host", 0), "--listen")


def test_bound_socket_listens_without_blocking_and_tells_its_port() -> None:
    with bind(Address("127.0.0.1", 0), "--listen") as listener:
        address = bound_address(listener)
        assert address.port > 0
        assert not listener.getblocking()
        socket.create_connection(address, timeout=10).close()


def test_port_in_use_is_named_with_the_way_out() -> None:
    with bind(Address("127.0.0.1", 0), "--listen") as listener:
        address = bound_address(listener)
        with pytest.raises(Unavailable) as caught:
            bind(address, "--listen")
    assert (
        f"cannot listen on {address}: Address already in use; stop what uses it or choose another "
        "with --listen"
    ) == str(caught.value)


def test_address_of_another_machine_is_named_with_the_way_out() -> None:
    with pytest.raises(Unavailable, match=r"192\.0\.2\.1:0: .*; choose another with --listen"):
        bind(Address("192.0.2.1", 0), "--listen")
