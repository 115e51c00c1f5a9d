"""The short way of a plain reaction: one that needs nothing but its event and the rows it names.

Most runs go this way: nothing stands in their way, they return, and all they leave is events and rows in the group.
Whatever is not as simple as that, a run that raises included, goes the long way of `react`.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from callboard.contract import EventShape, Nothing, OneOf, StateOf, Trigger
from callboard.event import class_of
from callboard.hops.limits import encoded
from callboard.ledger import Entry, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from callboard.event import EventType, StateType
    from callboard.hops.deliveries import Reader
    from callboard.hops.group import Group
    from callboard.hops.work import Work
    from callboard.ledger import StateKey


class LongWay(Exception):
    """This delivery is not simple after all; nothing was done for it."""


class Plan:
    """What is known of a plain reaction before it runs: how its arguments are made, and what it may return."""

    __slots__ = ("emitted", "function", "none", "path", "private", "rows", "tag")

    def __init__(self, reader: Reader, private: frozenset[str]) -> None:
        contract = reader.contract
        self.function: Callable[..., Any] = reader.reaction.function
        self.path = reader.path
        self.tag = f".{reader.tag}"
        self.private = private
        self.rows: tuple[tuple[str, StateType, bool], ...] = tuple(
            (row.name, row.state, row.form == "row") for row in contract.states
        )
        shapes = contract.returns.of if isinstance(contract.returns, OneOf) else (contract.returns,)
        self.none = any(isinstance(shape, Nothing) for shape in shapes)
        self.emitted: dict[type[Any], EventType] = {s.type.cls: s.type for s in shapes if isinstance(s, EventShape)}


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


def rows_of(plan: Plan, value: Any) -> list[StateKey]:
    """The rows that a run on this event works on."""
    return [(state.name, str(getattr(value, state.key))) for _, state, _ in plan.rows]


def run(work: Work, group: Group, plan: Plan, entry: Entry, value: Any) -> None:
    """Run it: its events and rows are in the group. Raises whatever the reaction raises, with nothing done."""
    rows, codec = work.rows, work.codec
    copies: list[tuple[StateType, StateKey, Row, Any]] = []
    arguments: list[Any] = [value]
    for _, state, is_new in plan.rows:
        key = getattr(value, state.key)
        place = (state.name, str(key))
        group.looked.add(place)
        row = rows.current(place)
        if row.data is None:
            copy = state.cls(**{state.key: key}) if is_new else None
        elif row.shape != state.shape:
            raise LongWay
        else:
            copy = codec.decode(row.data, state)
        arguments.append(copy)
        copies.append((state, place, row, copy))
    result = plan.function(*arguments)
    emitted, failed = _emitted(work, group, plan, entry, result)
    changed = [
        change for each in copies if (change := _changed(work, each, plan.private if failed else None)) is not None
    ]
    if emitted is not None:
        group.append(emitted)
    if changed:
        rows.overlay.update(changed)


def _emitted(work: Work, group: Group, plan: Plan, entry: Entry, result: Any) -> tuple[Entry | None, bool]:
    if result is None:
        if not plan.none:
            raise LongWay
        return None, False
    kind = plan.emitted.get(class_of(result))
    if kind is None:
        raise LongWay
    emitted = Entry(
        0, entry.id + plan.tag, kind.name, entry.flow, group.now, encoded(work.codec, result), None,
        entry.pos, plan.path,
        entry.scatters, version=kind.version, value=result if kind.immutable else None,
    )  # fmt: skip
    if kind.key is not None:
        emitted.key = str(getattr(result, kind.key))
    if len(emitted.id) > 96:
        raise LongWay
    return emitted, kind.failure


def _changed(
    work: Work, copied: tuple[StateType, StateKey, Row, Any], private: frozenset[str] | None
) -> tuple[StateKey, Row] | None:
    state, place, row, copy = copied
    if copy is None or (private is not None and state.name not in private):
        return None
    data = encoded(work.codec, copy)
    if data == row.data:
        return None
    if str(getattr(copy, state.key)) != place[1]:
        raise LongWay
    return place, Row(max(row.version + 1, work.stamp), state.shape, data)
