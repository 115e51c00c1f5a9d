"""Writes a choreography's contracts down."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from callboard import fields
from callboard.choreography import Choreography
from callboard.contract import (
    AllOf,
    Contract,
    EventShape,
    Gathered,
    Given,
    Many,
    OneOf,
    Options,
    PortOf,
    Shape,
    StateOf,
    Trigger,
    types_in,
)
from callboard.contracts.file import SCHEMA, ContractFile, FieldSaid, FlowSaid, ParameterSaid, ReactionSaid, RowSaid
from callboard.event import EventType, innermost
from callboard.flow import Flow
from callboard.parameters import shown
from callboard.retry import Retry

DEFAULTS = Options()


def write(choreography: Choreography, service: str | None = None) -> ContractFile:
    """What its services promise, or what one of them does; files are told from the working directory on."""
    contracts = [each for each in choreography.contracts.values() if service in (None, each.service)]
    flows = [each for each in choreography.flows.values() if service in (None, choreography.home_of(each).name)]
    named = {each for contract in contracts for each in contract.mentions}
    named |= {each for flow in flows for each in (flow.start, *types_in(flow.succeeds), *types_in(flow.fails))}
    if service is None:
        named |= {*choreography.incoming, *choreography.outgoing}
    events = {innermost(each) for each in named}
    states = {row.state for contract in contracts for row in contract.states}
    keys = {flow.key for flow in choreography.flows.values()} | {row.key for row in states}
    keys |= {contract.options.per for contract in contracts if contract.options.per}
    return ContractFile(
        SCHEMA,
        choreography.name,
        tuple(choreography.services) if service is None else (service,),
        {each.name: _event(each, keys) for each in events},
        {each.name: _row(each.cls, key=each.key, version=each.shape) for each in states},
        {each.__name__: _row(each) for each in _values(*(each.cls for each in events), *(each.cls for each in states))},
        {each.path: _reaction(each) for each in contracts},
        {each.name: _flow(each, choreography) for each in flows},
        tuple(sorted(each.name for each in choreography.incoming if each in named)),
        tuple(sorted(each.name for each in choreography.outgoing if each in named)),
    )


def _event(event: EventType, keys: Iterable[str]) -> RowSaid:
    computed = tuple(sorted(key for key in keys if event.carries(key) and key not in event.fields))
    return _row(event.cls, failure=event.failure, key=event.key, version=event.version, computed=computed)


def _row(cls: type[Any], **said: Any) -> RowSaid:
    made_of = tuple(each.__name__ for each in _values(cls))
    if members := getattr(cls, "__members__", None):
        return RowSaid(cls.__name__, {name: FieldSaid(repr(it.value)) for name, it in members.items()})
    hints, required = get_type_hints(cls, include_extras=True), fields.required_names(cls)
    named = {name: FieldSaid(_told(hints.get(name, Any)), name in required) for name in fields.field_names(cls)}
    return RowSaid(cls.__name__, named, made_of=made_of, **said)


def _told(annotation: Any) -> str:
    """The annotation without the modules that its classes come from."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "None"
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is None or not args:
        return getattr(annotation, "__name__", None) or shown(annotation)
    name = getattr(origin, "__name__", str(origin))
    if "Union" in name:
        return " | ".join(map(_told, args))
    if name == "Annotated":
        return _told(args[0])
    return f"{name}[{', '.join('...' if each is Ellipsis else _told(each) for each in args)}]"


def _values(*classes: type[Any]) -> list[type[Any]]:
    """What the fields are made of: other classes with fields, and enumerations."""
    parts = {part for cls in classes for part in fields.reach(cls) if fields.is_class(part) and part not in classes}
    values = [each for each in parts if fields.kind_of(each) or hasattr(each, "__members__")]
    return sorted(values, key=lambda each: (each.__name__, each.__module__))


def _reaction(contract: Contract) -> ReactionSaid:
    return ReactionSaid(
        _near(contract.file),
        contract.line,
        {each.name: _parameter(each) for each in contract.parameters},
        _shape(contract.returns),
        _options(contract.options),
        contract.is_async,
    )


def _near(file: str) -> str:
    try:
        return Path(file).resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return file


def _parameter(parameter: object) -> ParameterSaid:
    match parameter:
        case Trigger(types=types):
            return ParameterSaid("trigger", _names(types))
        case Given(types=types, optional=optional):
            return ParameterSaid("maybe" if optional else "given", _names(types))
        case Gathered(types=types):
            return ParameterSaid("gathered", _names(types))
        case StateOf(state=state, form=form):
            return ParameterSaid("state", (state.name,), form)
        case PortOf(port=port):
            return ParameterSaid("port", (port.__name__,))
        case _:
            return ParameterSaid("context")


def _names(types: Iterable[EventType]) -> tuple[str, ...]:
    return tuple(each.name for each in types)


def _shape(shape: Shape | None) -> Any:
    match shape:
        case EventShape(type=event):
            return event.name
        case OneOf(of=parts):
            return {"one_of": [_shape(each) for each in parts]}
        case AllOf(of=parts):
            return {"all_of": [_shape(each) for each in parts]}
        case Many(of=part):
            return {"many": _shape(part)}
        case _:
            return None


def _options(options: Options) -> dict[str, Any]:
    """Those that are not as they are where nothing is said."""
    said = {name: getattr(options, name) for name in Options.__struct_fields__}
    return {name: _option(value) for name, value in said.items() if value != getattr(DEFAULTS, name)}


def _option(value: Any) -> Any:
    match value:
        case timedelta():
            return value.total_seconds()
        case EventShape() | OneOf() | AllOf():
            return _shape(value)
        case EventType(name=name):
            return name
        case Retry(max_attempts=attempts):
            return attempts
        case _:
            return "computed" if callable(value) else value


def _flow(flow: Flow, choreography: Choreography) -> FlowSaid:
    file, _, line = flow.where.partition(" ")[0].rpartition(":")
    return FlowSaid(
        _near(file), int(line), flow.key, flow.start.name, _shape(flow.succeeds), choreography.home_of(flow).name,
        _shape(flow.fails), None if flow.timeout is None else flow.timeout.total_seconds(),
    )  # fmt: skip
