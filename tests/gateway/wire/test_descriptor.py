"""Descriptors: JSON in frames."""

import pytest

from gateway.wire import descriptor
from gateway.wire.errors import WireError
from gateway.wire.frame import JSON_ALIGNMENT

BODIES = [
    descriptor.SessionOpen(call_id="é", session="0" * 16, gateway="g", opened_at_us=1),
    descriptor.StreamOpen(participant=None, sample_rate=16_000, zero_us=1, first_position=-3),
    descriptor.StreamClose(packets=descriptor.Packets(received=5)),
    descriptor.SessionClose(closed_at_us=1, close_code=None, proper=False, cause="gateway_died"),
    descriptor.Event(kind="dtmf", at_us=1, data={"tone": "#"}),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_descriptor_survives_the_wire_and_keeps_it_aligned(body):
    payload = descriptor.pack(body)

    assert body == descriptor.unpack(payload, type(body))
    assert 0 == len(payload) % JSON_ALIGNMENT


def test_a_wrong_member_is_named():
    with pytest.raises(WireError, match="sample_rate"):
        descriptor.unpack(b'{"participant":null,"sample_rate":"x"}', descriptor.StreamOpen)
