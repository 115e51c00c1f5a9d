"""A worker of a world: owns services on a disk, dies at any commit, sending or call, and is started again."""

from __future__ import annotations

import asyncio
from contextvars import Context
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from callboard.checks.effects import answers
from callboard.choreography import pick_keepers
from callboard.hops.work import Looks
from callboard.run import open_board
from callboard.simulation.choices import Steady
from callboard.simulation.ledger import SimulatedLedger
from callboard.simulation.loop import LIFE, Life, never
from callboard.simulation.samples import START

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from callboard.board import Board
    from callboard.broker import Broker
    from callboard.ledger import Entry, Ledger
    from callboard.service import Service
    from callboard.simulation.ledger import Disk, Written
    from callboard.simulation.world import World

_LOOKS = Looks(inf, inf)  # for what others committed: there is nobody else
_GRACE = timedelta(seconds=2)  # that what runs has when a worker is stopped
_MOMENT = 0.001  # seconds, so that what is due is due
_VERDICTS = 0.6  # seconds after which a board looks once more whether a flow with a dead letter has ended


class Worker:
    """What a program is that runs some services: it has lives, one after the other, on one disk."""

    def __init__(self, world: World, name: str, services: Sequence[Service], disk: Disk) -> None:
        self.world = world
        self.name = name
        self.services = list(services)
        self.disk = disk
        self.board: Board | None = None  # while it is up
        self.lives = 0
        skew = world.strikes("skew", name, name, "has a clock that is wrong")
        self._began = START + timedelta(seconds=skew or 0)
        self._life: Life | None = None
        self._up = asyncio.Event()
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()

    def now(self) -> datetime:
        """What time it is by its clock."""
        return self._began + timedelta(seconds=self.world.loop.time())

    def start(self) -> None:
        """It begins to live: it takes up whatever its disk says."""
        self.lives += 1
        self._life = Life(self.name, self.lives)
        context = Context()
        context.run(LIFE.set, self._life)
        self.world.loop.begin(self._live(self._life), self.name, context)

    async def _live(self, life: Life) -> None:
        world = self.world
        ledger = SimulatedLedger(self.disk, self)
        opened = self._opened(ledger, world.broker, life, grace=_GRACE, clock=self, looks=_LOOKS)
        async with opened as board:
            self.board = board
            self._stopping.clear()
            self._gone.clear()
            self._up.set()
            if life.number > 1:
                world.tell(self.name, "starts", "again, on what its ledger says")
            await self._stopping.wait()
        self.board = self._life = None
        self._gone.set()

    def _opened(
        self, ledger: Ledger, broker: Broker | None, life: Life, **more: Any
    ) -> AbstractAsyncContextManager[Board]:
        world = self.world
        return open_board(
            world.scene.choreography, ledger, broker=broker, ports=world.keepers, services=self.services,
            codec=world.codec, chance=Steady(f"{world.choices.seed} {self.name} {life.number}"), keep=None,
            watched=False, **more,
        )  # fmt: skip

    @property
    def stops(self) -> bool:
        """Whether it has been told to stop, and has not started again."""
        return self._stopping.is_set()

    async def stop(self) -> bool:
        """It is stopped as by an operator, what runs has its grace. False if it died meanwhile: it starts by itself."""
        await self.up()
        self.world.tell(self.name, "stops", "and begins nothing new")
        self._stopping.set()
        await self._gone.wait()
        return self._life is None

    def refuse_wrong_keepers(self) -> None:
        """Raises ContractError as `open` would."""
        pick_keepers(self.world.scene.choreography, self.world.keepers, self.services)

    # trouble

    def strikes(self, fault: str, where: str, text: str) -> float | None:
        """The amount of a fault that strikes this worker here."""
        return self.world.strikes(fault, where, self.name, text)

    async def may_die(self, where: str) -> None:
        """Goes on behind this line, or never."""
        if self.dies(where):
            await never()

    def dies(self, where: str) -> bool:
        """Whether it has died here: whoever is told so does nothing more."""
        down = self.strikes("crash", f"{self.name} {where}", f"dies {where}")
        if down is None:
            return False
        self.cut(down)
        return True

    def cut(self, down: float) -> None:
        """The power is off: no `finally` runs, what was not committed is gone. `down` seconds later it starts again."""
        if self._life is not None:
            self._life.over = True
        running = self.board.work.running if self.board is not None else ()
        for delivery in sorted(attempt.delivery for attempt in running):
            flow = self.world.flow_name(delivery.trigger.id)
            self.world.tell(self.name, "is cut", f"{delivery.reader.path}#{flow}", flow)
        self.board = None
        self._gone.set()
        self.disk.cut()
        self.world.forget_memory(self)
        self.world.loop.call_later(down, self.start, context=Context())

    # what it writes

    def note(self, disk: Disk, written: Written) -> list[str]:
        """Names for what is about to be committed; each is a place where this worker can die."""
        for row in written.flows:
            disk.flows[row.number] = row.id
            self.world.name_flow(row.id, row.key)
        named = [f"{self._source(entry)}{self.world.label(entry.type, entry.id)}" for entry in written.entries]
        named += [
            f"{row.reaction} as {row.why} in #{self.world.flow_name(disk.flows.get(row.flow, ''))}"
            for row in written.rows
            if row.why in ("retry", "running", "dead", "timer")
        ]
        return named

    def _source(self, entry: Entry) -> str:
        if entry.source is not None and entry.source not in {service.name for service in self.services}:
            return "the arrived "
        return f"{entry.by} -> " if entry.by else "the published "

    def _given(self, entry: Entry, source: str) -> str:
        """The same; of a compensation that could be given an effect and was not, with that."""
        contract = self.world.scene.choreography.contracts.get(entry.by or "")
        if contract is None or contract.options.compensates is None or not answers(contract):
            return source
        undone = f"{contract.service}.{contract.options.compensates}"
        given = any(self.world.circles.emitter(self.name, pos) == undone for pos in entry.causes)
        return source if given else f"{entry.by} (given None) -> "

    def committed(self, disk: Disk, written: Written) -> None:
        """It is in the log: it is told in the story."""
        world = self.world
        for entry in written.entries:
            source = self._source(entry)
            flow = world.flow_name(entry.id)
            world.log.append((self.name, entry))
            endless = world.circles.watch(self.name, entry, flow)
            if endless is not None and "endless" not in world.scene.ignored:
                world.loop.failed = endless
            if source == "the arrived ":
                world.tell(self.name, "arrives", world.label(entry.type, entry.id), flow, entry.data)
            else:
                name = world.label(entry.type, entry.id)
                world.tell(self.name, "commits", f"{self._given(entry, source)}{name}", flow, entry.data)
        for row in written.rows:
            if row.why in ("retry", "dead"):
                world.parked.append((self.name, replace(row)))
                flow = world.flow_name(disk.flows.get(row.flow, ""))
                what = "tries again later" if row.why == "retry" else "dead letter"
                world.tell(self.name, what, f"{row.reaction}#{flow}: {row.error}", flow)
        for ended in written.ended:
            if ended.verdict == "failed":
                world.failed_at.setdefault((self.name, ended.number), len(world.log))
            leaked = f", leaked {ended.leaked}" if ended.leaked else ""
            flow = world.flow_name(ended.id)
            world.tell(self.name, "verdict", f"{ended.name} #{flow} {ended.verdict}{leaked}", flow)
        self._look_again(disk, written)

    def _look_again(self, disk: Disk, written: Written) -> None:
        """What came too early is taken in when its flow begins, or has waited long enough: nobody polls here."""
        world = self.world
        if self.board is not None and self.board.work.stopped:
            world.loop.call_later(_VERDICTS, self.board.work.wake)
        if world.broker is None:
            return
        if written.flows and disk.early:
            world.broker.wake(self.name)
        for row in written.rows:
            if row.due is not None and row.reaction.endswith("(intake)"):
                disk.early = True
                wait = row.due / 1_000_000 - self.now().timestamp()
                world.loop.call_later(wait + _MOMENT, world.broker.wake, self.name, context=Context())

    def is_quiet(self, *, waits: bool) -> bool:
        """Whether it is up, and nothing more would happen by itself; without `waits`: but for timers and deadlines."""
        board = self.board
        if board is None:
            return False
        if board.failure is not None:
            return True
        work = board.work
        unsent = work.abroad is not None and work.abroad.sent < work.head
        if unsent or work.busy or work.running or work.later or (waits and work.next_due() is not None):
            return False
        due = "SELECT 1 FROM parked WHERE due IS NOT NULL AND (? OR why IN ('retry', 'running')) LIMIT 1"
        return not self.disk.query(due, waits)

    async def up(self) -> Board:
        """Its board, once it is up."""
        while self.board is None or self.stops:
            self._up.clear()
            await self._up.wait()
        return self.board
