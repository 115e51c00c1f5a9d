"""@event, @failure, @state and @port: what marks a class, and what is known of it afterwards."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import (
    Any,
    Generic,
    Literal,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    is_typeddict,
    overload,
)

from msgspec import Struct

from callboard import fields
from callboard.clock import EPOCH, FOREVER
from callboard.errors import ContractError, place

T = TypeVar("T")
E_co = TypeVar("E_co", covariant=True)
Upcast = Callable[[dict[str, Any]], dict[str, Any]]

MARK = "__callboard__"  # in the class's own namespace: a mark is never inherited
PORT = "_abc_callboard_port"  # `_abc_`: isinstance() of a runtime-checkable Protocol must not ask for it


class EventType(Struct, frozen=True, eq=False):
    """What is known of one event class, or of one built-in event about one. There is one object for each."""

    name: str  # the type on the wire
    cls: type[Any]  # for a built-in: FlowTimedOut, FlowCancelled or ReactionFailed
    inner: "EventType | None"  # for a built-in: the event it speaks of
    failure: bool
    key: str | None  # the attribute with the ordering key, for what belongs to no flow
    version: int
    immutable: bool  # all the way down, so one object may be handed to several reactions
    fields: frozenset[str]
    forever: bool = False  # it outlives its flow in the log

    @property
    def annotation(self) -> Any:
        """As it is written in a signature: `OrderCreated`, `FlowTimedOut[OrderCreated]`."""
        return self.cls if self.inner is None else cast("Any", self.cls)[self.inner.annotation]

    def carries(self, name: str) -> bool:
        """An event of it has this attribute; for a built-in: the event it speaks of has."""
        return fields.carries(self.cls, name) if self.inner is None else self.inner.carries(name)

    def __str__(self) -> str:
        return self.cls.__name__ if self.inner is None else f"{self.cls.__name__}[{self.inner}]"

    __repr__ = __str__


class StateType(Struct, frozen=True, eq=False):
    """What is known of one state class. There is one object for each."""

    name: str  # of its table
    cls: type[Any]
    key: str
    shape: int
    upcast: Upcast | None  # reads what was saved in an older shape
    complete: bool  # every field but the key has a default, so a new one can be made

    def __str__(self) -> str:
        return self.cls.__name__

    __repr__ = __str__


class EventMark(Struct, eq=False):
    """What the decorator said; the rest is read from the annotations when first asked for."""

    name: str
    failure: bool
    key: str | None
    version: int
    forever: bool
    type: EventType | None = None
    spoken_of: dict[Any, EventType] = {}


@overload
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def event(cls: type[T], /) -> type[T]: ...
@overload
def event(
    *, key: str | None = None, type: str | None = None, version: int = 1, keep: timedelta | None = None
) -> Callable[[type[T]], type[T]]: ...
def event(
    cls: Any = None,
    /,
    *,
    key: str | None = None,
    type: str | None = None,
    version: int = 1,
    keep: timedelta | None = None,
) -> Any:
    """`cls` is an event: immutable, built by keyword. An unadorned class becomes a frozen dataclass, in place.

    `key=` is the attribute that orders events which belong to no flow; `type=` and `version=` name it on the wire.
    With `keep=FOREVER` it stays in the log when its flow is pruned.
    """

    def mark(cls: Any) -> Any:
        return _mark_event(cls, failure=False, key=key, name=type, version=version, keep=keep)

    return mark if cls is None else mark(cls)


@overload
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def failure(cls: type[T], /) -> type[T]: ...
@overload
def failure(
    *, key: str | None = None, type: str | None = None, version: int = 1, keep: timedelta | None = None
) -> Callable[[type[T]], type[T]]: ...
def failure(
    cls: Any = None,
    /,
    *,
    key: str | None = None,
    type: str | None = None,
    version: int = 1,
    keep: timedelta | None = None,
) -> Any:
    """`cls` is an event that says: this step did not work, and it took no effect. Otherwise as `event`."""

    def mark(cls: Any) -> Any:
        return _mark_event(cls, failure=True, key=key, name=type, version=version, keep=keep)

    return mark if cls is None else mark(cls)


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def state(
    *, key: str, shape: int = 1, upcast: Upcast | None = None, name: str | None = None
) -> Callable[[type[T]], type[T]]:
    """Each object of the class is a row of one service, found by its `key`. An unadorned class becomes a dataclass.

    When the fields change, `shape=` counts up and `upcast=` turns what was saved in an older shape into the new one.
    """

    def mark(cls: type[T]) -> type[T]:
        _adorn(cls, "state", frozen=False)
        _refuse_second_mark(cls, "state")
        if key not in fields.field_names(cls):
            raise _wrong(
                cls, f"key={key!r} is no field of it: name the field that tells one {cls.__name__} from another"
            )
        if shape < 1:
            raise _wrong(cls, f"shape= counts from 1, not {shape}")
        complete = set(fields.required_names(cls)) <= {key}
        type.__setattr__(cls, MARK, StateType(name or cls.__name__, cls, key, shape, upcast, complete))
        return cls

    return mark


def port(cls: type[T], /) -> type[T]:
    """`cls`, a Protocol or a class of settings, is a way to the world outside: `open(ports=)` is given its keeper."""
    type.__setattr__(cls, PORT, cls)
    return cls


@dataclass(frozen=True, kw_only=True)
class FlowTimedOut(Generic[E_co]):
    """The flow that began with `started` had no verdict when its deadline came. At most once in a flow."""

    started: E_co
    deadline: datetime = EPOCH


@dataclass(frozen=True, kw_only=True)
class FlowCancelled(Generic[E_co]):
    """Somebody called off the flow that began with `started`."""

    started: E_co
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ReactionFailed(Generic[E_co]):
    """`reaction` gave up on `event` after `attempts`; the dead letter was written in the same commit."""

    event: E_co
    reaction: str = ""
    error: str = ""
    attempts: int = 1


SPEAKS_OF: dict[type[Any], str] = {FlowTimedOut: "started", FlowCancelled: "started", ReactionFailed: "event"}


def is_event(x: Any) -> bool:
    """`x` is an event class, or a built-in event of one."""
    return isinstance(_mark_of(x), EventMark) or get_origin(x) in SPEAKS_OF


def is_state(x: Any) -> bool:
    """`x` is a state class."""
    return isinstance(_mark_of(x), StateType)


def is_port(x: Any) -> bool:
    """`x` is a port, and not only a keeper of one."""
    return isinstance(x, type) and PORT in vars(x)


def event_type(annotation: Any) -> EventType:
    """What is known of this event class; TypeError, with the fix, if it is none."""
    mark = _mark_of(annotation)
    if isinstance(mark, EventMark):
        if mark.type is None:
            mark.type = _read(annotation, mark)
        return mark.type
    if (origin := get_origin(annotation)) in SPEAKS_OF:
        return _built_in(origin, event_type(get_args(annotation)[0]))
    if not fields.is_class(annotation):
        raise TypeError(f"{annotation!r} is no event: name its class")
    if annotation in SPEAKS_OF:
        raise TypeError(f"say of which event: {annotation.__name__}[OrderCreated]")
    if is_state(annotation) or is_port(annotation):
        raise TypeError(f"{annotation.__name__} is a {'state' if is_state(annotation) else 'port'}, and no event")
    raise TypeError(
        f"{annotation.__name__} is no event: decorate its class with @event or @failure (a mark is not inherited)"
    )


def type_of(event: object) -> EventType:
    """The type of this event, a built-in one included; TypeError if it is none."""
    if (about := SPEAKS_OF.get(type(event))) is not None:
        return _built_in(type(event), type_of(getattr(event, about)))
    return event_type(type(event))


def state_type(cls: Any) -> StateType:
    """What is known of this state class; TypeError, with the fix, if it is none."""
    mark = _mark_of(cls)
    if not isinstance(mark, StateType):
        raise TypeError(f"{getattr(cls, '__name__', cls)} is no state: decorate its class with @state(key=...)")
    if mark.cls is not cls:
        raise TypeError(f"{mark} was made anew above @state: put @state on top of the other decorators")
    return mark


def attribute(event: object, name: str) -> Any | None:
    """The attribute of this event, or of the event that it speaks of; None if there is none."""
    while (about := SPEAKS_OF.get(type(event))) is not None:
        event = getattr(event, about)
    return getattr(event, name, None)


def _mark_of(cls: Any) -> Any:
    return vars(cls).get(MARK) if fields.is_class(cls) else None


def _read(cls: type[Any], mark: EventMark) -> EventType:
    return EventType(
        mark.name, cls, None, mark.failure, mark.key, mark.version, fields.immutable(cls),
        frozenset(fields.field_names(cls)), mark.forever,
    )  # fmt: skip


def _built_in(origin: Any, inner: EventType) -> EventType:
    """The built-in event that speaks of `inner`; remembered with the innermost class, so that there is only one."""
    if inner.cls is origin or (origin is not ReactionFailed and inner.inner is not None):
        raise TypeError(f"{origin.__name__}[{inner}] never happens: name an event of your own inside")
    mark: EventMark = vars(innermost(inner).cls)[MARK]
    if (origin, inner) not in mark.spoken_of:
        mark.spoken_of[origin, inner] = EventType(
            f"callboard.{origin.__name__}[{inner.name}]", origin, inner, origin is ReactionFailed, None, 1,
            inner.immutable, frozenset(fields.field_names(origin)),
        )  # fmt: skip
    return mark.spoken_of[origin, inner]


def innermost(event: EventType) -> EventType:
    """The event of the user's own that it is, or speaks of."""
    while event.inner is not None:
        event = event.inner
    return event


def _mark_event(
    cls: Any, *, failure: bool, key: str | None, name: str | None, version: int, keep: timedelta | None
) -> Any:
    word: Literal["event", "failure"] = "failure" if failure else "event"
    _adorn(cls, word, frozen=True)
    _refuse_second_mark(cls, word)
    if not fields.frozen(cls):
        raise _wrong(cls, "an event never changes: write frozen=True, or leave the other decorator away")
    if key is not None and not fields.carries(cls, key):
        raise _wrong(cls, f"key={key!r} is no field of it: name the field that keeps its events in order")
    wire = cls.__name__ if name is None else name
    if not wire or wire.startswith("callboard.") or any(not each.isprintable() or each.isspace() for each in wire):
        raise _wrong(cls, f"type={wire!r} cannot be its name on the wire: no spaces, and not `callboard.` in front")
    if version < 1:
        raise _wrong(cls, f"version= counts from 1, not {version}")
    if keep is not None and keep != FOREVER:
        raise _wrong(cls, f"keep={keep!r}: an event goes with its flow (Flow(keep=...)), or stays: keep=FOREVER")
    type.__setattr__(cls, MARK, EventMark(wire, failure, key, version, keep is not None))
    return cls


def _adorn(cls: Any, word: Literal["event", "failure", "state"], *, frozen: bool) -> None:
    """A class that is none of the four kinds yet is a keyword-only dataclass afterwards, the same class."""
    if not isinstance(cls, type):
        raise ContractError(place(), f"@{word} goes above a class, not above {cls!r}")
    if (why := _unfit(cls)) is not None:
        raise _wrong(cls, f"@{word} {why}")
    if fields.kind_of(cls) is not None:
        return
    try:
        dataclasses.dataclass(frozen=frozen, kw_only=True)(cls)
    except (TypeError, ValueError) as error:
        raise _wrong(cls, f"@{word} makes it a keyword-only dataclass{', frozen' * frozen}: {error}") from error


def _unfit(cls: type[Any]) -> str | None:
    if getattr(cls, "__parameters__", ()):
        return "cannot be generic: write one class for each kind, with a name of its own on the wire"
    if issubclass(cls, tuple) or is_typeddict(cls):
        return "wants a class with named fields: leave NamedTuple or TypedDict away"
    if issubclass(cls, Enum | BaseException) or getattr(cls, "_is_protocol", False):
        return "wants an ordinary class: no Enum, no exception, no Protocol"
    if fields.kind_of(cls) is None and hasattr(cls, "__attrs_attrs__"):
        return "wants the whole class to be attrs: its base is, so decorate it with @attrs.frozen too"
    return None


def _refuse_second_mark(cls: type[Any], word: str) -> None:
    if MARK in vars(cls) or PORT in vars(cls):
        raise _wrong(cls, f"@{word} is its second mark: it is an event, a failure, a state or a port, only one of them")


def _wrong(cls: type[Any], fix: str) -> ContractError:
    return ContractError(f"{place()} {cls.__qualname__}", fix)


def class_of(value: object) -> type[Any]:
    """The class of something of which nothing else is known."""
    return type(value)
