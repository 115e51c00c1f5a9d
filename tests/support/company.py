"""The shop of the targets with a world outside that fails at random, and what must be true of it at the end."""

from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from random import Random
from typing import Any

from callboard import Choreography, JsonCodec, Service
from callboard.event import event_type, state_type
from callboard.ledger import Entry, Parked
from shop import inventory, orders, payments, shipping, shop
from shop.events import ItemsReserved, Line, OrderCreated

from .ledger import StagedLedger
from .outside import Outside
from .stage import Stage

_TRIED = (
    "OrderCreated", "ItemsReserved", "PaymentProcessed", "ShippingFailed", "PaymentFailed", "PaymentRefunded",
    "callboard.FlowTimedOut[OrderCreated]",
)  # fmt: skip
ENDS = {"OrderCompleted": "succeeded", "OrderCancelled": "failed"}


class Bank(payments.Bank):
    """Charges a key once; a voided key is charged no more."""

    def __init__(self, outside: Outside, caller: object) -> None:
        self.outside, self._caller = outside, caller

    async def charge(self, card: str, amount: Decimal, *, key: str) -> str | None:
        return f"ref-{key}" if await self.outside.take("charge", f"bank-{key}", self._caller) else None

    async def void(self, *, key: str) -> None:
        await self.outside.void("void", f"bank-{key}", self._caller)


class Carrier(shipping.Carrier):
    """Books a key once; what is on the road stays there."""

    def __init__(self, outside: Outside, caller: object) -> None:
        self.outside, self._caller = outside, caller

    async def book(self, *, key: str) -> str | None:
        return f"1Z-{key}" if await self.outside.take("book", f"van-{key}", self._caller) else None

    async def close(self, *, key: str) -> str | None:
        if f"van-{key}" in self.outside.held:
            return f"1Z-{key}"
        await self.outside.void("close", f"van-{key}", self._caller)
        return f"1Z-{key}" if f"van-{key}" in self.outside.held else None


class ShopScene:
    """What happens in the shop, and what must be true of it at the end."""

    choreography: Choreography = shop
    calls: tuple[str, ...] = ("charge", "void", "book", "close")
    takings: frozenset[str] = frozenset({"charge", "book"})
    per_part: frozenset[str] = frozenset()
    halves: tuple[list[Service], list[Service]] = (
        [orders.service, inventory.service],
        [payments.service, shipping.service],
    )

    def __init__(self) -> None:
        self.filled: Counter[str] = Counter({"a": 0, "b": 0})  # what was put on the shelves, by sku

    def keepers(self, outside: Outside, caller: object) -> list[object]:
        return [Bank(outside, caller), Carrier(outside, caller)]

    def strikes(self, strikes: Callable[[str], bool]) -> None:
        """Every reaction of the shop has a port, or cannot fail."""

    def next(self, number: int, chance: Random) -> object:
        lines = tuple(Line(sku, chance.randint(1, 2)) for sku in chance.sample("ab", chance.randint(1, 2)))
        return OrderCreated(order_id=f"o{number}", card="4711", total=Decimal(9), lines=lines)

    async def edit(self, stage: Stage, chance: Random) -> None:
        """Somebody puts things on a shelf, while its reactions go on."""
        sku, count = chance.choice("ab"), chance.choice([1, 6])

        async def change() -> None:
            async with stage.board.transaction(inventory.service) as tx:
                shelf = await tx.load(inventory.Shelf, sku) or inventory.Shelf(sku=sku)
                shelf.free += count
                await tx.put(shelf)

        await stage.drive(change())
        self.filled[sku] += count

    def may_stay(self, row: Parked) -> bool:
        """Whether a row may be there at the end."""
        return False

    def is_hopeless(self, row: Parked) -> bool:
        """Whether a replay can only end as the run before."""
        return False

    async def faults(self, entries: list[Entry], stage: Stage, outside: Outside) -> list[str]:
        return await Books(entries, stage.ledger, outside, self.filled).faults()


class Books:
    """Everything that happened, read from the file and from the world outside."""

    def __init__(self, entries: list[Entry], ledger: StagedLedger, outside: Outside, filled: Counter[str]) -> None:
        self.entries = entries
        self.ledger = ledger
        self.outside = outside
        self.filled = filled  # what was put on the shelves, by sku
        self.flows: dict[int, list[Entry]] = {}
        for entry in entries:
            self.flows.setdefault(entry.flow, []).append(entry)

    async def faults(self) -> list[str]:
        """Every broken promise, in words."""
        found = await self._stock()
        for row in await self.ledger.flows_by_number(list(self.flows)):
            found += [f"{row.key}: {fault}" for fault in self._flow(self.flows[row.number], row)]
        return found

    async def _stock(self) -> list[str]:
        taken: Counter[str] = Counter()
        codec = JsonCodec()
        for entry in self.entries:
            if entry.type == "ItemsReserved":
                lines = codec.decode(entry.data, event_type(ItemsReserved)).lines
                released = any(other.type == "ItemsReleased" for other in self.flows[entry.flow])
                for line in () if released else lines:
                    taken[line.sku] += line.quantity
        faults: list[str] = []
        for sku, filled in self.filled.items():
            row = (await self.ledger.states([("Shelf", sku)]))["Shelf", sku]
            free = 0 if row.data is None else codec.decode(row.data, _SHELF).free
            if free != filled - taken[sku] or free < 0:
                faults.append(f"shelf {sku}: {free} free of {filled}, {taken[sku]} are taken")
        return faults

    def _flow(self, entries: list[Entry], row: Any) -> Iterator[str]:
        kinds = Counter(entry.type for entry in entries)
        yield from (f"{count} x {kind}" for kind, count in kinds.items() if count > _MOST.get(kind, 1))
        ends = [kind for kind in kinds if kind in ENDS]
        if len(ends) > 1:
            yield "completed and cancelled"
        if not ends or row.verdict != ENDS[ends[0]]:
            yield f"verdict {row.verdict}, ended by {ends or 'nothing'}"
        late = next((entry.pos for entry in entries if entry.type.startswith("callboard.FlowTimedOut")), 0)
        done = next((entry.pos for entry in entries if entry.type == "OrderCompleted"), late)
        if late > done:
            yield "timed out after it was completed"
        key = f"order-{row.key}"
        charged, booked = f"bank-{key}" in self.outside.held, f"van-{key}" in self.outside.held
        if row.verdict == "succeeded" and not (charged and booked):
            yield f"succeeded, charged {charged}, booked {booked}"
        if row.verdict == "failed" and (charged or booked) and not row.leaked:
            yield f"failed, charged {charged}, booked {booked}, and nothing is said to have leaked"
        if row.verdict == "failed" and row.leaked:
            yield f"leaked: {row.leaked}"


# `ship` may be refused before `call_off` finds that it was never booked, and each replay may fail once more.
_MOST = {"ShippingFailed": 2} | {f"callboard.ReactionFailed[{kind}]": 99 for kind in _TRIED}
_SHELF = state_type(inventory.Shelf)
