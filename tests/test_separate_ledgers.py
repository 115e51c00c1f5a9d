"""The order choreography with a ledger for each service ends as on one, whatever the broker does and whoever dies."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import pytest

from callboard import Choreography, Flow, Retry, Service, States, event, failure, port, state
from callboard.broker import Broker
from callboard.brokers.sqlite import SqliteBroker
from callboard.hops.retention import Retention, prune
from shop import inventory, orders, payments, shipping, shop
from shop.events import Line, OrderCompleted, OrderCreated
from tests.apart import Town, a_town

SEEDS = range(12)


class Bank(payments.Bank):
    """Takes a card once for each key; loses answers; a void is for good."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.cards: dict[str, str] = {}
        self.charges: Counter[str] = Counter()

    async def charge(self, card: str, amount: Decimal, *, key: str) -> str | None:
        await asyncio.sleep(0)
        if card == "declined" or self.cards.get(key) == "void":
            return None
        if key not in self.cards:
            self.charges[key] += 1
        self.cards[key] = "charged"
        if card == "lossy" and self._town.faults.chance.random() < 0.5:
            raise ConnectionError("the answer was lost")
        await asyncio.sleep(0)
        return f"ref-{key}"

    async def void(self, *, key: str) -> None:
        await asyncio.sleep(0)
        self.cards[key] = "void"

    @property
    def kept(self) -> set[str]:
        return {key.removeprefix("order-") for key, state in self.cards.items() if state == "charged"}


class Carrier(shipping.Carrier):
    """Books once for each key, but not what goes to nowhere; what is closed stays closed."""

    def __init__(self) -> None:
        self.parcels: dict[str, str] = {}

    async def book(self, *, key: str) -> str | None:
        await asyncio.sleep(0)
        if "nowhere" in key or self.parcels.get(key) == "closed":
            return None
        self.parcels[key] = "booked"
        return f"1Z-{key}"

    async def close(self, *, key: str) -> str | None:
        await asyncio.sleep(0)
        if self.parcels.get(key) == "booked":
            return f"1Z-{key}"
        self.parcels[key] = "closed"
        return None

    @property
    def booked(self) -> set[str]:
        return {key.removeprefix("order-") for key, state in self.parcels.items() if state == "booked"}


class Shop:
    """The town of the shop, with what the world outside it has seen."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.bank = Bank(town)
        self.carrier = Carrier()
        self.stock = 0

    async def open(self) -> None:
        town = self.town
        await town.settle("orders", orders.service)
        await town.settle("inventory", inventory.service)
        await town.settle("payments", payments.service, ports=[self.bank])
        await town.settle("shipping", shipping.service, ports=[self.carrier])
        await town.settle("gateway")

    async def open_together(self) -> None:
        """All services on one ledger, as one process."""
        services = [each.service for each in (orders, inventory, payments, shipping)]
        site = await self.town.settle("orders", *services, ports=[self.bank, self.carrier])
        self.town.sites = {"orders": site, "inventory": site}

    async def fill(self, free: int) -> None:
        site, self.stock = self.town.sites["inventory"], free

        async def put() -> None:
            async with site.board.transaction(inventory.service) as tx:
                await tx.put(inventory.Shelf(sku="a", free=free))

        await site.until(asyncio.ensure_future(put()))

    async def verdicts(self) -> dict[str, str | None]:
        rows = await self.town.sites["orders"].work.ledger.list_flows(
            name="checkout", status=None, before=None, limit=1000, now=0
        )
        return {row.key or "": row.verdict for row in rows}

    async def leaks(self) -> set[str]:
        rows = await self.town.sites["orders"].work.ledger.list_flows(
            name="checkout", status=None, before=None, limit=1000, now=0
        )
        return {row.leaked for row in rows if row.leaked}

    async def free(self) -> int:
        shelf = await self.town.sites["inventory"].board.load(inventory.Shelf, "a")
        assert shelf is not None
        return shelf.free

    async def all_adds_up(self) -> None:
        """Nothing lost, nothing charged twice, and everything that was taken is paid for and sent, or given back."""
        verdicts = await self.verdicts()
        succeeded = {key for key, verdict in verdicts.items() if verdict == "succeeded"}
        assert set(verdicts.values()) <= {"succeeded", "failed"}
        assert self.bank.kept == succeeded
        assert self.carrier.booked == succeeded
        assert await self.free() == self.stock - len(succeeded)
        assert max(self.bank.charges.values(), default=0) <= 1
        assert not await self.leaks()
        for site in self.town.sites.values():
            assert await site.work.ledger.verify() == []
            assert await site.work.ledger.parked() == []


@asynccontextmanager
async def a_shop(
    folder: Path, *, seed: int = 1, free: int = 100, together: bool = False, broker: Broker | None = None
) -> AsyncIterator[Shop]:
    async with a_town(shop, folder, seed=seed, broker=broker) as town:
        opened = Shop(town)
        await (opened.open_together() if together else opened.open())
        await opened.fill(free)
        yield opened


def order(number: int | str, card: str = "ok") -> OrderCreated:
    return OrderCreated(order_id=f"o-{number}", card=card, total=Decimal(9), lines=(Line("a", 1),))


async def test_an_order_goes_through_four_ledgers(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as opened:
        flow = await opened.town.sites["orders"].publish(order(1))
        await opened.town.rest(upto=timedelta(minutes=1))
        done = await flow.completion(timedelta(0))
        assert done.succeeded
        completed = done.event(OrderCompleted)
        assert completed is not None
        assert completed.tracking == "1Z-order-o-1"
        await opened.all_adds_up()


async def test_the_home_of_a_flow_sees_all_of_it(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as opened:
        flow = await opened.town.sites["orders"].publish(order(1))
        await opened.town.rest(upto=timedelta(minutes=1))
        names = [type(each).__name__ for each in await flow.events()]
        assert names == ["OrderCreated", "ItemsReserved", "PaymentProcessed", "OrderShipped", "OrderCompleted"]
        ids = [entry.id for entry in await opened.town.sites["orders"].work.ledger.flow_entries([1])]
        assert len({each[:26] for each in ids}) == 1


@pytest.mark.parametrize(
    ("card", "number", "types"),
    [
        ("declined", 1, ["PaymentFailed", "ItemsReleased", "OrderCancelled"]),
        ("ok", "nowhere", ["ShippingFailed", "PaymentRefunded", "ItemsReleased", "OrderCancelled"]),
    ],
)
async def test_a_failure_is_undone_step_by_step(tmp_path: Path, card: str, number: int | str, types: list[str]) -> None:
    async with a_shop(tmp_path) as opened:
        flow = await opened.town.sites["orders"].publish(order(number, card))
        await opened.town.rest(upto=timedelta(minutes=1))
        done = await flow.completion(timedelta(0))
        assert done.verdict == "failed"
        assert [type(each).__name__ for each in done.events][-len(types) :] == types
        await opened.all_adds_up()


async def test_what_is_sold_out_is_cancelled(tmp_path: Path) -> None:
    async with a_shop(tmp_path, free=0) as opened:
        flow = await opened.town.sites["orders"].publish(order(1))
        await opened.town.rest(upto=timedelta(minutes=1))
        assert (await flow.completion(timedelta(0))).verdict == "failed"
        await opened.all_adds_up()


async def test_a_deadline_that_passes_is_told_everywhere(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as opened:
        town = opened.town
        flow = await town.sites["orders"].publish(order(1))
        town.sites["payments"].die()
        del town.sites["payments"]
        await town.rest(upto=timedelta(minutes=31))
        assert opened.carrier.parcels == {"order-o-1": "closed"}
        await town.settle("payments", payments.service, ports=[opened.bank])
        await town.rest(upto=timedelta(minutes=1))
        assert (await flow.completion(timedelta(0))).verdict == "failed"
        await opened.all_adds_up()


async def test_the_outcome_is_the_same_as_on_one_ledger(tmp_path: Path) -> None:
    outcomes: list[tuple[object, ...]] = []
    for together in (True, False):
        folder = tmp_path / ("one" if together else "several")
        folder.mkdir()
        async with a_shop(folder, together=together) as opened:
            for number in range(20):
                name = f"{number}-nowhere" if number % 5 == 0 else number
                await opened.town.sites["orders"].publish(order(name, "declined" if number % 3 == 0 else "ok"))
            await opened.town.rest(upto=timedelta(minutes=1))
            await opened.all_adds_up()
            found = (await opened.verdicts(), opened.bank.kept, opened.carrier.booked, await opened.free())
            outcomes.append(found)
    assert outcomes[0] == outcomes[1]


async def test_nothing_is_lost_on_a_road_that_is_a_file(tmp_path: Path) -> None:
    broker = SqliteBroker(f"sqlite:///{tmp_path}/bus.db", synchronous="OFF")
    async with a_shop(tmp_path, seed=100, free=8, broker=broker) as opened:
        await trouble(opened, orders_placed=14)
        await opened.all_adds_up()
        assert len(await opened.verdicts()) == 14


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_or_done_twice_whatever_happens_on_the_road(tmp_path: Path, seed: int) -> None:
    async with a_shop(tmp_path, seed=seed, free=8) as opened:
        await trouble(opened, orders_placed=14)
        await opened.all_adds_up()
        verdicts = await opened.verdicts()
        assert len(verdicts) == 14
        gateway = opened.town.sites["gateway"]
        flows = {key: gateway.board.flow("checkout", key) for key in verdicts}
        asking = [asyncio.ensure_future(flow.completion()) for flow in flows.values()]
        await opened.town.rest(upto=timedelta(minutes=1))
        assert {key: task.result().verdict for key, task in zip(flows, asking, strict=True)} == verdicts


async def trouble(opened: Shop, *, orders_placed: int) -> None:
    """Place orders while envelopes are doubled, late, lost on the way to an acknowledgement, and processes die."""
    town, faults = opened.town, opened.town.faults
    faults.crash, faults.away, faults.lost_ack, faults.doubled = 0.01, 0.05, 0.1, 0.1
    faults.redelivered, faults.late, faults.shuffled = 0.2, 0.1, 0.2
    chance, placed = faults.chance, 0
    for step in range(1500):
        if placed < orders_placed and step % 20 == 0:
            card = chance.choice(["ok", "ok", "declined", "lossy"])
            number = f"{placed}-nowhere" if chance.random() < 0.25 else placed
            placed += await place(opened, order(number, card))
        await town.step()
        if chance.random() < 0.02:
            town.clock.advance(timedelta(seconds=chance.choice([1, 5, 30])))
    faults.stop()
    while placed < orders_placed:
        placed += await place(opened, order(placed))
    await town.rest(upto=timedelta(minutes=40))


async def place(opened: Shop, event: OrderCreated) -> bool:
    """Publish until it is known to be there, as a client does with a request that it repeats."""
    site = opened.town.sites[opened.town.faults.chance.choice(["orders", "gateway"])]
    if not site.is_up:
        await site.start()
    faults = opened.town.faults
    crash, faults.crash = faults.crash, 0.0
    await site.publish(event)  # twice in a while: the second is the first
    if faults.hits(0.1):
        await site.publish(event)
    faults.crash = crash
    return True


# a failed verdict, and what other ledgers answer


@event
class BikeAsked:
    trip_id: str


@event
class BikeTaken:
    trip_id: str


@failure
class TyreFlat:
    trip_id: str


@event
class BikeReturned:
    trip_id: str


@event
class TripMade:
    trip_id: str


@state(key="rack_id")
class Rack:
    rack_id: str
    bikes: int = 5


@port
class Racks(Protocol):
    async def lock(self, *, key: str) -> None: ...


class FakeRacks(Racks):
    def __init__(self) -> None:
        self.works = True

    async def lock(self, *, key: str) -> None:
        if not self.works:
            raise ConnectionError(key)


desk, rental, road = Service("desk"), Service("rental"), Service("road")


@rental.reaction
async def take(asked: BikeAsked, racks: States[Rack]) -> BikeTaken:
    rack = await racks.get("r") or Rack(rack_id="r")
    rack.bikes -= 1
    racks.put(rack)
    return BikeTaken(trip_id=asked.trip_id)


@rental.reaction(compensates=take, retry=Retry(max_attempts=2))
async def bring_back(why: TyreFlat, taken: BikeTaken | None, locks: Racks) -> BikeReturned:
    await locks.lock(key=why.trip_id)
    return BikeReturned(trip_id=why.trip_id)


@road.reaction
def ride(taken: BikeTaken) -> TripMade | TyreFlat:
    return TyreFlat(trip_id=taken.trip_id)


TRIPS = Choreography(
    "trips",
    desk,
    rental,
    road,
    flows=[
        Flow("trip", key="trip_id", starts=BikeAsked, succeeds=TripMade, fails=TyreFlat, timeout=timedelta(hours=1))
    ],
)


@asynccontextmanager
async def trips(folder: Path, locks: Racks) -> AsyncIterator[Town]:
    async with a_town(TRIPS, folder) as town:
        await town.settle("desk", desk)
        await town.settle("rental", rental, ports=[locks])
        await town.settle("road", road)
        yield town


async def test_a_failed_verdict_waits_for_what_another_ledger_undoes(tmp_path: Path) -> None:
    async with trips(tmp_path, FakeRacks()) as town:
        flow = await town.sites["desk"].publish(BikeAsked(trip_id="t-1"))
        for name in ("desk", "rental", "road", "desk"):
            site = town.sites[name]
            for hop in (site.relay, site.intake, site.react, site.react, site.relay):
                await hop()
        row = await flow.row()
        assert (row.verdict, row.failing is not None) == (None, True)
        await town.rest(upto=timedelta(minutes=1))
        done = await flow.completion(timedelta(0))
        assert (done.verdict, done.leaked) == ("failed", ())


async def test_what_another_ledger_could_not_undo_has_leaked(tmp_path: Path) -> None:
    locks = FakeRacks()
    locks.works = False
    async with trips(tmp_path, locks) as town:
        flow = await town.sites["desk"].publish(BikeAsked(trip_id="t-1"))
        await town.rest(upto=timedelta(minutes=30))
        done = await flow.completion(timedelta(0))
        assert (done.verdict, done.leaked) == ("failed", ("rental.take",))


# a wait in one ledger, and the verdict in another


@event
class TableAsked:
    table_id: str


@event
class TableLaid:
    table_id: str


@event
class GuestsGone:
    table_id: str


@event
class DishServed:
    table_id: str


house, kitchen = Service("house"), Service("kitchen")


@house.reaction
def lay(asked: TableAsked) -> TableLaid:
    return TableLaid(table_id=asked.table_id)


@kitchen.reaction(needs=DishServed, within=timedelta(minutes=5))
def cook(laid: TableLaid) -> None: ...


@kitchen.reaction(within=timedelta(minutes=5))
def clear(laid: TableLaid, served: DishServed) -> None: ...


TABLES = Choreography(
    "tables",
    house,
    kitchen,
    incoming=GuestsGone | DishServed,
    flows=[Flow("table", key="table_id", starts=TableAsked, succeeds=GuestsGone, timeout=timedelta(hours=9))],
)


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("ended", [True, False])
async def test_what_waits_in_another_ledger_is_closed_without_noise_once_the_flow_has_its_verdict(
    ended: bool, crashes: bool, tmp_path: Path
) -> None:
    async with a_town(TABLES, tmp_path) as town:
        await town.settle("house", house)
        store = await town.settle("kitchen", kitchen)
        await town.sites["house"].publish(TableAsked(table_id="t-1"))
        await town.rest(upto=timedelta(minutes=1))
        if ended:
            await town.sites["house"].publish(GuestsGone(table_id="t-1"))
        if crashes:
            town.clock.advance(timedelta(minutes=5))
            town.faults.crash = town.faults.redelivered = 0.1
            for _ in range(300):
                await town.step()
            town.faults.stop()
        await town.rest(upto=timedelta(minutes=6))  # they have waited long enough, and ask
        assert {row.why for row in await store.work.ledger.parked()} == {"waiting", "half"}
        await town.rest(upto=timedelta(minutes=11))
        left = [(row.reaction, row.why) for row in await store.work.ledger.parked()]
        assert sorted(left) == ([] if ended else [("kitchen.clear", "dead"), ("kitchen.cook", "dead")])
        assert [entry.id for entry in await store.work.ledger.read(0, limit=99)] == list(
            dict.fromkeys(entry.id for entry in await store.work.ledger.read(0, limit=99))
        )


async def test_what_may_have_acted_and_waits_again_is_not_closed_by_asking_the_home(tmp_path: Path) -> None:
    locks, cellar = FakeRacks(), Service("cellar")
    locks.works = False

    @cellar.reaction(retry=Retry(max_attempts=1))
    def count(served: DishServed) -> None:
        if locks.works:
            raise ConnectionError("the second dish cannot be counted, as the test has it")

    @cellar.reaction(needs=DishServed, within=timedelta(minutes=5))
    async def lock(laid: TableLaid, racks: Racks) -> None:
        await racks.lock(key=laid.table_id)

    flow = Flow("table", key="table_id", starts=TableAsked, succeeds=GuestsGone, timeout=timedelta(hours=9))
    tables = Choreography("tables", house, cellar, incoming=GuestsGone | DishServed, flows=[flow])
    async with a_town(tables, tmp_path) as town:
        home, store = await town.settle("house", house), await town.settle("cellar", cellar, ports=[locks])
        await home.publish(TableAsked(table_id="t-1"))
        await home.publish(DishServed(table_id="t-1"))
        await town.rest(upto=timedelta(0))
        assert {row.why: row.attempts for row in await store.work.ledger.parked()} == {"retry": 1}
        locks.works = True
        await home.publish(DishServed(table_id="t-1"))
        await home.publish(GuestsGone(table_id="t-1"))
        await town.rest(upto=timedelta(minutes=30))
        left = {row.reaction: (row.why, row.attempts) for row in await store.work.ledger.parked()}
        assert left["cellar.lock"] == ("dead", 1)


async def test_a_question_about_a_flow_that_was_pruned_is_no_riddle_for_its_home(tmp_path: Path) -> None:
    async with a_town(TABLES, tmp_path) as town:
        home, store = await town.settle("house", house), await town.settle("kitchen", kitchen)
        await home.publish(TableAsked(table_id="t-1"))
        await town.rest(upto=timedelta(minutes=1))
        await home.publish(GuestsGone(table_id="t-1"))
        await town.rest(upto=timedelta(minutes=1))
        town.clock.advance(timedelta(days=3))
        for hop in (home.react, home.relay, home.relay, home.react):  # where it stands is written down
            await hop()
        await prune(home.work, Retention(TABLES, timedelta(days=1), separate=True))
        assert await home.work.ledger.read(0, limit=9) == []
        await town.rest(upto=timedelta(minutes=20))
        kept = [
            entry.data for entry in await home.work.ledger.read(0, limit=9)
        ]  # what failed there is told, and too old
        assert [data for data in kept if b"FlowAsked" in data] == []
        assert {row.why for row in await store.work.ledger.parked()} == {"dead"}


async def test_a_wait_for_a_home_that_is_away_ends_as_a_dead_letter(tmp_path: Path) -> None:
    async with a_town(TABLES, tmp_path) as town:
        home, store = await town.settle("house", house), await town.settle("kitchen", kitchen)
        await home.publish(TableAsked(table_id="t-1"))
        await town.rest(upto=timedelta(minutes=1))
        del town.sites["house"]
        await home.close()
        await town.rest(upto=timedelta(minutes=16))
        assert {row.why for row in await store.work.ledger.parked()} == {"dead"}
