"""Several workers on one file: one owns a service, anyone publishes, and whoever lost its service commits nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import field
from datetime import timedelta
from pathlib import Path

import pytest

from callboard import Choreography, Conflict, Flow, FlowIsOpen, LedgerError, Service, States, event, state
from callboard.board import FlowHandle
from callboard.errors import LedgerLost
from tests.support.outside import Outside
from tests.support.stage import Stage
from tests.support.tables import ask, change, contents, logged
from tests.support.workers import Answered, Asked, Till, a_worker, counter, shop

TEN = timedelta(seconds=10)


class Quiet(Till):
    """Rings with everybody, and remembers the keys."""

    def __init__(self, outside: Outside | None = None) -> None:
        self.outside = outside or Outside()

    async def ring(self, name: str, *, key: str) -> None:
        await self.outside.take("ring", f"{name} {key}")

    @property
    def names(self) -> list[str]:
        return [call.split()[0] for call in self.outside.made("ring")]


@event(key="line")
class Rang:
    line: str
    number: int


@state(key="line")
class Heard:
    line: str
    numbers: list[int] = field(default_factory=list[int])


@event
class Moved:
    name: str
    by: int = 1


@event
class Sorted:
    name: str


@state(key="name")
class Shelf:
    name: str
    free: int = 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "counter.db"


def url(file: Path) -> str:
    return f"sqlite:///{file}"


# owner and standby


async def test_of_two_workers_one_owns_a_service_and_what_happens_happens_once(file: Path) -> None:
    first, second = Quiet(), Quiet()
    async with shop.open(url(file), ports=[first]) as owner, shop.open(url(file), ports=[second]) as standby:
        assert (set(owner.work.tokens), set(standby.work.tokens)) == ({"counter"}, set())
        for number, board in enumerate((owner, standby) * 3):
            flow = await board.publish(Asked(name=f"n{number}"))
            await flow.completion(TEN)
        assert sorted(first.names) == [f"n{number}" for number in range(6)]
        assert second.names == []
    assert logged(file, "Answered") == 6


async def test_a_standby_takes_over_when_the_owner_closes(file: Path) -> None:
    first, second = Quiet(), Quiet()
    async with AsyncExitStack() as owner:
        await owner.enter_async_context(shop.open(url(file), ports=[first]))
        async with shop.open(url(file), ports=[second]) as standby:
            await (await standby.publish(Asked(name="early"))).completion(TEN)
            assert first.names == ["early"]
            closing = asyncio.ensure_future(owner.aclose())
            flow = await standby.publish(Asked(name="late"))
            await closing
            await flow.completion(TEN)
            await (await standby.publish(Asked(name="last"))).completion(TEN)
            assert set(standby.work.tokens) == {"counter"}
    assert first.names + second.names == ["early", "late", "last"]
    assert second.names[-1] == "last"
    assert logged(file, "Answered") == 3


async def test_a_standby_takes_over_when_the_owner_is_killed_and_repeats_what_was_cut_under_its_key(file: Path) -> None:
    till = Quiet()
    async with a_worker("own", file) as owner:
        assert await owner.says() == "owns counter"
        async with shop.open(url(file), ports=[till]) as standby:
            assert not standby.work.tokens
            flow = await standby.publish(Asked(name="stuck"))
            rang, name, key = (await owner.says()).split()
            assert (rang, name) == ("rang", "stuck")
            await owner.kill()
            done = await flow.completion(TEN)
            assert done.event(Answered) == Answered(name="stuck")
            assert till.outside.made("ring") == [f"stuck {key}"]
            assert set(standby.work.tokens) == {"counter"}
    assert logged(file, "Answered") == 1


async def test_a_worker_that_owns_nothing_locks_nothing_and_its_events_are_handled_by_the_owner(file: Path) -> None:
    async with shop.open(url(file), services=[]) as publisher:
        flow = await publisher.publish(Asked(name="n"))
        assert not publisher.work.tokens
        assert ask(file, "SELECT * FROM owner") == []
        assert list(file.parent.glob("*.lock")) == []
        till = Quiet()
        async with shop.open(url(file), ports=[till]):
            await flow.completion(TEN)
        assert till.names == ["n"]


async def test_services_of_one_choreography_may_be_owned_by_different_workers(file: Path) -> None:
    one, two = Service("one"), Service("two")

    @one.reaction
    def first(moved: Moved) -> Rang:
        return Rang(line=moved.name, number=moved.by)

    @two.reaction
    def second(rang: Rang) -> Sorted:
        return Sorted(name=rang.line)

    both = Choreography("both", one, two, flows=[Flow("m", key="name", starts=Moved, succeeds=Sorted, timeout=None)])
    async with both.open(url(file), services=[one]) as left, both.open(url(file), services=[two]) as right:
        assert (set(left.work.tokens), set(right.work.tokens)) == ({"one"}, {"two"})
        flows = [await board.publish(Moved(name=f"m{n}")) for n, board in enumerate((left, right) * 3)]
        assert all([(await flow.completion(TEN)).succeeded for flow in flows])
    assert logged(file, "Sorted") == 6


# the order of the log


@pytest.mark.parametrize("fuse", [True, False])
async def test_rows_of_others_are_handed_out_before_ones_own_that_stand_behind_them(file: Path, fuse: bool) -> None:
    service = Service("desk")

    @service.reaction
    def hear(rang: Rang, heard: Heard) -> None:
        heard.numbers.append(rang.number)

    @service.reaction
    def sort(moved: Moved) -> Rang:
        return Rang(line="l", number=moved.by)

    flow = Flow("m", key="name", starts=Moved, succeeds=Sorted, timeout=None)
    choreography = Choreography("lines", service, flows=[flow], incoming=Rang)
    async with Stage(choreography, file) as owner:
        owner.work.fuse = fuse
        async with Stage(choreography, file, services=[], clock=owner.clock, seed=1000) as other:
            for number in range(0, 12, 3):

                async def overtake(number: int = number) -> None:
                    await other.publish(Rang(line="l", number=number))

                owner.ledger.before.append(overtake)
                await owner.publish(Moved(name=f"m{number}", by=number + 1))
                await owner.publish(Rang(line="l", number=number + 2))
            await owner.run()
        entries = await owner.ledger.read(0, limit=1000)
        numbers = [owner.work.value(entry).number for entry in entries if entry.type == "Rang"]
        assert sorted(numbers) == list(range(12))
        assert await owner.load(Heard, "l") == Heard(line="l", numbers=numbers)


@pytest.mark.parametrize("same", [True, False])
async def test_of_two_workers_that_begin_one_flow_one_does_and_the_other_is_told(file: Path, same: bool) -> None:
    _, choreography, gates = depot()
    async with (
        Stage(choreography, file) as owner,
        Stage(choreography, file, services=[], clock=owner.clock, seed=1000) as other,
    ):
        first: list[FlowHandle] = []

        async def overtake() -> None:
            first.append(await other.publish(Moved(name="m", by=1)))

        owner.ledger.before.append(overtake)
        if same:
            second = await owner.publish(Moved(name="m", by=1))
            assert (second.id, second.is_new) == (first[0].id, False)
        else:
            with pytest.raises(FlowIsOpen) as told:
                await owner.publish(Moved(name="m", by=2))
            assert told.value.flow.id == first[0].id
        await owner.run()
        assert await owner.count(Moved) == len(gates) == 1


async def test_one_idempotency_key_used_by_two_workers_at_once_is_one_event(file: Path) -> None:
    async with (
        Stage(shop, file, ports=[Quiet()]) as owner,
        Stage(shop, file, services=[], clock=owner.clock, seed=1000) as other,
    ):

        async def overtake() -> None:
            await other.publish(Asked(name="n"), idempotency_key="k")

        owner.ledger.before.append(overtake)
        assert not (await owner.publish(Asked(name="n"), idempotency_key="k")).is_new
        assert await owner.count(Asked) == 1


# state


def depot() -> tuple[Service, Choreography, list[asyncio.Future[None]]]:
    """A reaction that holds a row until a test lets it go."""
    service, gates = Service("depot"), list[asyncio.Future[None]]()

    @service.reaction
    async def sort(moved: Moved, shelf: Shelf) -> Sorted:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gates.append(gate)
        await gate
        shelf.free += moved.by
        return Sorted(name=moved.name)

    flow = Flow("m", key="name", starts=Moved, succeeds=Sorted, timeout=None)
    return service, Choreography("depot", service, flows=[flow]), gates


async def test_a_transaction_that_a_run_overtook_is_refused_and_saves_nothing(file: Path) -> None:
    service, choreography, gates = depot()
    async with (
        Stage(choreography, file) as owner,
        Stage(choreography, file, services=[], clock=owner.clock, seed=1000) as other,
    ):
        await owner.say(Moved(name="m"))

        async def edit() -> None:
            async with other.board.transaction(service) as tx:
                shelf = await tx.load(Shelf, "m") or Shelf(name="m")
                gates.pop().set_result(None)
                await owner.run()
                shelf.free += 100
                await tx.put(shelf)
                tx.publish(Moved(name="second"))

        with pytest.raises(Conflict):
            await other.drive(edit())
        assert await other.load(Shelf, "m") == Shelf(name="m", free=1)
        assert await other.count(Moved) == 1


async def test_a_run_that_a_transaction_overtook_is_repeated_on_what_it_left(file: Path) -> None:
    service, choreography, gates = depot()
    async with (
        Stage(choreography, file) as owner,
        Stage(choreography, file, services=[], clock=owner.clock, seed=1000) as other,
    ):
        await owner.say(Moved(name="m"))
        await other.put(service, Shelf(name="m", free=100))
        gates.pop().set_result(None)
        await owner.run()
        assert await other.load(Shelf, "m") == Shelf(name="m", free=100)
        gates.pop().set_result(None)
        await owner.run()
        assert await other.load(Shelf, "m") == Shelf(name="m", free=101)
        assert await owner.count(Sorted) == 1
        assert await owner.parked() == []


async def test_a_transaction_between_a_run_and_its_commit_is_seen_by_the_run(file: Path) -> None:
    service = Service("depot")

    @service.reaction
    async def sort(moved: Moved, shelves: States[Shelf]) -> Sorted:
        shelf = await shelves.get(moved.name) or Shelf(name=moved.name)
        shelf.free += moved.by
        shelves.put(shelf)
        return Sorted(name=moved.name)

    flow = Flow("m", key="name", starts=Moved, succeeds=Sorted, timeout=None)
    choreography = Choreography("depot", service, flows=[flow])
    async with (
        Stage(choreography, file) as owner,
        Stage(choreography, file, services=[], clock=owner.clock, seed=1000) as other,
    ):
        await other.put(service, Shelf(name="m", free=1))
        await owner.publish(Moved(name="m"))

        async def overtake() -> None:
            await other.put(service, Shelf(name="m", free=100))

        owner.ledger.before.append(overtake)
        await owner.run()
        assert await other.load(Shelf, "m") == Shelf(name="m", free=101)


async def test_a_transaction_that_overtakes_a_commit_of_other_rows_is_seen_by_the_next_run(file: Path) -> None:
    service = Service("depot")

    @service.reaction
    def fill(rang: Rang, heard: Heard) -> None:
        heard.numbers.append(rang.number)

    choreography = Choreography("depot", service, incoming=Rang)
    async with (
        Stage(choreography, file) as owner,
        Stage(choreography, file, services=[], clock=owner.clock, seed=1000) as other,
    ):
        await owner.say(Rang(line="a", number=1))

        async def overtake() -> None:
            await other.put(service, Heard(line="a", numbers=[7]))

        owner.ledger.before.append(overtake)
        await owner.say(Rang(line="b", number=2))
        await owner.say(Rang(line="a", number=3))
        assert await owner.load(Heard, "a") == Heard(line="a", numbers=[7, 3])


async def test_two_transactions_of_different_workers_on_one_row_lose_no_update(file: Path) -> None:
    service, choreography, _ = depot()
    async with (
        Stage(choreography, file, services=[]) as one,
        Stage(choreography, file, services=[], clock=one.clock, seed=1000) as two,
    ):
        await one.put(service, Shelf(name="m", free=1))

        async def edit() -> None:
            async with one.board.transaction(service) as tx:
                shelf = await tx.load(Shelf, "m")
                assert shelf is not None
                await two.put(service, Shelf(name="m", free=50))
                shelf.free += 1
                await tx.put(shelf)

        with pytest.raises(Conflict):
            await one.drive(edit())
        assert await one.load(Shelf, "m") == Shelf(name="m", free=50)


# ownership that was lost


@pytest.fixture
async def held(file: Path) -> AsyncIterator[tuple[Stage, Outside]]:
    """An owner with a run that waits for somebody outside, when its token moves."""
    outside = Outside()
    async with Stage(shop, file, ports=[Quiet(outside)]) as stage:
        outside.next("ring", "wait")
        await stage.say(Asked(name="n"))
        assert outside.waiting()
        yield stage, outside


async def test_an_owner_whose_token_moved_commits_nothing(held: tuple[Stage, Outside], file: Path) -> None:
    stage, outside = held
    assert change(file, "UPDATE owner SET token = token + 1 WHERE service = 'counter'") == 1
    before = contents(file)
    outside.let_go()
    with pytest.raises(LedgerLost, match="counter is owned by another process now"):
        await stage.run()
    publishing = asyncio.ensure_future(stage.board.publish(Asked(name="more")))
    with pytest.raises(LedgerLost):
        await stage.run()
    publishing.cancel()
    assert contents(file) == before


async def test_what_an_owner_that_was_overtaken_had_in_hand_is_done_once_by_the_next(
    held: tuple[Stage, Outside], file: Path
) -> None:
    stage, outside = held
    stage.ledger._locks["counter"].release()  # as if it had been stopped for so long that it was given up
    async with Stage(shop, file, ports=[Quiet(outside)], clock=stage.clock, seed=1000) as successor:
        await successor.run()
        assert await successor.verdict("visit", "n") == "succeeded"
        outside.let_go()
        with pytest.raises(LedgerLost):
            await stage.run()
        assert logged(file, "Answered") == 1
        assert len(set(outside.made("ring"))) == 1


async def test_whoever_uses_a_board_that_lost_its_service_is_told(file: Path) -> None:
    async with shop.open(url(file), ports=[Quiet()], services=[counter]) as board:
        await (await board.publish(Asked(name="n"))).completion(TEN)
        change(file, "UPDATE owner SET token = token + 1")
        with pytest.raises(LedgerError):
            async with asyncio.timeout(10):
                await board.publish(Asked(name="more"))
        with pytest.raises(LedgerError, match="this board has stopped"):
            await board.publish(Asked(name="even more"))
        assert isinstance(board.failure, LedgerLost)
    assert logged(file, "Asked") == 1
