"""The choreography of the model on the real thing: the same bodies, the same outside, another random schedule.

``play(plan, schedule)`` ends with the Outcome that the model would tell, so that the same judge judges both.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from callboard import Context
from callboard.errors import FlowError
from callboard.event import attribute
from callboard.ledger import Entry, Parked
from tests.support.ledger import Crash, busy, crash, disk_full, ticks
from tests.support.stage import Stage

from . import shop as model
from .plan import Plan
from .real_shop import SECOND, Abroad, Order, OrderCreated, Restocked, Shelf, build, event_of
from .shop import Call, Event, Given, Outside
from .tables import FlowRow
from .world import Outcome

STEPS = 90


class NoAnswer(ConnectionError):
    """The call may have taken place."""


class Raised(Exception):
    """The user's code fails."""


class Keeper(Abroad):
    """Calls wait until the schedule lets them take place; what the dead have called may take place all the same."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.waiting: dict[int, asyncio.Future[None]] = {}

    async def ask(self, call: Call) -> str | None:
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.outside.pending.append(call)
        self.waiting[id(call)] = told
        await told
        if call.lost:
            raise NoAnswer(call.key)
        return call.answer

    def let(self, call: Call) -> None:
        """The call takes place, and whoever still waits is told."""
        self.outside.handle(call)
        told = self.waiting.pop(id(call), None)
        if told is not None and not told.done():
            told.set_result(None)


class Real:
    """One plan on one file: its choreography, its owner, a publisher beside it, and a schedule of its own."""

    def __init__(self, plan: Plan, schedule: int, folder: Path) -> None:
        self.plan = plan
        self.chance = Random(f"real {plan.seed}/{schedule}")
        self.outside = Outside(plan)
        self.keeper = Keeper(self.outside)
        self.dying = False
        self.begun: dict[tuple[str, str], int] = {}
        self.replayed: set[tuple[str, int, int]] = set()
        self.again: set[tuple[str, str]] = set()  # (reaction, event) of what was replayed
        self.published = 0
        self.cancelled: set[str] = set()
        self.functions: dict[str, Callable[..., Any]] = {}
        choreography, self.service = build(self)
        file = folder / f"{plan.seed}-{schedule}.db"
        self.owner = Stage(choreography, file, ports=[self.keeper], seed=plan.seed)
        self.publisher = Stage(choreography, file, services=[], clock=self.owner.clock, seed=plan.seed + 50_000)
        self.owner.most = self.chance.choice([None, 4, 8])
        self.owner.fuse = self.chance.random() < 0.7

    # the user's code

    async def act(self, name: str, said: Any, ctx: Context, effect: Any = None) -> list[str]:
        """Run the model's body of a reaction that reaches outside; the names of what it emits."""
        flow = str(attribute(said, "flow"))
        attempt = self.attempt(name, flow, ctx.event_id)
        if self.plan.kills(name, flow):
            self.dying = True
            await asyncio.Event().wait()
        reaction = model.REACTIONS[name]
        done = COMPENSATED.get(name)
        key = ctx.idempotency_key() if done is None else ctx.key_of(self.functions[done])
        given = Given(event_of(flow), self.plan.orders[flow].quantity, f"{flow}#{key}", effect, model.Shelf(0), False)
        steps = reaction.body(given)
        assert not isinstance(steps, tuple)
        answer: str | None = None
        while True:
            try:
                call = steps.send(answer)
            except StopIteration as stop:
                emitted = list(stop.value)
                break
            answer = await self.keeper.ask(call)
        if self.plan.fails(name, ctx.event_id, attempt) == "late":
            raise Raised(name)
        return emitted

    async def pause(self, name: str) -> None:
        """A plain reaction suspends."""
        await self.keeper.ask(Call("nobody", "pause", name))

    def attempt(self, name: str, key: str, event_id: str) -> int:
        """Which run of this delivery it is; raises where the plan has it fail early."""
        count = self.begun[name, event_id] = self.begun.get((name, event_id), 0) + 1
        poisoned = self.plan.poisons(name, key, int((name, event_id) in self.again))
        if poisoned or self.plan.fails(name, event_id, count) == "early":
            raise Raised(name)
        return count

    def plain(self, name: str, said: Any, ctx: Context) -> None:
        """What becomes of a plain reaction before its body."""
        key = str(attribute(said, "flow") or said.sku)
        if self.plan.kills(name, key):
            raise Crash
        if self.plan.fails(name, ctx.event_id, self.attempt(name, key, ctx.event_id)) == "late":
            raise Raised(name)

    # the schedule

    async def run(self) -> Outcome:
        """Trouble, then rest."""
        try:
            await self.owner.open()
            await self.publisher.open()
            rows = [Shelf(sku=sku, free=free) for sku, free in self.plan.stock.items()]
            await self.publisher.put(self.service, *rows)
            for _ in range(STEPS):
                await self._surviving(self._step)
            quiet = await self._quiesce()
            return await self._outcome(quiet=quiet)
        finally:
            await self.owner.crash()
            await self.publisher.crash()

    async def _surviving(self, step: Callable[[], Awaitable[object]]) -> None:
        try:
            await step()
        except Crash:
            await self._die()
        except Exception as error:  # as the trick has it
            if "as the test has it" not in str(error):
                raise
        if self.dying:
            await self._die()

    async def _step(self) -> None:
        steps: list[tuple[int, Callable[[], Awaitable[object]]]] = [
            (10, self._publish), (30, self._groups), (16, self._provide), (8, self._trick), (6, self._tick),
            (3, self._die), (5, self._interrupt), (3, self._replay),
        ]  # fmt: skip
        await self.chance.choices([each for _, each in steps], [weight for weight, _ in steps])[0]()

    async def _publish(self) -> bool:
        if self.published == len(self.plan.inputs):
            return False
        given = self.plan.inputs[self.published]
        self.published += 1
        if given.number:
            said: Any = Restocked(sku=given.key, place=given.number)
        else:
            said = OrderCreated(flow=given.key, sku=self.plan.orders[given.key].sku)
        await self.publisher.publish(said, idempotency_key=given.id)
        return True

    async def _groups(self) -> None:
        for _ in range(self.chance.randint(1, 4)):
            await self.owner.group()

    async def _provide(self) -> None:
        if self.outside.pending:
            self.keeper.let(self.chance.choice(self.outside.pending))
            await ticks()

    async def _trick(self) -> None:
        ledger = self.owner.ledger
        trick = self.chance.randrange(7)
        if trick < 3:
            ledger.before.append([busy, disk_full, crash][trick])
        elif trick < 5:
            ledger.at_end.append([disk_full, crash][trick - 3])
        elif trick == 5:
            ledger.after.append(crash)
        else:
            ledger.before.append(self._publish)
        await self._groups()

    async def _tick(self) -> None:
        self.owner.clock.advance(SECOND * self.chance.randint(1, 12))

    async def _die(self) -> None:
        self.dying = False
        if not self.plan.zombies:  # with a provider that could not refuse it later: now or never
            for call in [call for call in self.outside.pending if id(call) in self.keeper.waiting]:
                self.outside.pending.remove(call)
                if self.chance.random() < 0.5:
                    self.outside.handle(call)
        self.keeper.waiting.clear()
        await self.owner.restart()

    async def _interrupt(self) -> None:
        if self.plan.cancels:
            await self._cancel(self.chance.choice(self.plan.cancels))

    async def _cancel(self, flow: str) -> None:
        """Once, and not behind its end."""
        log = await self.publisher.ledger.read(0, limit=100_000)
        ended = any(entry.type in model.ENDS and f'"{flow}"' in entry.data.decode() for entry in log)
        if not ended and flow not in self.cancelled:
            try:
                await self.publisher.drive(self.publisher.board.flow("order", flow).cancel("as the plan has it"))
                self.cancelled.add(flow)
            except FlowError:
                return

    async def _replay(self) -> bool:
        """Each dead letter is replayed once; what died again and belongs to no flow is discarded."""
        for row in await self.publisher.dead():
            place = (row.reaction, row.pos, row.effect)
            flows = await self.publisher.ledger.flows_by_number([row.flow])
            if any(flow.verdict for flow in flows):
                continue
            if place not in self.replayed:
                self.replayed.add(place)
                [letter] = await self.publisher.ledger.entries([row.pos])
                self.again.add((_short(row.reaction), letter.id))
                return await self.publisher.ask(row, "replay")
            if row.line.startswith("="):
                return await self.publisher.ask(row, "discard")
        return False

    async def _quiesce(self) -> bool:
        """No more trouble; on, until nothing is left to do."""
        self.owner.forget_tricks()
        for _ in range(400):
            commits = self.owner.ledger.commits
            moved = await self._publish()
            await self._surviving(self.owner.run)
            for call in list(self.outside.pending):
                self.keeper.let(call)
                moved = True
            await self._surviving(self.owner.run)
            if not moved and commits == self.owner.ledger.commits and not await self._wait():
                return True
        return False

    async def _wait(self) -> bool:
        for flow in self.plan.cancels:
            await self._cancel(flow)
        await self._surviving(self.owner.run)
        due = self.owner.work.next_due()
        if due is not None:
            now = int(self.owner.clock.now().timestamp() * 1_000_000)
            self.owner.clock.advance(timedelta(microseconds=max(1, due - now)))
            return True
        return await self._replay()

    # what it has become

    async def _outcome(self, *, quiet: bool) -> Outcome:
        entries = await self.publisher.ledger.read(0, limit=100_000)
        log = _story(entries)
        flows = {flow: await self._flow(flow) for flow in self.plan.orders}
        parked = await self.publisher.parked()
        shelves = {sku: await self._shelf(sku) for sku in self.plan.stock}
        orders = {flow: await self.publisher.load(Order, flow) for flow in self.plan.orders}
        names = {entry.flow: log[entry.pos - 1].flow for entry in entries}
        return Outcome(
            quiet,
            log,
            {flow: row for flow, row in flows.items() if row is not None},
            {
                flow: tuple(_reason(row) for row in parked if names[row.flow] == flow)
                for flow, row in flows.items()
                if row is not None and not row.verdict
            },
            frozenset((names[row.flow], _short(row.reaction)) for row in parked if row.why == "dead"),
            shelves,
            {flow: order.status for flow, order in orders.items() if order is not None and order.status},
            self.outside,
            (),
        )

    async def _flow(self, flow: str) -> FlowRow | None:
        try:
            row = await self.publisher.flow("order", flow)
        except FlowError:
            return None
        verdict: Any = row.verdict or ""
        leaked = tuple(_short(path) for path in (row.leaked or "").split(", ") if path)
        return FlowRow(0, row.by or "", verdict, row.failing or 0, leaked, row.timed_out)

    async def _shelf(self, sku: str) -> model.Shelf:
        row = await self.publisher.load(Shelf, sku)
        return model.Shelf(row.free, row.filled) if row is not None else model.Shelf(0)


COMPENSATED = {reaction.name: reaction.compensates for reaction in model.REACTIONS.values() if reaction.compensates}


def _short(path: str) -> str:
    return path.rpartition(".")[2]


def _reason(row: Parked) -> str:
    return f"{_short(row.reaction)} is {row.why}: {row.error or row.missing}"


def _story(entries: list[Entry]) -> tuple[Event, ...]:
    """The log in the words of the model: ids are paths, positions count without a gap."""
    known: dict[int, Event] = {}
    timers: dict[tuple[int, str], Event] = {}
    failures: dict[tuple[int, str], int] = {}
    flows: dict[int, str] = {}
    for seq, entry in enumerate(entries, 1):
        said: dict[str, Any] = _said(entry)
        flow = flows.setdefault(entry.flow, str(said.get("flow", "")))
        kind, by = entry.type.removeprefix("callboard."), _short(entry.by or "")
        cause = known.get(entry.cause)
        about, number = "", int(said.get("number", said.get("place", 0)))
        if kind.startswith(("FlowTimedOut", "FlowCancelled")):
            kind = kind.partition("[")[0]
            path, by = f"{flow}.{kind}", ""
        elif cause is None:
            path = f"{said['sku']}.{said['place']}" if kind == "Restocked" else f"{flow}.{kind}"
        elif kind.startswith("Timer["):
            kind, path, by = f"Timer[{by}]", f"{cause.id}/{by}@", ""
        elif kind.startswith("ReactionFailed["):
            about, times = by, failures.get((cause.seq, by), 0)
            failures[cause.seq, by] = times + 1
            path = f"{cause.id}/{by}!{times}"
        else:
            cause = timers.get((cause.seq, by), cause)
            path = f"{cause.id}/{by}"
        told = Event(
            seq, path, kind, flow or str(said.get("sku", "")), flow, by, cause.seq if cause else 0, about, number
        )
        known[entry.pos] = told
        if kind.startswith("Timer[") and cause is not None:
            timers[cause.seq, path.rpartition("/")[2].removesuffix("@")] = told
    return tuple(replaced for replaced in known.values())


def _said(entry: Entry) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.json.decode(entry.data) or {}
    while (inner := said.get("started") or said.get("event")) is not None:
        said = inner
    return said


async def play(plan: Plan, schedule: int, folder: Path) -> Outcome:
    """Play the plan once on the real thing."""
    return await Real(plan, schedule, folder).run()
