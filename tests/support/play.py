"""One seeded play: orders, a world that fails, owners that die, commits that fail, operators, deadlines."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from random import Random

from callboard.errors import CallboardError
from shop import inventory, shop

from .company import CALLS, Bank, Books, Carrier, order
from .ledger import Crash, busy, crash, disk_full, ticks
from .outside import Next, Outside
from .stage import Stage

_OUTCOMES: dict[Next, int] = {"answer": 6, "wait": 5, "fail": 2, "lose": 2, "refuse": 1}


class Play:
    """What happens is drawn from the seed alone."""

    def __init__(self, seed: int, folder: Path, *, steps: int = 60) -> None:
        self.chance = Random(seed)
        self.steps = steps
        self.outside = Outside(self._drawn)
        file = folder / f"{seed}.db"
        self.owner = Stage(shop, file, ports=[Bank(self.outside), Carrier(self.outside)], seed=seed)
        self.owner.most = self.chance.choice([None, 4, 8])
        self.owner.fuse = self.chance.random() < 0.7
        self.publisher = Stage(shop, file, services=[], clock=self.owner.clock, seed=seed + 10_000)
        self.filled: Counter[str] = Counter()
        self.orders = 0
        self.healthy = False
        self.told: list[str] = []  # the story, for whoever looks into a seed

    def _drawn(self, kind: str) -> Next:
        if self.healthy:
            return "answer"
        what = self.chance.choices(list(_OUTCOMES), list(_OUTCOMES.values()))[0]
        return what if what != "refuse" or kind in ("charge", "book") else "fail"

    async def run(self) -> list[str]:
        """Every broken promise of this seed."""
        await self.owner.open()
        await self.publisher.open()
        try:
            await self._fill("a", 12)
            await self._fill("b", 12)
            for _ in range(self.steps):
                await self._surviving(self._step)
            return await self._end()
        finally:
            await self.owner.crash()
            await self.publisher.crash()

    # steps

    async def _surviving(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except Crash:
            await self._die()
        except CallboardError as error:
            self.told.append(f"  {type(error).__name__}: {error}")

    async def _step(self) -> None:
        steps: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (10, self._order), (40, self._group), (12, self._trick), (12, self._answer), (12, self._wait),
            (3, self._die), (1, self._drain), (3, self._operate), (3, self._refill), (1, self._deadline),
        ]  # fmt: skip
        step = self.chance.choices([each for _, each in steps], [weight for weight, _ in steps])[0]
        self.told.append(step.__name__)
        await step()

    async def _order(self) -> None:
        self.orders += 1
        stage = self.chance.choice([self.owner, self.publisher])
        await stage.publish(order(self.orders, self.chance))

    async def _group(self) -> None:
        for _ in range(self.chance.randint(1, 4)):
            await self.owner.group()

    async def _trick(self) -> None:
        ledger = self.owner.ledger
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
            ledger.before.append(self._refill)
        else:
            ledger.reading.append(self.chance.choice([busy, disk_full]))
        self.told.append(f"  trick {trick}")
        await self.owner.group()

    async def _overtake(self) -> None:
        self.orders += 1
        await self.publisher.publish(order(self.orders, self.chance))

    async def _refill(self) -> None:
        await self._fill(self.chance.choice("ab"), 1)

    async def _fill(self, sku: str, count: int) -> None:
        """Somebody puts things on a shelf, while its reactions go on."""

        async def change() -> None:
            async with self.publisher.board.transaction(inventory.service) as tx:
                shelf = await tx.load(inventory.Shelf, sku) or inventory.Shelf(sku=sku)
                shelf.free += count
                await tx.put(shelf)

        await self.publisher.drive(change())
        self.filled[sku] += count

    async def _answer(self) -> None:
        kinds = [kind for kind in CALLS if self.outside.waiting(kind)]
        if kinds:
            kind = self.chance.choice(kinds)
            key = self.chance.choice(self.outside.waiting(kind))
            what: Next = self.chance.choice(("answer", "answer", "answer", "fail", "lose"))
            self.outside.let_go(kind, what, key)
            await ticks()

    async def _wait(self) -> None:
        self.owner.clock.advance(timedelta(seconds=self.chance.choice([0.1, 1, 2, 5, 30, 120])))

    async def _deadline(self) -> None:
        self.owner.clock.advance(timedelta(minutes=self.chance.choice([10, 31])))

    async def _die(self) -> None:
        self.told.append("  dies")
        self.outside.cut(self.chance)
        await self.owner.restart()

    async def _drain(self) -> None:
        self.outside.cut(self.chance)
        self._forget_tricks()
        await self.owner.runner.stop(timedelta(0))
        await self.owner.restart()

    async def _operate(self) -> None:
        if letters := await self.owner.dead():
            await self.owner.ask(self.chance.choice(letters), "replay")

    # the end

    def _forget_tricks(self) -> None:
        ledger = self.owner.ledger
        for tricks in (ledger.before, ledger.at_end, ledger.after, ledger.reading):
            tricks.clear()

    async def _end(self) -> list[str]:
        """The world is well again, operators replay what is dead, time goes on: afterwards everything has ended."""
        self.told.append("end")
        self.healthy = True
        self._forget_tricks()
        for _ in range(12):
            if self.outside.waiting():
                self.outside.let_go()
            await self.owner.run()
            for letter in await self.owner.dead():
                await self.owner.ask(letter, "replay")
            await self.owner.advance(minutes=11)
        entries = await self.owner.ledger.read(0, limit=100_000)
        books = Books(entries, self.owner.ledger, self.outside, self.filled)
        left = [
            f"left: {row.reaction} {row.pos} {row.why}: {row.missing or row.error}" for row in await self.owner.parked()
        ]
        return [*await books.faults(), *left, *await self.owner.ledger.verify()]
