"""An opened choreography: publish into it, wait for its flows, read its state."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from callboard.errors import ContractError, FlowError, LedgerError, NoSuchFlow, OutboxFull, PublishInReaction
from callboard.event import FlowCancelled, class_of, event_type, is_event, state_type, type_of
from callboard.hops.abroad import Ending, Refusal
from callboard.hops.answers import error_of, find_start, read_answer, told_entries
from callboard.hops.limits import WAITING
from callboard.hops.publish import Placed, Publication
from callboard.ledger import StateWrite
from callboard.letters import DeadLetters
from callboard.projection import place_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from callboard.choreography import Choreography
    from callboard.event import EventType, StateType
    from callboard.hops.work import Work
    from callboard.ledger import Entry, FlowRow, StateKey
    from callboard.projection import Projection
    from callboard.service import Service

T = TypeVar("T")
Verdict = Literal["succeeded", "failed"]


class Completion:
    """How a flow ended: its verdict, the events that decided it, and everything that happened up to now."""

    def __init__(self, row: FlowRow, entries: Sequence[Entry], work: Work) -> None:
        self._entries = entries
        self._work = work
        self.verdict: Verdict = cast("Verdict", row.verdict)
        self.by: tuple[str, ...] = tuple((row.by or "").split(", ")) if row.by else ()
        self.leaked: tuple[str, ...] = tuple((row.leaked or "").split(", ")) if row.leaked else ()
        self.ended: datetime = datetime.fromtimestamp((row.ended or 0) / 1_000_000, UTC)

    @property
    def succeeded(self) -> bool:
        """Whether the completion named by `succeeds=` was reached."""
        return self.verdict == "succeeded"

    def event(self, kind: type[T]) -> T | None:
        """The latest event of this type in the flow, or None."""
        name = event_type(kind).name
        found = [entry for entry in self._entries if entry.type == name]
        return self._work.value(found[-1]) if found else None

    @property
    def events(self) -> list[Any]:
        """All events of the flow that this build knows, in the order of the log."""
        return [self._work.value(entry) for entry in self._entries if entry.type in self._work.types]

    def __repr__(self) -> str:
        return f"Completion({self.verdict!r}, by={', '.join(self.by)!r})"


class FlowHandle:
    """One flow, as somebody outside sees it. `is_new` says whether this publish began it."""

    def __init__(
        self, board: Board, name: str, key: str | None, number: int | None, flow_id: str | None, *, is_new: bool
    ) -> None:
        self._board = board
        self._number = number
        self.name = name
        self.key = key
        self.id = flow_id
        self.is_new = is_new

    def __repr__(self) -> str:
        return f"FlowHandle({self.name!r}, {self.key!r})"

    @property
    def is_elsewhere(self) -> bool:
        """Whether another ledger keeps the flow: what is known of it here is what that ledger has answered."""
        abroad = self._board.work.abroad
        return abroad is not None and bool(self.name) and not abroad.keeps(self.name)

    async def row(self) -> FlowRow:
        """What the ledger keeps of the flow. Raises NoSuchFlow if there is none.

        Of a flow that is kept elsewhere: what was answered so far. Raises the refusal, if it was one.
        """
        ledger = self._board.work.ledger
        if self._number is None:
            rows = await ledger.flows_by_key([(self.name, self.key or "")])
        else:
            name = "" if self.is_elsewhere else self.name
            rows = [row for row in await ledger.flows_by_number([self._number]) if row.name == name]
        if not rows:
            raise NoSuchFlow(self._missing())
        row = rows[0]
        self._number, self.id = row.number, row.id
        if row.name != self.name:
            row.name, row.key = self.name, self.key
            told = read_answer(await ledger.flow_entries([row.number])) if row.verdict else None
            self._refuse(row, told)
        return row

    def _missing(self) -> str:
        if self.is_elsewhere and self._number is None:
            home = self._board.choreography.home_of(self._board.choreography.flows[self.name]).name
            return f"{self.name} {self.key!r}: the ledger of {home} keeps it; here only `completion` can ask after it"
        return f"{self.name} {self.key!r}: there is no such flow, or it was pruned"

    def _refuse(self, row: FlowRow, told: Refusal | Ending | None) -> None:
        if isinstance(told, Refusal):
            error = error_of(told)
            if isinstance(error, FlowError) and told.flow is not None:
                error.flow = FlowHandle(self._board, *told.flow, None, None, is_new=False)
            raise error
        if told is not None:
            self.id = row.id = told.flow

    async def completion(
        self, timeout: timedelta | None = None, *, seen_by: Projection | Sequence[Projection] = ()
    ) -> Completion:
        """The flow's end, once the projections of `seen_by` have folded what led to it. Raises TimeoutError when it has
        not ended in time; the flow itself goes on.
        """
        projections = list(seen_by) if isinstance(seen_by, Sequence) else [seen_by]

        async def ended() -> Completion | None:
            row = await self.row()
            if row.verdict is None:
                return None
            entries = await self._entries(row.number)
            if not await self._is_seen(entries, projections):
                return None
            return Completion(row, entries, self._board.work)

        if self._number is None and self.is_elsewhere:
            (asked,) = await self._board.submit([], flow=self)
            self._number = (await asked.row()).number
        if (done := await ended()) is not None:
            return done
        number = self._number
        why = f"{self.name} {self.key!r} has no verdict yet"
        return await self._board.until(ended, timeout, why, verdict=None if projections else number)

    async def _is_seen(self, entries: Sequence[Entry], projections: Sequence[Projection]) -> bool:
        if not projections:
            return True
        known = {position.reaction: position for position in await self._board.work.ledger.positions()}
        for projection in projections:
            position = known.get(place_of(projection.name))
            if position is None or any(e.pos > position.pos and position.may_hear(e.type) for e in entries):
                return False
        return True

    async def _entries(self, number: int) -> list[Entry]:
        """What this ledger knows of the flow, in log order; of one kept elsewhere also what its ending told."""
        entries = await self._board.work.ledger.flow_entries([number])
        told = read_answer(entries) if self.is_elsewhere else None
        return entries if not isinstance(told, Ending) else [*entries, *told_entries(told, entries)]

    async def event(self, kind: type[T], timeout: timedelta | None = None) -> T:
        """The first event of this type in the flow, as soon as there is one. Raises TimeoutError."""
        name = event_type(kind).name

        async def seen() -> T | None:
            number = self._number if self._number is not None else (await self.row()).number
            for entry in await self._entries(number):
                if entry.type == name:
                    return self._board.work.value(entry)  # type: ignore[no-any-return]
            return None

        if (there := await seen()) is not None:
            return there
        return await self._board.until(seen, timeout, f"{self.name} {self.key!r} has seen no {name} yet")

    async def events(self) -> list[Any]:
        """All events of the flow so far, in the order of the log."""
        number = self._number if self._number is not None else (await self.row()).number
        work = self._board.work
        return [work.value(entry) for entry in await self._entries(number) if entry.type in work.types]

    async def cancel(self, reason: str = "") -> None:
        """FlowCancelled of this flow is published: whoever reacts to it undoes what is to be undone."""
        row = await self.row()
        kind = self._board.choreography.flows[self.name].start.name
        started = find_start(kind, await self._board.work.ledger.flow_entries([row.number]))
        if started is None:
            raise NoSuchFlow(f"{self.name} {self.key!r}: its starting event was pruned, or published elsewhere")
        event = FlowCancelled(started=self._board.work.value(started), reason=reason)
        await self._board.submit([event], flow=self)


class Edit:
    """State changed from outside the reactions of a service, together with what is published: all of it or nothing."""

    def __init__(self, board: Board, service: Service) -> None:
        self._board = board
        self.service = service
        self.loads: dict[StateKey, int] = {}
        self.rows: dict[StateKey, tuple[StateType, Any]] = {}
        self.data: dict[StateKey, tuple[int, bytes | None]] = {}
        self.events: list[Any] = []
        self.flows: list[FlowHandle] = []

    def _owned(self, cls: type[Any]) -> StateType:
        state = state_type(cls)
        choreography = self._board.work.choreography
        if state.name not in choreography.states or choreography.owner_of(state) is not self.service:
            raise ContractError(f"transaction({self.service.name})", f"{state} is no state of {self.service.name}")
        return state

    async def load(self, cls: type[T], key: Any) -> T | None:
        """The row as it is committed, or None. It is stored with the transaction if you change it."""
        state = self._owned(cls)
        place = (state.name, str(key))
        if place not in self.rows:
            row = (await self._board.work.ledger.states([place]))[place]
            self.loads[place], self.data[place] = row.version, (row.version, row.data)
            value = None if row.data is None else self._board.work.codec.decode_state(row.data, state, row.shape)
            self.rows[place] = (state, value)
        return self.rows[place][1]  # type: ignore[no-any-return]

    async def put(self, row: Any) -> None:
        """Store this row, new or in place of the one with its key."""
        cls = class_of(row)
        state = self._owned(cls)
        key = getattr(row, state.key)
        await self.load(cls, key)
        self.rows[state.name, str(key)] = (state, row)

    async def delete(self, cls: type[Any], key: Any) -> None:
        """The row is gone with the transaction."""
        state = self._owned(cls)
        await self.load(cls, key)
        self.rows[state.name, str(key)] = (state, None)

    def publish(self, event: Any) -> None:
        """Publish this event with the transaction."""
        self.events.append(event)

    def writes(self, stamp: int) -> list[StateWrite]:
        """The rows that are not as they were loaded."""
        changed: list[StateWrite] = []
        for place, (state, value) in self.rows.items():
            version, before = self.data[place]
            data = None if value is None else self._board.work.codec.encode(value)
            if data != before:
                changed.append(StateWrite(*place, max(version + 1, stamp), state.shape, data))
        return changed


class Board:
    """The way into an opened choreography. Everything it answers is committed."""

    def __init__(self, choreography: Choreography, work: Work) -> None:
        self.choreography = choreography
        self.work = work
        self.failure: BaseException | None = None
        self.closed = False
        self._welcome: set[type[Any]] = set()  # classes of events that anybody may publish
        self._waiting: dict[asyncio.Event, int | None] = {}  # who waits, for which flow's verdict; None: for events

    @overload
    async def publish(  # type: ignore[overload-overlap]  # a sequence is an object too: it is asked first
        self, events: Sequence[Any], /, *, idempotency_key: str | None = None
    ) -> list[FlowHandle]: ...
    @overload
    async def publish(
        self, event: object, /, *, idempotency_key: str | None = None, flow: FlowHandle | None = None
    ) -> FlowHandle: ...
    async def publish(
        self, event: Any, /, *, idempotency_key: str | None = None, flow: FlowHandle | None = None
    ) -> FlowHandle | list[FlowHandle]:
        """The event is durable when this returns, and belongs to the flow that is returned.

        Several events are one commit.

        A cancelled call may have happened: with an `idempotency_key` the same call can be made again. Raises
        FlowIsOpen or FlowHasEnded where another event began the flow with this key, NoSuchFlow where the event
        belongs to none, KeyReused where the idempotency key was used for something else.
        """
        many = isinstance(event, list | tuple)
        events = list(cast("Sequence[Any]", event)) if many else [event]
        handles = await self.submit(events, idempotency_key=idempotency_key, flow=flow)
        return handles if many else handles[0]

    async def submit(
        self,
        events: Sequence[Any],
        *,
        idempotency_key: str | None = None,
        flow: FlowHandle | None = None,
        edit: Edit | None = None,
    ) -> list[FlowHandle]:
        """Publish what was checked, in one commit."""
        self._refuse_in_reaction()
        if idempotency_key is not None:
            _refuse_no_text(idempotency_key)
        for event in events:
            if type(event) not in self._welcome:
                self._refuse_stranger(event, is_cancellation=flow is not None)
        place = ask = None
        if flow is not None and flow.is_elsewhere and flow.key is not None:
            ask = (flow.name, flow.key)
        elif flow is not None:
            row = await flow.row()
            place = (row.number, row.id)
        publication = Publication(events, idempotency_key=idempotency_key, flow=place, ask=ask)
        if edit is not None:
            publication.loads, publication.service = edit.loads, edit.service.name
            publication.writes = edit.writes(self.work.stamp)
        self._refuse_more()
        self.work.publications.append(publication)
        self.work.wake()
        try:
            placed = await publication.future
        except FlowError as error:
            if isinstance(error.flow, Placed):
                error.flow = self._handle(error.flow)
            raise
        return [self._handle(each) for each in placed]

    def _refuse_more(self) -> None:
        if self.failure is not None or self.closed:
            raise LedgerError("this board has stopped: nothing can be published through it") from self.failure
        if self.work.abroad is not None and self.work.abroad.is_full(self.work.head):
            raise OutboxFull("the broker has not taken events for too long: nothing was published, try again later")
        if len(self.work.publications) >= WAITING:
            raise OutboxFull(f"{WAITING:,} publishes wait for their commit: nothing was published, try again later")

    def _handle(self, placed: Placed) -> FlowHandle:
        return FlowHandle(self, placed.name, placed.key, placed.flow, placed.id[:26], is_new=placed.is_new)

    def _refuse_in_reaction(self) -> None:
        task = asyncio.current_task()
        if task is None or task in self.work.tasks:
            raise PublishInReaction(
                "publish was called inside a reaction: return the event instead, and add it to the annotation"
            )

    def _refuse_stranger(self, event: Any, *, is_cancellation: bool) -> None:
        cls = class_of(event)
        if cls is FlowCancelled and is_cancellation:
            return
        if not is_event(cls):
            raise TypeError(f"{cls.__name__} is no event: decorate its class with @event")
        kind = type_of(event)
        if kind.name not in self.work.types:
            raise ContractError(
                f"publish({kind})",
                f"{self.choreography.name} knows no {kind}: let a reaction hear it, a Flow start with it, "
                "or incoming= name it",
            )
        self._refuse_word_of_a_service(kind)
        if kind.inner is None:
            self._welcome.add(cls)

    def _refuse_word_of_a_service(self, kind: EventType) -> None:
        """What a service says is not said from outside, unless `incoming=` names it."""
        choreography = self.choreography
        if kind in choreography.incoming or any(flow.start is kind for flow in choreography.flows.values()):
            return
        for path, contract in choreography.contracts.items():
            if kind in contract.emits:
                fix = f"{path} emits {kind}: name it in incoming= if somebody outside may say it too"
                raise ContractError(f"publish({kind})", fix)

    def flow(self, name: str, key: object) -> FlowHandle:
        """The flow of this name and key; whether there is one is known when something is asked of it."""
        if name not in self.choreography.flows:
            known = ", ".join(self.choreography.flows) or "none"
            raise NoSuchFlow(f"{self.choreography.name} declares no flow {name!r} (it declares: {known})")
        return FlowHandle(self, name, str(key), None, None, is_new=False)

    @property
    def dead_letters(self) -> DeadLetters:
        """What has failed for good in this ledger, and what can be done with it."""
        work = self.work

        def wake() -> None:
            work.wishes = True
            work.wake()

        return DeadLetters(work.ledger, work.now, choreography=self.choreography, codec=work.codec, wake=wake)

    async def load(self, cls: type[T], key: object) -> T | None:
        """The state row as it is committed, or None."""
        state = state_type(cls)
        place = (state.name, str(key))
        row = (await self.work.ledger.states([place]))[place]
        if row.data is None:
            return None
        return self.work.codec.decode_state(row.data, state, row.shape)  # type: ignore[no-any-return]

    async def rest(self) -> None:
        """Nothing is left to do in this board's services at this moment of the clock, and nothing runs.

        Raises LedgerError if the board has stopped.
        """
        work, quiet = self.work, 0
        while quiet < 2:
            seen = work.rounds
            while work.rounds == seen:
                if self.failure is not None or self.closed:
                    raise LedgerError("this board has stopped: nothing more is done by it") from self.failure
                work.wake()
                await asyncio.sleep(0.001 if work.running and work.quiet else 0)
            due = work.next_due()
            at_work = work.busy or work.running or (due is not None and due <= work.now())
            quiet = quiet + 1 if work.quiet and not at_work else 0

    def next_due(self) -> datetime | None:
        """The next moment at which something may be to do by itself: a retry, a timer, a deadline. None: never."""
        due = self.work.next_due()
        return None if due is None else datetime.fromtimestamp(due / 1_000_000, UTC)

    @asynccontextmanager
    async def transaction(self, service: Service) -> AsyncIterator[Edit]:
        """Change state of a service and publish, from outside its reactions.

        All of it is committed together at the end of the block.

        No lock is held in the block. Raises Conflict, with nothing done, if a row it loaded was changed meanwhile.
        """
        edit = Edit(self, service)
        yield edit
        edit.flows = await self.submit(edit.events, edit=edit)

    async def until(
        self,
        found: Callable[[], Awaitable[T | None]],
        timeout: timedelta | None,
        why: str,
        *,
        verdict: int | None = None,
    ) -> T:
        """The first answer that is not None; asked again when the flow with this number has its verdict, or else at
        any change.
        """
        changed = asyncio.Event()
        self._waiting[changed] = verdict
        self.work.watching = True

        async def wait() -> T:
            while (answer := await found()) is None:
                if self.failure is not None or self.closed:
                    raise LedgerError("this board has stopped: nothing more is seen through it") from self.failure
                changed.clear()
                await changed.wait()
            return answer

        try:
            return await asyncio.wait_for(wait(), None if timeout is None else timeout.total_seconds())
        except TimeoutError:
            raise TimeoutError(why) from None
        finally:
            self._waiting.pop(changed, None)

    async def notify(self) -> None:
        """Something may have been committed: whoever waits for it looks again."""
        work = self.work
        stopped = self.failure is not None or self.closed
        if not (work.decided or work.moved or work.touched or stopped):
            return
        numbers = {row.number for row in work.decided if row.verdict is not None}
        if work.moved and not stopped:
            wanted = {number for number in self._waiting.values() if number is not None}
            numbers |= {row.number for row in await work.ledger.flows_by_number(wanted) if row.verdict is not None}
        for waiting, number in self._waiting.items():
            if stopped or number is None or number in numbers:
                waiting.set()
        work.decided.clear()
        work.touched.clear()
        work.moved = False
        work.watching = bool(self._waiting)


def _refuse_no_text(key: object) -> None:
    """Raises what the caller of `publish` must know before anybody else is troubled with this key."""
    if not isinstance(key, str):
        raise TypeError(f"idempotency_key={key!r} is no text: give str(...) of it")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"idempotency_key={key!r} cannot be written: it holds half of a character") from error
