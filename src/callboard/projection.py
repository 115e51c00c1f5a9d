"""A projection: rows that say what the log says, in the form in which somebody asks. They can be made anew from it."""

import re
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from callboard.contract import ContextOf, Contract, Nothing, StateOf, Trigger, read_contract
from callboard.errors import ContractError, place
from callboard.event import EventType, StateType
from callboard.rules import refuse_nonsense
from callboard.service import Service

F = TypeVar("F", bound=Callable[..., Any])
Form = Literal["projection", "rebuild", "snapshot"]


def place_of(name: str, form: Form = "projection") -> str:
    """Under which name a projection stands among the ledger's reactions: the live one, or what is kept beside it."""
    return f"({form} {name})"


def rows_of(state: str, form: Form = "projection") -> str:
    """Where its rows are: those that everybody reads, or those that are kept beside them."""
    return state if form == "projection" else f"{state} ({form})"


class Projection:
    """Folds events into rows of its own, each event once, in the order of the log."""

    name: str
    since: Literal["beginning", "now"]
    home: Service | None
    where: str

    def __init__(
        self, name: str, *, since: Literal["beginning", "now"] = "beginning", home: Service | None = None
    ) -> None:
        """The worker of `home` (None: of the first service) folds; `since="now"` leaves out what was there before."""
        self.where = f"{place()} Projection({name!r})"
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
            raise ContractError(self.where, "its name begins with a letter, then letters, digits, _ or -")
        if since not in ("beginning", "now"):
            raise ContractError(self.where, f'since={since!r}: say "beginning" or "now"')
        self.name, self.since, self.home = name, since, home
        self._functions: list[tuple[Callable[..., Any], Contract | None]] = []

    def __repr__(self) -> str:
        return f"Projection({self.name!r})"

    def fold(self, function: F, /) -> F:
        """The function takes an event into the rows that it names. It is returned as it is: call it in tests."""
        self._functions.append((function, None))
        return function

    @property
    def folds(self) -> list[tuple[Callable[..., Any], Contract]]:
        """Its functions, with what they take, in the order in which they were written."""
        read = [(function, known or self._read(function)) for function, known in self._functions]
        self._functions = [*read]
        return read

    @property
    def hears(self) -> tuple[EventType, ...]:
        """The events that it folds."""
        return tuple(dict.fromkeys(kind for _, contract in self.folds for kind in contract.hears))

    @property
    def states(self) -> tuple[StateType, ...]:
        """What its rows are."""
        return tuple(dict.fromkeys(row.state for _, contract in self.folds for row in contract.states))

    def _read(self, function: Callable[..., Any]) -> Contract:
        contract = read_contract(function, service=self.name, options={})
        refuse_nonsense(contract)
        if len(contract.triggers) != 1 or not all(
            isinstance(each, Trigger | StateOf | ContextOf) for each in contract.parameters
        ):
            fix = "a fold takes one event, rows and Context: what waits, or reaches outside, is a reaction"
            raise ContractError(contract.where, fix)
        if not isinstance(contract.returns, Nothing):
            raise ContractError(contract.where, "a fold emits nothing, `-> None`: what answers an event is a reaction")
        if not contract.states:
            raise ContractError(contract.where, "a fold leaves nothing but rows: take the one that it changes")
        return contract
