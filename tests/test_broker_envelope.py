"""An envelope on the wire is a CloudEvent, and is read back as it was."""

import json

import pytest

from callboard.envelope import Envelope
from callboard.errors import Undecodable

WHOLE = Envelope(
    id="f.abcd",
    source="inventory",
    type="ItemsReserved",
    data=b'{"order_id": "o-1"}',
    time=1_700_000_000_000_001,
    correlation_id="f",
    causation_id="f.0",
    key="sku-1",
    version=2,
    scatters=(("Line", "f.0#1", 0, 2), ("Box", "f.0#2", 1, 2)),
    reaction="inventory.reserve",
    ledger="ledger-1",
    choreography="shop",
)


def test_it_is_read_back_as_it_was() -> None:
    assert Envelope.decode(WHOLE.encode()) == WHOLE


def test_on_the_wire_it_is_a_cloud_event() -> None:
    assert json.loads(WHOLE.encode()) == {
        "specversion": "1.0",
        "id": "f.abcd",
        "source": "inventory",
        "type": "ItemsReserved",
        "time": "2023-11-14T22:13:20.000001Z",
        "datacontenttype": "application/json",
        "correlationid": "f",
        "causationid": "f.0",
        "partitionkey": "sku-1",
        "dataversion": 2,
        "scatters": '[["Line","f.0#1",0,2],["Box","f.0#2",1,2]]',
        "reaction": "inventory.reserve",
        "ledger": "ledger-1",
        "choreography": "shop",
        "data": {"order_id": "o-1"},
    }


def test_names_and_values_are_those_that_cloud_events_allow() -> None:
    for name, value in json.loads(WHOLE.encode()).items():
        assert name == "data" or (name.isalnum() and name.islower())
        assert name == "data" or isinstance(value, str | int)


@pytest.mark.parametrize("data", [b"", b"\x00\xff", b"{}"])
def test_data_that_is_not_json_is_carried_as_bytes(data: bytes) -> None:
    envelope = Envelope(id="1", source="s", type="T", data=data, content_type="application/x-protobuf")
    assert Envelope.decode(envelope.encode()) == envelope


def test_a_cloud_event_of_others_is_read() -> None:
    written = b'{"specversion":"1.0","id":"1","source":"//bank","type":"Paid","comexample":"x","data":[1, 2]}'
    assert Envelope.decode(written) == Envelope(id="1", source="//bank", type="Paid", data=b"[1, 2]")


def test_the_data_is_kept_byte_for_byte() -> None:
    data = '{"b" : 1.50,\n "a":"Ü\\u00fc"}'.encode()
    assert Envelope.decode(Envelope(id="1", source="s", type="T", data=data).encode()).data == data


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"specversion":"1.0","id":"","source":"s","type":"T"}',
        b'{"specversion":"0.3","id":"1","source":"s","type":"T"}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"T","scatters":"[1]"}',
    ],
)
def test_what_is_none_is_undecodable(written: bytes) -> None:
    with pytest.raises(Undecodable):
        Envelope.decode(written)


def test_what_has_one_key_or_else_one_flow_keeps_its_order() -> None:
    assert WHOLE.order == "sku-1"
    assert Envelope(id="1", source="s", type="T", data=b"{}", correlation_id="f").order == "f"
