"""A reaction, and what one run of it is handed beside its events: Context and States."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from callboard import ids
from callboard.contract import Contract
from callboard.event import StateType, state_type
from callboard.parameters import STAND_IN, Read

__all__ = ["Context", "Reaction", "Read", "States"]

S = TypeVar("S")
LOG = logging.getLogger("callboard.reaction")


class Reaction(Struct, eq=False):
    """A function of the user's, registered with its service. Its contract is there once a choreography was built."""

    function: Callable[..., Any]
    service: str
    options: Mapping[str, Any]  # as given to the decorator
    where: str
    _contract: Contract | None = None

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def path(self) -> str:
        return f"{self.service}.{self.name}"

    @property
    def contract(self) -> Contract:
        if self._contract is None:
            raise LookupError(f"{self.path} has no contract yet: build the Choreography first")
        return self._contract

    @contract.setter
    def contract(self, contract: Contract) -> None:
        self._contract = contract


class Context:
    """Who asks, which attempt it is, what time it is, the keys for calls outside. In a test: `Context(attempt=3)`."""

    __slots__ = (
        "_inputs_of", "_known_as", "_lender", "_log", "_now", "_transaction", "_used", "attempt", "causation_id",
        "event_id", "flow_id", "flow_key", "inputs", "reaction",
    )  # fmt: skip

    attempt: int  # counted from 1
    event_id: str  # of the event that made it run
    flow_id: str
    flow_key: str | None  # the value of Flow(key=), where the flow has one
    causation_id: str | None  # of the event that caused that one
    reaction: str  # "service.name"
    inputs: tuple[str, ...]  # the ids of all events that this run answers, as they first came

    def __init__(
        self,
        *,
        attempt: int = 1,
        event_id: str = "",
        flow_id: str = "",
        flow_key: str | None = None,
        causation_id: str | None = None,
        reaction: str = "",
        now: datetime | None = None,
        inputs: Sequence[str] = (),
        inputs_of: Callable[[Callable[..., Any]], Sequence[str]] | None = None,
        known_as: Callable[[str], str] | None = None,
        transaction: Any = None,
        lender: Callable[[], Any] | None = None,
    ) -> None:
        self.attempt = attempt
        self.event_id = event_id
        self.flow_id = flow_id
        self.flow_key = flow_key
        self.causation_id = causation_id
        self.reaction = reaction
        self.inputs = tuple(inputs)
        self._now = datetime.now(UTC) if now is None else now
        self._inputs_of = inputs_of
        self._known_as = known_as or str  # a renamed reaction keeps its keys
        self._transaction = transaction
        self._lender = lender
        self._log: logging.LoggerAdapter[logging.Logger] | None = None
        self._used: set[str] = set()

    def now(self) -> datetime:
        """When this run began: the same at every call, and the time of what it emits."""
        return self._now

    def idempotency_key(self, label: str = "") -> str:
        """The key for one call outside: the same in every attempt, after a crash, and when a dead letter is edited.

        A run that makes two calls gives each a label: the second use of one label raises ValueError.
        """
        if label in self._used:
            raise ValueError(
                f"idempotency_key({label!r}) was used in this run: give each outside call a label of its own"
            )
        self._used.add(label)
        return ids.idempotency_key(self.flow_id, self.inputs, self._known_as(self.reaction), label)

    def key_of(self, reaction: Callable[..., Any], label: str = "") -> str:
        """The key that `reaction`, which this one compensates, used (or would have used) for its call outside."""
        service = self.reaction.rpartition(".")[0]
        path = f"{service}.{reaction.__name__}" if service else reaction.__name__
        inputs = self.inputs if self._inputs_of is None else self._inputs_of(reaction)
        return ids.idempotency_key(self.flow_id, inputs, self._known_as(path), label)

    @property
    def transaction(self) -> Any:
        """The ledger's own open transaction: SQL that commits with this run, or not at all.

        `execute(sql, parameters)` and `executemany(sql, rows)`, as a connection of sqlite3 has them.
        """
        if self._transaction is None:
            if self._lender is None:
                raise RuntimeError(
                    "nobody lends a transaction here: in a test, give Context(transaction=sqlite3.connect(':memory:'))"
                )
            self._transaction = self._lender()
        return self._transaction

    @property
    def log(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger that says with each line which reaction, flow and event it speaks of."""
        if self._log is None:
            known = {
                "reaction": self.reaction,
                "flow_id": self.flow_id,
                "flow_key": self.flow_key,
                "event_id": self.event_id,
                "attempt": self.attempt,
            }
            self._log = logging.LoggerAdapter(LOG, known)
        return self._log


setattr(Context, STAND_IN, "context")


class Rows(Protocol):
    """Where States find their rows."""

    async def get(self, state: StateType, key: Any, /) -> Any: ...
    def put(self, state: StateType, row: Any, /) -> None: ...
    def delete(self, state: StateType, key: Any, /) -> None: ...


class RowsGiven:
    """Rows in memory: what `States(Shelf(...))` holds in a test."""

    def __init__(self) -> None:
        self._rows: dict[Any, Any] = {}

    async def get(self, _state: StateType, key: Any, /) -> Any:
        return self._rows.get(key)

    def put(self, state: StateType, row: Any, /) -> None:
        self._rows[getattr(row, state.key)] = row

    def delete(self, _state: StateType, key: Any, /) -> None:
        self._rows.pop(key, None)


class States(Generic[S]):
    """The rows of one state, any of them by key. What was changed, put or deleted is saved with the run's commit."""

    def __init__(self, *rows: S) -> None:
        self._rows: Rows = RowsGiven()
        self._state: StateType | None = None
        for row in rows:
            self.put(row)

    @classmethod
    def over(cls, state: StateType, rows: Rows) -> "States[S]":
        """The rows that a ledger has."""
        states = cls()
        states._state, states._rows = state, rows
        return states

    async def get(self, key: Any) -> S | None:
        """The row with this key, the same object each time; None if there is none."""
        if self._state is None:  # made without a row, in a test
            return None
        row: S | None = await self._rows.get(self._state, key)
        return row

    def put(self, row: S) -> None:
        """This row is the one with its key from now on, whether there was one or not."""
        if self._state is None:
            self._state = state_type(type(row))
        if type(row) is not self._state.cls:
            raise TypeError(f"{row!r} is no {self._state.cls.__name__}: States hold rows of one class")
        self._rows.put(self._state, row)

    def delete(self, row_or_key: Any) -> None:
        """There is no such row any more."""
        if self._state is not None:
            is_row = type(row_or_key) is self._state.cls
            self._rows.delete(self._state, getattr(row_or_key, self._state.key) if is_row else row_or_key)


setattr(States, STAND_IN, "states")
