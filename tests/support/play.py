"""One seeded play: a world that fails, owners that die, commits that fail, other owners, operators, deadlines."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Protocol

from callboard import Choreography, Service
from callboard.errors import CallboardError
from callboard.ledger import Entry, Parked

from .ledger import Crash, busy, crash, disk_full, ticks
from .outside import Next, Outside
from .stage import Stage

_OUTCOMES: dict[Next, int] = {"answer": 6, "wait": 5, "fail": 2, "lose": 2, "refuse": 1}
_ROUNDS = 14  # of the end: each replays what is dead, and lets what is late become due


class Scene(Protocol):
    """What is played, and how it is judged."""

    choreography: Choreography
    calls: tuple[str, ...]  # kinds of calls to the world outside
    takings: frozenset[str]  # those that take an effect, and may be answered with a no
    per_part: frozenset[str]  # reactions with more than one line in a flow
    halves: tuple[list[Service], list[Service]]  # where two owners share the services

    def keepers(self, outside: Outside, caller: object) -> list[object]: ...
    def strikes(self, strikes: Callable[[str], bool]) -> None: ...
    def next(self, number: int, chance: Random) -> object: ...
    async def edit(self, stage: Stage, chance: Random) -> None: ...
    def may_stay(self, row: Parked) -> bool: ...
    def is_hopeless(self, row: Parked) -> bool: ...
    async def faults(self, entries: list[Entry], stage: Stage, outside: Outside) -> list[str]: ...


class Play:
    """What happens is drawn from the seed alone."""

    def __init__(self, scene: Scene, seed: int, folder: Path, *, steps: int = 60) -> None:
        self.scene = scene
        self.chance = Random(seed)
        self.steps = steps
        self.outside = Outside(self._drawn)
        self._file = folder / f"{seed}.db"
        self.owners = [self._stage(seed, None)]
        self.publisher = self._stage(seed + 20_000, [])
        self.published = 0
        self.healthy = False
        self.told: list[str] = []  # the story, for whoever looks into a seed
        mode = self.chance.choice(["one", "one", "halves", "standby"])
        if mode == "halves":
            self.owners = [self._stage(seed + 10_000 * n, half) for n, half in enumerate(scene.halves)]
        if mode == "standby":
            self.owners.append(self._stage(seed + 10_000, None))
        scene.strikes(lambda _: not self.healthy and self.chance.random() < 0.15)

    def _stage(self, seed: int, services: Sequence[Service] | None) -> Stage:
        clock = self.owners[0].clock if hasattr(self, "owners") else None
        stage = Stage(self.scene.choreography, self._file, services=services, clock=clock, seed=seed)
        stage.ports = self.scene.keepers(self.outside, stage)
        stage.most = self.chance.choice([None, 4, 8])
        stage.fuse = self.chance.random() < 0.7
        return stage

    def _drawn(self, kind: str) -> Next:
        if self.healthy:
            return "answer"
        what = self.chance.choices(list(_OUTCOMES), list(_OUTCOMES.values()))[0]
        return what if what != "refuse" or kind in self.scene.takings else "fail"

    async def run(self) -> list[str]:
        """Every broken promise of this seed."""
        stages = [*self.owners, self.publisher]
        try:
            for stage in stages:
                await stage.open()
            await self.scene.edit(self.publisher, self.chance)
            for _ in range(self.steps):
                await self._surviving(self._step)
            return await self._end()
        finally:
            for stage in stages:
                await stage.crash()

    @property
    def owner(self) -> Stage:
        """One of those that may have something to do."""
        return self.chance.choice(self.owners)

    # steps

    async def _surviving(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except Crash:
            await self._die(self._acting)
        except CallboardError as error:
            self.told.append(f"  {type(error).__name__}: {error}")

    async def _step(self) -> None:
        self._acting = self.owner
        steps: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (10, self._publish), (40, self._group), (12, self._trick), (12, self._answer), (12, self._wait),
            (3, self._die), (1, self._drain), (3, self._operate), (3, self._edit), (1, self._deadline),
            (3, self._stand_by),
        ]  # fmt: skip
        step = self.chance.choices([each for _, each in steps], [weight for weight, _ in steps])[0]
        self.told.append(f"{step.__name__} {self.owners.index(self._acting)}")
        await step()

    async def _publish(self) -> None:
        await self._publish_through(self.chance.choice([self._acting, self.publisher]))

    async def _publish_through(self, stage: Stage) -> None:
        self.published += 1
        event = self.scene.next(self.published, self.chance)
        self.told.append(f"  {event}")
        if self.chance.random() < 0.2:
            await stage.publish(event, idempotency_key=f"key {self.published}")
        await stage.publish(event, idempotency_key=f"key {self.published}")

    async def _group(self) -> None:
        for _ in range(self.chance.randint(1, 4)):
            await self._acting.group()

    async def _trick(self) -> None:
        ledger = self._acting.ledger
        trick = self.chance.randrange(9)
        if trick < 3:
            ledger.before.append([busy, disk_full, crash][trick])
        elif trick < 5:
            ledger.at_end.append([disk_full, crash][trick - 3])
        elif trick == 5:
            ledger.after.append(crash)
        elif trick == 6:
            ledger.before.append(self._overtake)
        elif trick == 7:
            ledger.before.append(self._edit)
        else:
            ledger.reading.append(self.chance.choice([busy, disk_full]))
        self.told.append(f"  trick {trick}")
        await self._acting.group()

    async def _overtake(self) -> None:
        await self._publish_through(self.publisher)

    async def _edit(self) -> None:
        await self.scene.edit(self.publisher, self.chance)

    async def _answer(self) -> None:
        kinds = [kind for kind in self.scene.calls if self.outside.waiting(kind)]
        if kinds:
            kind = self.chance.choice(kinds)
            key = self.chance.choice(self.outside.waiting(kind))
            what: Next = self.chance.choice(("answer", "answer", "answer", "fail", "lose"))
            self.outside.let_go(kind, what, key)
            await ticks()

    async def _wait(self) -> None:
        self._acting.clock.advance(timedelta(seconds=self.chance.choice([0.1, 1, 2, 5, 30, 120])))

    async def _deadline(self) -> None:
        self._acting.clock.advance(timedelta(minutes=self.chance.choice([10, 31])))

    async def _die(self, stage: Stage | None = None) -> None:
        stage = stage or self._acting
        self.told.append(f"  {self.owners.index(stage)} dies")
        self.outside.cut(stage, self.scene.takings, self.chance)
        await stage.crash()
        if len(self.owners) > 1 and self.chance.random() < 0.5:
            await self._stand_by()
        await stage.open()

    async def _drain(self) -> None:
        stage = self._acting
        self.outside.cut(stage, self.scene.takings, self.chance)
        stage.forget_tricks()
        await stage.runner.stop(timedelta(0))
        await stage.restart()

    async def _stand_by(self) -> None:
        """Whoever waits for services that nobody owns takes them up."""
        for stage in self.owners:
            if stage.is_open:
                await stage.stand_by()

    async def _operate(self) -> None:
        if letters := await self.publisher.dead():
            letter = self.chance.choice(letters)
            await self.publisher.ask(letter, "discard" if self.scene.is_hopeless(letter) else "replay")

    # the end

    async def _end(self) -> list[str]:
        """The world is well again, operators replay what is dead, time goes on: afterwards everything has ended."""
        self.told.append("end")
        self.healthy = True
        for _ in range(_ROUNDS):
            for stage in self.owners:
                stage.forget_tricks()
            if self.outside.waiting():
                self.outside.let_go()
            await self._rest()
            letters = [letter for letter in await self.publisher.dead() if not self.scene.is_hopeless(letter)]
            for letter in letters:
                await self.publisher.ask(letter, "replay")
            self.owners[0].clock.advance(timedelta(minutes=11))
            await self._rest()
            if not letters and await self._is_over():
                break
        return await self._judged()

    async def _rest(self) -> None:
        """Every owner has done what it can, also of what the others did meanwhile."""
        for _ in range(100):
            before = [stage.ledger.commits for stage in self.owners]
            for stage in self.owners:
                await stage.run()
            if before == [stage.ledger.commits for stage in self.owners]:
                return
        raise AssertionError("the owners never come to rest")

    async def _is_over(self) -> bool:
        rows = await self.publisher.ledger.list_flows(name=None, status="running", before=None, limit=1, now=0)
        return not rows and not self.outside.waiting()

    async def _judged(self) -> list[str]:
        stage = self.publisher
        entries = await stage.ledger.read(0, limit=100_000)
        parked = [row for row in await stage.parked() if not self.scene.may_stay(row)]
        left = [f"left: {row.reaction} {row.pos} {row.why}: {row.missing or row.error}" for row in parked]
        rows = await stage.ledger.flows_by_number({entry.flow for entry in entries})
        ended = {row.number: row.ended for row in rows if row.ended is not None}
        in_time = [entry for entry in entries if entry.time < ended.get(entry.flow, entry.time + 1)]
        found = [*left, *_lines(in_time, self.scene.per_part), *await stage.ledger.verify()]
        return [*await self.scene.faults(entries, stage, self.outside), *found]


def _lines(entries: list[Entry], per_part: frozenset[str]) -> list[str]:
    """Reactions that answered the events of one line in another order than that of the log, before their flow ended.

    Behind its end a dead letter stops nobody any more.
    """
    last: dict[tuple[str, object], int] = {}
    found: list[str] = []
    for entry in entries:
        if entry.by is None or entry.by in per_part or entry.by == "callboard.tracker" or entry.cause == 0:
            continue
        line = (entry.by, entry.key or entry.flow)
        if last.get(line, 0) > entry.cause and "Failed[" not in entry.type:
            found.append(f"out of order: {entry.by} in {entry.flow}")
        last[line] = entry.cause
    return found
