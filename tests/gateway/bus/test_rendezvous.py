"""How workers find the gateways of their node."""

import pytest

from gateway.bus.rendezvous import (
    SOCKET_PATH_BYTES_MAX,
    Endpoint,
    bus_folder,
    leave_bus_folder,
    live_endpoints,
    remove_dead_endpoints,
)
from gateway.bus.zmq import ZmqHub
from gateway.wire.layout import Layout


def test_an_endpoint_is_found_while_it_is_bound_and_lives(tmp_path):
    layout = Layout(tmp_path)
    endpoint = Endpoint(layout, "boot-1")
    before = live_endpoints(layout)
    hub = ZmqHub(endpoint.address)
    bound = live_endpoints(layout)
    hub.close()
    endpoint.close()

    assert {} == before
    assert {"boot-1": endpoint.address} == bound
    assert {} == live_endpoints(layout)


def test_what_a_killed_process_left_is_not_found_and_taken_away(tmp_path):
    layout = Layout(tmp_path)
    folder = bus_folder(layout, create=True)
    (folder / "dead.ipc").touch()
    (folder / "dead.lock").touch()
    endpoint = Endpoint(layout, "live")
    found = live_endpoints(layout)
    remove_dead_endpoints(layout)
    left = sorted(path.name for path in folder.iterdir())
    endpoint.close()

    assert {} == found
    assert ["live.lock"] == left


def test_nobody_is_taken_for_dead_while_nothing_can_be_opened(tmp_path, out_of_descriptors):
    layout = Layout(tmp_path)
    endpoint = Endpoint(layout, "live")
    (layout.bus / "live.ipc").touch()
    with out_of_descriptors():
        with pytest.raises(OSError, match="Too many open files"):
            live_endpoints(layout)
        with pytest.raises(OSError, match="Too many open files"):
            remove_dead_endpoints(layout)
    found = live_endpoints(layout)
    endpoint.close()

    assert {"live": endpoint.address} == found


def test_a_data_folder_without_a_bus_has_no_endpoints(tmp_path):
    assert {} == live_endpoints(Layout(tmp_path / "nothing"))


def test_a_long_data_path_gets_a_short_folder_that_is_named_in_it(tmp_path):
    layout = Layout(tmp_path / ("long" * 30))
    folder = bus_folder(layout, create=True)
    endpoint = Endpoint(layout, "0123456789abcdef")
    endpoint.close()
    folder.rmdir()

    assert len(endpoint.address.removeprefix("ipc://")) <= SOCKET_PATH_BYTES_MAX
    assert f"{folder}\n" == layout.bus_path.read_text()


def test_a_short_folder_goes_with_the_last_one_in_it(tmp_path):
    layout = Layout(tmp_path / ("long" * 30))
    endpoint = Endpoint(layout, "live")
    leave_bus_folder(layout)
    is_there = bus_folder(layout).exists()
    endpoint.close()
    (bus_folder(layout) / "dead.lock").touch()
    leave_bus_folder(layout)

    assert is_there
    assert not bus_folder(layout).exists()


def test_the_folder_is_closed_to_others(tmp_path):
    folder = bus_folder(Layout(tmp_path), create=True)

    assert 0o700 == folder.stat().st_mode & 0o777
