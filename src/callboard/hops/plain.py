"""The short way of a plain reaction: one that needs nothing but its event and the rows it names.

Most runs go this way: nothing stands in their way, they return, and all they leave is events and rows in the group.
Whatever is not as simple as that, a run that raises included, goes the long way of `react`.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from callboard.contract import EventShape, Nothing, OneOf, StateOf, Trigger
from callboard.event import class_of
from callboard.hops.limits import encoded
from callboard.ids import LONGEST
from callboard.ledger import Entry, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from callboard.event import EventType, StateType
    from callboard.hops.deliveries import Delivery, Reader
    from callboard.hops.group import Group
    from callboard.hops.work import Work
    from callboard.ledger import StateKey


class LongWay(Exception):
    """This delivery is not simple after all; nothing was done for it."""


class Turn(Struct):
    """An entry and a reaction that hears it: to be run the short way, or a delivery."""

    reader: Reader
    entry: Entry
    delivery: Delivery | None = None
    value: Any = None
    places: Sequence[StateKey] = ()


class Plan:
    """What is known of a plain reaction before it runs: how its arguments are made, and what it may return."""

    __slots__ = ("emitted", "function", "none", "path", "private", "rows", "tag")

    def __init__(self, reader: Reader, private: frozenset[str]) -> None:
        contract = reader.contract
        self.function: Callable[..., Any] = reader.reaction.function
        self.path = reader.path
        self.tag = f".{reader.tag}"
        self.private = private
        self.rows: tuple[tuple[StateType, bool], ...] = tuple((row.state, row.form == "row") for row in contract.states)
        shapes = contract.returns.of if isinstance(contract.returns, OneOf) else (contract.returns,)
        self.none = any(isinstance(shape, Nothing) for shape in shapes)
        self.emitted: dict[type[Any], EventType] = {s.type.cls: s.type for s in shapes if isinstance(s, EventShape)}

    def places(self, value: Any) -> list[StateKey]:
        """The rows that a run on this event works on."""
        return [(state.name, str(getattr(value, state.key))) for state, _ in self.rows]


def plan_of(reader: Reader, private: frozenset[str]) -> Plan | None:
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
    return Plan(reader, private)


def run(work: Work, group: Group, plan: Plan, turn: Turn) -> None:
    """Run it: its events and rows are in the group. Raises whatever the reaction raises, with nothing done."""
    rows, codec = work.rows, work.codec
    loaded: list[tuple[StateType, StateKey, Row, Any]] = []
    arguments = [turn.value]
    for (state, is_new), place in zip(plan.rows, turn.places, strict=True):
        row = rows.current(place)
        if row.data is not None:
            if row.shape != state.shape:
                raise LongWay
            copy = codec.decode(row.data, state)
        else:
            copy = state.cls(**{state.key: getattr(turn.value, state.key)}) if is_new else None
        arguments.append(copy)
        loaded.append((state, place, row, copy))
    group.looked.update(turn.places)
    result = plan.function(*arguments)
    if result is None and plan.none:
        rows.overlay.update(_changed(work, loaded, None))
        return
    emitted = _emitted(work, group, plan, turn.entry, result)
    changed = _changed(work, loaded, plan.private if plan.emitted[class_of(result)].failure else None)
    group.append(emitted)
    rows.overlay.update(changed)


def _changed(
    work: Work, loaded: Iterable[tuple[StateType, StateKey, Row, Any]], private: Collection[str] | None
) -> list[tuple[StateKey, Row]]:
    changed: list[tuple[StateKey, Row]] = []
    for state, place, row, copy in loaded:
        if copy is None or (private is not None and state.name not in private):
            continue
        data = encoded(work.codec, copy)
        if data != row.data:
            if str(getattr(copy, state.key)) != place[1]:
                raise LongWay
            changed.append((place, Row(max(row.version + 1, work.stamp), state.shape, data)))
    return changed


def _emitted(work: Work, group: Group, plan: Plan, entry: Entry, result: Any) -> Entry:
    kind = plan.emitted.get(class_of(result))
    event_id = entry.id + plan.tag
    if kind is None or len(event_id) > LONGEST:
        raise LongWay
    return Entry(
        0, event_id, kind.name, entry.flow, group.now, encoded(work.codec, result),
        None if kind.key is None else str(getattr(result, kind.key)),
        entry.pos, plan.path, entry.scatters, version=kind.version, value=result if kind.immutable else None,
    )  # fmt: skip
