"""Publish: an event from outside enters the log, in the caller's commit, in the flow it belongs to."""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from callboard.errors import CallboardError, Conflict, FlowHasEnded, FlowIsOpen, KeyReused, NoSuchFlow
from callboard.event import attribute, class_of, type_of
from callboard.hops.abroad import Request
from callboard.hops.limits import writer
from callboard.ledger import Entry, FlowRow, StateKey, StateWrite, Supplied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from callboard.event import EventType
    from callboard.flow import Flow
    from callboard.hops.group import Group
    from callboard.hops.work import Work


class Placed:
    """Where one published event went: its flow, and whether this call began it."""

    __slots__ = ("flow", "id", "is_new", "key", "name", "pos")

    def __init__(self, pos: int, event_id: str, flow: int, name: str, key: str | None, *, is_new: bool) -> None:
        self.pos = pos
        self.id = event_id
        self.flow = flow
        self.name = name
        self.key = key
        self.is_new = is_new


class Publication:
    """What one call publishes together: events, and state rows changed from outside under their versions."""

    __slots__ = (
        "ask", "entries", "error", "event_id", "events", "flow", "flows", "future", "idempotency_key", "loads",
        "number", "outdated", "placed", "service", "supplied", "writes",
    )  # fmt: skip

    def __init__(
        self, events: Sequence[Any], *, idempotency_key: str | None = None, flow: tuple[int, str] | None = None,
        ask: tuple[str, str] | None = None, event_id: str | None = None, number: int | None = None,
    ) -> None:  # fmt: skip
        self.events = events
        self.idempotency_key = idempotency_key
        self.flow = flow
        self.loads: dict[StateKey, int] = {}
        self.writes: Sequence[StateWrite] = ()
        self.service: str | None = None  # whose rows it changes
        self.ask = ask  # name and key of a flow that is kept in another ledger
        self.event_id = event_id  # of an event that was published in another ledger,
        self.number = number  # and the place of its flow if it has one here
        self.outdated = False  # somebody changed a row of it before its commit
        self.future: asyncio.Future[list[Placed]] = asyncio.get_running_loop().create_future()
        self.reset()

    def reset(self) -> None:
        """As it was before a group took it up."""
        self.entries: list[Entry] = []
        self.flows: list[FlowRow] = []
        self.supplied: list[Supplied] = []
        self.placed: list[Placed] = []
        self.error: CallboardError | None = None

    def shift(self, head: int, by: int) -> None:
        """Its entries moved behind those of somebody else."""
        for flow in self.flows:
            if flow.number > head:
                flow.number += by
        for placed in self.placed:
            placed.pos += by if placed.pos > head else 0
            placed.flow += by if placed.flow > head else 0
        self.supplied = [s._replace(pos=s.pos + by) for s in self.supplied]

    def answer(self) -> None:
        """Tell the caller. Called after the commit."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.placed)


class Word(NamedTuple):
    """What is known of a type that is published: how it is written, and which flows it begins or may join."""

    kind: EventType
    write: Callable[[Any], bytes]
    begins: list[Flow]
    others: list[Flow]


class Candidate:
    """An event to be published: its type, its bytes, and the flows that it begins or may join."""

    __slots__ = ("data", "event", "joins", "kind", "starts")

    def __init__(self, work: Work, event: Any) -> None:
        word = work.words.get(class_of(event)) or _word(work, event)
        self.event = event
        self.kind = word.kind
        self.data = word.write(event)
        self.starts = [(flow, str(getattr(event, flow.key))) for flow in word.begins]
        self.joins = [(flow.name, str(key)) for flow in word.others if (key := attribute(event, flow.key)) is not None]

    @property
    def flows(self) -> list[tuple[str, str]]:
        """The flows that it begins or may join, by name and key."""
        return [*((flow.name, key) for flow, key in self.starts), *self.joins]


def _word(work: Work, event: Any) -> Word:
    kind, flows = type_of(event), list(work.choreography.flows.values())
    begins = [flow for flow in flows if flow.start is kind]
    word = Word(kind, writer(work.codec, kind), begins, [flow for flow in flows if flow not in begins])
    if kind.inner is None:  # else the class alone does not say which type it is
        work.words[class_of(event)] = word
    return word


async def publish(work: Work, group: Group, publications: Sequence[Publication]) -> None:
    """Each publication has its entries in the group, or its error.

    Keys are looked up in the ledger and in the group.
    """
    candidates: dict[int, list[Candidate]] = {}
    for number, publication in enumerate(publications):
        if publication.placed or publication.entries or publication.error:
            publication.reset()
        try:
            candidates[number] = [Candidate(work, event) for event in publication.events]
        except CallboardError as error:
            publication.error = error
    every = [candidate for some in candidates.values() for candidate in some]
    keys = {(flow.name, key) for candidate in every for flow, key in candidate.starts}
    keys |= {pair for candidate in every for pair in candidate.joins}
    known = {(row.name, row.key or ""): row for row in await work.ledger.flows_by_key(keys)} if keys else {}
    asked = [p.idempotency_key for p in publications if p.idempotency_key is not None]
    supplied = await work.ledger.supplied(asked) if asked else {}
    for earlier in group.publications:
        known.update({(row.name, row.key or ""): row for row in earlier.flows})
        supplied.update({each.id: each for each in earlier.supplied})
    for number, publication in enumerate(publications):
        group.publications.append(publication)
        if publication.error is None and _only_begins(work, publication, candidates[number], known):
            publication.placed.append(_begin(work, group, publication, candidates[number][0], known))
        elif publication.error is None:
            try:
                await _place(work, group, publication, candidates[number], known=known, supplied=supplied)
            except CallboardError as error:
                del group.entries[len(group.entries) - len(publication.entries) :]
                for row in publication.flows:
                    known.pop((row.name, row.key or ""), None)
                publication.reset()
                publication.error = error


def _only_begins(
    work: Work, publication: Publication, candidates: Sequence[Candidate], known: Mapping[tuple[str, str], FlowRow]
) -> bool:
    """Whether it is one event that begins flows which nobody has begun, and nothing else."""
    if len(candidates) != 1 or publication.idempotency_key is not None:
        return False
    if publication.flow or publication.loads or work.abroad:
        return False
    starts = candidates[0].starts
    return bool(starts) and not any((flow.name, key) in known for flow, key in starts)


async def _place(
    work: Work,
    group: Group,
    publication: Publication,
    candidates: list[Candidate],
    *,
    known: dict[tuple[str, str], FlowRow],
    supplied: dict[str, Supplied],
) -> None:
    for key, version in publication.loads.items():
        await work.rows.fetch([key])
        owned = publication.service in work.tokens
        if publication.outdated or (owned and work.rows.current(key).version != version):
            raise Conflict(
                f"{key[0]} {key[1]!r} was changed by somebody else since it was loaded: load it and try again"
            )
    digest = b"" if publication.idempotency_key is None else _digest(candidates)
    if publication.idempotency_key is not None and (given := supplied.get(publication.idempotency_key)):
        if given.digest != digest:
            raise KeyReused(
                f"idempotency_key={publication.idempotency_key!r} was used for another event: "
                "one key is for one request"
            )
        publication.placed = await _placed_before(work, group, given, candidates)
        for place, candidate in enumerate(candidates[1:], given.pos + 1):
            publication.placed.append(await _placed_beside(work, group, place, candidate, known))
        return
    if publication.ask is not None and not publication.events:
        publication.placed.append(_send(work, group, publication, publication.ask, Request(flow=publication.ask)))
    for candidate in candidates:
        placed = await _enter(work, group, publication, candidate, known)
        publication.placed.append(placed)
    if publication.idempotency_key is not None and publication.placed:
        first = Supplied(publication.idempotency_key, publication.placed[0].pos, digest)
        publication.supplied.append(first)
        supplied[first.id] = first


def _digest(candidates: Iterable[Candidate]) -> bytes:
    """What tells one request from another with the same idempotency key."""
    return blake2b(b"\0".join(c.kind.name.encode() + c.data for c in candidates), digest_size=16).digest()


async def _placed_before(work: Work, group: Group, given: Supplied, candidates: Sequence[Candidate]) -> list[Placed]:
    entry = next((e for e in group.entries if e.pos == given.pos), None) or next(
        iter(await work.ledger.entries([given.pos])), None
    )
    if entry is None:
        raise FlowHasEnded("this idempotency key is remembered, its flow was pruned: it has ended")
    rows = [row for earlier in group.publications for row in earlier.flows if row.number == entry.flow]
    rows = rows or await work.ledger.flows_by_number([entry.flow])
    row = max(rows, key=lambda row: bool(row.name), default=FlowRow(entry.flow, "", entry.id, None, 0))
    name, key = row.name, row.key
    if not name and candidates and candidates[0].flows:
        name, key = candidates[0].flows[0]
    return [Placed(entry.pos, entry.id, entry.flow, name, key, is_new=False)]


async def _placed_beside(
    work: Work, group: Group, pos: int, candidate: Candidate, known: dict[tuple[str, str], FlowRow]
) -> Placed:
    """One of the further events of a request that was made before: in its flow, or where it stands."""
    row = next((known[pair] for pair in candidate.flows if pair in known), None)
    if row is not None:
        return Placed(row.number, row.id, row.number, row.name, row.key, is_new=False)
    return (await _placed_before(work, group, Supplied("", pos, b""), [candidate]))[0]


async def _enter(
    work: Work, group: Group, publication: Publication, candidate: Candidate, known: dict[tuple[str, str], FlowRow]
) -> Placed:
    if (flow_elsewhere := _elsewhere(work, publication, candidate)) is not None:
        return _ask(work, group, publication, candidate, flow_elsewhere)
    if candidate.starts:
        for flow, key in candidate.starts:
            if (row := known.get((flow.name, key))) is not None:
                return await _same_start(work, group, candidate, flow, row)
        return _begin(work, group, publication, candidate, known)
    if publication.flow is not None:
        number, known_id = publication.flow
        if number <= group.head and not await work.ledger.flows_by_number([number]):
            raise NoSuchFlow(f"{candidate.kind} is for a flow that was pruned: it has ended")
        return _join(work, group, publication, candidate, FlowRow(number, "", known_id, None, 0))
    if candidate.kind.key is not None:
        return _begin(work, group, publication, candidate, known)
    found = {row.number: row for pair in candidate.joins if (row := known.get(pair)) is not None}
    if not found and len(kept := _kept_elsewhere(work, candidate)) == 1:
        return _ask(work, group, publication, candidate, kept.pop())
    if len(found) != 1:
        raise NoSuchFlow(_no_flow(candidate, len(found)))
    row = next(iter(found.values()))
    return _join(work, group, publication, candidate, row)


def _elsewhere(work: Work, publication: Publication, candidate: Candidate) -> str | None:
    """The Flow that decides about this event, if another ledger keeps it."""
    if work.abroad is None or publication.flow is not None:
        return None
    name = publication.ask[0] if publication.ask is not None else candidate.flows[0][0] if candidate.starts else ""
    return name if name and not work.abroad.keeps(name) else None


def _kept_elsewhere(work: Work, candidate: Candidate) -> set[str]:
    """The Flows that it may join in other ledgers, one for each ledger."""
    if work.abroad is None:
        return set()
    kept = {work.abroad.request_type(name): name for name, _ in candidate.joins if not work.abroad.keeps(name)}
    return set(kept.values())


def _ask(work: Work, group: Group, publication: Publication, candidate: Candidate, flow: str) -> Placed:
    """The event is on its way to the ledger that keeps the flow, and is in nobody's log before it is let in there."""
    kind = candidate.kind
    request = Request(kind.name, kind.version, candidate.data, publication.ask, publication.idempotency_key)
    named = publication.ask or next(pair for pair in candidate.flows if pair[0] == flow)
    return _send(work, group, publication, named, request, is_new=bool(candidate.starts))


def _send(
    work: Work, group: Group, publication: Publication, named: tuple[str, str], request: Request, *,
    is_new: bool = False,
) -> Placed:  # fmt: skip
    """Whoever keeps the flow is asked; what is answered belongs to the place that the request has here."""
    assert work.abroad is not None
    new_id = work.flow_ids.new(group.now // 1000, work.chance)
    kind = work.abroad.request_type(named[0])
    asked = Entry(0, f"{new_id}.asked", kind, 0, group.now, msgspec.json.encode(request))
    group.append(asked)
    asked.flow = asked.pos
    publication.entries.append(asked)
    publication.flows.append(FlowRow(asked.pos, "", new_id, None, group.now))
    return Placed(asked.pos, new_id, asked.pos, *named, is_new=is_new)


def _no_flow(candidate: Candidate, found: int) -> str:
    kind = candidate.kind
    if found:
        return f"{kind} fits {found} running flows: name one with publish(..., flow=board.flow(name, key))"
    if not candidate.joins:
        return (
            f"{kind} starts no flow and carries no flow's key: declare Flow(starts={kind}, ...), "
            f"give it the key of a flow, "
            f"or declare its own order with @event(key=...)"
        )
    names = " or ".join(f"{name} {key!r}" for name, key in candidate.joins)
    return f"{kind} belongs to {names}, and there is no such flow: publish its starting event first"


async def _same_start(work: Work, group: Group, candidate: Candidate, flow: Flow, row: FlowRow) -> Placed:
    """The flow that this event began before; FlowIsOpen or FlowHasEnded if it was another event."""
    entry = next((e for e in group.entries if e.pos == row.number), None) or next(
        iter(await work.ledger.entries([row.number])), None
    )
    if entry is None or entry.id != row.id:  # what came first here was not what began it
        entry = await work.ledger.find(row.id)
    placed = Placed(row.number, row.id, row.number, flow.name, row.key, is_new=False)
    if entry is not None and entry.data == candidate.data and entry.type == candidate.kind.name:
        return placed
    if row.verdict is None:
        raise FlowIsOpen(
            f"{flow.name} {row.key!r} is open, begun by another {candidate.kind}: join it with another event, "
            "or use a new key",
            placed,
        )
    raise FlowHasEnded(
        f"{flow.name} {row.key!r} has ended ({row.verdict}): a key names one flow, use a new one", placed
    )


def _begin(
    work: Work, group: Group, publication: Publication, candidate: Candidate, known: dict[tuple[str, str], FlowRow]
) -> Placed:
    new_id = publication.event_id or work.flow_ids.new(group.now // 1000, work.chance)
    entry = _entry(candidate, new_id, publication.number or 0, group.now)
    group.append(entry)
    entry.flow = entry.flow or entry.pos
    publication.entries.append(entry)
    watched = False
    for flow, own_key in candidate.starts:
        if work.abroad is not None and not work.abroad.keeps(flow.name):
            continue
        deadline = None if flow.timeout is None else group.now + int(flow.timeout.total_seconds() * 1_000_000)
        row = FlowRow(entry.flow, flow.name, new_id, own_key, group.now, deadline)
        publication.flows.append(row)
        known[flow.name, own_key] = row
        watched = True
    if work.abroad is not None and not watched and publication.number is None:
        publication.flows.append(FlowRow(entry.pos, "", new_id, None, group.now))  # what comes back belongs to it
    name, key = candidate.flows[0] if candidate.starts else ("", None)
    return Placed(entry.pos, new_id, entry.flow, name, key, is_new=True)


def _join(work: Work, group: Group, publication: Publication, candidate: Candidate, row: FlowRow) -> Placed:
    fresh = publication.event_id or work.flow_ids.new(group.now // 1000, work.chance)
    entry = _entry(candidate, f"{row.id}.{fresh}", row.number, group.now)
    group.append(entry)
    publication.entries.append(entry)
    return Placed(entry.pos, entry.id, row.number, row.name, row.key, is_new=False)


def _entry(candidate: Candidate, event_id: str, flow: int, now: int) -> Entry:
    kind: EventType = candidate.kind
    key = attribute(candidate.event, kind.key) if kind.key is not None else None
    return Entry(
        0, event_id, kind.name, flow, now, candidate.data, None if key is None else str(key), version=kind.version,
        value=candidate.event if kind.immutable else None,
    )  # fmt: skip
