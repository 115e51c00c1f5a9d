"""A board that is driven by hand: groups run in `run`, time moves in `advance`, its owner dies in `crash`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Self, TypeVar
from unittest.mock import patch

from msgspec.structs import replace

from callboard import Choreography, ManualClock, Service
from callboard import run as running
from callboard.board import Board, Completion, FlowHandle
from callboard.errors import LedgerBusy, LedgerError
from callboard.event import event_type
from callboard.hops.react import react
from callboard.hops.work import Work
from callboard.ledger import FlowRow, Ledger, Note, Parked, Wish
from callboard.run import Runner

from .ledger import StagedLedger, ticks

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
_ROUNDS = 2_000  # groups after which a board that is still at work never comes to rest


class _Held(Runner):
    """A runner that repeats nothing by itself, and that does nothing more once its owner is dead."""

    is_dead = False

    async def start(self) -> None:
        self.watched = False  # or else every death would leave a thread that goes on looking
        await super().start()

    async def _repeat(self) -> None:
        await asyncio.Event().wait()

    async def take_over(self) -> None:
        """What a runner does while it rests: it owns what is wanted and nobody owns."""
        if self.work.group is None and await self._own():
            self._begin_reading()

    async def stop(self, grace: timedelta) -> None:
        if self.is_dead:
            if self._loop is not None:
                self._loop.cancel()
                await asyncio.gather(self._loop, return_exceptions=True)
            return
        await super().stop(grace)


def _ledger(url: str, *, read_only: bool = False) -> Ledger:
    return StagedLedger(url, read_only=read_only)


class Stage:
    """One owner of one choreography on one file. Several stages may share the file, and the clock."""

    def __init__(
        self,
        choreography: Choreography,
        file: Path,
        *,
        ports: Sequence[object] = (),
        services: Sequence[Service] | None = None,
        clock: ManualClock | None = None,
        seed: int = 0,
    ) -> None:
        self.choreography = choreography
        self.file = file
        self.ports = list(ports)
        self.services = services
        self.clock = clock or ManualClock(START)
        self.seed = seed
        self.most: int | None = None  # open deliveries of one reaction, where a test wants few
        self.fuse: bool | None = None
        self._runner: _Held | None = None
        self._block: AbstractAsyncContextManager[Board] | None = None

    # opening and ending

    async def open(self) -> "Stage":
        """The board is open; nothing of what waits has run yet."""
        runners: list[_Held] = []

        def hold(work: Work, board: Board, services: Sequence[str]) -> _Held:
            runners.append(_Held(work, board, services))
            return runners[0]

        with patch.object(running, "Runner", hold), patch.object(running, "open_ledger", _ledger):
            self._block = self.choreography.open(
                f"sqlite:///{self.file}", ports=self.ports, services=self.services, clock=self.clock
            )
            await self._block.__aenter__()
        self._runner = runners[0]
        self.seed += 1  # or else flows of the same moment have the same ids
        self.work.chance = Random(self.seed)
        if self.fuse is not None:
            self.work.fuse = self.fuse
        for reader in self.work.readers.values():
            reader.most = self.most or reader.most
        return self

    async def close(self) -> None:
        """Drained, as at the end of the block: whoever suspends must be told to go on first."""
        if self._block is not None:
            await self.run(draining=True)
            block, self._block = self._block, None
            await block.__aexit__(None, None, None)

    async def crash(self) -> None:
        """Its owner is killed: what was not committed never happened, what ran is cut where it stood."""
        if self._runner is None or self._block is None:
            return
        self._runner.is_dead = True
        attempts = list(self.work.running)
        for attempt in attempts:
            if attempt.limit is not None:
                attempt.limit.cancel()
            if attempt.task is not None:
                attempt.task.cancel()
        await asyncio.gather(*(a.task for a in attempts if a.task is not None), return_exceptions=True)
        for publication in (*self.work.publications, *(self.work.group.publications if self.work.group else ())):
            publication.future.cancel()
        self.ledger.die()
        block, self._block = self._block, None
        await block.__aexit__(None, None, None)

    async def restart(self) -> "Stage":
        """Killed, and opened again on the same file."""
        await self.crash()
        return await self.open()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.crash()

    async def stand_by(self) -> None:
        """Own what is wanted and nobody owns any more, as a board does that is at rest."""
        assert self._runner is not None
        await self._runner.take_over()

    def forget_tricks(self) -> None:
        """Commits succeed from now on."""
        ledger = self.ledger
        for tricks in (ledger.before, ledger.at_end, ledger.after, ledger.reading):
            tricks.clear()

    @property
    def is_open(self) -> bool:
        return self._block is not None

    @property
    def runner(self) -> Runner:
        assert self._runner is not None
        return self._runner

    @property
    def board(self) -> Board:
        return self.runner.board

    @property
    def work(self) -> Work:
        return self.runner.work

    @property
    def ledger(self) -> StagedLedger:
        ledger = self.work.ledger
        assert isinstance(ledger, StagedLedger)
        return ledger

    # moving

    async def _once(self) -> int:
        return await react(self.work) + await self.runner.fold()

    async def group(self) -> int:
        """One group, and what tasks can do behind it. Returns how much was done."""
        done = await self._once()
        await self.board.notify()
        await ticks()
        return done

    async def groups_until(self, so: Callable[[], Awaitable[object]]) -> None:
        """Group after group, and none behind the one after which it is so."""
        for _ in range(100):
            await ticks()
            if await so():
                return
            await self.group()
        raise AssertionError("it never is so")

    async def run(self, *, draining: bool = False, rounds: int = _ROUNDS) -> None:
        """Group after group, until nothing more can be done before time moves or a keeper is told to go on."""
        self.work.draining = draining
        quiet = 0
        for _ in range(rounds):
            try:
                done = await self._once()
            except LedgerBusy:
                done = 1
            await self.board.notify()
            await ticks()
            quiet = 0 if done or self.work.finished or self.work.publications else quiet + 1
            if quiet > 2:
                return
        raise AssertionError(f"the board never comes to rest: {await self.parked()}")

    async def advance(self, by: timedelta | None = None, **span: float) -> None:
        """It is later now, and what became due has been done: stage.advance(minutes=5)."""
        self.clock.advance(by if by is not None else timedelta(**span))
        await self.run()

    async def until(self, found: Callable[[], T | None]) -> T:
        """Run until something is so that needs a thread or the loop's own clock. Fails after ten seconds."""
        async with asyncio.timeout(10):
            while True:
                self.work.woken.clear()
                await self.run()
                if answer := found():
                    return answer
                await self.work.woken.wait()

    async def drive(self, asking: Awaitable[T]) -> T:
        """What is asked of the board, with groups run until it is answered."""
        task = asyncio.ensure_future(asking)
        for _ in range(_ROUNDS):
            await ticks(2)
            if task.done():
                return await task
            try:
                await self._once()
            except LedgerBusy:
                continue
            except LedgerError:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise
            await self.board.notify()
        task.cancel()
        raise AssertionError("the board never answers")

    async def publish(self, event: object, **options: Any) -> FlowHandle:
        """The event is durable, and perhaps nothing else."""
        return await self.drive(self.board.publish(event, **options))

    async def say(self, *events: object) -> list[FlowHandle]:
        """These are published one by one, and everything that follows of them has happened."""
        handles = [await self.publish(event) for event in events]
        await self.run()
        return handles

    async def put(self, service: Service, *rows: object) -> None:
        """State rows are changed from outside."""

        async def change() -> None:
            async with self.board.transaction(service) as tx:
                for row in rows:
                    await tx.put(row)

        await self.drive(change())

    async def ask(self, row: Parked, what: str) -> bool:
        """An operator, in a worker of his own, asks for a replay, verdict or not, or gives a dead letter up."""
        other = StagedLedger(f"sqlite:///{self.file}")
        await other.open((), ())
        try:
            wish = replace(row, asked=Wish("replay" if what == "replay" else "discard", late=True))
            note = Note(row.pos, row.reaction, row.flow, "asked", what, self.work.now())
            return (await other.ask([wish], [note]))[0]
        finally:
            await other.close()

    # looking

    async def flow(self, name: str, key: object) -> FlowRow:
        return await self.board.flow(name, key).row()

    async def completion(self, name: str, key: object) -> Completion:
        """The flow's end, which has come."""
        return await self.board.flow(name, key).completion(timeout=timedelta(0))

    async def verdict(self, name: str, key: object) -> str | None:
        return (await self.flow(name, key)).verdict

    async def log(self) -> list[str]:
        """The types of the whole log, in order."""
        return [entry.type for entry in await self.ledger.read(0, limit=100_000)]

    async def count(self, kind: Any) -> int:
        """How many events of this class stand in the log."""
        return (await self.log()).count(event_type(kind).name)

    async def parked(self, why: str | None = None) -> list[Parked]:
        return [row for row in await self.ledger.parked() if why is None or row.why == why]

    async def dead(self) -> list[Parked]:
        return await self.parked("dead")

    async def notes(self, name: str, key: object) -> list[Note]:
        return await self.ledger.notes((await self.flow(name, key)).number)

    async def load(self, cls: type[T], key: object) -> T | None:
        return await self.board.load(cls, key)
