"""Reads contract files back: a choreography of services whose code is elsewhere, beside those whose code is here."""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import field, make_dataclass
from datetime import timedelta
from functools import cache
from types import FunctionType
from typing import Annotated, Any, NewType, Union, cast

from msgspec import structs

from callboard.choreography import Choreography
from callboard.contracts.file import ContractFile, FlowSaid, ParameterSaid, ReactionSaid, RowSaid
from callboard.errors import ContractError
from callboard.event import FlowCancelled, FlowTimedOut, ReactionFailed, event, failure, port, state
from callboard.flow import Flow
from callboard.parameters import READ
from callboard.reaction import Context, States
from callboard.retry import Retry
from callboard.service import Service

ABOUT: dict[str, Any] = {each.__name__: each for each in (FlowTimedOut, FlowCancelled, ReactionFailed)}
ONE_OF, NEW_TYPE = cast("Any", Union), cast("Any", NewType)  # made of values, which a type checker cannot follow
EVENTS = ("needs", "unless", "gathers")
DURATIONS = ("wait", "within", "timeout")


def read(files: Sequence[ContractFile], *here: Choreography) -> Choreography:
    """All of them as one choreography: events of one type are one event, and what is `here` keeps its own classes.

    ContractError where two have a service or a flow of one name, or a file names an event that it does not tell of.
    """
    reader = _Reader(here)
    for each in files:
        reader.add(each)
    return reader.choreography(" + ".join(dict.fromkeys([each.name for each in files] + [each.name for each in here])))


class _Reader:
    """Makes classes and functions that say what the files say, and do nothing."""

    def __init__(self, here: Sequence[Choreography]) -> None:
        self._events: dict[str, Any] = {name: it.annotation for each in here for name, it in each.events.items()}
        self._states: dict[str, Any] = {}
        self._services: list[Service] = [it for each in here for it in each.services.values()]
        self._flows: list[Flow] = [it for each in here for it in each.flows.values()]
        self._incoming: list[Any] = [it.annotation for each in here for it in each.incoming]
        self._outgoing: list[Any] = [it.annotation for each in here for it in each.outgoing]
        self._places: dict[str, ReactionSaid] = {}

    def add(self, file: ContractFile) -> None:
        for name, row in file.events.items():
            if name not in self._events:
                mark = failure if row.failure else event
                self._events[name] = mark(key=row.key, type=name, version=row.version)(_class(row, frozen=True))
        for name, row in file.states.items():
            self._states[name] = state(key=row.key or "", shape=row.version, name=name)(_class(row, frozen=False))
        services = {name: Service(name) for name in file.services}
        if twice := services.keys() & {each.name for each in self._services}:
            fix = f"there are two services named {min(twice)!r} in what is put together: name only one of the two"
            raise ContractError(f"the contract of {file.name}", fix)
        functions = {path: _function(path.partition(".")[2], said) for path, said in file.reactions.items()}
        for path, said in sorted(file.reactions.items(), key=lambda each: (each[1].file, each[1].line)):
            self._register(services[path.partition(".")[0]], path, said, functions)
        self._services += services.values()
        known = {each.name: each for each in self._services}
        self._flows += [self._flow(name, said, known) for name, said in file.flows.items()]
        self._incoming += map(self._event, file.incoming)
        self._outgoing += map(self._event, file.outgoing)

    def choreography(self, name: str) -> Choreography:
        incoming, outgoing = _one_of(self._incoming), _one_of(self._outgoing)
        found = Choreography(name, *self._services, flows=self._flows, incoming=incoming, outgoing=outgoing)
        for path, said in self._places.items():  # the file of that name here, if there is one, is another
            contract = structs.replace(found.contracts[path], file=said.file, line=said.line)
            found.contracts[path] = found.reactions[path].contract = contract
        return found

    def _register(self, service: Service, path: str, said: ReactionSaid, functions: dict[str, FunctionType]) -> None:
        function = functions[path]
        parameters = {name: self._annotation(each) for name, each in said.parameters.items()}
        kind = inspect.Parameter.KEYWORD_ONLY
        function.__annotations__ = {**parameters, "return": self._shape(said.returns)}
        signature = inspect.Signature([inspect.Parameter(name, kind, annotation=it) for name, it in parameters.items()])
        vars(function)["__signature__"] = signature
        options = {name: self._option(name, value) for name, value in said.options.items()}
        if "compensates" in options:
            options["compensates"] = functions.get(f"{service.name}.{said.options['compensates']}", path)
        service.reaction(**options)(function)
        self._places[path] = said

    def _annotation(self, said: ParameterSaid) -> Any:
        if said.role == "context":
            return Context
        if said.role == "port":
            return _port(said.names[0])
        if said.role == "state":
            row: Any = self._states[said.names[0]]
            forms: dict[str, Any] = {"row": row, "read": Annotated[row, READ], "any": States[row]}
            return forms.get(said.form, ONE_OF[row, None])
        events: Any = _one_of(map(self._event, said.names))
        return {"maybe": ONE_OF[events, None], "gathered": list[events]}.get(said.role, events)

    def _event(self, name: str) -> Any:
        about, bracket, inner = name.removeprefix("callboard.").partition("[")
        if name.startswith("callboard.") and bracket and about in ABOUT:
            return ABOUT[about][self._event(inner.removesuffix("]"))]
        if name not in self._events:
            raise ContractError("contract file", f"it names {name}, and does not say what that is: export it again")
        return self._events[name]

    def _shape(self, said: Any) -> Any:
        match said:
            case None:
                return None
            case {"one_of": [*parts]}:
                return _one_of(map(self._shape, parts))
            case {"all_of": [*parts]}:
                return tuple[tuple(map(self._shape, parts))]  # type: ignore[misc]
            case {"many": part}:
                return list[self._shape(part)]  # type: ignore[misc]
            case _:
                return self._event(str(said))

    def _option(self, name: str, value: Any) -> Any:
        if name in EVENTS:
            return self._shape(value)
        if name == "retry":
            return Retry(max_attempts=value)
        if name in DURATIONS:
            return _computed if value == "computed" else timedelta(seconds=value)
        return value

    def _flow(self, name: str, said: FlowSaid, services: dict[str, Service]) -> Flow:
        timeout = None if said.timeout is None else timedelta(seconds=said.timeout)
        fails = None if said.fails is None else self._shape(said.fails)
        succeeds, home = self._shape(said.succeeds), services.get(said.home)
        starts = self._event(said.starts)
        flow = Flow(name, key=said.key, starts=starts, succeeds=succeeds, fails=fails, timeout=timeout, home=home)
        object.__setattr__(flow, "where", f"{said.file}:{said.line} {flow!r}")
        return flow


def _one_of(annotations: Iterable[Any]) -> Any:
    """`A | B`; None for nothing."""
    each = tuple(dict.fromkeys(annotations))
    return ONE_OF[each] if each else None


def _class(said: RowSaid, *, frozen: bool) -> type[Any]:
    told: list[Any] = []
    for name, each in said.fields.items():
        kind = NEW_TYPE(name, Any)
        kind.__name__ = each.type  # as it was told, so it is told again
        told.append((name, kind, field() if each.required else field(default=None)))
    computed = {name: property(lambda _: None) for name in said.computed}
    return make_dataclass(said.cls, told, frozen=frozen, kw_only=True, namespace=computed)


@cache
def _port(name: str) -> type[Any]:
    return port(type(name, (), {}))


def _function(name: str, said: ReactionSaid) -> FunctionType:
    template = cast("FunctionType", _awaited if said.is_async else _plain)
    code = template.__code__.replace(co_name=name, co_filename=f"<{said.file}>", co_firstlineno=said.line)
    return FunctionType(code, {}, name)


def _plain() -> None: ...


async def _awaited() -> None: ...


def _computed(_: Any) -> timedelta:
    return timedelta(0)
