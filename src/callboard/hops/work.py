"""The work of one process on one ledger: what it keeps in memory between two groups. All of it can be read again."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from callboard.errors import CodecError, Undecodable
from callboard.event import attribute
from callboard.hops.attempt import Attempt, undone_by
from callboard.hops.deliveries import Agenda, Delivery, Holds, Reader
from callboard.hops.gate import World, heard, unsettled
from callboard.hops.guards import Guards
from callboard.hops.plain import plan_of
from callboard.hops.rows import Rows
from callboard.hops.views import View, Views
from callboard.ids import FlowIds, flow_of, tag
from callboard.ledger import Entry
from callboard.reaction import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Executor
    from random import Random

    from callboard.choreography import Choreography
    from callboard.clock import Clock
    from callboard.codec import Codec
    from callboard.contract import Contract
    from callboard.event import EventType
    from callboard.flow import Flow
    from callboard.hops.abroad import Abroad
    from callboard.hops.deliveries import RowKey
    from callboard.hops.group import Group
    from callboard.hops.publish import Publication, Word
    from callboard.ledger import FlowRow, Ledger, Parked, Position, Wish

TIMER = "callboard.Timer["


class Looks(NamedTuple):
    """Seconds between two looks for what others committed or sent."""

    first: float
    longest: float


LOOKS = Looks(0.001, 0.02)
SAVE = 250_000  # microseconds that a place alone waits for a commit that takes it along


class Watcher(Protocol):
    """Who follows the flows inside each commit (the tracker)."""

    paths: Sequence[str]

    def hears(self, kind: str) -> bool: ...
    def next_deadline(self) -> int | None: ...
    def begun(self, rows: Iterable[FlowRow]) -> None: ...
    async def look(self) -> None: ...
    async def may_end(self, work: Work, group: Group) -> bool: ...
    async def decide(self, work: Work, group: Group) -> list[FlowRow]: ...


@dataclass(eq=False)
class Work:
    """Everything that the movers of one process share."""

    choreography: Choreography
    ledger: Ledger
    codec: Codec
    clock: Clock
    chance: Random
    _: KW_ONLY
    keepers: InitVar[Mapping[type[Any], Any]]
    executor: Executor | None = None

    # what this process owns
    tokens: dict[str, int] = field(default_factory=dict[str, int])
    readers: dict[str, Reader] = field(default_factory=dict[str, Reader])
    routes: dict[str, list[Reader]] = field(default_factory=dict[str, list[Reader]])
    hearers: dict[str, dict[str, list[Reader]]] = field(default_factory=dict[str, dict[str, list[Reader]]])
    silent_effects: set[str] = field(
        default_factory=set[str]
    )  # whose runs count as effects also when they emit nothing
    wishes: bool = False  # operators may have asked for something
    stops: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])  # batches, and lines of them, that failed
    looks_back: bool = False  # some reaction looks back into its flow
    watcher: Watcher | None = None
    abroad: Abroad | None = None  # None: all services share this ledger

    # where it stands in the log
    head: int = 0  # the newest position known to be committed
    edits: int = 0
    prunes: int = 0
    read: int = 0  # everything up to here was handed out
    time: int = 0
    start_head: int = 0  # what was waiting when this process began
    moved: bool = True  # somebody else has committed
    next_look: int = 0  # when it is looked again which flows have their verdict
    unsaved: int = 0  # since when positions have moved that the ledger does not know of; 0: none have

    # what waits
    fresh: deque[Entry] = field(default_factory=deque[Entry])  # behind `read`, without a gap
    publications: deque[Publication] = field(default_factory=deque["Publication"])
    reopen: list[tuple[Reader, int]] = field(
        default_factory=list[tuple[Reader, int]]
    )  # left open by the process before
    ready: list[Delivery] = field(default_factory=list[Delivery])
    later: list[Delivery] = field(default_factory=list[Delivery])  # may start once this group is committed
    raws: dict[Delivery, None] = field(default_factory=dict[Delivery, None])  # to run inside of a commit, in order
    due_now: list[tuple[Reader, Parked]] = field(default_factory=list[tuple[Reader, "Parked"]])
    stopped: set[int] = field(default_factory=set[int])  # flows with a dead letter
    over: set[int] = field(default_factory=set[int])  # those of them that have their verdict
    wants: dict[int, set[tuple[str, RowKey]]] = field(default_factory=dict[int, set[tuple[str, "RowKey"]]])
    active: dict[tuple[str, RowKey], Delivery] = field(default_factory=dict[tuple[str, "RowKey"], Delivery])
    holds: Holds = field(default_factory=Holds)
    agenda: Agenda = field(default_factory=Agenda)

    # what runs
    group: Group | None = None
    groups: int = 0
    rounds: int = 0  # so often it was looked whether there is something to do
    quiet: bool = False  # the last time there was not
    was_raw: bool = False  # the group before was one of reactions with SQL of their own
    fuse: bool = True
    foreign: int = 0  # groups for which hops are not fused, because others write too
    running: set[Attempt] = field(default_factory=set["Attempt"])
    finished: deque[Attempt] = field(default_factory=deque["Attempt"])
    alone: dict[str, Delivery] = field(default_factory=dict[str, Delivery])
    suspects: int = 0  # so many entries may have been in hand when the process before us died
    trial: Delivery | None = None  # one of them, running alone
    draining: bool = False
    longest_wait: timedelta = timedelta(hours=1)
    looks: Looks = LOOKS

    # who waits for this process
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    decided: list[FlowRow] = field(default_factory=list["FlowRow"])  # flows whose verdict or deadline came
    watching: bool = False  # somebody waits for events of a flow
    touched: set[int] = field(default_factory=set[int])  # flows in which something happened

    def __post_init__(self, keepers: Mapping[type[Any], Any]) -> None:
        choreography = self.choreography
        self.guards = Guards(keepers)
        self.types: dict[str, EventType] = dict(choreography.events)
        self.private = frozenset(s.name for s in choreography.states.values() if choreography.is_private(s))
        self.outgoing = frozenset(kind.name for kind in choreography.outgoing)
        self.words: dict[type[Any], Word] = {}  # what is known of what was published
        self.views = Views(self.ledger)
        self.no_view = View()
        self.rows = Rows(self.ledger)
        self.flow_ids = FlowIds()
        self.tasks = set[asyncio.Future[Any]]()  # runs that go on beside the groups
        self.world = World(self.readers, self.hearers, self.value, self.type_of)

    # time

    def now(self) -> int:
        """The time in microseconds; it never goes backwards in one ledger."""
        self.time = max(self.time, int(self.clock.now().timestamp() * 1_000_000))
        return self.time

    def wake(self) -> None:
        """There is something to do."""
        self.woken.set()

    # events

    def type_of(self, entry: Entry) -> EventType:
        """The type of an entry. Raises Undecodable for one that this build does not know."""
        kind = self.types.get(entry.type)
        if kind is None:
            raise Undecodable(f"{entry.type} is not known to this build")
        return kind

    def value(self, entry: Entry) -> Any:
        """The event; one object for all where it cannot change, else a copy of one's own."""
        if entry.value is not None:
            return entry.value
        kind = self.type_of(entry)
        event = self.codec.decode(entry.data, kind)
        if kind.immutable:
            entry.value = event
        return event

    def readable(self, entry: Entry) -> Any:
        """As `value`; None where this build cannot read it, which is told when it is its turn."""
        try:
            return self.value(entry)
        except CodecError:
            return None

    @property
    def stamp(self) -> int:
        """Grows with every commit that somebody else could see: the least version of a row that is written now."""
        return self.head + self.edits

    def took_in(self, entries: Sequence[Entry], before: int, head: int) -> None:
        """Others' events were written down behind `before`: they are handed out next, from memory if no gap is left."""
        handed = self.fresh[-1].pos if self.fresh else self.read
        if self.group is None and handed == before == self.head:
            self.fresh.extend(entries)
        if head > self.head:  # else all of it had come before
            self.wake()
        self.head = max(self.head, head)
        if self.watching:
            self.touched |= {entry.flow for entry in entries}

    # runs

    def context(self, attempt: Attempt) -> Context:
        """What a run is told of itself."""
        delivery = attempt.delivery
        trigger = delivery.trigger
        view = self.views.get(delivery.entry.flow) or self.no_view
        key = next(
            (k for f in self.choreography.flows.values() if (k := self._flow_key(delivery, f)) is not None), None
        )
        return Context(
            attempt=delivery.attempts,
            event_id=trigger.id,
            flow_id=flow_of(trigger.id),
            flow_key=key,
            causation_id=trigger.id.rpartition(".")[0] or None,
            reaction=delivery.reader.path,
            now=datetime.fromtimestamp(attempt.time / 1_000_000, UTC),
            inputs=(trigger.id, *undone_by(attempt)),
            inputs_of=partial(self._inputs_of, attempt, view, self._tried(attempt, view)),
            lender=attempt.lend,
            known_as=self._known_as,
        )

    def _known_as(self, path: str) -> str:
        """The name that stands in the keys of a reaction, whatever it is called now."""
        reader = self.readers.get(path)
        return path if reader is None else reader.known_as

    def _flow_key(self, delivery: Delivery, flow: Flow) -> str | None:
        key = attribute(delivery.value if delivery.value is not None else self.value(delivery.trigger), flow.key)
        return None if key is None else str(key)

    def _inputs_of(
        self, attempt: Attempt, view: View, tried: set[int], function: Callable[..., Any]
    ) -> tuple[str, ...]:
        """The input of the run that a compensation undoes: what caused its effect, or else of the one whose outcome
        nobody knows, or else what it was last asked with before it was to be undone: what comes later changes no key.

        Asked while it runs, when the views may have changed: `view` and `tried` are what it was begun with.
        """
        delivery = attempt.delivery
        if isinstance(attempt.effect, Entry):
            return tuple(entry.id for entry in view.entries if entry.pos == attempt.effect.cause)
        done = self.readers[f"{delivery.reader.contract.service}.{function.__name__}"].contract
        kinds = {kind.name for kind in done.hears}
        asked = [entry for entry in view.entries if entry.type in kinds]
        if delivery.part:
            asked = [entry for entry in asked if self.world.part(entry, done.options.per) in ("", delivery.part)]
        before = [each for each in asked if each.pos < delivery.entry.pos]
        return tuple(entry.id for entry in [each for each in asked if each.pos in tried] or before)[-1:]

    def _tried(self, attempt: Attempt, view: View) -> set[int]:
        """What a compensation without an effect settles: the attempts whose outcome nobody knows."""
        delivery = attempt.delivery
        undone = delivery.reader.contract.options.compensates
        if undone is None or isinstance(attempt.effect, Entry):
            return set()
        done = self.readers[f"{delivery.reader.contract.service}.{undone}"]
        return unsettled(done, delivery, view, self.world)

    def done(self, attempt: Attempt) -> None:
        """A run that went on beside the groups has ended."""
        self.finished.append(attempt)
        self.wake()

    def in_thread(self, function: Callable[..., Any], given: dict[str, Any]) -> asyncio.Future[Any]:
        """Run a blocking reaction in a thread."""
        return asyncio.get_running_loop().run_in_executor(self.executor, partial(function, **given))

    # readers

    def add_readers(self, service: str, positions: Mapping[str, Position]) -> list[Reader]:
        """The readers of a service that this process owns now; nothing is handed to them before they are placed."""
        added: list[Reader] = []
        for contract in self.choreography.contracts.values():
            if contract.service == service:
                known_as = positions[contract.path].known_as
                reaction = self.choreography.reactions[contract.path]
                reader = Reader(contract, reaction, order=len(self.readers), tag=tag(known_as))
                reader.known_as = known_as
                reader.over, reader.tasks = self.over, self.tasks
                self.readers[contract.path] = reader
                added.append(reader)
        return added

    def route(self) -> None:
        """Rebuild who hears what, after readers came or went."""
        self.routes.clear()
        self.hearers.clear()
        self.world.undoers.clear()
        self.world.pairs.clear()
        for reader in self.readers.values():
            for kind in types_heard(reader.contract):
                self.routes.setdefault(kind, []).append(reader)
                self.hearers.setdefault(reader.contract.service, {}).setdefault(kind, []).append(reader)
            self._tell(reader)

    def _tell(self, reader: Reader) -> None:
        """What follows for a reader from the choreography as a whole."""
        contract, pairs = reader.contract, self.choreography.compensations
        reader.watches = looks_back(reader, pairs)
        reader.flow_bound = reader.watches or contract.options.wait is not None
        self.looks_back = self.looks_back or reader.watches
        undone = contract.path if contract.path in pairs else None
        if contract.options.compensates is not None:
            undone = f"{contract.service}.{contract.options.compensates}"
        if contract.options.compensates is not None and undone is not None:
            self.world.undoers.setdefault(undone, []).append(reader)
        if undone is not None:
            reader.pair = undone
            self.world.pairs.setdefault(undone, []).append(reader)
            pair = [self.choreography.contracts[path] for path in (undone, *pairs[undone])]
            reader.pair_by_part = all(each.options.per is not None for each in pair)
            if any(not each.effect_types for each in pair[1:]):
                self.silent_effects.add(undone)
        reader.plan = plan_of(reader, self.private, self.codec)

    def kinds_of(self, reader: Reader) -> list[str]:
        """The types that a reader hears."""
        return [kind for kind, readers in self.routes.items() if reader in readers]

    async def place(self, readers: Iterable[Reader], positions: Mapping[str, Position], rows: Sequence[Parked]) -> None:
        """Put readers where the ledger says they stand, with everything of theirs that is parked."""
        for reader in readers:
            position = positions[reader.path]
            reader.since, reader.pos = position.since, position.pos
            self.reopen += [(reader, pos) for pos in position.open if pos <= position.pos]
            reader.done = {pos for pos in position.open if pos > position.pos}
        for parked in rows:
            owner = self.readers.get(parked.reaction)
            if owner is None:
                continue
            self.add_row(owner, parked)
            first_behind = parked.why == "behind" and owner.blocked[parked.line][0] == (parked.pos, parked.effect)
            if parked.why in ("running", "waiting") or first_behind or parked.asked is not None:
                self.due_now.append(
                    (owner, parked)
                )  # it ran when the process before us died, or may have what it waits for

    # parked rows

    def add_row(self, reader: Reader, parked: Parked) -> None:
        """A delivery is parked: it blocks its line, becomes due, and waits for what is missing, as its reason says."""
        if (before := reader.rows.get((parked.pos, parked.effect))) is not None:
            self._want_no_more(reader, before)
        reader.add_row(parked)
        self.agenda.add(reader, parked)
        if parked.why == "waiting" and not parked.for_newer_build:
            self.wants.setdefault(parked.flow, set()).add((reader.path, (parked.pos, parked.effect)))
        elif parked.why == "dead":
            self.stopped.add(parked.flow)

    def drop_row(self, reader: Reader, row: RowKey) -> Parked | None:
        """A delivery is parked no more; what stood right behind it in its line may go on."""
        parked = reader.drop_row(row)
        if parked is None:
            return None
        self._want_no_more(reader, parked)
        self.wake_follower(reader, parked.line)
        return parked

    def wake_follower(self, reader: Reader, line: str) -> None:
        """What stands first behind whatever has left this line may go on."""
        blocked = reader.blocked.get(line)
        if blocked and (follower := reader.rows[blocked[0]]).why == "behind":
            self.due_now.append((reader, follower))

    def end(self, flow: int) -> None:
        """The flow has its verdict: its dead letters stay listed, and what stood behind them goes on."""
        self.over.add(flow)
        for reader in self.readers.values():
            for row in reader.flow_rows.get(flow, ()):
                if (parked := reader.rows[row]).why == "dead" and (reader.path, row) not in self.active:
                    reader.unblock(row, parked)
                    self.wake_follower(reader, parked.line)

    def _want_no_more(self, reader: Reader, parked: Parked) -> None:
        if parked.why == "waiting" and (wanting := self.wants.get(parked.flow)) is not None:
            wanting.discard((reader.path, (parked.pos, parked.effect)))
            if not wanting:
                del self.wants[parked.flow]

    def is_stopped(self, delivery: Delivery, wish: Wish) -> bool:
        """Whether a replay of its batch, or of its batch in its line, has failed again."""
        return not self.stops.isdisjoint({(wish.batch, ""), (wish.batch, f"{delivery.reader.path} {delivery.line}")})

    def heard_by(self, entry: Entry) -> Iterable[Reader]:
        """The readers of this process that the entry is for."""
        readers = self.routes.get(entry.type, ())
        if not entry.type.startswith("callboard."):
            return readers
        return [reader for reader in readers if heard(reader, entry, self.outgoing)]

    # resting

    @property
    def busy(self) -> bool:
        """Whether another group would find something to do at once."""
        return bool(
            self.group
            or self.fresh
            or self.finished
            or self.publications
            or self.ready
            or self.raws
            or self.due_now
            or self.reopen
            or self.read < self.head
        )

    @property
    def lags(self) -> bool:
        """Whether a reaction that fell behind reads on."""
        return any(reader.lag is not None for reader in self.readers.values())

    def next_due(self) -> int | None:
        """When something becomes due, in microseconds."""
        dues = [self.agenda.next(), self.guards.next(self.time), self.watcher.next_deadline() if self.watcher else None]
        known = [due for due in dues if due is not None]
        return min(known) if known else None

    @property
    def caught_up(self) -> bool:
        """Whether everything that was in the log is handed out: only then may timers and deadlines fire."""
        return self.read >= self.head and not self.fresh


def types_heard(contract: Contract) -> list[str]:
    """The types of the entries that are for this reaction."""
    timer = [f"{TIMER}{contract.path}]"] if contract.options.wait is not None else []
    return [kind.name for kind in contract.hears] + timer


def looks_back(reader: Reader, compensations: Mapping[str, Sequence[str]]) -> bool:
    """Whether its gate needs the view of the flow."""
    contract, options = reader.contract, reader.contract.options
    return bool(
        contract.is_join
        or contract.gathered
        or contract.givens
        or options.needs
        or options.unless
        or options.once
        or options.compensates
        or compensations.get(contract.path)
    )
