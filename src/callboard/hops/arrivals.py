"""What one commit takes in from the broker: where each envelope belongs, and what becomes of one that has no place."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from callboard.broker import Delivery
from callboard.envelope import Envelope
from callboard.errors import CallboardError, CodecError, NoSuchFlow
from callboard.event import EventType, attribute
from callboard.hops.abroad import ASKED, DIRECTED, ENDED, PUBLISHED, RECEIVED, REFUSED, Refusal, Request
from callboard.hops.answers import ending, read_answer, refusal, watched
from callboard.hops.envelopes import kind_of, mark_of, opened
from callboard.hops.group import Group
from callboard.hops.publish import Candidate, Publication, publish
from callboard.ids import FLOW_LENGTH, began_at, flow_id
from callboard.ledger import Entry, FlowRow, Memory, Note, Parked, Supplied, shown_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callboard.hops.abroad import Abroad
    from callboard.hops.work import Work
    from callboard.ledger import Transaction

_TOO_OLD = "too old to tell: flows of that time were pruned here, and it may have been in one; replay takes it in"


class Arrivals:
    """Decided under the write lock; what is decided of one is seen by the next."""

    def __init__(self, work: Work, abroad: Abroad, path: str, tx: Transaction) -> None:
        self._work = work
        self._abroad = abroad
        self._path = path
        self._pruned_to = tx.pruned_to
        self._group = Group(tx.head, tx.edits, work.now(), work.read, fused=False)
        self._began = Publication(())  # the flows that began elsewhere, where publications look them up
        self._group.publications.append(self._began)
        self._marks: dict[str, int] = {}  # what was written down before, by source and id
        self._logged: set[str] = set()  # what this ledger has sent itself
        self._numbers: dict[str, int] = {}
        self._supplied: list[Supplied] = []
        self._memories: list[Memory] = []
        self._answered: list[FlowRow] = []
        self._parked: list[Parked] = []
        self._unparked: list[tuple[str, int, int]] = []
        self._notes: list[Note] = []
        self._again: Parked | None = None  # what is taken again was parked here

    async def look_up(self, deliveries: Sequence[Delivery]) -> None:
        """Afterwards it is known which of these were taken before, and which flows they belong to."""
        ledger, envelopes = self._work.ledger, [each.envelope for each in deliveries if each.envelope is not None]
        given = await ledger.supplied({mark_of(each) for each in deliveries})
        self._marks.update({mark: supplied.pos for mark, supplied in given.items()})
        self._numbers.update(await ledger.flow_numbers({each.flow for each in envelopes} - self._numbers.keys()))
        own = {self._numbers[e.flow] for e in envelopes if self._is_echo(e) and e.flow in self._numbers}
        if own:
            self._logged |= {entry.id for entry in await ledger.flow_entries(own)}

    def _is_echo(self, envelope: Envelope) -> bool:
        return envelope.ledger == self._abroad.address and not envelope.type.startswith(DIRECTED)

    async def take(self, delivery: Delivery) -> None:
        """It is written down, once, whatever it is."""
        mark, envelope = mark_of(delivery), delivery.envelope
        if envelope is not None and self._is_echo(envelope) and envelope.id in self._logged:
            return  # this ledger sent it: another service that hears it shares the log
        if (before := self._marks.get(mark)) is not None:
            flow = self._numbers.get(envelope.flow, before) if envelope is not None else before
            why = "the broker handed it over again"
            self._notes.append(Note(before, self._path, flow, "duplicate", why, self._group.now))
            return
        first = len(self._group.entries)
        if envelope is not None and self._is_too_old(envelope):
            if self._is_echo(envelope):
                return  # it was here
            self._keep(delivery, "dead", error=_TOO_OLD)
        else:
            await self._enter(delivery)
        if len(self._group.entries) > first:
            pos = self._marks[mark] = self._group.entries[first].pos
            self._supplied.append(Supplied(mark, pos, b""))

    def _is_too_old(self, envelope: Envelope) -> bool:
        """Whether it may have been here, in a flow that was pruned. An answer that nobody waits for is dropped."""
        if envelope.flow in self._numbers or envelope.type.startswith((REFUSED, ENDED, ASKED)):
            return False
        own = envelope.choreography == self._abroad.name
        began = (own and began_at(envelope.flow)) or envelope.time or 0
        return 0 < began <= self._pruned_to

    async def take_again(self, row: Parked) -> None:
        """What was parked is tried again, or given up because its time is over or an operator wants it."""
        now, place = self._group.now, (row.reaction, row.pos, row.effect)
        entry = next(iter(await self._work.ledger.entries([row.pos])), None)
        by = "an operator" if row.asked is None else f"{row.asked.by}{shown_batch(row.asked.batch)}"
        if entry is None or (row.asked is not None and row.asked.what == "discard"):
            self._unparked.append(place)
            self._notes.append(Note(row.pos, row.reaction, row.flow, "discarded", f"by {by}", now))
        elif row.asked is None and row.due is not None and row.due <= now:
            self._again = row
            self._park(entry, "dead", error=f"never came: {row.missing}")
        else:
            delivery = Delivery.of(entry.data, None)
            await self.look_up([delivery])
            self._again, parked = row, len(self._parked)
            await self._enter(delivery)
            back = self._parked[-1].why if len(self._parked) > parked else None
            if back is None:
                self._unparked.append(place)
                self._notes.append(Note(row.pos, row.reaction, row.flow, "taken in", row.missing or "again", now))
            if row.asked is not None:
                came = {None: "done, taken in", "dead": "failed again"}.get(back, "it goes on by itself now")
                self._notes.append(Note(row.pos, row.reaction, row.flow, "replayed", f"{came}; asked by {by}", now))
        self._again = None

    async def write(self, tx: Transaction) -> None:
        """All of it is part of the commit."""
        publications = self._group.publications
        if self._parked:
            self._abroad.idle.discard(self._path)
        await tx.append(self._group.entries)
        await tx.start_flows([row for each in publications for row in each.flows])
        await tx.supply([*self._supplied, *(given for each in publications for given in each.supplied)])
        await tx.remember(self._memories)
        await tx.unpark(self._unparked)
        await tx.park(self._parked)
        await tx.note(self._notes)
        await tx.update_flows(self._answered)

    def hand_on(self, head: int) -> None:
        """It is committed: the reactions of this process see it next, and the relay what others wait for."""
        self._work.took_in(self._group.entries, self._group.head, head)
        if self._abroad.sent == self._group.head and not any(map(self._abroad.concerns, self._group.entries)):
            self._abroad.sent, self._abroad.sent_at = head, self._group.now
        self._work.decided += self._answered
        if self._work.watcher is not None:
            self._work.watcher.begun(row for each in self._group.publications for row in each.flows)

    # where it belongs

    async def _enter(self, delivery: Delivery) -> None:
        envelope = delivery.envelope
        try:
            if envelope is None:
                self._keep(delivery, "dead", error=delivery.error)
            elif envelope.type.startswith(PUBLISHED):
                await self._let_in(delivery, envelope)
            elif envelope.type.startswith(ASKED):
                await self._tell_if_ended(envelope)
            elif envelope.type.startswith(DIRECTED):
                self._hear_answer(envelope)
            elif (kind := kind_of(self._work, envelope.type)) is None:
                self._keep(delivery, "waiting", missing=envelope.type)
            elif envelope.choreography == self._abroad.name and envelope.id.startswith(envelope.flow):
                await self._log(envelope, kind)
            elif kind in self._work.choreography.incoming:
                await self._publish(delivery, envelope, kind)
            elif envelope.choreography is None:
                self._keep(delivery, "dead", error=f"{kind} comes from outside, and incoming= does not name it")
        except (CodecError, msgspec.DecodeError) as error:
            self._keep(delivery, "dead", error=str(error))

    async def _log(self, envelope: Envelope, kind: EventType) -> None:
        """An event of this choreography, in the flow it is of everywhere."""
        number = self._numbers.get(envelope.flow)
        entry = opened(envelope, number or 0, self._group.now)
        self._group.append(entry)
        if number is None:
            entry.flow = self._numbers[envelope.flow] = entry.pos
        rows = await self._named(entry, kind) if envelope.id == envelope.flow and envelope.reaction is None else []
        if number is None and not rows:
            rows = [FlowRow(entry.pos, "", entry.id[:FLOW_LENGTH], None, self._group.now)]
        self._began.flows += rows

    async def _named(self, entry: Entry, kind: EventType) -> list[FlowRow]:
        """The flows that this event begins and that are kept here, although it was published in another ledger."""
        rows: list[FlowRow] = []
        for flow in self._work.choreography.flows.values():
            if flow.start is not kind or not self._abroad.keeps(flow.name):
                continue
            try:
                key = str(attribute(self._work.value(entry), flow.key))
            except CodecError:
                continue  # whoever hears it tells of it
            if await self._find(flow.name, key) is not None:
                why = f"{flow.name} {key!r} is another flow here"
                self._notes.append(Note(entry.pos, self._path, entry.flow, "not watched", why, entry.time))
                continue
            deadline = None if flow.timeout is None else self._group.now + round(flow.timeout.total_seconds() * 1e6)
            rows.append(FlowRow(entry.flow, flow.name, entry.id, key, self._group.now, deadline))
        return rows

    async def _find(self, name: str, key: str) -> FlowRow | None:
        for publication in self._group.publications:
            for row in publication.flows:
                if (row.name, row.key) == (name, key):
                    return row
        return next(iter(await self._work.ledger.flows_by_key([(name, key)])), None)

    # what was published elsewhere

    async def _let_in(self, delivery: Delivery, envelope: Envelope) -> None:
        """It is published here, or refused; who published it is told."""
        request = msgspec.json.decode(envelope.data, type=Request)
        if not request.type and request.flow is not None:
            await self._ask_after(envelope, *request.flow)
            return
        if (kind := kind_of(self._work, request.type)) is None:
            self._keep(delivery, "waiting", missing=request.type)
            return
        number = self._numbers.get(envelope.flow)
        publication = Publication((), idempotency_key=request.idempotency_key, event_id=envelope.flow, number=number)
        try:
            publication.events = [self._work.codec.decode(request.data, kind)]
            if request.flow is not None:
                publication.flow = await self._meant(*request.flow)
        except CallboardError as error:
            publication.error = error
        else:
            await publish(self._work, self._group, [publication])
        if publication.error is not None:
            self._refuse(envelope, publication.error)
        elif envelope.ledger is not None:
            placed = publication.placed[0]
            name, key = request.flow or (placed.name, placed.key or "")
            await self._watch(envelope, name, key, placed.pos)

    async def _ask_after(self, envelope: Envelope, name: str, key: str) -> None:
        """Somebody only wants to know how this flow ends."""
        try:
            number, _ = await self._meant(name, key)
        except NoSuchFlow as error:
            self._refuse(envelope, error)
        else:
            await self._watch(envelope, name, key, number)

    def _refuse(self, envelope: Envelope, error: CallboardError) -> None:
        self._append(refusal(error, envelope.ledger or "", envelope.flow, self._group.now))

    async def _meant(self, name: str, key: str) -> tuple[int, str]:
        row = await self._find(name, key)
        if row is None:
            raise NoSuchFlow(f"there is no {name} {key!r}: publish its starting event first")
        return row.number, row.id

    async def _watch(self, envelope: Envelope, name: str, key: str, pos: int) -> None:
        """Who published it is told how the flow ends: now, if it has ended."""
        row = await self._find(name, key) if name else None
        if row is None:
            return
        memory = watched(row.number, name, envelope.ledger or "", envelope.flow, pos)
        if row.verdict is None:
            self._memories.append(memory)
        else:
            entries = await self._work.ledger.flow_entries([row.number])
            told = ending(row, memory, entries, self._group.now)
            if all(entry.id != told.id for entry in entries):  # it asked before, and was told with the verdict
                self._append(told)

    async def _tell_if_ended(self, envelope: Envelope) -> None:
        """Something waits elsewhere in this flow, and has waited long enough."""
        number = self._numbers.get(envelope.flow)
        rows = await self._work.ledger.flows_by_number([] if number is None else [number])
        rows = [row for row in rows if row.name]
        if rows and all(row.verdict is not None for row in rows):
            memory = watched(rows[0].number, rows[0].name, envelope.ledger or "", envelope.id, rows[0].number)
            self._append(ending(rows[0], memory, (), self._group.now))

    def _append(self, entry: Entry) -> None:
        self._group.append(entry)
        entry.flow = entry.flow or entry.pos

    def _hear_answer(self, envelope: Envelope) -> None:
        """What became of an event that was published here, for a flow that is kept elsewhere."""
        number = self._numbers.get(envelope.flow)
        if number is None:
            return  # it was pruned: nobody here waits for it
        entry = opened(envelope, number, self._group.now)
        told = read_answer([entry])
        self._group.append(entry)
        row = FlowRow(number, "", envelope.flow, None, 0, verdict="refused", ended=self._group.now)
        if told is not None and not isinstance(told, Refusal):
            row.verdict, row.ended, row.by, row.leaked = told.verdict, told.ended, told.by, told.leaked
        self._answered.append(row)

    # what comes from the world outside, and what cannot be read

    async def _publish(self, delivery: Delivery, envelope: Envelope, kind: EventType) -> None:
        """An event of nobody in this choreography: it is published here, as if by a caller, and only once."""
        event = self._work.codec.decode(envelope.data, kind)
        mark = mark_of(delivery)
        chance = int.from_bytes(blake2b(mark.encode(), digest_size=10).digest(), "big")
        event_id = flow_id((envelope.time or self._group.now) // 1000, chance)
        publication = Publication([event], idempotency_key=f"from {mark}", event_id=event_id)
        await publish(self._work, self._group, [publication])
        if isinstance(publication.error, NoSuchFlow):
            flows = Candidate(self._work, event).flows
            self._keep(delivery, "waiting", missing=str(publication.error), line=msgspec.json.encode(flows).decode())
        elif publication.error is not None:
            self._keep(delivery, "dead", error=str(publication.error))

    def _keep(
        self, delivery: Delivery, why: str, *, missing: str | None = None, error: str | None = None, line: str = ""
    ) -> None:
        """It stays in the log as it came, and parked, until it can be taken in or somebody looks at it."""
        if self._again is not None:
            self._park(None, why, missing=missing, error=error, line=line)
            return
        flow = 0 if delivery.envelope is None else self._numbers.get(delivery.envelope.flow, 0)
        fresh = flow_id(self._group.now // 1000, self._work.chance.getrandbits(80))
        source = "unknown" if delivery.envelope is None else delivery.envelope.source
        entry = Entry(0, fresh, RECEIVED, flow, self._group.now, delivery.data, source=source)
        self._append(entry)
        self._park(entry, why, missing=missing, error=error, line=line)

    def _park(
        self, entry: Entry | None, why: str, *, missing: str | None = None, error: str | None = None, line: str = ""
    ) -> None:
        again, now = self._again, self._group.now
        pos, flow = (
            (again.pos, again.flow) if again is not None else (entry.pos, entry.flow) if entry is not None else (0, 0)
        )
        since = again.due if again is not None and again.why == "waiting" else None
        due = (since or now + self._patience()) if why == "waiting" else None
        attempts = again.attempts + 1 if again is not None else 1
        self._parked.append(
            Parked(
                self._path, pos, 0, flow, line, "dead" if why == "dead" else "waiting", due, attempts, error, missing
            )
        )

    def _patience(self) -> int:
        """How long something may wait that cannot be taken in yet, in microseconds."""
        timeouts = [flow.timeout for flow in self._work.choreography.flows.values() if flow.timeout is not None]
        return round(max(timeouts, default=self._work.longest_wait).total_seconds() * 1e6)
