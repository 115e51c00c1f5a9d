"""The promise of a ledger: one database that holds the log, state, positions, parked work and memories.

Everything that belongs together is written in one `Transaction`; what was not committed never happened. Positions in
the log are given under the write lock and never reused. Times are microseconds since 1970 (UTC).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

Why = Literal["behind", "retry", "waiting", "half", "timer", "running", "dead"]
"""Why a delivery is parked: behind another of its line, until its retry is due, for a prerequisite, for the other
parts of a join or gather, until its timer is due, while it runs once more, or because its attempts are used up."""


NO_EFFECT = 0
"""What a compensation undid that was asked with nothing to undo, or that settled an unknown outcome."""


class Scatter(NamedTuple):
    """One frame of a scatter: which `list[...]` an event came from, its place in it, and how many there are."""

    type: str
    id: str
    ordinal: int
    size: int


class Entry(Struct, gc=False):
    """One row of the log: an event, where it stands, and what caused it."""

    pos: int
    id: str
    type: str
    flow: int  # the position of the flow's first event
    time: int
    data: bytes
    key: str | None = None  # the ordering key of what belongs to no flow
    cause: int = 0  # the position of the direct cause; 0: from outside
    by: str | None = None  # the reaction that emitted it
    scatters: tuple[Scatter, ...] = ()
    causes: tuple[int, ...] = ()  # all inputs, where there was more than one
    source: str | None = None  # the service it came from, if a broker brought it
    version: int = 1
    causation_id: str | None = None  # the id of its direct cause, if a broker brought it: `cause` is 0 then
    value: Any = None  # the event itself, if it may be handed on in memory


class Wish(Struct, frozen=True, omit_defaults=True):
    """What an operator wants done with a dead letter. Its owner does it when the row is due."""

    what: Literal["replay", "discard"]
    by: str = "an operator"
    batch: str = ""  # what was asked for together with it
    stops: Literal["line", "batch"] = "line"  # what of the batch is not begun any more once a replay failed again
    late: bool = False  # also in a flow that has its verdict


def shown_batch(batch: str) -> str:
    """How a batch stands behind a note, where it is looked for."""
    return f" ({batch})" if batch else ""


NEWER_BUILD = "a newer build"  # what is `missing` where rows are of a shape that this build does not read


class Parked(Struct):
    """A delivery that is not finished and does not run: its only home while it is parked."""

    reaction: str
    pos: int
    effect: int  # the position of the effect that a compensation undoes; 0: none
    flow: int
    line: str
    why: Why
    due: int | None = None
    attempts: int = 0
    error: str | None = None
    missing: str | None = None
    asked: Wish | None = None
    data: bytes | None = None  # the edited payload: only this reaction is given it

    @property
    def for_newer_build(self) -> bool:
        """Whether it waits for a build that reads what it needs: nothing in its flow brings that, or ends the wait."""
        return self.why == "waiting" and (self.missing or "").startswith(NEWER_BUILD)


class Memory(NamedTuple):
    """Something that is remembered of a flow (and part) until the flow is pruned; flow 0 is the ledger itself."""

    flow: int
    kind: Literal["once", "closed", "answered", "undone", "unknown", "effect", "watched", "stopped", "pruned"]
    name: str
    part: str
    pos: int


class Note(NamedTuple):
    """An exception to "handled": what happened to a delivery, and why."""

    pos: int
    reaction: str
    flow: int
    what: str
    why: str
    time: int


def on_record(what: str, about: str, *, by: str, note: str = "", now: int) -> Note:
    """What an operator does, for the ledger's own record: no pruning shortens it."""
    return Note(0, about, 0, what, f"{by}\n{note}", now)


class Row(Struct, frozen=True, gc=False):
    """A state row as it is stored. `data` is None where the row does not exist."""

    version: int
    shape: int
    data: bytes | None


class StateWrite(NamedTuple):
    """A state row to be stored; `data` None deletes it."""

    state: str
    key: str
    version: int
    shape: int
    data: bytes | None


class FlowRow(Struct):
    """One expectation over one flow: its key, its deadline, and its verdict once it has one."""

    number: int
    name: str  # empty: only the place of a flow that is watched elsewhere
    id: str
    key: str | None
    started: int
    deadline: int | None = None
    timed_out: bool = False
    failing: int | None = None  # a failed completion was seen here; the verdict waits for the compensations
    verdict: str | None = None  # succeeded | failed
    ended: int | None = None
    by: str | None = None  # the types that made the completion
    leaked: str | None = None  # what was not undone


class Position(Struct):
    """Where a reaction stands: every event it hears up to `pos` is handled, parked, or in `open`.

    What `open` names behind `pos` is the other way round: it is handled or parked already.
    """

    reaction: str
    since: int
    pos: int
    open: tuple[int, ...]
    live: bool = True  # False: it was retired, and nobody waits for it
    hears: tuple[str, ...] | None = None  # the types it hears; None: nobody knows, it may be any
    first: str | None = None  # the name under which ids and keys are made, where it was renamed
    paused: int | None = None  # until when a breaker keeps it from running
    by: str | None = None  # which one: the name of its port

    @property
    def known_as(self) -> str:
        """The name that stands in the ids and idempotency keys of this reaction, whatever it is called now."""
        return self.first or self.reaction

    def may_hear(self, kind: str) -> bool:
        """Whether an event of this type may be for it."""
        return self.hears is None or kind in self.hears

    def finished(self, pos: int) -> bool:
        """Whether the reaction has handled or parked the event at this place."""
        return (pos in self.open) == (pos > self.pos)


class Ownership(NamedTuple):
    """A service is owned under this token; `clean` if its owner before stopped with nothing running."""

    token: int
    clean: bool


class Supplied(NamedTuple):
    """An idempotency key, or (without a digest) an id that a broker brought, and the event it stands for."""

    id: str
    pos: int
    digest: bytes


StateKey = tuple[str, str]


class Lent(Protocol):
    """An open transaction in the hands of a reaction, under a savepoint: SQL on tables of its own."""

    def execute(self, sql: str, parameters: Any = (), /) -> Any: ...
    def executemany(self, sql: str, rows: Iterable[Any], /) -> Any: ...
    async def end(self, *, keep: bool) -> bool:
        """What the SQL has done stays in the transaction, or is taken back. False if it has ended the transaction."""
        ...


class Transaction(Protocol):
    """What is written in one commit. What stands first is read under the write lock."""

    head: int
    edits: int
    prunes: int  # how often flows were pruned: who decided on what was there before decides again
    pruned_to: int  # no flow that was pruned began after this moment

    async def append(self, entries: Sequence[Entry]) -> None: ...
    async def save(self, rows: Sequence[StateWrite]) -> None: ...
    async def versions(self, keys: Collection[StateKey]) -> dict[StateKey, int]: ...
    async def park(self, rows: Sequence[Parked]) -> None: ...
    async def unpark(self, keys: Sequence[tuple[str, int, int]]) -> None: ...
    async def remember(self, rows: Sequence[Memory]) -> None: ...
    async def note(self, rows: Sequence[Note]) -> None: ...
    async def advance(self, positions: Sequence[Position]) -> None: ...
    async def supply(self, rows: Sequence[Supplied]) -> None: ...
    async def start_flows(self, rows: Sequence[FlowRow]) -> None:
        """Begin these flows, as they are: one may have its verdict already."""
        ...

    async def update_flows(self, rows: Sequence[FlowRow]) -> None: ...
    async def edit(self) -> None:
        """Tell the owner's process that state was changed from outside its reactions."""
        ...

    async def lend(self) -> Lent:
        """SQL of a reaction becomes part of this commit."""
        ...

    async def prune(self, flows: Collection[int], *, kept: Collection[str], upto: int, now: int) -> int:
        """Forget these flows but for their events of the types `kept`; returns how many events went.

        None of them began after `upto`. Their idempotency keys are known until `forget`. What went is remembered of the
        ledger itself, as "pruned": how many of a type, and the position of the newest.
        """
        ...

    async def forget(self, before: int, *, limit: int) -> int:
        """Forget idempotency keys of flows that were pruned before this moment; returns how many."""
        ...

    async def retire(self, reactions: Collection[str]) -> None:
        """Nobody waits for these reactions any more; registered again they start anew."""
        ...

    async def place(self, positions: Sequence[Position]) -> None:
        """These stand there from now on, wherever they stood before."""
        ...

    async def fill(self, state: str, source: str | None) -> int:
        """The rows of `state` are those of the state `source` (None: there are none); returns how many there were."""
        ...


class Ledger(Protocol):
    """One database. Reads see what is committed; writes go through `transaction`."""

    url: str

    async def open(self, names: Collection[str], states: Collection[str]) -> None: ...
    async def close(self) -> None: ...

    async def identity(self) -> str:
        """What tells this database from every other; it never changes."""
        ...

    # the log
    async def head(self) -> int: ...
    async def moved(self) -> bool:
        """Whether another connection has committed since this was last asked."""
        ...

    async def read(self, after: int, *, limit: int, types: Collection[str] | None = None) -> list[Entry]: ...
    async def entries(self, positions: Collection[int]) -> list[Entry]: ...
    async def flow_entries(self, flows: Collection[int]) -> list[Entry]: ...
    async def find(self, event_id: str) -> Entry | None: ...

    # what is remembered
    async def states(self, keys: Collection[StateKey]) -> dict[StateKey, Row]: ...
    async def memories(self, flows: Collection[int]) -> list[Memory]: ...
    async def supplied(self, ids: Collection[str]) -> dict[str, Supplied]: ...
    async def notes(self, flow: int) -> list[Note]: ...
    async def parked(
        self,
        *,
        reactions: Collection[str] | None = None,
        flow: int | None = None,
        flows: Collection[int] | None = None,
        why: Collection[Why] | None = None,
        asked: bool = False,
        limit: int | None = None,
    ) -> list[Parked]: ...

    # flows
    async def flows_by_key(self, keys: Collection[tuple[str, str]]) -> list[FlowRow]: ...
    async def flows_by_number(self, numbers: Collection[int]) -> list[FlowRow]: ...
    async def flow_numbers(self, ids: Collection[str]) -> dict[str, int]: ...
    async def flows_due(self, now: int, names: Collection[str], *, limit: int) -> list[FlowRow]: ...
    async def flows_failing(self, names: Collection[str]) -> list[FlowRow]: ...
    async def next_deadline(self, names: Collection[str], *, after: int = 0) -> int | None: ...
    async def list_flows(
        self, *, name: str | None, status: str | None, before: int | None, limit: int, now: int
    ) -> list[FlowRow]: ...

    # who reads
    async def positions(self) -> list[Position]: ...
    async def register(
        self, positions: Sequence[Position], renamed: Mapping[str, str], tokens: Mapping[str, int] | None = None
    ) -> None:
        """Add reactions that are new or were retired, note what the others hear, and carry over those that are renamed
        (old name to new) with all that is theirs.
        """
        ...

    async def tell_hearers(self, hears: Mapping[str, Collection[str]]) -> None:
        """Which reactions of this build hear which types. What other builds have told stays."""
        ...

    async def hearers(self, types: Collection[str]) -> dict[str, list[str]]:
        """The reactions, of any build, that hear each of these types."""
        ...

    async def own(self, service: str) -> Ownership | None:
        """Take the service for this process, or None while another live process owns it."""
        ...

    async def disown(self, service: str, *, clean: bool) -> None:
        """Let another process own it; `clean` if nothing of it was running."""
        ...

    async def owners(self) -> dict[str, str]: ...

    async def ask(self, letters: Sequence[Parked], notes: Sequence[Note], record: Note | None = None) -> list[bool]:
        """Leave what an operator wants on these dead letters: a wish, when it is due, an edited payload; one note each,
        and one for the record of the ledger.

        One commit. False for one that is no dead letter any more, or of which something is wanted already.
        """
        ...

    async def pruned_to(self) -> int:
        """No flow that was pruned began after this moment; 0 if none was."""
        ...

    async def verify(self) -> list[str]:
        """What is wrong with the database, in words; empty if nothing is."""
        ...

    async def backup(self, place: str) -> None:
        """A copy of one moment is at `place`, whole and sound; work goes on meanwhile."""
        ...

    def transaction(self, tokens: Mapping[str, int]) -> AbstractAsyncContextManager[Transaction]:
        """Begin with the write lock held.

        Raises LedgerBusy at once if it is taken, LedgerLost if a token is no longer ours.
        """
        ...
