"""Promise 3: the effects of a reaction on its service's own data take place exactly once, whatever fails around it."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from callboard import Choreography, Flow, Retry, Service, event, failure, port, state

from .support.outside import Outside
from .support.stage import Stage


@event
class Placed:
    order_id: str
    sku: str


@event
class Reserved:
    order_id: str
    sku: str


@failure
class SoldOut:
    order_id: str


@event
class Booked:
    order_id: str


@event
class Told:
    order_id: str


@event
class Listed:
    order_id: str
    names: list[str]


stock, carriage, letters = Service("stock"), Service("carriage"), Service("letters")


@state(key="sku")
class Shelf:
    sku: str
    taken: int = 0


@state(key="order_id")
class Letter:
    order_id: str
    told: int = 0


@port
class Carrier(Outside):
    """Books."""


@stock.reaction(keeps="a test")
def reserve(placed: Placed, shelf: Shelf) -> Reserved | SoldOut:
    shelf.taken += 1
    return Reserved(order_id=placed.order_id, sku=placed.sku)


@carriage.reaction(keeps="a test")
async def book(reserved: Reserved, carrier: Carrier) -> Booked:
    await carrier.take("book", reserved.order_id)
    return Booked(order_id=reserved.order_id)


@letters.reaction(needs=Reserved)
def tell(booked: Booked, reserved: Reserved, letter: Letter) -> Told:
    letter.told += 1
    return Told(order_id=booked.order_id)


shop = Choreography(
    "shop",
    stock,
    carriage,
    letters,
    flows=[Flow("order", key="order_id", starts=Placed, succeeds=Told, fails=SoldOut)],
)


class Stages:
    """Owners of the shop on one file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "shop.db"
        self.carrier = Carrier()
        self.owner = Stage(shop, self.file, ports=[self.carrier])
        self.publisher = Stage(shop, self.file, services=[], clock=self.owner.clock)


@pytest.fixture
async def stages(tmp_path: Path) -> AsyncIterator[Stages]:
    stages = Stages(tmp_path)
    async with stages.owner, stages.publisher:
        yield stages


async def judge(owner: Stage, orders: int) -> None:
    assert owner.ledger.doubled() == []
    shelf = await owner.load(Shelf, "a")
    assert shelf is not None
    assert shelf.taken == orders
    assert [await owner.count(kind) for kind in (Placed, Reserved, Booked, Told)] == [orders] * 4


def placed(number: int) -> Placed:
    return Placed(order_id=f"o{number}", sku="a")


async def test_a_group_that_another_commit_overtook_runs_nothing_twice(stages: Stages) -> None:
    for number in range(3):
        await stages.publisher.publish(placed(number))
    for number in range(3, 6):
        stages.owner.ledger.before.append(partial(stages.publisher.publish, placed(number)))
    await stages.owner.run()
    await judge(stages.owner, 6)


async def test_a_row_that_was_edited_under_a_group_is_read_again_and_nothing_runs_twice(stages: Stages) -> None:
    owner, publisher = stages.owner, stages.publisher
    owner.work.fuse = False
    stages.carrier.next("book", "wait")
    await owner.say(placed(0))
    stages.carrier.let_go("book")
    await owner.groups_until(lambda: owner.count(Booked))
    owner.ledger.before.append(lambda: publisher.put(letters, Letter(order_id="o0", told=10)))
    await owner.run()
    letter = await owner.load(Letter, "o0")
    assert letter is not None
    assert letter.told == 11
    await judge(owner, 1)


@pytest.mark.parametrize("fuse", [True, False])
async def test_no_reaction_sees_what_another_made_of_its_event(fuse: bool, tmp_path: Path) -> None:
    desk, seen = Service("desk"), list[tuple[str, list[str], int]]()

    @desk.reaction(retry=Retry(max_attempts=2))
    def spoil(listed: Listed) -> None:
        seen.append(("spoil", list(listed.names), id(listed.names)))
        listed.names.append("spoilt")
        if len(seen) == 1:
            raise ConnectionError

    @desk.reaction
    def look(listed: Listed) -> None:
        seen.append(("look", list(listed.names), id(listed.names)))

    @desk.reaction
    def begin(placed: Placed) -> Listed:
        return Listed(order_id=placed.order_id, names=["as it was"])

    flow = Flow("order", key="order_id", starts=Placed, succeeds=Listed)
    async with Stage(Choreography("desk", desk, flows=[flow]), tmp_path / "desk.db") as stage:
        stage.work.fuse = fuse
        await stage.say(placed(0))
        await stage.advance(minutes=1)
        assert sorted(name for name, _, _ in seen) == ["look", "spoil", "spoil"]
        assert [names for _, names, _ in seen] == [["as it was"]] * 3


async def test_rows_are_read_as_they_are_committed_by_whoever_owns_nothing(stages: Stages) -> None:
    stages.carrier.next("book", "wait")
    await stages.owner.say(placed(0))
    assert await stages.publisher.load(Letter, "o0") is None
    stages.carrier.let_go("book")
    await stages.owner.run()
    letter = await stages.publisher.load(Letter, "o0")
    assert letter is not None
    assert letter.told == 1


async def test_a_kill_repeats_the_calls_that_were_under_way_under_their_keys_and_no_other(stages: Stages) -> None:
    stages.carrier.next("book", "answer", "wait", "answer", "wait")
    await stages.owner.say(*(placed(number) for number in range(4)))
    assert sorted(stages.carrier.waiting()) == ["o1", "o3"]
    await stages.owner.restart()
    await stages.owner.run()
    assert sorted(stages.carrier.made("book")) == ["o0", "o1", "o1", "o2", "o3", "o3"]
    await judge(stages.owner, 4)
