"""What callboard promises of every choreography, read from the logs of a world: what breaks it is no error of yours."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from callboard.contract import Contract, StateOf, Trigger, holds, types_in
from callboard.event import attribute
from callboard.hops.work import TIMER
from callboard.ids import child, tag
from callboard.ledger import NO_EFFECT
from callboard.reaction import Context
from callboard.tracker import takes_effect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from callboard.event import EventType
    from callboard.flow import Flow
    from callboard.ledger import Entry, Parked
    from callboard.projection import Projection
    from callboard.simulation.world import World

_OURS = "callboard."
_DEADLINE = "callboard.FlowTimedOut["
_FAILED = "callboard.ReactionFailed["
_SECOND = 1_000_000
Found = tuple[str, str, str]  # oracle, the event or flow that it is about, how it is told


@dataclass
class Book:
    """The log of one ledger, with what is looked up in it."""

    world: World
    worker: str
    entries: list[Entry]

    def __post_init__(self) -> None:
        self.at = {entry.pos: entry for entry in self.entries}
        self.flows: dict[int, list[Entry]] = defaultdict(list)
        self.runs: dict[str, list[Entry]] = defaultdict(list)  # what each reaction has emitted itself
        for entry in self.entries:
            self.flows[entry.flow].append(entry)
            if entry.by and not entry.type.startswith(_OURS) and entry.cause in self.at:
                self.runs[entry.by].append(entry)

    def part(self, entry: Entry, contract: Contract) -> str:
        """The part of its flow that this belongs to."""
        kind = self.world.scene.choreography.events.get(entry.type)
        if contract.options.per is None or kind is None:
            return ""
        return str(attribute(self.world.codec.decode(entry.data, kind), contract.options.per) or "")

    def came(self, entry: Entry) -> int:
        """Where the run stands in the log that emitted this: the place of its event, or of the timer that rang."""
        rang = (e for e in self.flows[entry.flow] if e.type == f"{TIMER}{entry.by}]" and e.cause == entry.cause)
        return next((each.pos for each in rang), entry.cause)

    def like(self, entry: Entry, kinds: Iterable[EventType], contract: Contract) -> Iterator[Entry]:
        """The events of these types in its flow, of the same part or of none."""
        names, part = {kind.name for kind in kinds}, self.part(self.at[entry.cause], contract)
        for other in self.flows[entry.flow]:
            if other.type in names and (not part or self.part(other, contract) in ("", part)):
                yield other


def books(world: World) -> list[Book]:
    """One for each ledger."""
    return [Book(world, name, [entry for at, entry in world.log if at == name]) for name in world.workers]


def broken(book: Book) -> Iterator[Found]:
    """Every promise that this log does not keep."""
    yield from _identities(book)
    for path, contract in book.world.scene.choreography.contracts.items():
        if path in book.runs:
            yield from _options(book, contract, book.runs[path])
    yield from _compensations(book)
    yield from _deadlines(book)
    yield from _letters(book)
    yield from _verdicts(book)
    if len(book.world.workers) == 1:  # what is undone elsewhere is known by what it answers
        yield from _leaks(book)


# stable identity


def _identities(book: Book) -> Iterator[Found]:
    for event_id, many in Counter(entry.id for entry in book.entries).items():
        if many > 1:
            yield "identity", event_id, f"{many} events of the log have one id, {event_id}"
    for one, other in pairwise(book.entries):
        if other.pos <= one.pos:
            yield "identity", other.id, f"{other.type} was given the number {other.pos}, and {one.pos} was given before"
    ordinals = Counter[tuple[str, int]]()
    for path, entries in book.runs.items():
        for entry in entries:
            ordinal, cause = ordinals[path, entry.cause], book.at[entry.cause]
            ordinals[path, entry.cause] += 1
            if not entry.causes and entry.id != child(cause.id, tag(path), ordinal):
                yield "identity", entry.id, f"{entry.type} of {path} has an id that does not follow from its cause"


# what the options of a reaction say


def _options(book: Book, contract: Contract, entries: list[Entry]) -> Iterator[Found]:
    options, path = contract.options, contract.path
    ran: dict[object, tuple[int, ...]] = {}
    for entry in entries:
        cause = book.at[entry.cause]
        part, causes = (entry.flow, book.part(cause, contract)), (entry.cause, *entry.causes)
        whole: object = None
        if contract.is_join:
            whole = part
        elif contract.gathered is not None and options.gathers is not None:
            whole = next((f.id for f in reversed(cause.scatters) if f.type == options.gathers.name), None)
        if whole is not None and ran.setdefault(whole, causes) != causes:
            yield "gate", entry.id, f"{path} ran again, for a part that came late"
        if options.unless is not None:
            before = book.came(entry)
            if any(other.pos < before for other in book.like(entry, types_in(options.unless), contract)):
                yield "gate", entry.id, f"{path} ran after what its unless= names"
        if options.needs is not None:
            seen = {e.type for e in book.like(entry, types_in(options.needs), contract) if e.pos < entry.pos}
            kinds = {kind for kind in types_in(options.needs) if kind.name in seen}
            if not holds(options.needs, kinds):
                yield "gate", entry.id, f"{path} ran before what it needs"
    if options.once is not None:
        yield from _once(book, contract)


def _once(book: Book, contract: Contract) -> Iterator[Found]:
    group = [c for c in book.world.scene.choreography.contracts.values() if c.service == contract.service]
    paths = [c.path for c in group if c.options.once == contract.options.once]
    if contract.path != paths[0]:
        return  # told of the first of them
    first: dict[object, tuple[str, int]] = {}
    for path in paths:
        for entry in book.runs[path]:
            part = (entry.flow, book.part(book.at[entry.cause], contract))
            if first.setdefault(part, (path, entry.cause)) != (path, entry.cause):
                yield "gate", entry.id, f"{path} ran, and of once={contract.options.once!r} another had run"


# compensation is a barrier


def _compensations(book: Book) -> Iterator[Found]:
    contracts = book.world.scene.choreography.contracts
    for path, undoers in book.world.scene.choreography.compensations.items():
        done, undone = contracts[path], dict[int, int]()
        for undoer in undoers:
            closed: dict[object, int] = {}
            for entry in book.runs[undoer]:
                part = (entry.flow, book.part(book.at[entry.cause], done))
                closed.setdefault(part, entry.cause)
                optional = any(
                    given.optional and set(given.types) <= set(done.emits) for given in contracts[undoer].givens
                )
                if optional and closed[part] != entry.cause:
                    yield "gate", entry.id, f"{undoer} answers once, and has answered twice"
                effects = [pos for pos in entry.causes if pos != entry.cause and book.at[pos].by == path]
                if any(undone.setdefault(pos, entry.cause) != entry.cause for pos in effects):
                    yield "gate", entry.id, f"{undoer} undid what was undone already"
            for entry in book.runs[path]:
                part = (entry.flow, book.part(book.at[entry.cause], done))
                first = next(
                    (e for e in book.runs[undoer] if (e.flow, book.part(book.at[e.cause], done)) == part), None
                )
                if first is not None and first.pos < entry.pos:
                    yield "gate", entry.id, f"{path} took effect after {undoer} had closed it"


# what is told, and when


def _deadlines(book: Book) -> Iterator[Found]:
    choreography = book.world.scene.choreography
    for entry in book.entries:
        if not entry.type.startswith(_DEADLINE):
            continue
        before = [each for each in book.flows[entry.flow] if each.pos < entry.pos]
        seen = {choreography.events[each.type] for each in before if each.type in choreography.events}
        for flow in choreography.flows.values():
            is_it = entry.id == child(before[0].id if before else "", tag(f"deadline {flow.name}"))
            if is_it and _is_over(flow, seen):
                yield "told", entry.id, f"{flow.name} was told of its deadline after it had ended"


def _is_over(flow: Flow, seen: set[EventType]) -> bool:
    return holds(flow.succeeds, seen) or (flow.fails is not None and holds(flow.fails, seen))


def _letters(book: Book) -> Iterator[Found]:
    choreography, codec = book.world.scene.choreography, book.world.codec
    events = choreography.events
    told = {(e.by, e.cause): e for e in book.entries if e.type.startswith(_FAILED)}
    for entry in told.values():
        if entry.type in events and entry.cause in book.at:
            cause = book.at[entry.cause]
            said = codec.decode(entry.data, events[entry.type]).event
            if cause.type in events and said != codec.decode(cause.data, events[cause.type]):
                yield "told", entry.id, f"{entry.type} of {entry.by} speaks of another event than the one in the log"
    for worker, row in book.world.parked:
        if worker != book.worker or row.why != "dead" or row.reaction not in choreography.contracts:
            continue
        entry = book.at[row.pos]
        if entry.type.startswith(TIMER):
            entry = book.at[entry.cause]
        if entry.type in events and not entry.type.startswith(_FAILED) and (row.reaction, entry.pos) not in told:
            yield "told", entry.id, f"{row.reaction} has a dead letter, and no ReactionFailed tells of it"
    yield from _waits(book)


def _waits(book: Book) -> Iterator[Found]:
    """No retry comes sooner than its back-off says."""
    disk, contracts = book.world.disks[book.worker], book.world.scene.choreography.contracts
    rows: list[Parked] = [r for at, r in book.world.parked if at == book.worker and r.why == "retry"]
    for row in rows:
        if row.reaction not in contracts or row.due is None:
            continue
        failed = "SELECT max(time) FROM note WHERE pos = ? AND reaction = ? AND what = 'failed' AND why LIKE ?"
        least = contracts[row.reaction].options.retry.wait_after(row.attempts, None, 0.0)
        for (at,) in disk.query(failed, row.pos, row.reaction, f"attempt {row.attempts}:%"):
            if at is not None and least is not None and row.due - at < least // timedelta(microseconds=1):
                yield "gate", book.at[row.pos].id, f"{row.reaction} is tried again sooner than its retry= says"
    for reaction, pos in disk.query("SELECT reaction, pos FROM parked WHERE asked IS NOT NULL"):
        event_id = book.at[pos].id if pos in book.at else ""
        yield "told", event_id, f"what an operator asked for {reaction}@{pos} was never done"


# verdicts


def _verdicts(book: Book) -> Iterator[Found]:
    world = book.world
    places = {id(entry): place for place, (_, entry) in enumerate(world.log)}
    contracts = world.scene.choreography.contracts
    undoers = [path for paths in world.scene.choreography.compensations.values() for path in paths]
    gave_up = {(row.reaction, row.flow) for at, row in world.parked if at == book.worker and row.why == "dead"}
    for (worker, flow), place in world.failed_at.items():
        if worker != book.worker:
            continue
        for path in undoers:
            if (path, flow) in gave_up or contracts[path].options.compensates is None:
                continue
            for entry in book.runs[path]:
                asked = places[id(book.at[entry.cause])]
                if entry.flow == flow and asked < place <= places[id(entry)]:
                    yield "told", entry.id, f"a failed verdict did not wait for {path}, which had been asked"


def _leaks(book: Book) -> Iterator[Found]:
    """What the verdict of each failed flow says is left of it is left, and nothing else."""
    disk = book.world.disks[book.worker]
    query = "SELECT number, name, id, coalesce(leaked, '') FROM flow WHERE verdict = 'failed' AND name <> ''"
    for number, name, flow_id, leaked in disk.query(query):
        left = {path for path in book.world.scene.choreography.contracts if _stands(book, path, number)}
        said = set(leaked.split(", ")) - {""}
        if left != said:
            text = f"{name} failed and says that {leaked or 'nothing'} is left, and it is {', '.join(sorted(left))}"
            yield "told", flow_id, text


def _stands(book: Book, path: str, flow: int) -> bool:
    """Whether an effect of this reaction is left in the flow that nobody has undone."""
    choreography = book.world.scene.choreography
    contract = choreography.contracts[path]
    if contract.options.keeps is not None or not takes_effect(choreography, contract):
        return False
    query = "SELECT kind, pos FROM memory WHERE flow = ? AND name = ? AND kind IN ('undone', 'effect', 'unknown')"
    kept: dict[str, set[int]] = defaultdict(set)
    for kind, pos in book.world.disks[book.worker].query(query, flow, path):
        kept[kind].add(pos)
    undoers = (choreography.contracts[each] for each in choreography.compensations.get(path, ()))
    kinds = {kind for each in undoers for kind in each.effect_types}
    kinds = kinds or {kind for kind in contract.emits if not kind.failure}
    names = {kind.name for kind in kinds}
    taken = {entry.pos for entry in book.runs[path] if entry.flow == flow and entry.type in names}
    return bool((taken | kept["effect"]) - kept["undone"] or (kept["unknown"] and NO_EFFECT not in kept["undone"]))


# projections


async def misread(book: Book) -> AsyncIterator[Found]:
    """Projections whose rows are not what their folds make of the log."""
    choreography = book.world.scene.choreography
    for projection in choreography.projections.values():
        home = choreography.home_of(projection).name
        is_here = home == book.worker or home not in book.world.workers
        if is_here and not any(row.form == "any" for _, each in projection.folds for row in each.states):
            expected = await _folded(book, projection)
            for state in projection.states:
                there = {str(getattr(row, state.key)): row for row in await book.world.rows(state.cls)}
                wanted = {key: row for (name, key), row in expected.items() if name == state.name}
                for key in sorted(there.keys() | wanted.keys()):
                    if there.get(key) != wanted.get(key):
                        text = f"{projection.name} has {there.get(key)}, and its log says {wanted.get(key)}"
                        yield "projection", "", text


async def _folded(book: Book, projection: Projection) -> dict[tuple[str, str], Any]:
    rows: dict[tuple[str, str], Any] = {}
    choreography = book.world.scene.choreography
    for entry in book.entries:
        kind = choreography.events.get(entry.type)
        if kind is None or kind not in projection.hears:
            continue
        event, trial = book.world.codec.decode(entry.data, kind), copy.deepcopy(rows)
        try:
            for function, contract in projection.folds:
                if kind in contract.hears:
                    told = function(**_arguments(contract, entry, event, trial))
                    if contract.is_async:
                        await told
        except Exception:  # noqa: BLE001 - whatever theirs raises, the projection stands still there
            return rows
        rows = trial
    return rows


def _arguments(contract: Contract, entry: Entry, event: Any, rows: dict[tuple[str, str], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in contract.parameters:
        if isinstance(each, Trigger):
            found[each.name] = event
        elif isinstance(each, StateOf):
            key = attribute(event, each.state.key)
            place = (each.state.name, str(key))
            if each.form == "row":
                rows.setdefault(place, each.state.cls(**{each.state.key: key}))
            found[each.name] = rows.get(place)
        else:
            found[each.name] = Context(event_id=entry.id, now=datetime.fromtimestamp(entry.time / _SECOND, UTC))
    return found
