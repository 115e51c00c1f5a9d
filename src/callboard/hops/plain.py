"""The short way of a plain reaction: one that needs nothing but its event and the rows it names.

Most runs go this way: nothing stands in their way, they return, and all they leave is events and rows in the group.
Whatever is not as simple as that, a run that raises included, goes the long way of `react`.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from callboard.contract import EventShape, Nothing, OneOf, StateOf, Trigger
from callboard.event import class_of
from callboard.hops.limits import writer
from callboard.ids import LONGEST
from callboard.ledger import Entry, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from callboard.codec import Codec
    from callboard.event import EventType, StateType
    from callboard.hops.deliveries import Delivery, Reader
    from callboard.hops.group import Group
    from callboard.hops.work import Work
    from callboard.ledger import StateKey


class LongWay(Exception):
    """This delivery is not simple after all; nothing was done for it."""


# An entry and a reaction that hears it, to be run the short way on the event and on the rows at these places; or, where
# it is not as simple, its delivery.
Turn = tuple["Reader", "Entry", "Delivery | None", Any, "Sequence[StateKey]"]


@dataclass(slots=True, eq=False)
class _Rows:
    """A parameter that is given the row of its state."""

    name: str  # of the state
    key: str
    make: type[Any]
    is_new: bool  # one is made where there is none
    shape: int
    private: bool  # saved with a failure too
    state: StateType
    write: Callable[[Any], bytes]


@dataclass(slots=True, eq=False)
class _Event:
    """An event that it may return."""

    name: str
    version: int
    key: str | None
    immutable: bool
    failure: bool
    write: Callable[[Any], bytes]


_Loaded = tuple[_Rows, "StateKey", "Row", Any]


class Plan:
    """What is known of a plain reaction before it runs: how its arguments are made, and what it may return."""

    __slots__ = ("emitted", "function", "none", "path", "places", "rows", "tag")

    def __init__(self, reader: Reader, private: Collection[str], codec: Codec) -> None:
        contract = reader.contract
        self.function: Callable[..., Any] = reader.reaction.function
        self.path = reader.path
        self.tag = f".{reader.tag}"
        self.rows = [_rows_of(row.state, row.form == "row", private, codec) for row in contract.states]
        self.places = [(row.name, attrgetter(row.key)) for row in self.rows]  # how its rows are found
        shapes = contract.returns.of if isinstance(contract.returns, OneOf) else (contract.returns,)
        self.none = any(isinstance(shape, Nothing) for shape in shapes)
        self.emitted = {s.type.cls: _event_of(s.type, codec) for s in shapes if isinstance(s, EventShape)}


def _rows_of(state: StateType, is_new: bool, private: Collection[str], codec: Codec) -> _Rows:
    is_private = state.name in private
    return _Rows(state.name, state.key, state.cls, is_new, state.shape, is_private, state, writer(codec, state))


def _event_of(kind: EventType, codec: Codec) -> _Event:
    return _Event(kind.name, kind.version, kind.key, kind.immutable, kind.failure, writer(codec, kind))


def plan_of(reader: Reader, private: frozenset[str], codec: Codec) -> Plan | None:
    """The plan of a reaction that may go the short way, or None."""
    contract = reader.contract
    options = contract.options
    simple = (
        not reader.outside
        and not reader.watches
        and not reader.late_rows
        and options.wait is None
        and options.per is None
        and reader.limit is None
        and all(isinstance(parameter, Trigger | StateOf) for parameter in contract.parameters)
        and isinstance(contract.parameters[0], Trigger)
        and all(row.form in ("row", "maybe") for row in contract.states)
        and all(p.kind is p.POSITIONAL_OR_KEYWORD for p in signature(reader.reaction.function).parameters.values())
        and not any(kind.name.startswith("callboard.") for kind in contract.hears)
    )
    shapes = contract.returns.of if isinstance(contract.returns, OneOf) else (contract.returns,)
    if not simple or not all(isinstance(shape, EventShape | Nothing) for shape in shapes):
        return None
    return Plan(reader, private, codec)


def run(work: Work, group: Group, plan: Plan, turn: Turn) -> None:
    """Run it: its events and rows are in the group. Raises whatever the reaction raises, with nothing done."""
    _, entry, _, value, places = turn
    overlay, young = work.rows.overlay, work.rows.young
    arguments: list[Any] = [value]
    loaded: list[_Loaded] = []
    for kind, place in zip(plan.rows, places):  # noqa: B905 - of one length, and this is asked for every run
        row = overlay.get(place) or young[place]
        if row.data is None:
            copy = kind.make(**{kind.key: getattr(value, kind.key)}) if kind.is_new else None
        elif row.shape == kind.shape:
            copy = work.codec.decode(row.data, kind.state)
        else:
            raise LongWay
        arguments.append(copy)
        loaded.append((kind, place, row, copy))
    result = plan.function(*arguments)
    if result is None and plan.none:
        if loaded:
            overlay.update(_changed(work, loaded, failed=False))
        return
    event = plan.emitted.get(class_of(result))
    event_id = entry.id + plan.tag
    if event is None or len(event_id) > LONGEST:
        raise LongWay
    data = event.write(result)
    key = None if event.key is None else str(getattr(result, event.key))
    if loaded:
        overlay.update(_changed(work, loaded, failed=event.failure))
    group.entries.append(
        Entry(
            group.head + len(group.entries) + 1, event_id, event.name, entry.flow, group.now, data, key, entry.pos,
            plan.path, entry.scatters, (), None, event.version, None, result if event.immutable else None,
        )
    )  # fmt: skip


def _changed(work: Work, loaded: Iterable[_Loaded], *, failed: bool) -> list[tuple[StateKey, Row]]:
    changed: list[tuple[StateKey, Row]] = []
    for kind, place, row, copy in loaded:
        if copy is None or (failed and not kind.private):
            continue
        data = kind.write(copy)
        if data != row.data:
            if str(getattr(copy, kind.key)) != place[1]:
                raise LongWay
            changed.append((place, Row(max(row.version + 1, work.head + work.edits), kind.shape, data)))
    return changed
