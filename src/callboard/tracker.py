"""The tracker follows flows: it gives each its one verdict, and tells of a deadline that passed. It steers nothing
else.

It runs inside the commits of the service that is a flow's home, and decides by what was read there, in log order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from callboard.contract import AllOf, OneOf, Shape, allowed, holds, types_in
from callboard.event import FlowTimedOut
from callboard.ids import FLOW_LENGTH, child, tag
from callboard.ledger import NO_EFFECT, Entry, Note

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from callboard.choreography import Choreography
    from callboard.contract import Contract
    from callboard.event import EventType
    from callboard.flow import Flow
    from callboard.ledger import FlowRow, Ledger, Memory, Parked

_OF_EFFECTS = ("undone", "effect", "unknown")
_AT_ONCE = 256  # deadlines announced in one commit
_FAILED = 50_000  # failed flows that are kept in mind; older ones are looked up


class Tracker:
    """The flows whose home is one of these services."""

    def __init__(
        self, choreography: Choreography, ledger: Ledger, homes: Iterable[str], *, separate: bool = False
    ) -> None:
        self._choreography = choreography
        self._ledger = ledger
        homes = set(homes)
        self._flows: dict[str, Flow] = {
            name: flow for name, flow in choreography.flows.items() if choreography.home_of(flow).name in homes
        }
        self.paths: Sequence[str] = [
            path_of(home) for home in sorted({choreography.home_of(f).name for f in self._flows.values()})
        ]
        self._by_type: dict[str, list[Flow]] = {}
        for flow in self._flows.values():
            for kind in flow.ends:
                self._by_type.setdefault(kind.name, []).append(flow)
        self._alone = {
            (flow.name, kind.name): _outcome(flow, {kind})
            for flow in self._flows.values()
            if not _counts(flow)
            for kind in flow.ends
        }
        self._begin = {flow.start.name for flow in self._flows.values()} if separate else set[str]()
        self._failing: dict[tuple[int, str], FlowRow] = {}
        self._next: int | None = None
        self._news = False  # somebody else has committed
        contracts = choreography.contracts
        self._effects = {path for path, each in contracts.items() if takes_effect(choreography, each)}
        self._effects |= {path for paths in choreography.compensations.values() for path in paths}
        self._failed: set[int] = set()  # of the flows that began since `_since`
        self._since = 0

    async def load(self) -> None:
        """Read what was undecided when the process before this one stopped."""
        names = list(self._flows)
        self._failing = {(row.number, row.name): row for row in await self._ledger.flows_failing(names)}
        self._next = await self._ledger.next_deadline(names)
        self._since = await self._ledger.head()

    def hears(self, kind: str) -> bool:
        """Whether an event of this type may end a flow."""
        return kind in self._by_type or kind in self._begin or bool(self._failing)

    def next_deadline(self) -> int | None:
        """When a deadline may pass next."""
        return self._next

    async def look(self) -> None:
        """Somebody else has committed: flows with an earlier deadline may have begun, compensations may be done."""
        self._next = await self._ledger.next_deadline(list(self._flows))
        self._news = True

    async def may_end(self, work: Any, group: Any) -> bool:
        """Whether a failed flow waits for nothing more, its last compensation may be done elsewhere, or has leaked."""
        for row in self._failing.values() if self._news else ():
            if not await self._pending(work, row.number, await _entries_of(self._ledger, group, row.number)):
                return True
        self._news = False
        return bool(self._late(group))

    def begun(self, rows: Iterable[FlowRow]) -> None:
        """These flows have begun: their deadlines are watched."""
        for row in rows:
            if (
                row.name in self._flows
                and row.deadline is not None
                and (self._next is None or row.deadline < self._next)
            ):
                self._next = row.deadline

    async def decide(self, work: Any, group: Any) -> list[FlowRow]:
        """The flows that this commit changes: verdicts, failures that wait for compensations, deadlines."""
        changed: dict[tuple[int, str], FlowRow] = {}
        await self._complete(work, group, changed)
        await self._settle_failing(work, group, changed)
        await self._recount(work, group)
        if group.deadlines:
            await self._time_out(work, group, changed)
        await self._close_over(work, group, changed)
        return list(changed.values())

    async def _close_over(self, work: Any, group: Any, changed: dict[tuple[int, str], FlowRow]) -> None:
        """What waits is closed with the verdict; where several expectations watch one flow, with the last of them."""
        ended = {row.number: row for row in changed.values() if row.verdict is not None}
        known = [row for row in await self._ledger.flows_by_number(ended) if row.name] if ended else []
        known += [row for publication in group.publications for row in publication.flows if row.name]
        open_still = {row.number for row in known if changed.get((row.number, row.name), row).verdict is None}
        waiting = [reader for reader in work.readers.values() if reader.flow_rows]
        for row in ended.values() if waiting else ():
            if row.number not in open_still:
                _close_waits(waiting, group, row)

    # completions

    async def _complete(self, work: Any, group: Any, changed: dict[tuple[int, str], FlowRow]) -> None:
        ending = [e for e in group.seen if e.type in self._by_type or (e.source is not None and _is_late_start(e))]
        if not ending:
            return
        known: dict[tuple[int, str], FlowRow] = {}
        for publication in group.publications:
            known.update({(row.number, row.name): row for row in publication.flows})
        numbers = {entry.flow for entry in ending}
        known.update({(row.number, row.name): row for row in await self._ledger.flows_by_number(numbers)})
        for entry in ending:
            for flow in self._by_type.get(entry.type) or self._flows.values():
                row = known.get((entry.flow, flow.name))
                if row is None or row.verdict is not None or row.failing is not None:
                    continue
                outcome = self._alone.get((flow.name, entry.type)) or await self._outcome(work, group, flow, entry)
                if outcome is None:
                    continue
                before = replace(row)
                verdict, row.by = outcome
                if verdict == "succeeded":
                    row.verdict, row.ended = verdict, group.now
                else:
                    row.failing = entry.pos
                    self._failing[row.number, row.name] = row
                    group.undo.append(partial(self._failing.pop, (row.number, row.name), None))
                _change(group, changed, row, before)

    async def _outcome(self, work: Any, group: Any, flow: Flow, entry: Entry) -> tuple[str, str] | None:
        entries = await _entries_of(self._ledger, group, entry.flow)
        seen = {work.types[each.type] for each in entries if each.pos <= entry.pos and each.type in work.types}
        return _outcome(flow, seen)

    # failed verdicts wait for the compensations

    async def _settle_failing(self, work: Any, group: Any, changed: dict[tuple[int, str], FlowRow]) -> None:
        for key, row in list(self._failing.items()):
            entries = await _entries_of(self._ledger, group, row.number)
            if await self._pending(work, row.number, entries):
                continue
            before = replace(row)
            row.verdict, row.ended = "failed", group.now
            memories = [m for outcome in group.outcomes for m in outcome.memories if m.flow == row.number]
            memories += await self._ledger.memories([row.number])
            row.leaked = ", ".join(_leaked(work, self._choreography, entries, memories)) or None
            _change(group, changed, row, before)
            del self._failing[key]
            group.undo.append(partial(self._failing.__setitem__, key, row))
            self._failed.add(row.number)

    # what commits after a failed verdict

    def _late(self, group: Any) -> dict[int, Entry]:
        """What may have changed what leaked of a flow: the last effect, or undoing, of each that may have failed."""
        return {
            entry.flow: entry
            for entry in group.seen
            if entry.by in self._effects and (entry.flow in self._failed or entry.flow <= self._since)
        }

    async def _recount(self, work: Any, group: Any) -> None:
        """What was on its way at a failed verdict may have taken its effect since, or undone one: it is told."""
        if len(self._failed) > _FAILED:
            self._failed, self._since = set(), work.head
        late = self._late(group)
        for row in await self._ledger.flows_by_number(late) if late else ():
            if row.verdict != "failed" or row.name not in self._flows:
                continue
            entry, before = late[row.number], row.leaked
            entries = await _entries_of(self._ledger, group, row.number)
            memories = [m for outcome in group.outcomes for m in outcome.memories if m.flow == row.number]
            memories += await self._ledger.memories([row.number])
            row.leaked = ", ".join(_leaked(work, self._choreography, entries, memories)) or None
            if row.leaked != before:
                group.recounted.append(row)
                why = f"{row.name} has failed, not undone now: {row.leaked or 'nothing'}"
                group.notes.append(Note(entry.cause, entry.by or "", row.number, "after the verdict", why, group.now))

    async def _pending(self, work: Any, flow: int, entries: Sequence[Entry]) -> bool:
        """Whether a compensation was asked in this flow and is neither done nor dead."""
        for paths in self._choreography.compensations.values():
            for contract in (self._choreography.contracts[path] for path in paths):
                kinds = {kind.name for kind in contract.hears}
                asks = [entry for entry in entries if entry.type in kinds and _asks(contract, entry)]
                if asks and await self._unanswered(work, contract, flow, asks, entries):
                    return True
        return False

    async def _unanswered(
        self, work: Any, contract: Contract, flow: int, asks: Sequence[Entry], entries: Sequence[Entry]
    ) -> bool:
        if _is_elsewhere(work, contract):
            return _owes(contract, asks, entries)
        reader = work.readers.get(contract.path)
        if reader is not None:
            upto = work.read if reader.lag is None else reader.lag
            rows = [reader.rows[row] for row in sorted(reader.flow_rows.get(flow, ()))]
            behind = any(a.pos in reader.open or (a.pos > upto and a.pos not in reader.done) for a in asks)
            return behind or _goes_on(rows)
        names = (contract.path, f"{contract.service}.{contract.options.was}")  # its owner may be of an older build
        position = next((p for p in await self._ledger.positions() if p.reaction in names and p.live), None)
        if position is None:
            return False
        parked = await self._ledger.parked(reactions=[position.reaction], flow=flow)
        return not all(position.finished(a.pos) for a in asks) or _goes_on(parked)

    # deadlines

    async def _time_out(self, work: Any, group: Any, changed: dict[tuple[int, str], FlowRow]) -> None:
        names = list(self._flows)
        rows = await self._ledger.flows_due(group.now, names, limit=_AT_ONCE)
        late = [row for row in rows if (row.number, row.name) not in changed]
        starts = {entry.pos: entry for entry in await self._ledger.entries([row.number for row in late])}
        for row in late:
            start = starts.get(row.number)
            if start is None or start.id != row.id:  # what came first here was not what began it
                start = await self._ledger.find(row.id)
            if start is None or (started := work.readable(start)) is None:
                continue  # this build cannot read it: the flow stays listed as past its deadline
            deadline = datetime.fromtimestamp((row.deadline or 0) / 1_000_000, UTC)
            event = FlowTimedOut(started=started, deadline=deadline)
            kind = f"callboard.FlowTimedOut[{start.type}]"
            event_id = child(start.id, tag(f"deadline {row.name}"))
            told, by = work.codec.encode(event), "callboard.tracker"
            group.append(Entry(0, event_id, kind, row.number, group.now, told, None, start.pos, by))
            before = replace(row)
            row.timed_out = True
            _change(group, changed, row, before)
        self._next = group.now if len(rows) == _AT_ONCE else await self._ledger.next_deadline(names)
        if self._next is not None and self._next <= group.now and len(rows) < _AT_ONCE:
            self._next = await self._ledger.next_deadline(
                names, after=group.now
            )  # up to it all are told in this commit


def _is_late_start(entry: Entry) -> bool:
    """Whether a broker brought what began the flow after other events of it: one of them may have ended it."""
    return len(entry.id) == FLOW_LENGTH and entry.pos != entry.flow


def _change(group: Any, changed: dict[tuple[int, str], FlowRow], row: FlowRow, before: FlowRow) -> None:
    """The row is part of this commit; if the commit does not happen it is as it was."""
    changed[row.number, row.name] = row

    def undo() -> None:
        for field in row.__struct_fields__:
            setattr(row, field, getattr(before, field))

    group.undo.append(undo)


def _close_waits(readers: Iterable[Any], group: Any, row: FlowRow) -> None:
    """What still waits in a flow that has its verdict is closed as no longer needed; no dead letter comes of it."""
    for reader in readers:
        for place in list(reader.flow_rows.get(row.number, ())):
            parked = reader.rows[place]
            before = row.failing or group.head + len(group.entries) + 1
            waits = parked.why in ("waiting", "half", "timer") and parked.attempts == 0  # or else it may have acted
            if waits and parked.pos < before and not parked.for_newer_build:
                group.closed.append((reader, parked))


async def _entries_of(ledger: Ledger, group: Any, flow: int) -> list[Entry]:
    entries = await ledger.flow_entries([flow])
    return entries + [entry for entry in group.entries if entry.flow == flow]


def path_of(home: str) -> str:
    """Under which name the tracker of a home stands among the ledger's reactions."""
    return f"{home}.(tracker)"


def _counts(flow: Flow) -> bool:
    """Whether a completion needs more than one event."""
    shapes = [flow.succeeds] if flow.fails is None else [flow.succeeds, flow.fails]
    return any(_has_parts(shape) for shape in shapes)


def _has_parts(shape: Shape) -> bool:
    return isinstance(shape, AllOf) or (isinstance(shape, OneOf) and any(_has_parts(part) for part in shape.of))


def _outcome(flow: Flow, seen: set[EventType]) -> tuple[str, str] | None:
    """The verdict that follows from these events, and the types that make it; None if they make none."""
    if holds(flow.succeeds, seen):
        return "succeeded", _names(flow.succeeds, seen)
    if flow.fails is not None and holds(flow.fails, seen):
        return "failed", _names(flow.fails, seen)
    return None


def _names(shape: Shape, seen: set[EventType]) -> str:
    return ", ".join(kind.name for kind in types_in(shape) if kind in seen)


def _goes_on(rows: Sequence[Parked]) -> bool:
    """Whether one of these asks, in log order, goes on by itself: it is neither dead nor behind a dead letter."""
    dead: dict[str, int] = {}
    for row in rows:
        if row.why == "dead":
            dead.setdefault(row.line, row.pos)
        elif row.why != "behind" or dead.get(row.line, row.pos) >= row.pos:
            return True
    return False


def _asks(contract: Contract, entry: Entry) -> bool:
    if entry.type.startswith("callboard.ReactionFailed["):
        return entry.by == f"{contract.service}.{contract.options.compensates}"
    return True


def takes_effect(choreography: Choreography, contract: Contract) -> bool:
    """Whether a run of it changes what others can see: a port, or a state that is not private to the flow."""
    if contract.options.compensates is not None:
        return False
    rows = [row for row in contract.states if row.form != "read" and not choreography.is_private(row.state)]
    return bool(contract.ports or rows)


def _is_elsewhere(work: Any, contract: Contract) -> bool:
    """Whether its service keeps another ledger: what it answers is all that is known of it here."""
    return work.abroad is not None and contract.service not in work.abroad.here


def _owes(contract: Contract, asks: Sequence[Entry], entries: Sequence[Entry]) -> bool:
    """Whether a compensation in another ledger was asked, and its answer must still come."""
    if not _always_answers(contract) or any(entry.by == contract.path for entry in entries):
        return False
    if all(ask.type.startswith("callboard.ReactionFailed[") for ask in asks):
        return False  # a reaction to it that fails tells nobody
    if any(given.optional for given in contract.givens):
        return True
    undone = f"{contract.service}.{contract.options.compensates}"
    return any(entry.by == undone and entry.type in {kind.name for kind in contract.effect_types} for entry in entries)


def _always_answers(contract: Contract) -> bool:
    """Whether nothing but a dead letter keeps it from emitting an event when it is asked."""
    options = contract.options
    conditions = (options.per, options.once, options.unless, options.needs, options.wait)
    return all(each is None for each in conditions) and not allowed(contract.returns, ())


def _undone_elsewhere(choreography: Choreography, path: str, entries: Sequence[Entry]) -> set[int]:
    """The entries of a reaction in another ledger that its compensations have answered for, as far as it is told.

    An answer is for all of them, whatever came here first: it closes the reaction.
    """
    for contract in (choreography.contracts[each] for each in choreography.compensations.get(path, ())):
        kinds = {kind.name for kind in contract.hears}
        told = [entry.type.startswith("callboard.") for entry in entries if entry.by == contract.path]
        asked = any(entry.type in kinds and _asks(contract, entry) for entry in entries)
        if (told and not any(told)) or (asked and not told and not _always_answers(contract)):
            return {entry.pos for entry in entries if entry.by == path}
    return set()


def _leaked(work: Any, choreography: Choreography, entries: Sequence[Entry], memories: Sequence[Memory]) -> list[str]:
    """The reactions whose effects stand although the flow failed and nobody said that they may."""
    leaked: list[str] = []
    for path, contract in choreography.contracts.items():
        if contract.options.keeps is not None or not takes_effect(choreography, contract):
            continue
        kept = {kind: {m.pos for m in memories if m.kind == kind and m.name == path} for kind in _OF_EFFECTS}
        undone = kept["undone"]
        if _is_elsewhere(work, contract):
            undone = _undone_elsewhere(choreography, path, entries)
        pairs = [choreography.contracts[each] for each in choreography.compensations.get(path, ())]
        kinds = {kind.name for each in pairs for kind in each.effect_types}
        failures = {kind.name for kind in contract.emits if kind.failure}
        taken = [
            entry for entry in entries
            if entry.by == path and not entry.type.startswith("callboard.") and entry.type not in failures
            and (not kinds or entry.type in kinds)
        ]  # fmt: skip
        stands = any(pos not in undone for pos in (*(entry.pos for entry in taken), *kept["effect"]))
        if stands or (kept["unknown"] and NO_EFFECT not in undone):
            leaked.append(path)
    return leaked
