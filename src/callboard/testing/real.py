"""The world of a rehearsal on a real ledger and broker. Its clock stands until the test turns it; all else is real.

The boards are opened as a program opens them, in an event loop of their own that runs while the test waits for it.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from contextlib import AsyncExitStack, contextmanager
from contextvars import Context, copy_context
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, TypeVarTuple, cast

from msgspec.structs import replace

from callboard.clock import ManualClock
from callboard.errors import LedgerError
from callboard.event import state_type
from callboard.hops.abroad import intake_of
from callboard.hops.intake import is_ready
from callboard.simulation.choices import Choices
from callboard.simulation.ledger import Disk, Written
from callboard.simulation.loop import LIFE, RUN, Life, NeverRests
from callboard.simulation.samples import START
from callboard.simulation.worker import Worker
from callboard.simulation.world import Scene, World
from callboard.testing.watched import Road, WatchedBroker, WatchedLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from callboard.broker import Broker
    from callboard.ledger import FlowRow, Ledger, Parked
    from callboard.service import Service

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_LONGEST = 60  # seconds of real time for one step of a test
_GRACE = timedelta(seconds=0.2)  # for what still runs when the test is over
_MOMENT = 0.001  # seconds between two looks at what has arrived


class Places(NamedTuple):
    """What the services of a rehearsal are opened on. Each is asked for a name that was never used before."""

    ledger: Callable[[str], Ledger]
    broker: Callable[[str], Broker] | None  # None: all share one ledger
    new: Callable[[], str]


class AtOnce(Choices):
    """No faults, and nothing takes time of the world's own."""

    def between(self, key: str, low: float, high: float) -> float:  # noqa: ARG002 - it is a number all the same
        """Nothing."""
        return 0.0


class Loop(asyncio.SelectorEventLoop):
    """What a reaction calls from a thread is known as its own."""

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """In the context of a task, which whoever calls has before the thread begins."""
        in_thread = super().run_in_executor

        async def run() -> T:
            return await in_thread(executor, partial(copy_context().run, func, *args))

        coroutine, context = run(), copy_context()
        context.run(RUN.set, coroutine)
        return self.create_task(coroutine, context=context)


class RealWorld(World):
    """The services of a choreography on what is real. What does not come to rest in time is an error that names it."""

    def __init__(self, scene: Scene, seed: int, places: Places) -> None:
        super().__init__(scene, seed)
        self.loop.close()  # virtual time is not needed
        self.choices = AtOnce(seed, (), swarm=False)
        self.patience = _LONGEST
        self.clock = ManualClock(START)
        self.road = Road()
        self.boards = AsyncExitStack()
        self._places = places
        self._place = places.new()
        self._runner = asyncio.Runner(loop_factory=Loop)
        self._real: list[RealWorker] = []

    # running

    @contextmanager
    def alive(self) -> Iterator[None]:
        """It may be acted in; afterwards everything is closed."""
        try:
            with self.memory:
                yield
        finally:
            try:
                self.do(self.boards.aclose())
            finally:
                self._runner.close()

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        """What this step returns. Everything goes on until it does, and stands afterwards."""
        before = events._get_running_loop()  # noqa: SLF001 - a test may be in one
        events._set_running_loop(None)  # noqa: SLF001
        try:
            return self._runner.run(self._in_time(step))
        finally:
            events._set_running_loop(before)  # noqa: SLF001

    async def _in_time(self, step: Coroutine[Any, Any, T]) -> T:
        limit = asyncio.timeout(_LONGEST)
        try:
            async with limit:
                return await step
        except TimeoutError:
            if not limit.expired():
                raise
        left = [*(each for worker in self._real for each in worker.left()), *self.road.left()]
        told = "; ".join(left) or "a call awaits something that does not come"
        raise NeverRests(f"after {_LONGEST} s it is still at work: {told}")

    async def begin(self) -> None:
        """All boards are open."""
        asyncio.get_running_loop().set_task_factory(self._tagged)
        self._build()
        for worker in self._real:
            worker.refuse_wrong_keepers()
            await asyncio.create_task(worker.open(), context=Context())

    def _tagged(self, loop: Any, coroutine: Any, context: Context | None = None) -> asyncio.Task[Any]:
        context = copy_context() if context is None else context
        self.loop.run_tag(coroutine, context)
        return asyncio.Task(coroutine, loop=loop, context=context)

    def _build(self) -> None:
        services, places = list(self.scene.choreography.services.values()), self._places
        groups = {service.name: [service] for service in services}
        if places.broker is None:
            groups = {self.scene.choreography.name: services}
        for name, owned in groups.items():
            broker = None if places.broker is None else WatchedBroker(places.broker(self._place), self.road)
            ledger = places.ledger(f"{self._place}_{name}")
            worker = RealWorker(self, name, owned, ledger, broker)
            self.disks[name] = worker.disk
            self.workers[name] = worker
            self._real.append(worker)

    # time

    @property
    def seconds(self) -> float:
        """By the clock that the test turns."""
        return (self.clock.now() - START).total_seconds()

    async def rest(self, *, waits: bool = True) -> None:
        """Nothing more would happen by itself: every timer, retry and delivery is through.

        Without `waits` the timers and deadlines are not waited for.
        """
        await self._settle()
        while (due := await self._next_due()) is not None and (
            waits or any([await each.tries_again() for each in self._real])
        ):
            await self._turn(due)

    async def pass_time(self, seconds: float) -> None:
        """So much time passes; what begins in it is brought to where it waits again."""
        until = self.clock.now() + timedelta(seconds=seconds)
        await self.rest(waits=False)
        while (due := await self._next_due()) is not None and due < until:
            await self._turn(due)
        await self._turn(until)
        await self.rest(waits=False)

    async def _turn(self, to: datetime) -> None:
        self.clock.advance(max(to - self.clock.now(), timedelta(0)))
        await self._settle()

    async def _settle(self) -> None:
        """Nothing is left to do at this moment of the clock, in no board and on no road between them."""
        before: list[int] | None = None
        while True:
            for worker in self._real:
                await worker.rest()
            heads = [worker.head for worker in self._real]
            left = [*self.road.waiting, *(each for worker in self._real for each in worker.left())]
            if heads == before and not left and not any([await worker.takes_in() for worker in self._real]):
                return
            before = heads
            await asyncio.sleep(_MOMENT if self._places.broker else 0)

    async def _next_due(self) -> datetime | None:
        return min([due for worker in self._real if (due := await worker.next_due()) is not None], default=None)

    # what is seen

    def flows_at(self, home: str) -> list[FlowRow]:
        """The flows that the ledger of this service or worker keeps, in the order of their beginnings."""
        worker = next((each for each in self._real if each.name == home), self._real[0])
        return sorted(worker.flows.values(), key=lambda row: row.number)

    async def rows(self, cls: type[T]) -> list[T]:
        """All rows of this state that were written here, as they are committed."""
        state = state_type(cls)
        found: list[T] = []
        for worker in self._real:
            keys = sorted(worker.keys.get(state.name, ()))
            rows = await worker.ledger.states([(state.name, key) for key in keys]) if keys else {}
            there = [row for key in keys if (row := rows[state.name, key]).data is not None]
            found += [self.codec.decode_state(row.data or b"", state, row.shape) for row in there]
        return found


class RealWorker(Worker):
    """What a program is that runs some services."""

    def __init__(
        self, world: RealWorld, name: str, services: list[Service], ledger: Ledger, broker: WatchedBroker | None
    ) -> None:
        super().__init__(world, name, services, Disk(name))
        self.ledger = ledger
        self.flows: dict[tuple[int, str], FlowRow] = {}
        self.keys: dict[str, set[str]] = {}  # of the rows of each state that were written here
        self._real = world
        self._broker = broker
        self._intakes = [intake_of(each) for each in [*(service.name for service in services), None]]

    async def open(self) -> None:
        """Its board is open until the world is over."""
        world, life = self._real, Life(self.name, 1)
        LIFE.set(life)
        ledger = cast("Ledger", WatchedLedger(self.ledger, world.scene.silent, self.wrote))
        board = self._opened(ledger, cast("Broker | None", self._broker), life, grace=_GRACE, clock=world.clock)
        self.board = await world.boards.enter_async_context(board)

    @property
    def is_over(self) -> bool:
        """Whether its board is not open, or has stopped."""
        return self.board is None or self.board.closed or self.board.failure is not None

    @property
    def head(self) -> int:
        """How far its log goes."""
        return 0 if self.board is None else self.board.work.head

    async def rest(self) -> None:
        """Its board has nothing to do at this moment of the clock, or has stopped."""
        if self.board is None or self.is_over:
            return
        self.board.work.next_look = 0  # it goes by the clock, which stands
        try:
            await self.board.rest()
        except LedgerError:
            if not self.is_over:
                raise

    async def next_due(self) -> datetime | None:
        """The next moment at which something may be to do by itself."""
        if self.board is None or self.is_over:
            return None
        dues = [row.due for row in await self._early() if row.due is not None]
        early = START.fromtimestamp(min(dues) / 1_000_000, START.tzinfo) if dues else None
        return min([due for due in (self.board.next_due(), early) if due is not None], default=None)

    async def tries_again(self) -> bool:
        """Whether a run of a reaction that failed is to be made again."""
        if self.is_over:
            return False
        return any(row.due is not None for row in await self.ledger.parked(why=["retry", "running"]))

    async def takes_in(self) -> bool:
        """Whether something that came too early can be taken in now."""
        if self.board is None or self.is_over:
            return False
        return any([await is_ready(self.board.work, row) for row in await self._early()])

    def left(self) -> list[str]:
        """What it has still to do at this moment of the clock, in words."""
        if self.board is None or self.is_over:
            return []
        work = self.board.work
        left = [f"{self.name} runs {attempt.delivery.reader.path}" for attempt in work.running]
        left += [f"{self.name} has something to do"] if work.busy and not left else []
        if work.abroad is not None and work.abroad.sent < work.head:
            why = f" ({work.abroad.away[1]})" if work.abroad.away else ""
            left.append(f"{self.name} has not sent its last {work.head - work.abroad.sent} events{why}")
        return left

    async def _early(self) -> list[Parked]:
        return [] if self._broker is None else await self.ledger.parked(reactions=self._intakes)

    def wrote(self, written: Written) -> None:
        """It is committed: it is told in the story, and kept for whoever looks."""
        for row in [*written.flows, *written.changed]:
            self.flows[row.number, row.name] = replace(row)
        for state, key, *_ in written.saved:
            self.keys.setdefault(state, set()).add(key)
        self.note(self.disk, written)
        self.committed(self.disk, written)

    def _look_again(self, disk: Disk, written: Written) -> None:
        """A board that is real looks by itself."""
