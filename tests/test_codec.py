"""What JsonCodec writes it reads back as an equal value; what it could not read back it does not write."""

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import (
    Codec,
    FlowCancelled,
    FlowTimedOut,
    JsonCodec,
    ReactionFailed,
    Undecodable,
    Unencodable,
    event,
    state,
)
from callboard.event import event_type, state_type, type_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Place(NamedTuple):
    lat: float
    lon: float


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True)
class Line:
    sku: str
    quantity: int = 1


class Address(pydantic.BaseModel, frozen=True, strict=True):
    street: str
    since: date
    id: UUID


@event
class Ordered:
    order_id: str
    total: Decimal
    placed: datetime
    lines: tuple[Line, ...] = ()
    at: Place | None = None
    size: Size = Size.SMALL
    wait: timedelta = timedelta(0)
    tags: frozenset[str] = frozenset()
    weight: float = 0
    paid: Literal["card", "cash"] = "card"
    raw: bytes = b""


@event
@attrs.frozen
class ByAttrs:
    order_id: str
    lines: tuple[Line, ...] = ()


@event
class ByStruct(msgspec.Struct, frozen=True, rename="camel"):
    order_id: str
    placed_at: datetime | None = None


@event
class ByPydantic(pydantic.BaseModel, frozen=True):
    order_id: str = pydantic.Field(alias="orderId")
    address: Address
    placed: datetime | None = None


@event
class Holding:
    """A dataclass with a pydantic class inside."""

    address: Address
    others: tuple[Address, ...] = ()


@state(key="sku")
class Shelf:
    sku: str
    free: int = 3
    seen: list[datetime] = field(default_factory=list[datetime])


@state(key="sku", shape=3, upcast=lambda old: {"sku": old["sku"], "free": old["free"] + old.get("held", 0)})
class Lifted:
    sku: str
    free: int


HOME = Address(street="s", since=date(2020, 1, 2), id=UUID(int=7))
ordered = st.builds(
    Ordered,
    order_id=st.text(st.characters(codec="utf-8")),
    total=st.decimals(allow_nan=False),
    placed=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))])),
    lines=st.lists(st.builds(Line, sku=st.text(st.characters(codec="utf-8")), quantity=st.integers())).map(tuple),
    at=st.none() | st.builds(Place, st.floats(-90, 90), st.floats(-180, 180)),
    size=st.sampled_from(Size),
    wait=st.timedeltas(timedelta(0), timedelta(days=1_000)),
    tags=st.frozensets(st.text(st.characters(codec="utf-8"))),
    weight=st.floats(allow_nan=False, allow_infinity=False),
    paid=st.sampled_from(["card", "cash"]),
    raw=st.binary(),
)
ORDER = Ordered(order_id="1", total=Decimal(9), placed=NOON)
codec: Codec = JsonCodec()


@given(ordered)
def test_an_event_comes_back_equal(order: Ordered) -> None:
    assert codec.decode(codec.encode(order), event_type(Ordered)) == order


@pytest.mark.parametrize(
    "given",
    [
        ORDER,
        ByAttrs(order_id="1", lines=(Line("a", 2),)),
        ByStruct(order_id="1", placed_at=NOON),
        ByPydantic(orderId="1", address=HOME, placed=NOON),
        Holding(address=HOME, others=(HOME, HOME)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_kind_of_class_comes_back_alone_and_inside_the_built_in_events(given: Any) -> None:
    for each in (
        given,
        FlowTimedOut(started=given, deadline=NOON),
        FlowCancelled(started=given, reason="changed my mind"),
        ReactionFailed(event=given, reaction="payments.charge", error="OSError()", attempts=5),
        ReactionFailed(event=FlowTimedOut(started=given, deadline=NOON)),
    ):
        back = codec.decode(codec.encode(each), type_of(each))
        assert back == each
        assert type(back) is type(each)


def test_the_event_that_is_spoken_of_is_written_inside() -> None:
    written: dict[str, Any] = json.loads(codec.encode(FlowTimedOut(started=ByStruct(order_id="1"), deadline=NOON)))
    assert written == {"started": {"orderId": "1", "placedAt": None}, "deadline": "2026-01-01T12:00:00Z"}


def test_state_comes_back_equal() -> None:
    shelf = Shelf(sku="a", free=1, seen=[NOON])
    assert codec.decode(codec.encode(shelf), state_type(Shelf)) == shelf
    assert codec.decode_state(codec.encode(shelf), state_type(Shelf), 1) == shelf


def test_a_state_of_an_older_shape_is_lifted() -> None:
    assert codec.decode_state(b'{"sku":"a","free":1,"held":2}', state_type(Lifted), 1) == Lifted(sku="a", free=3)
    assert codec.decode_state(b'{"sku":"a","free":1}', state_type(Lifted), 3) == Lifted(sku="a", free=1)


@pytest.mark.parametrize(
    ("data", "kind", "shape", "why"),
    [
        (b'{"sku":"a","free":1}', Lifted, 4, "saved in shape 4, this build reads 3"),
        (b'{"sku":"a","free":1}', Shelf, 0, r"give @state\(upcast="),
        (b'{"sku":"a"}', Lifted, 1, r"the upcast of Lifted from shape 1 failed: KeyError"),
        (b"[", Lifted, 1, "the upcast of Lifted from shape 1 failed"),
    ],
)
def test_a_state_that_cannot_be_lifted_is_told(data: bytes, kind: type[Any], shape: int, why: str) -> None:
    with pytest.raises(Undecodable, match=why):
        codec.decode_state(data, state_type(kind), shape)


def test_unknown_fields_of_a_newer_build_are_ignored() -> None:
    assert codec.decode(b'{"order_id":"1","lines":[],"more":1}', event_type(ByAttrs)) == ByAttrs(order_id="1")


@event
class Checked:
    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise LookupError("below zero")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", Ordered),
        (b"\xff\xfe", Ordered),
        (b"null", Ordered),
        (b"{}", Ordered),
        (b'{"order_id":1}', ByAttrs),
        (b'{"order_id":"\xff"}', ByAttrs),
        (b'{"orderId":"1","address":{}}', ByPydantic),
        (b'{"address":{"street":1}}', Holding),
        (b'{"deadline":"2026-01-01T12:00:00Z"}', FlowTimedOut[ByAttrs]),
        (b'{"started":{"order_id":1}}', FlowTimedOut[ByAttrs]),
        (b'{"count":-1}', Checked),
        (b"[" * 100_000, Ordered),
    ],
)
def test_poison_is_told_and_nothing_else_is_raised(data: bytes, kind: Any) -> None:
    with pytest.raises(Undecodable, match=r"^this is no "):
        codec.decode(data, event_type(kind))


def test_the_place_in_the_bytes_is_told() -> None:
    with pytest.raises(
        Undecodable, match=r"this is no ByAttrs: Expected `int`, got `str` - at `\$\.lines\[0\]\.quantity`"
    ):
        codec.decode(b'{"order_id":"1","lines":[{"sku":"a","quantity":"2"}]}', event_type(ByAttrs))


# what is not written


def wrong(cls: Any, **values: Any) -> Any:
    """An event as untyped code may build it."""
    return cls(**values)


@event
class Measured:
    value: float


@event
class Anything:
    value: Any


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (wrong(Ordered, order_id="1", total=Decimal(9), placed=datetime(2026, 1, 1)), "is naive"),  # noqa: DTZ001
        (wrong(ByStruct, order_id="1", placed_at=datetime(2026, 1, 1)), "is naive"),  # noqa: DTZ001
        (wrong(ByPydantic, orderId="1", address=HOME, placed=datetime(2026, 1, 1)), "is naive"),  # noqa: DTZ001
        (wrong(Anything, value=[{"at": datetime(2026, 1, 1)}]), "is naive"),  # noqa: DTZ001
        (wrong(Shelf, sku="a", seen=[NOON, datetime(2026, 1, 1)]), "is naive"),  # noqa: DTZ001
        (FlowTimedOut(started=ORDER, deadline=datetime(2026, 1, 1)), "is naive"),  # noqa: DTZ001
        (wrong(ByAttrs, order_id=1), "Expected `str`, got `int`"),
        (wrong(ByAttrs, order_id="1", lines=(wrong(Line, sku="a", quantity="2"),)), "at `$.lines[0].quantity`"),
        (wrong(Measured, value=float("nan")), "Expected `float`, got `null`"),
        (wrong(Measured, value=float("inf")), "Expected `float`, got `null`"),
        (wrong(Shelf, sku="a", free="many"), "Expected `int`, got `str`"),
        (wrong(ByAttrs, order_id="\ud800"), "surrogates not allowed"),
        (wrong(Anything, value=object()), "a object has no JSON"),
        ({"order_id": "1"}, "dict is no event"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(given: Any, why: str) -> None:
    with pytest.raises(Unencodable) as refused:
        codec.encode(given)
    assert str(refused.value).startswith(f"{type(given).__name__} cannot be written: ")
    assert why in str(refused.value)


def test_reading_back_may_be_switched_off() -> None:
    assert JsonCodec(verify=False).encode(wrong(ByAttrs, order_id=1)) == b'{"lines":[],"order_id":1}'
