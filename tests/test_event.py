"""What a mark makes of a class, and what it refuses."""

import copy
import weakref
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypedDict, TypeVar, runtime_checkable

import attrs
import msgspec
import pydantic
import pytest

from callboard import ContractError, FlowCancelled, FlowTimedOut, ReactionFailed, event, failure, port, state
from callboard.event import attribute, event_type, is_event, is_port, is_state, state_type, type_of

T = TypeVar("T")


class Place(NamedTuple):
    lat: float
    lon: float


class Size(Enum):
    SMALL = "small"


@dataclass(frozen=True)
class Item:
    sku: str
    at: Place
    size: Size = Size.SMALL


@dataclass
class Note:
    text: str


class Plain:
    born = 0

    def __init_subclass__(cls) -> None:
        Plain.born += 1

    def greet(self) -> str:
        return "plain"


@event
class Ordered(Plain):
    order_id: str
    items: tuple[Item, ...] = ()
    total: Decimal = Decimal(0)

    def greet(self) -> str:
        return f"{super().greet()} {self.order_id}"

    @cached_property
    def skus(self) -> list[str]:
        return [item.sku for item in self.items]

    @property
    def region(self) -> str:
        return self.order_id[:2]


@event(key="courier_id", type="taxi.CourierMoved", version=3)
class Moved:
    courier_id: str


@failure
class SoldOut:
    order_id: str


@event
@dataclass(frozen=True, slots=True)
class ByDataclass:
    order_id: str


@event
@attrs.frozen
class ByAttrs:
    order_id: str


@event
class ByStruct(msgspec.Struct, frozen=True):
    order_id: str


@event
class ByPydantic(pydantic.BaseModel, frozen=True):
    order_id: str


# made in place


def test_the_class_stays_the_same_class() -> None:
    ordered = Ordered(order_id="de-1", items=(Item("a", Place(0, 0)),))
    assert Plain.born == 1
    assert ordered.greet() == "plain de-1"
    assert ordered.skus is ordered.skus
    assert weakref.ref(ordered)() is ordered
    assert copy.deepcopy(ordered) == replace(ordered) == ordered


def test_an_event_never_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        Ordered(order_id="1").order_id = "2"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_an_event_is_built_by_keyword() -> None:
    with pytest.raises(TypeError, match="positional"):
        Ordered("1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_a_default_that_would_be_shared_is_refused() -> None:
    with pytest.raises(ContractError, match=r"test_event\.py:\d+ .*Tagged: .*mutable default"):

        @event
        class Tagged:
            tags: list[str] = []  # noqa: RUF012


def test_a_default_factory_makes_each_its_own() -> None:
    @event
    class Tagged:
        tags: list[str] = field(default_factory=list[str])

    assert Tagged().tags is not Tagged().tags


@pytest.mark.parametrize("cls", [ByDataclass, ByAttrs, ByStruct, ByPydantic])
def test_a_frozen_class_is_taken_as_it_is(cls: Any) -> None:
    kind = event_type(cls)
    assert (kind.name, kind.cls, kind.fields, kind.immutable) == (cls.__name__, cls, frozenset({"order_id"}), True)
    assert type_of(cls(order_id="1")) is kind


def test_a_mark_is_not_inherited() -> None:
    class Later(Ordered):
        pass

    assert not is_event(Later)
    with pytest.raises(TypeError, match="Later is no event: decorate its class"):
        event_type(Later)


def test_fields_are_inherited() -> None:
    @event
    class Reordered(Ordered):
        again: int = 1

    assert event_type(Reordered).fields == {"order_id", "items", "total", "again"}
    assert Reordered(order_id="1").again == 1


# refused


def mutable_dataclass() -> None:
    event(dataclass(type("Wrong", (), {"__annotations__": {"order_id": str}})))


def mutable_attrs() -> None:
    @event
    @attrs.define
    class Wrong:
        order_id: str


def mutable_struct() -> None:
    @event
    class Wrong(msgspec.Struct):
        order_id: str


def mutable_pydantic() -> None:
    @event
    class Wrong(pydantic.BaseModel):
        order_id: str


def over_a_mutable_one() -> None:
    @event  # pyright: ignore[reportGeneralTypeIssues]
    class Wrong(Note):  # type: ignore[misc]
        order_id: str


def generic() -> None:
    @event
    class Wrong(Generic[T]):
        item: T


def named_tuple() -> None:
    class Wrong(NamedTuple):
        order_id: str

    event(Wrong)


def typed_dict() -> None:
    class Wrong(TypedDict):
        order_id: str

    event(Wrong)


def enumeration() -> None:
    @event
    class Wrong(Enum):
        pass


def exception() -> None:
    @event
    class Wrong(Exception):
        pass


def protocol() -> None:
    @event
    class Wrong(Protocol):
        order_id: str


def half_attrs() -> None:
    @event
    class Wrong(ByAttrs):
        more: str


def two_marks() -> None:
    @event
    @failure
    class Wrong:
        order_id: str


def event_and_port() -> None:
    @event
    @port
    class Wrong:
        order_id: str


def unknown_key() -> None:
    @event(key="sku")
    class Wrong:
        order_id: str


def spaces_on_the_wire() -> None:
    @event(type="order created")
    class Wrong:
        order_id: str


def our_own_name_on_the_wire() -> None:
    @failure(type="callboard.Wrong")
    class Wrong:
        order_id: str


def version_zero() -> None:
    @event(version=0)
    class Wrong:
        order_id: str


def state_without_its_key() -> None:
    @state(key="sku")
    class Wrong:
        free: int = 0


def state_of_shape_zero() -> None:
    @state(key="sku", shape=0)
    class Wrong:
        sku: str


REFUSED: list[tuple[Callable[[], None], str]] = [
    (mutable_dataclass, "write frozen=True"),
    (mutable_attrs, "write frozen=True"),
    (mutable_struct, "write frozen=True"),
    (mutable_pydantic, "write frozen=True"),
    (over_a_mutable_one, "cannot inherit frozen dataclass from a non-frozen one"),
    (generic, "cannot be generic"),
    (named_tuple, "leave NamedTuple or TypedDict away"),
    (typed_dict, "leave NamedTuple or TypedDict away"),
    (enumeration, "no Enum, no exception, no Protocol"),
    (exception, "no Enum, no exception, no Protocol"),
    (protocol, "no Enum, no exception, no Protocol"),
    (half_attrs, "decorate it with @attrs.frozen too"),
    (two_marks, "is its second mark"),
    (event_and_port, "is its second mark"),
    (unknown_key, "key='sku' is no field of it"),
    (spaces_on_the_wire, "cannot be its name on the wire"),
    (our_own_name_on_the_wire, "cannot be its name on the wire"),
    (version_zero, "counts from 1"),
    (state_without_its_key, "key='sku' is no field of it"),
    (state_of_shape_zero, "counts from 1"),
]


@pytest.mark.parametrize(("wrong", "fix"), REFUSED, ids=lambda each: getattr(each, "__name__", ""))
def test_a_wrong_class_is_refused_with_its_place_and_the_fix(wrong: Callable[[], None], fix: str) -> None:
    with pytest.raises(ContractError) as refused:
        wrong()
    assert __file__ in refused.value.where
    assert "Wrong" in refused.value.where
    assert fix in refused.value.fix


def test_a_mark_goes_above_a_class() -> None:
    with pytest.raises(ContractError, match="goes above a class"):
        event(lambda: None)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


# what is known of it


def test_there_is_one_type_for_each_class() -> None:
    assert event_type(Ordered) is event_type(Ordered) is type_of(Ordered(order_id="1"))
    assert event_type(FlowTimedOut[Ordered]) is event_type(FlowTimedOut[Ordered])
    assert event_type(FlowTimedOut[Ordered]) is not event_type(FlowCancelled[Ordered])


def test_the_decorator_names_it_on_the_wire() -> None:
    kind = event_type(Moved)
    assert (kind.name, kind.key, kind.version, kind.failure) == ("taxi.CourierMoved", "courier_id", 3, False)
    assert event_type(SoldOut).failure


def test_a_built_in_event_is_named_after_the_one_it_speaks_of() -> None:
    late = event_type(FlowTimedOut[Moved])
    assert (late.name, late.inner, late.fields) == (
        "callboard.FlowTimedOut[taxi.CourierMoved]",
        event_type(Moved),
        frozenset({"started", "deadline"}),
    )
    given_up = event_type(ReactionFailed[FlowTimedOut[Ordered]])
    assert given_up.name == "callboard.ReactionFailed[callboard.FlowTimedOut[Ordered]]"
    assert str(given_up) == "ReactionFailed[FlowTimedOut[Ordered]]"
    assert given_up.annotation == ReactionFailed[FlowTimedOut[Ordered]]
    assert type_of(ReactionFailed(event=FlowTimedOut(started=Ordered(order_id="1")))) is given_up


@pytest.mark.parametrize(
    "annotation",
    [
        FlowTimedOut,
        FlowTimedOut[FlowTimedOut[Ordered]],
        FlowCancelled[ReactionFailed[Ordered]],
        ReactionFailed[ReactionFailed[Ordered]],
        FlowTimedOut[Note],
        Note,
        Place,
        int,
        None,
        "Ordered",
        {Ordered},
    ],
    ids=str,
)
def test_what_is_no_event_is_told(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"no event|never happens|say of which event"):
        event_type(annotation)


def test_the_built_in_events_need_only_what_they_speak_of() -> None:
    ordered = Ordered(order_id="1")
    assert FlowTimedOut(started=ordered).deadline.tzinfo is not None
    assert FlowCancelled(started=ordered).reason == ""
    assert ReactionFailed(event=ordered).attempts == 1


def test_an_attribute_is_read_from_the_event_that_is_spoken_of() -> None:
    ordered = Ordered(order_id="de-1")
    for each in (ordered, FlowTimedOut(started=ordered), ReactionFailed(event=FlowTimedOut(started=ordered))):
        assert attribute(each, "order_id") == "de-1"
        assert attribute(each, "region") == "de"
        assert attribute(each, "sku") is None


def test_a_type_says_what_its_events_carry() -> None:
    for annotation in (Ordered, FlowTimedOut[Ordered], ReactionFailed[FlowTimedOut[Ordered]]):
        kind = event_type(annotation)
        assert [kind.carries(name) for name in ("order_id", "region", "skus", "greet", "sku", "deadline")] == [
            True, True, True, False, False, False,
        ]  # fmt: skip


# immutable all the way down


@pytest.mark.parametrize(
    ("annotation", "immutable"),
    [
        (str, True),
        (datetime | None, True),
        (tuple[Item, ...], True),
        (frozenset[Size], True),
        (Literal["a", 1], True),
        (Place, True),
        (list[str], False),
        (tuple[list[str], ...], False),
        (dict[str, int], False),
        (Note, False),
        (tuple[Note, ...], False),
        (Any, False),
        (object, False),
        (ByPydantic, True),
        ("tuple[Missing, ...]", False),
    ],
    ids=str,
)
def test_immutability_is_decided_from_the_annotations(annotation: Any, immutable: bool) -> None:
    cls: Any = event(type("Holding", (), {"__annotations__": {"it": annotation}, "__module__": __name__}))
    assert event_type(cls).immutable is immutable
    assert event_type(FlowTimedOut[cls]).immutable is immutable


class Extra(pydantic.BaseModel, frozen=True, extra="allow"):
    a: int


class Private(pydantic.BaseModel, frozen=True):
    _kept: list[int] = []


class Bare(msgspec.Struct, frozen=True):
    items: tuple  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]


@pytest.mark.parametrize("cls", [Ordered, Extra, Private, Bare], ids=lambda each: each.__name__)
def test_what_keeps_more_than_its_fields_say_is_not_handed_on(cls: Any) -> None:
    holding: Any = event(type("Holding", (), {"__annotations__": {"it": cls}}))
    assert not event_type(holding).immutable


@event
class Tree:
    branches: "tuple[Tree, ...]" = ()


def test_a_class_may_hold_itself() -> None:
    assert event_type(Tree).immutable


# state and ports


@state(key="sku")
class Shelf:
    sku: str
    free: int = 3


@state(key="sku", shape=2, name="shelves", upcast=lambda old: {**old, "row": 1})
class Placed:
    sku: str
    row: int


def test_a_state_changes_and_is_built_by_keyword() -> None:
    shelf = Shelf(sku="a")
    shelf.free -= 1
    assert shelf == Shelf(sku="a", free=2)
    with pytest.raises(TypeError, match="positional"):
        Shelf("a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_a_state_knows_whether_a_new_one_can_be_made() -> None:
    assert state_type(Shelf).complete
    assert not state_type(Placed).complete
    assert (state_type(Placed).name, state_type(Placed).shape) == ("shelves", 2)


@pytest.mark.parametrize("decorate", [dataclass, attrs.define], ids=["dataclass", "attrs"])
def test_a_ready_class_is_a_state_as_it_is(decorate: Any) -> None:
    row = decorate(type("Row", (), {"__annotations__": {"sku": str, "free": int}, "free": 0}))
    assert state_type(state(key="sku")(row)).complete
    assert is_state(row)
    assert row("a").free == 0


def test_structs_and_pydantic_are_states_as_they_are() -> None:
    @state(key="sku")
    class AsStruct(msgspec.Struct):
        sku: str
        tags: list[str] = msgspec.field(default_factory=list[str])

    @state(key="sku")
    class AsPydantic(pydantic.BaseModel):
        sku: str
        free: int

    assert state_type(AsStruct).complete
    assert not state_type(AsPydantic).complete


def test_a_state_that_was_made_anew_above_the_mark_is_told() -> None:
    row: Any = dataclass(slots=True)(state(key="sku")(type("Row", (), {"__annotations__": {"sku": str}})))
    with pytest.raises(TypeError, match="put @state on top"):
        state_type(row)


@port
@runtime_checkable
class Bank(Protocol):
    def charge(self) -> str: ...


class Stripe(Bank):
    def charge(self) -> str:
        return "1"


class Fake:
    def charge(self) -> str:
        return "2"


def test_a_port_is_marked_and_its_keepers_are_not() -> None:
    assert is_port(Bank)
    assert not is_port(Stripe)
    assert not is_port(Stripe())


def test_a_mark_does_not_disturb_a_protocol() -> None:
    assert isinstance(Fake(), Bank)
    assert issubclass(Fake, Bank)


def test_the_kinds_of_mark_exclude_each_other() -> None:
    marked: list[Any] = [Ordered, Shelf, Bank, Note]
    assert [is_event(each) for each in marked] == [True, False, False, False]
    assert [is_state(each) for each in marked] == [False, True, False, False]
    assert [is_port(each) for each in marked] == [False, False, True, False]
    with pytest.raises(TypeError, match="Ordered is no state"):
        state_type(Ordered)
