"""A worker that owns nothing: it publishes, cancels, edits stock from outside, and has dead letters replayed.

Whatever it publishes carries an idempotency key: after a kill it says everything again that was not acknowledged.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

from msgspec.structs import replace

from callboard import CallboardError, Conflict, FlowHasEnded, FlowIsOpen, KeyReused, LedgerBusy
from callboard.board import Board, FlowHandle
from callboard.ledger import Note, Wish

from .lines import Reading
from .scenes import Scene

ABREAST = 16  # orders of one publisher that are not at their end
DIALS = 3
PATIENCE = timedelta(seconds=20)
REPLAYS = 2  # of one dead letter
DUPLICATE, CONFLICT, CANCEL, IMPATIENT = 0.15, 0.06, 0.08, 0.1


class Publisher:
    """Publishes orders, readings and edits, each in the same order whenever it begins again."""

    def __init__(
        self,
        board: Board,
        scene: Scene,
        name: str,
        *,
        chance: Random,
        say: Callable[..., None],
        enough: asyncio.Event,
    ) -> None:
        self.board = board
        self.scene = scene
        self.name = name
        self.chance = chance
        self.say = say
        self.enough = enough
        self._next = 0

    async def run(self, begin: int, dials: dict[str, int], edits: int) -> None:
        """Publish until it is enough, and see to dead letters until it is stopped."""
        self._next = begin
        operating = asyncio.create_task(self._operate())
        tasks = [self._orders() for _ in range(ABREAST)]
        for number in range(DIALS):
            dial = f"{self.name}-dial{number}"
            tasks.append(self._readings(dial, dials.get(dial, 0), 1 + number % 3))
        tasks.append(self._edits(edits))
        try:
            await asyncio.gather(*tasks)
            self.say("finished")
            await operating
        finally:
            operating.cancel()

    # orders

    async def _orders(self) -> None:
        while not self.enough.is_set():
            number, self._next = self._next, self._next + 1
            key = f"{self.name}-{number}"
            flow = await self._publish(self.scene.begin(key), key)
            self.say("ack", number=number, flow=flow.id, new=flow.is_new)
            if flow.key != key:
                self.say("fault", text=f"{key}: acknowledged as {flow}")
            await self._disturb(key, flow)
            try:
                done = await flow.completion(PATIENCE if not self.enough.is_set() else timedelta(seconds=1))
            except TimeoutError:
                continue
            self.say("done", number=number, verdict=done.verdict)

    async def _publish(self, event: object, key: str) -> FlowHandle:
        """Publish it; an impatient caller breaks off, and says the same again."""
        if self.chance.random() < IMPATIENT:
            try:
                patience = self.chance.random() * 0.01
                return await asyncio.wait_for(self.board.publish(event, idempotency_key=key), patience)
            except TimeoutError:
                pass
        return await self.board.publish(event, idempotency_key=key)

    async def _disturb(self, key: str, flow: FlowHandle) -> None:
        draw = self.chance.random()
        if draw < DUPLICATE:
            await self._duplicate(key, flow)
        elif draw < DUPLICATE + CONFLICT:
            await self._conflict(key, flow)
        elif draw < DUPLICATE + CONFLICT + CANCEL:
            await asyncio.sleep(self.chance.random())
            await flow.cancel("changed my mind")
            self.say("cancelled")

    async def _duplicate(self, key: str, flow: FlowHandle) -> None:
        """The same event again, with the same idempotency key or with none: the flow that there is."""
        await asyncio.sleep(self.chance.random() * 0.5)
        given = key if self.chance.random() < 0.5 else None
        again = await self.board.publish(self.scene.begin(key), idempotency_key=given)
        self.say("duplicate")
        if again.is_new or again.id != flow.id:
            self.say("fault", text=f"{key}: published again, and it is another flow")

    async def _conflict(self, key: str, flow: FlowHandle) -> None:
        """Another event with a key that is taken is refused."""
        given = key if self.chance.random() < 0.5 else None
        try:
            await self.board.publish(self.scene.differing(key), idempotency_key=given)
        except (FlowIsOpen, FlowHasEnded) as error:
            if error.flow is None or error.flow.id != flow.id:
                self.say("fault", text=f"{key}: refused with {error.flow}, which is not its flow")
        except KeyReused:
            pass
        else:
            self.say("fault", text=f"{key}: another event with this key was taken")

    # readings and edits

    async def _readings(self, dial: str, last: int, many: int) -> None:
        while not self.enough.is_set():
            events = [Reading(dial=dial, number=last + 1 + each) for each in range(many)]
            await self.board.publish(events, idempotency_key=f"{dial}-{last}")
            last += many
            self.say("read", dial=dial, number=last)
            await asyncio.sleep(self.chance.random() * 0.5)

    async def _edits(self, done: int) -> None:
        """More stock, with a receipt and a reading in the same transaction: all three are there, or none."""
        while not self.enough.is_set():
            await asyncio.sleep(self.chance.random() * 0.5)
            try:
                await self._edit(done + 1)
            except Conflict:
                self.say("conflict")
                continue
            done += 1
            self.say("edit", number=done)

    async def _edit(self, number: int) -> None:
        receipt = f"receipt-{self.name}-{number}"
        added = 1 + number % 9
        key = self.scene.stocks[number % len(self.scene.stocks)]
        async with self.board.transaction(self.scene.stock_owner) as tx:
            if await tx.load(self.scene.stock, receipt) is not None:
                return
            row: Any = await tx.load(self.scene.stock, key)
            row.free += added
            await tx.put(self.scene.row(receipt, added))
            tx.publish(Reading(dial=f"{self.name}-edits", number=number))

    # dead letters

    async def _operate(self) -> None:
        """Have dead letters replayed: some while the others publish, then all in flows that have no verdict."""
        ledger = self.board.work.ledger
        asked: Counter[tuple[str, int, int]] = Counter()
        while True:
            await asyncio.sleep(0.5)
            for row in await ledger.parked(why=["dead"]):
                place = (row.reaction, row.pos, row.effect)
                wish = replace(row, asked=Wish("replay", by=self.name))
                note = Note(row.pos, row.reaction, row.flow, "asked", "replay", time.time_ns() // 1000)
                if asked[place] > REPLAYS or (not self.enough.is_set() and self.chance.random() < 0.5):
                    continue
                if row.asked is not None or any(each.verdict for each in await ledger.flows_by_number([row.flow])):
                    continue
                try:
                    if await ledger.ask([wish], [note]) == [True]:
                        asked[place] += 1
                        self.say("replay", reaction=row.reaction)
                except (LedgerBusy, CallboardError) as error:
                    if not isinstance(error, LedgerBusy):
                        raise
