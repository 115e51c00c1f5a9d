"""A world: one seed, run to its end. Workers live and die, events travel, faults strike and stop, and all is judged."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from msgspec.structs import replace

from callboard.codecs.json import JsonCodec
from callboard.errors import CallboardError
from callboard.event import FlowCancelled, attribute, state_type, type_of
from callboard.graph import OUTSIDE
from callboard.ids import FLOW_LENGTH
from callboard.ledger import Note, Wish
from callboard.ledgers.sqlite_layout import GET_FLOW, flow_of
from callboard.simulation.broker import SimulatedBroker
from callboard.simulation.choices import Choices, Deviations
from callboard.simulation.circles import Circles, GoesRound
from callboard.simulation.escapes import Sealed
from callboard.simulation.faults import FAULTS
from callboard.simulation.ledger import Disk
from callboard.simulation.loop import RUN, Life, Loop, TookTooLong
from callboard.simulation.memory import Memory
from callboard.simulation.oracles import Violation, judge
from callboard.simulation.outside import Outside, tag_runs
from callboard.simulation.runs import watched_reactions
from callboard.simulation.samples import Draw, constants_of, texts_of
from callboard.simulation.worker import Worker
from callboard.simulation.workload import publish_samples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callboard.board import Board
    from callboard.choreography import Choreography
    from callboard.codec import Codec
    from callboard.event import EventType
    from callboard.ledger import Entry, FlowRow, Parked

T = TypeVar("T")
LEDGERS = Literal["shared", "separate", "either"]
_STORM = 5400.0  # seconds after which faults strike no more
_ROUNDS = 6  # of the end: what is dead is replayed


@dataclass
class Scene:
    """What is simulated, and how."""

    choreography: Choreography
    keepers: Callable[[], Sequence[object]] = list[object]
    faults: tuple[str, ...] = tuple(FAULTS)
    swarm: bool = True
    flows: int = 4  # that are begun of each Flow, by the workload that we make
    ledgers: LEDGERS = "either"
    ignored: frozenset[str] = frozenset()  # oracles that are not asked
    codec: Codec = field(default_factory=JsonCodec)
    pure: frozenset[str] = frozenset()  # ports, and calls as `Port.call`, that only compute
    silent: set[str] = field(default_factory=set[str])  # reactions that hear nothing

    @cached_property
    def memory(self) -> Memory:
        """The variables of its modules, as they are before anything happens."""
        return Memory(self.choreography)

    @cached_property
    def words(self) -> tuple[list[str], list[Any]]:
        """What values are made of that mean something to its code: texts named for fields, and constants."""
        return texts_of(self.choreography), constants_of(self.choreography)

    @cached_property
    def from_outside(self) -> list[EventType]:
        """What no reaction emits, and what `incoming` names."""
        return list(dict.fromkeys(edge.event for edge in self.choreography.edges() if edge.source == OUTSIDE))


@dataclass
class Line:
    """One line of a story."""

    time: float
    worker: str
    what: str
    text: str
    flow: str = ""
    deviation: str | None = None


@dataclass
class Ending:
    """How a world ended."""

    seed: int
    deviations: Deviations
    violations: list[Violation]
    lines: list[Line]
    digest: str
    steps: int
    events: int
    flows: int
    outcomes: frozenset[str] = frozenset()
    trace: list[str] = field(default_factory=list[str])
    given_up: bool = False  # it took too long: nobody waits for it once more


class World:
    """Everything of one seed. Give `forced` to run it with these deviations only."""

    is_cut = False  # whether it was given up before its flows came to their ends
    tells_runs = False  # whether its story has each run too, also one that says nothing; its trace never has

    def __init__(self, scene: Scene, seed: int, *, forced: Mapping[str, float] | None = None) -> None:
        self.scene = scene
        self.choices = Choices(seed, scene.faults, swarm=scene.swarm, forced=forced)
        self.loop = Loop()
        self.codec = scene.codec
        self.lines: list[Line] = []
        self.trace: list[str] = []
        self.log: list[tuple[str, Entry]] = []  # every entry that was committed, and by whom
        self.circles = Circles(scene.choreography)
        self.parked: list[tuple[str, Parked]] = []  # every retry and dead letter that was committed, and by whom
        self.failed_at: dict[tuple[str, int], int] = {}  # of failed flows: how much was in `log` at each
        self.published: list[Any] = []
        self.found: list[Violation] = []  # what is wrong at once, where it happens
        self._names: dict[str, str] = {}
        self._outside = Outside(self)
        self.keepers = self._outside.keepers(list(scene.keepers()))
        self.memory = scene.memory
        self.broker: SimulatedBroker | None = None
        self.disks: dict[str, Disk] = {}
        self.workers: dict[str, Worker] = {}
        self._resting: asyncio.Future[None] | None = None
        self.given_up = False
        self._waits = True
        self.patience = 5.0  # seconds until somebody who publishes tries again
        self._people = 0
        self._sealed = Sealed(self)
        self.loop.run_tag = tag_runs(self._outside.functions, RUN)
        self.loop.idle = self._idle

    # running

    def run(self) -> Ending:
        """Live it from beginning to end, and judge it."""
        with self._sealed, self.alive():
            try:
                self.do(self.live())
                violations = self.do(judge(self))
            except GoesRound as error:
                self.is_cut, violations = True, [Violation("endless", error.flow, str(error))]
            except CallboardError as error:
                self.given_up, self.is_cut = isinstance(error, TookTooLong), True
                violations = [Violation("trouble", "", f"{type(error).__name__}: {error}")]
        return self.ended(violations)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """It may be acted in; afterwards what lay dead is closed, and the disks are given back."""
        try:
            with self.memory, watched_reactions(self):
                yield
        finally:
            with self._sealed:
                self.loop.bury()
            for disk in self.disks.values():
                disk.leave()

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        """What this step returns, in the time of this world."""
        with self._sealed:
            return self.loop.run(step)

    def ended(self, violations: list[Violation]) -> Ending:
        """How it ended."""
        found = [each for each in [*self.found, *violations] if each.oracle not in self.scene.ignored]
        digest = blake2b("\n".join(self.trace).encode(), digest_size=8).hexdigest()
        outcomes = frozenset(f"{e.by} -> {e.type}" for _, e in self.log if e.by and "callboard." not in e.by)
        return Ending(
            self.choices.seed, self.choices.deviations, found, self.lines, digest, self.loop.steps, len(self.log),
            len(self._names), outcomes, self.trace, self.given_up,
        )  # fmt: skip

    async def begin(self) -> None:
        """All workers start; faults strike from now on."""
        self._build()
        for worker in self.workers.values():
            worker.refuse_wrong_keepers()
            worker.start()
        self.loop.call_later(_STORM, self._calm)

    async def live(self) -> None:
        """Begin, let happen what the workload says, and come to the end."""
        await self.begin()
        await self._work_through(self.scene.choreography.workloads or [publish_samples])
        await self.finish()

    async def _work_through(self, workloads: Sequence[Callable[..., Any]]) -> None:
        for workload in workloads:
            told = workload(self)
            if inspect.isawaitable(told):
                await told

    async def finish(self) -> None:
        """Faults stop, everything comes to its end, and what is dead is tried again."""
        await self.rest()
        self._calm()
        for _ in range(_ROUNDS):
            if not await self._replay_dead():
                break
            await self.rest()

    def _build(self) -> None:
        choreography, services = self.scene.choreography, list(self.scene.choreography.services.values())
        apart = self.scene.ledgers == "separate"
        if self.scene.ledgers == "either" and len(services) > 1:
            apart = self.choices.pick("ledgers", (False, True))
        if apart:
            self.broker = SimulatedBroker(self)
        for name, owned in (
            {service.name: [service] for service in services} if apart else {choreography.name: services}
        ).items():
            self.disks[name] = Disk(name)
            self.workers[name] = Worker(self, name, owned, self.disks[name])

    def _calm(self) -> None:
        self.choices.calm = True

    async def rest(self, *, waits: bool = True) -> None:
        """Nothing more would happen by itself: every timer, retry and delivery is through.

        Without `waits` the timers and deadlines are not waited for.
        """
        self._waits = waits
        self._resting = self.loop.create_future()
        await self._resting

    async def pass_time(self, seconds: float) -> None:
        """So much time passes; what begins in it is brought to where it waits again."""
        until = self.loop.time() + seconds
        await self.rest(waits=False)
        await asyncio.sleep(max(0.0, until - self.loop.time()))
        await self.rest(waits=False)

    def _idle(self, due: float | None) -> None:
        resting = self._resting
        if resting is None or resting.done() or self._people:
            return
        if due is not None and due - self.loop.time() < 0.5:
            return
        quiet = (each.is_quiet(waits=self._waits) for each in self.workers.values())
        if (self.broker is None or self.broker.is_empty) and all(quiet):
            resting.set_result(None)

    async def _replay_dead(self) -> bool:
        """An operator asks for every dead letter to be tried again."""
        asked = False
        for worker in self.workers.values():
            board = await worker.up()
            work = board.work
            rows = [
                row
                for row in await work.ledger.parked(why=["dead"])
                if row.reaction in work.readers and row.flow not in work.over and row.asked is None
            ]
            if rows:
                wishes = [replace(row, asked=Wish("replay"), due=work.now()) for row in rows]
                notes = [Note(row.pos, row.reaction, row.flow, "asked", "replay", work.now()) for row in rows]
                asked |= any(await work.ledger.ask(wishes, notes))
                work.wishes = True
                work.wake()
        return asked

    def at_awaits(self) -> None:
        """From now on a worker can die wherever a reaction awaits too."""
        codes = self._outside.functions

        def stepped(task: Any, life: Life) -> None:
            coroutine: Any = None if not isinstance(task, asyncio.Task) or task.done() else cast("Any", task).get_coro()
            path = codes.get(getattr(coroutine, "cr_code", None))
            if path is not None and not life.over:
                self.workers[life.worker].dies(f"while {path} awaits")

        self.loop.stepped = stepped

    # what its parts ask of it

    def strikes(self, fault: str, where: str, worker: str, text: str) -> float | None:
        """The amount of the fault if it strikes here; then the story tells so."""
        amount = self.choices.strikes(fault, where)
        if amount is not None:
            unit = FAULTS[fault].unit
            told = f"{text} ({amount:g} {unit})" if unit.startswith("seconds") else text
            self.tell(worker, "FAULT", told, deviation=next(reversed(self.choices.deviations)))
        return amount

    def line(self, worker: str, what: str, text: str, flow: str = "", deviation: str | None = None) -> Line:
        """One line of the story, of this moment."""
        return Line(self.seconds, worker, what, text, flow, deviation)

    def tell(
        self, worker: str, what: str, text: str, flow: str = "", content: bytes = b"", *, deviation: str | None = None
    ) -> None:
        """One line of the story, and of the trace that a seed is known by."""
        self.lines.append(self.line(worker, what, text, flow, deviation))
        self.trace.append(f"{self.seconds:.6f} {worker} {what} {text} {content.decode('utf-8', 'replace')}")

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self.loop.time()

    def name_flow(self, flow_id: str, key: str | None) -> None:
        """The flow is called by its key."""
        if key is not None:
            self._names[flow_id[:FLOW_LENGTH]] = key

    def flow_name(self, event_id: str) -> str:
        """What the flow of this event is called."""
        flow, known = event_id[:FLOW_LENGTH], self._names
        return known.get(flow) or known.setdefault(flow, f"flow-{len(known) + 1}") if flow else "?"

    def label(self, kind: str, event_id: str | None) -> str:
        """An event as the story names it: `ItemsReserved#order-1`."""
        return f"{kind.removeprefix('callboard.')}#{self.flow_name(event_id or '')}"

    def run_of(self) -> Any:
        """The coroutine of the reaction that runs now."""
        return RUN.get()

    def forget_memory(self, worker: Worker) -> None:
        """What a worker that dies has kept in variables is gone."""
        self.memory.reset(worker.services)

    @property
    def calls(self) -> list[Any]:
        """Every call outside, in order."""
        return self._outside.calls

    # for workloads

    def drawing(self, about: str) -> Draw:
        """Where the values come from that are made for this."""
        return Draw(self.choices, about, *self.scene.words)

    def home(self, event: Any) -> Worker:
        """Whom this event is published through."""
        kind, choreography = type_of(event), self.scene.choreography
        for flow in choreography.flows.values():
            if flow.start is kind or attribute(event, flow.key) is not None:
                home = choreography.home_of(flow).name
                return self.workers.get(home) or next(iter(self.workers.values()))
        hearing = [c.service for c in choreography.contracts.values() if kind in c.hears]
        return next((self.workers[name] for name in hearing if name in self.workers), next(iter(self.workers.values())))

    async def publish(self, event: Any, *, after: float = 0.0) -> None:
        """Somebody outside publishes this, and tries again under the same idempotency key until it is done."""
        kind = type_of(event)
        keys = [
            str(key) for f in self.scene.choreography.flows.values() if (key := attribute(event, f.key)) is not None
        ]
        name = f"{kind}#{keys[0] if keys else kind.name}"
        if not self.choices.publishes(name):
            return
        self._people += 1
        try:
            await asyncio.sleep(after)
            self.published.append(event)
            key = f"publish {name} {len(self.published)}"
            worker = self.home(event)

            async def publish(board: Board) -> None:
                await board.publish(event, idempotency_key=key)
                data = self.codec.encode(event)
                if not any(entry.type == kind.name and entry.data == data for _, entry in self.log):
                    self.found.append(Violation("durable", keys[0] if keys else "", f"{name} was answered too early"))

            await self._insist(worker, publish)
        finally:
            self._people -= 1

    async def cancel(self, flow: str, key: str) -> None:
        """Somebody outside calls this flow off, if the seed says so."""
        choreography = self.scene.choreography
        if not any(kind.cls is FlowCancelled for c in choreography.contracts.values() for kind in c.hears):
            return
        home = choreography.home_of(choreography.flows[flow]).name
        worker = self.workers.get(home) or next(iter(self.workers.values()))
        after = self.strikes("cancel", f"{flow} {key}", "outside", f"decides to call off {flow} #{key}")
        if after is None:
            return
        self._people += 1
        try:
            await asyncio.sleep(after)
            await self._insist(worker, lambda board: board.flow(flow, key).cancel("simulated"))
        finally:
            self._people -= 1

    async def put(self, *rows: Any) -> None:
        """These rows are there before anything happens."""
        for row in rows:
            state = state_type(type(row))
            owner = self.scene.choreography.owner_of(state)
            worker = self.workers.get(owner.name) or next(iter(self.workers.values()))

            async def change(board: Board, row: Any = row, owner: Any = owner) -> None:
                async with board.transaction(owner) as tx:
                    await tx.put(row)

            await self._insist(worker, change)

    async def _insist(self, worker: Worker, step: Callable[[Board], Awaitable[Any]]) -> None:
        try:
            await self.insist(worker, step)
        except CallboardError as error:
            self.tell("outside", "is refused", f"{type(error).__name__}: {error}")

    async def insist(self, worker: Worker, step: Callable[[Board], Awaitable[T]]) -> T:
        """What the step returns; it is made again where the worker died, was stopped or did not answer."""
        while True:
            board = await worker.up()
            try:
                async with asyncio.timeout(self.patience):
                    return await step(board)
            except TimeoutError:
                continue
            except CallboardError:
                if not worker.stops:
                    raise

    # for invariants

    async def rows(self, cls: type[T]) -> list[T]:
        """All rows of this state, as they are committed."""
        state = state_type(cls)
        choreography = self.scene.choreography
        folding = (each for each in choreography.projections.values() if state in each.states)
        projection = next(folding, None)
        owner = (choreography.owner_of(state) if projection is None else choreography.home_of(projection)).name
        disk = self.disks.get(owner) or next(iter(self.disks.values()))
        found = disk.query(f'SELECT data, shape FROM "state_{state.name}" ORDER BY key')  # noqa: S608 - our own name
        return [self.codec.decode_state(bytes(data), state, shape) for data, shape in found]

    def flows_at(self, home: str) -> list[FlowRow]:
        """The flows that the ledger of this service or worker keeps, in the order of their beginnings."""
        disk = self.disks.get(home) or next(iter(self.disks.values()))
        return [flow_of(row) for row in disk.query(f"{GET_FLOW}ORDER BY number")]

    def events(self, cls: type[T]) -> list[T]:
        """All events of this class that happened, in order, each once."""
        kind = next(each for each in self.scene.choreography.events.values() if each.cls is cls and each.inner is None)
        once = {entry.id: entry for _, entry in self.log if entry.type == kind.name}
        return [self.codec.decode(entry.data, kind) for entry in once.values()]
