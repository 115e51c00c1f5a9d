"""One grammar everywhere: `A | B` is one of, `tuple[A, B]` all of, `list[A]` any number, `None` nothing."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import product
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from msgspec import Struct

from callboard.errors import ContractError
from callboard.event import SPEAKS_OF, EventType, event_type


class EventShape(Struct, frozen=True):
    """`A`: exactly one event of this type."""

    type: EventType

    def __str__(self) -> str:
        return str(self.type)


class OneOf(Struct, frozen=True):
    """`A | B`."""

    of: tuple["Shape", ...]

    def __str__(self) -> str:
        return " | ".join(map(str, self.of))


class AllOf(Struct, frozen=True):
    """`tuple[A, B]`, in this order."""

    of: tuple["Shape", ...]

    def __str__(self) -> str:
        return f"tuple[{', '.join(map(str, self.of))}]"


class Many(Struct, frozen=True):
    """`list[A]`: any number, none included."""

    of: "Shape"

    def __str__(self) -> str:
        return f"list[{self.of}]"


class Nothing(Struct, frozen=True):
    """`None`: no event."""

    def __str__(self) -> str:
        return "None"


Shape: TypeAlias = EventShape | OneOf | AllOf | Many | Nothing

GRAMMAR = "`A | B` is one of, `tuple[A, B]` all of, `list[A]` any number, `None` nothing"


def shape_of(annotation: Any, where: str) -> Shape:
    """The annotation, read by the grammar; ContractError if it is outside of it."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is NoneType:
        return Nothing()
    if origin is Annotated:
        return shape_of(args[0], where)
    if origin in (Union, UnionType):
        return one_of([shape_of(each, where) for each in args])
    if origin is tuple or annotation is tuple:
        return _shape_of_tuple(args, where)
    if origin in (list, Sequence):
        return Many(shape_of(args[0], where))
    if annotation in (list, Sequence):
        raise ContractError(where, "say what is in the list: `list[A]`, where A is an event")
    if hasattr(annotation, "__value__"):  # `type Answer = A | B`, from Python 3.12
        return shape_of(annotation.__value__, where)
    if isinstance(annotation, set | frozenset | list | tuple):
        raise ContractError(where, f"{annotation!r} says neither all nor any: {GRAMMAR}")
    return _shape_of_event(annotation, where)


def _shape_of_tuple(args: tuple[Any, ...], where: str) -> Shape:
    if len(args) == 2 and args[1] is Ellipsis:
        return Many(shape_of(args[0], where))
    if not args:
        raise ContractError(where, "say what is in the tuple: `tuple[A, B]` is both; nothing is `None`")
    return AllOf(tuple(shape_of(each, where) for each in args))


def _shape_of_event(annotation: Any, where: str) -> Shape:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in SPEAKS_OF and get_origin(args[0]) in (Union, UnionType):
        return one_of([shape_of(origin[each], where) for each in get_args(args[0])])
    try:
        return EventShape(event_type(annotation))
    except TypeError as error:
        raise ContractError(where, f"{error}. {GRAMMAR}") from error


def one_of(shapes: Iterable[Shape]) -> Shape:
    """Any of them, each once, without a union inside a union."""
    flat: dict[Shape, None] = {}
    for shape in shapes:
        flat.update(dict.fromkeys(shape.of if isinstance(shape, OneOf) else (shape,)))
    return OneOf(tuple(flat)) if len(flat) > 1 else next(iter(flat))


def types_in(shape: Shape | None) -> tuple[EventType, ...]:
    """Every event type in it, in order, each once."""
    return tuple(dict.fromkeys(_walk(shape)))


def _walk(shape: Shape | None) -> Iterator[EventType]:
    match shape:
        case EventShape(type=one):
            yield one
        case OneOf(of=parts) | AllOf(of=parts):
            for part in parts:
                yield from _walk(part)
        case Many(of=part):
            yield from _walk(part)
        case Nothing() | None:
            return


def allowed(shape: Shape, emitted: Sequence[EventType]) -> bool:
    """A run of a reaction with this return may emit exactly these, in this order."""
    if len(emitted) == 1 and _allows_one(shape, emitted[0]):  # what nearly every run emits
        return True
    return len(emitted) in _ends(shape, emitted, 0)


def _allows_one(shape: Shape, event: EventType) -> bool:
    if isinstance(shape, OneOf):
        return any(_allows_one(part, event) for part in shape.of)
    return isinstance(shape, EventShape) and shape.type is event


def _ends(shape: Shape, emitted: Sequence[EventType], start: int) -> AbstractSet[int]:
    """Where the rest may begin after this shape has taken its part, from `start` on."""
    match shape:
        case EventShape(type=one):
            return {start + 1} if start < len(emitted) and emitted[start] is one else set()
        case Nothing():
            return {start}
        case OneOf(of=parts):
            return {end for part in parts for end in _ends(part, emitted, start)}
        case AllOf(of=parts):
            ends: AbstractSet[int] = {start}
            for part in parts:
                ends = {end for middle in ends for end in _ends(part, emitted, middle)}
            return ends
        case Many(of=part):
            reached, edge = {start}, {start}
            while edge:
                edge = {end for middle in edge for end in _ends(part, emitted, middle)} - reached
                reached |= edge
            return reached


def holds(shape: Shape, seen: AbstractSet[EventType]) -> bool:
    """What was seen is enough for this completion or prerequisite."""
    match shape:
        case EventShape(type=one):
            return one in seen
        case OneOf(of=parts):
            return any(holds(part, seen) for part in parts)
        case AllOf(of=parts):
            return all(holds(part, seen) for part in parts)
        case Many() | Nothing():
            return True


def ways(shape: Shape) -> tuple[frozenset[EventType], ...]:
    """Every smallest set of event types for which `holds` is true."""
    match shape:
        case EventShape(type=one):
            return (frozenset({one}),)
        case OneOf(of=parts):
            return tuple(dict.fromkeys(way for part in parts for way in ways(part)))
        case AllOf(of=parts):
            return tuple(dict.fromkeys(frozenset[EventType]().union(*each) for each in product(*map(ways, parts))))
        case Many() | Nothing():
            return (frozenset(),)
