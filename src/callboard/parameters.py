"""What a reaction takes: one small record for each parameter of its signature."""

import inspect
from collections.abc import Callable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from msgspec import Struct

from callboard.errors import ContractError
from callboard.event import SPEAKS_OF, EventType, StateType, is_event, is_port, is_state, state_type
from callboard.shape import AllOf, EventShape, Many, Nothing, OneOf, Shape, shape_of, types_in

T = TypeVar("T")
READ = "callboard: only read"
Read = Annotated[T, READ]  # `zone: Read[Zone]`: looked at, never saved

STAND_IN = "__callboard_parameter__"  # what Context and States, which stand above this module, are known by


class Trigger(Struct, frozen=True):
    """The reaction runs for each of these; several triggers are a join."""

    name: str
    types: tuple[EventType, ...]


class Given(Struct, frozen=True):
    """The latest of these that this service saw in the flow; only an optional one is not waited for."""

    name: str
    types: tuple[EventType, ...]
    optional: bool


class Gathered(Struct, frozen=True):
    """The parts of one scatter, in its order."""

    name: str
    types: tuple[EventType, ...]


class StateOf(Struct, frozen=True):
    """A row found or new, a row or None ("maybe"), a row that is only read, or any rows."""

    name: str
    state: StateType
    form: Literal["row", "maybe", "read", "any"]


class PortOf(Struct, frozen=True):
    """The keeper of a port."""

    name: str
    port: type[Any]


class ContextOf(Struct, frozen=True):
    """The reaction's Context."""

    name: str


Parameter: TypeAlias = Trigger | Given | Gathered | StateOf | PortOf | ContextOf


class Heard(Struct, frozen=True):
    """Event parameters before it is known which of them are given."""

    name: str
    types: tuple[EventType, ...]
    form: Literal["one", "maybe", "list"]


def read_parameters(function: Callable[..., Any], hints: dict[str, Any], where: str) -> list[Parameter | Heard]:
    """One record for each parameter; ContractError for what cannot be given to a reaction."""
    return [read_parameter(each, hints, where) for each in inspect.signature(function).parameters.values()]


def read_parameter(parameter: inspect.Parameter, hints: dict[str, Any], where: str) -> Parameter | Heard:
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise ContractError(where, f"`{parameter}` cannot be filled: write one named parameter for each thing it takes")
    if name not in hints and name in ("self", "cls"):
        raise ContractError(where, "a reaction is a function of its module, not a method: it keeps nothing but state")
    if name not in hints:
        raise ContractError(where, f"annotate `{name}` with an event, a state, a port or Context")
    if parameter.default is not parameter.empty:
        raise ContractError(where, f"`{name}` has a default that would never be used: leave it away")
    return _read(name, hints[name], where)


def _read(name: str, annotation: Any, where: str) -> Parameter | Heard:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated and READ in args[1:]:
        return _row(name, args[0], "read", where)
    if origin is Annotated or hasattr(annotation, "__value__"):  # `type Answer = A | B`, from Python 3.12
        return _read(name, args[0] if args else annotation.__value__, where)
    match getattr(origin or annotation, STAND_IN, None):
        case "context":
            return ContextOf(name)
        case "states":
            return _row(name, args[0] if args else None, "any", where)
        case _:
            pass
    if is_state(annotation):
        return _row(name, annotation, "row", where)
    if is_port(annotation):
        return PortOf(name, annotation)
    return _read_union(name, annotation, where)


def _read_union(name: str, annotation: Any, where: str) -> Parameter | Heard:
    """A state or None, or one of several events, or a list of events; anything else is told what it lacks."""
    args = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        some = [each for each in args if each is not NoneType]
        if any(_is_no_event(each) for each in some):
            if len(some) == 1 and is_state(some[0]):
                return _row(name, some[0], "maybe", where)
            raise ContractError(
                where,
                f"`{name}: {shown(annotation)}` mixes what cannot be mixed: write one event or "
                "several, or one state or None",
            )
    elif not is_event(annotation) and not args and annotation not in SPEAKS_OF:
        raise ContractError(
            where,
            f"`{name}: {shown(annotation)}` is no event, state, port or Context: decorate its class "
            "with @event, @failure, @state(key=...) or @port (a mark is not inherited)",
        )
    return _heard(name, shape_of(annotation, f"{where}({name})"), annotation, where)


def _is_no_event(annotation: Any) -> bool:
    special = hasattr(get_origin(annotation) or annotation, STAND_IN) or READ in get_args(annotation)
    return special or is_state(annotation) or is_port(annotation)


def _heard(name: str, shape: Shape, annotation: Any, where: str) -> Heard:
    match shape:
        case EventShape():
            return Heard(name, types_in(shape), "one")
        case OneOf(of=parts) if all(isinstance(each, EventShape | Nothing) for each in parts):
            return Heard(name, types_in(shape), "maybe" if Nothing() in parts else "one")
        case Many(of=part) if isinstance(part, EventShape) or _only_events(part):
            return Heard(name, types_in(shape), "list")
        case AllOf():
            raise ContractError(where, f"`{name}: {shown(annotation)}` is a join: write one parameter for each of them")
        case _:
            raise ContractError(
                where,
                f"`{name}: {shown(annotation)}` cannot be filled: write `A`, `A | B`, `A | None`, or "
                "`list[A | B]` with gathers=",
            )


def _only_events(shape: Shape) -> bool:
    return isinstance(shape, OneOf) and all(isinstance(each, EventShape) for each in shape.of)


def _row(name: str, cls: Any, form: Literal["row", "maybe", "read", "any"], where: str) -> StateOf:
    try:
        state = state_type(cls)
    except TypeError as error:
        form_text = {"read": "Read[...]", "any": "States[...]"}.get(form, "this")
        raise ContractError(where, f"`{name}`: {form_text} takes one state class. {error}") from error
    if form in ("row", "read") and not state.complete:
        raise ContractError(
            where,
            f"`{name}: {state}` is new when there is none, so every field but `{state.key}` needs a "
            f"default: give them one, or take `{state} | None` or `States[{state}]`",
        )
    return StateOf(name, state, form)


def shown(annotation: Any) -> str:
    """The annotation as it was written."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join("None" if each is NoneType else shown(each) for each in get_args(annotation))
    return str(annotation).replace("typing.", "")


def of_kind(parameters: Sequence[Any], kind: type[T]) -> tuple[T, ...]:
    """Those of one kind, in order."""
    return tuple(each for each in parameters if isinstance(each, kind))
