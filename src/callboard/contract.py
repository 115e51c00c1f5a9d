"""The contract of a reaction: what its signature and its options say together."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from msgspec import Struct

from callboard.errors import ContractError
from callboard.event import EventType
from callboard.options import Options, read_options
from callboard.parameters import (
    ContextOf,
    Gathered,
    Given,
    Heard,
    Parameter,
    PortOf,
    StateOf,
    Trigger,
    of_kind,
    read_parameters,
)
from callboard.shape import (
    AllOf,
    EventShape,
    Many,
    Nothing,
    OneOf,
    Shape,
    allowed,
    holds,
    shape_of,
    types_in,
    ways,
)
from callboard.signature import hints_of, is_async, refuse_generator, return_of, source_of

__all__ = [
    "AllOf", "ContextOf", "Contract", "EventShape", "Gathered", "Given", "Many", "Nothing", "OneOf", "Options",
    "Parameter", "PortOf", "Shape", "StateOf", "Trigger", "allowed", "holds", "read_contract", "shape_of", "source_of",
    "types_in", "ways",
]  # fmt: skip


class Contract(Struct, frozen=True, eq=False, dict=True):
    """What one reaction takes, what it may emit, and what it promises beside. It is called by keyword."""

    service: str
    name: str
    parameters: tuple[Parameter, ...]
    returns: Shape
    options: Options
    is_async: bool
    file: str
    line: int
    effect_types: tuple[EventType, ...] = ()  # of a compensation: what it is given of the compensated reaction's events

    @cached_property
    def path(self) -> str:
        return f"{self.service}.{self.name}"

    @cached_property
    def where(self) -> str:
        return f"{self.file}:{self.line} {self.path}"

    @cached_property
    def triggers(self) -> tuple[Trigger, ...]:
        return of_kind(self.parameters, Trigger)

    @cached_property
    def givens(self) -> tuple[Given, ...]:
        return of_kind(self.parameters, Given)

    @cached_property
    def gathered(self) -> Gathered | None:
        return next(iter(of_kind(self.parameters, Gathered)), None)

    @cached_property
    def states(self) -> tuple[StateOf, ...]:
        return of_kind(self.parameters, StateOf)

    @cached_property
    def ports(self) -> tuple[PortOf, ...]:
        return of_kind(self.parameters, PortOf)

    @cached_property
    def hears(self) -> tuple[EventType, ...]:
        """Every type that makes it run, alone or together with others."""
        heard = [each for each in self.parameters if isinstance(each, Trigger | Gathered)]
        return tuple(dict.fromkeys(each for parameter in heard for each in parameter.types))

    @cached_property
    def emits(self) -> tuple[EventType, ...]:
        """Every type that it may emit."""
        return types_in(self.returns)

    @property
    def mentions(self) -> tuple[EventType, ...]:
        """Every type that its signature and its options name."""
        given = (each for it in self.givens for each in it.types)
        scattered = (self.options.gathers,) if self.options.gathers else ()
        needed, refused = types_in(self.options.needs), types_in(self.options.unless)
        return (*self.hears, *given, *self.emits, *needed, *refused, *scattered)

    @cached_property
    def is_join(self) -> bool:
        return len(self.triggers) > 1

    @cached_property
    def reaches_outside(self) -> bool:
        """Its code may talk to the world outside, so nothing uncommitted is shown to it."""
        return self.is_async or self.options.blocking or bool(self.ports)


def read_contract(
    function: Callable[..., Any], *, service: str, options: Mapping[str, Any], compensated: Contract | None = None
) -> Contract:
    """The contract in this signature and these options; ContractError where they cannot be read.

    `compensated` is the contract of the reaction that `compensates=` names; it is read first.
    """
    name, (file, line) = function.__name__, source_of(function)
    where = f"{file}:{line} {service}.{name}"
    refuse_generator(function, where)
    read = read_options({**options, "compensates": compensated and compensated.name}, where)
    hints = hints_of(function, where)
    returns, awaited = return_of(hints, where)
    undone = tuple(each for each in compensated.emits if not each.failure) if compensated else ()
    parameters = tuple(_decided(each, read, undone, where) for each in read_parameters(function, hints, where))
    return Contract(
        service, name, parameters, returns, read, awaited or is_async(function), file, line,
        tuple(each for each in undone if any(each in it.types for it in of_kind(parameters, Given))),
    )  # fmt: skip


def _decided(heard: Parameter | Heard, options: Options, undone: tuple[EventType, ...], where: str) -> Parameter:
    """An event parameter is a trigger, given, or gathered.

    Given is what needs= names and what the compensated reaction emits: but not its failures, which took no effect.
    """
    if not isinstance(heard, Heard):
        return heard
    if heard.form == "list":
        return Gathered(heard.name, heard.types)
    if heard.form == "maybe":
        return Given(heard.name, heard.types, optional=True)
    needed = types_in(options.needs)
    for known, why in ((needed, "needs= names"), (undone, f"{options.compensates} emits")):
        given = [each for each in heard.types if each in known]
        if len(given) == len(heard.types):
            return Given(heard.name, heard.types, optional=False)
        if given:
            raise ContractError(
                where,
                f"`{heard.name}` is half given: {why} {given[0]}, so that is no trigger. "
                f"Take {given[0]} in a parameter of its own",
            )
    return Trigger(heard.name, heard.types)
