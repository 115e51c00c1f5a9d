"""What is expected of a flow: which event starts it, which events end it well or badly, and by when."""

from datetime import timedelta
from itertools import permutations
from typing import Any

from callboard.contract import EventShape, Shape, shape_of, types_in, ways
from callboard.errors import ContractError, place
from callboard.event import EventType
from callboard.options import read_duration, read_text, refuse_open_ended
from callboard.service import Events, Service


class Flow:
    """A named expectation over everything that one starting event causes. It is found by the value of its `key`."""

    __slots__ = ("fails", "home", "keep", "key", "name", "start", "succeeds", "timeout", "where")

    name: str
    key: str
    start: EventType
    succeeds: Shape
    fails: Shape | None
    timeout: timedelta | None
    keep: timedelta | None  # how long it is kept once it is over; None: as `open(keep=)` says
    home: Service | None  # whose ledger keeps keys, deadline and verdict; None: the first service's
    where: str

    def __init__(
        self,
        name: str,
        *,
        key: str,
        starts: type[Any],
        succeeds: Events,
        fails: Events | None = None,
        timeout: timedelta | None = None,
        keep: timedelta | None = None,
        home: Service | None = None,
    ) -> None:
        where = f"{place()} Flow({name!r})"
        said = {
            "name": read_text(name, "name", where),
            "key": read_text(key, "key", where),
            "timeout": None if timeout is None else read_duration(timeout, "timeout", where),
            "keep": None if keep is None else read_duration(keep, "keep", where),
            "home": home,
            "where": where,
            "start": _start(shape_of(starts, f"{where} starts="), key, where),
            "succeeds": _ending(succeeds, f"{where} succeeds="),
            "fails": None if fails is None else _ending(fails, f"{where} fails="),
        }
        for attribute, value in said.items():
            object.__setattr__(self, attribute, value)
        _refuse_contained(self.succeeds, self.fails, where)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self!r} is a declaration, it does not change: make another")

    def __repr__(self) -> str:
        return f"Flow({self.name!r})"

    @property
    def ends(self) -> tuple[EventType, ...]:
        """The types that its completions are made of."""
        return types_in(self.succeeds) + types_in(self.fails)


def _start(shape: Shape, key: str, where: str) -> EventType:
    if not isinstance(shape, EventShape) or shape.type.inner is not None:
        raise ContractError(where, f"starts= takes one event of your own, not `{shape}`: write a Flow for each")
    if not shape.type.carries(key):
        raise ContractError(
            where, f"key={key!r} is read from {shape.type}, which has no `{key}`: add it, or name another"
        )
    return shape.type


def _ending(events: Any, where: str) -> Shape:
    shape = shape_of(events, where)
    refuse_open_ended(shape, where)
    return shape


def _refuse_contained(succeeds: Shape, fails: Shape | None, where: str) -> None:
    endings = [*ways(succeeds), *(() if fails is None else ways(fails))]
    for one, other in permutations(endings, 2):
        if one <= other:
            both = " and ".join("{" + ", ".join(sorted(map(str, each))) + "}" for each in (one, other))
            raise ContractError(
                where, f"two of its endings contain each other, {both}: the smaller would always come first"
            )
