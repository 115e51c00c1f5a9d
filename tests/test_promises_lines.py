"""Order per line: what one reaction does with one key happens in log order, and other lines go on meanwhile."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from callboard import Choreography, Context, Flow, Retry, Service, event, state
from tests.support.desk import ALWAYS, Desk, Trouble, on_stage, parked_as, told
from tests.support.outside import Next, Outside
from tests.support.stage import Stage


@event(key="tram")
class Passed:
    tram: str
    stop: int


@event(key="tram")
class Noted:
    tram: str
    stop: int
    by: str = ""


@state(key="tram")
class Odometer:
    tram: str
    stops: tuple[int, ...] = ()


@event
class TripBegun:
    trip: str


@event
class DoorOpened:
    trip: str
    door: str
    number: int


@event
class DoorSeen:
    trip: str
    door: str
    number: int
    by: str = ""


@event
class TripEnded:
    trip: str


THREE = Retry(max_attempts=3)
ONCE = Retry(max_attempts=1)
Board = Callable[[Trouble], Choreography]


def plain(trouble: Trouble) -> Choreography:
    service = Service("trams")

    @service.reaction(retry=THREE)
    def note(passed: Passed) -> Noted:
        trouble.at(f"{passed.tram}{passed.stop}")
        return Noted(tram=passed.tram, stop=passed.stop)

    return Choreography("trams", service)


def with_a_row(trouble: Trouble) -> Choreography:
    service = Service("trams")

    @service.reaction(retry=THREE)
    def note(passed: Passed, row: Odometer) -> Noted:
        trouble.at(f"{passed.tram}{passed.stop}")
        row.stops = (*row.stops, passed.stop)
        return Noted(tram=passed.tram, stop=passed.stop)

    return Choreography("trams", service)


def with_a_port(trouble: Trouble) -> Choreography:
    service = Service("trams")

    @service.reaction(retry=THREE)
    async def note(passed: Passed, desk: Desk) -> Noted:
        await desk.take(f"{passed.tram}{passed.stop}")
        trouble.at(f"{passed.tram}{passed.stop}")
        return Noted(tram=passed.tram, stop=passed.stop)

    return Choreography("trams", service)


FORMS = pytest.mark.parametrize("form", [plain, with_a_row, with_a_port])


def trips(trouble: Trouble, *, per: str | None = None) -> Choreography:
    """One flow a trip; doors open in it, and one reaction looks at them."""
    service = Service("doors")

    @service.reaction(retry=ONCE, per=per)
    def look(opened: DoorOpened) -> DoorSeen:
        trouble.at(f"{opened.trip}{opened.door}{opened.number}")
        return DoorSeen(trip=opened.trip, door=opened.door, number=opened.number)

    flow = Flow("trip", key="trip", starts=TripBegun, succeeds=TripEnded)
    return Choreography("doors", service, flows=[flow], incoming=DoorOpened | TripEnded)


def passing(tram: str, *stops: int) -> list[Passed]:
    return [Passed(tram=tram, stop=stop) for stop in stops]


async def stops(stage: Stage, tram: str) -> list[int]:
    return [noted.stop for noted in await told(stage, Noted) if noted.tram == tram]


# retries


@FORMS
async def test_what_comes_after_a_failed_run_on_its_line_waits_until_it_has_succeeded(
    form: Board, tmp_path: Path
) -> None:
    async with on_stage(form(Trouble(a1=2)), tmp_path) as stage:
        await stage.say(*passing("a", 1, 2, 3))
        assert await stops(stage, "a") == []
        await stage.advance(seconds=2)
        await stage.say(*passing("a", 4))
        assert await stops(stage, "a") == []
        await stage.advance(seconds=10)
        assert await stops(stage, "a") == [1, 2, 3, 4]
        assert await stage.parked() == []


@FORMS
async def test_other_lines_go_on_while_one_waits_for_its_retry(form: Board, tmp_path: Path) -> None:
    async with on_stage(form(Trouble(a1=1)), tmp_path) as stage:
        await stage.say(*passing("a", 1), *passing("b", 1), *passing("a", 2), *passing("b", 2))
        assert await stops(stage, "b") == [1, 2]
        assert await stops(stage, "a") == []


@FORMS
async def test_order_is_kept_when_each_event_of_a_line_fails_in_turn(form: Board, tmp_path: Path) -> None:
    async with on_stage(form(Trouble(a1=1, a2=2, a4=1)), tmp_path) as stage:
        await stage.say(*passing("a", 1, 2, 3, 4, 5))
        for _ in range(5):
            await stage.advance(seconds=20)
        assert await stops(stage, "a") == [1, 2, 3, 4, 5]


@FORMS
async def test_order_is_kept_when_the_owner_dies_between_a_failed_run_and_its_retry(
    form: Board, tmp_path: Path
) -> None:
    async with on_stage(form(Trouble(a1=1)), tmp_path) as stage:
        await stage.say(*passing("a", 1, 2))
        await stage.restart()
        await stage.say(*passing("a", 3))
        assert await stops(stage, "a") == []
        await stage.advance(seconds=2)
        assert await stops(stage, "a") == [1, 2, 3]


async def test_an_event_published_by_another_worker_takes_its_place_in_the_line(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "wait")
    async with (
        on_stage(with_a_port(Trouble()), tmp_path, outside) as stage,
        Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other,
    ):
        await stage.say(*passing("a", 1))
        await other.publish(Passed(tram="a", stop=2))
        await stage.say(*passing("a", 3))
        assert outside.made("take") == ["a1"]
        outside.let_go("take")
        await stage.run()
        assert await stops(stage, "a") == [1, 2, 3]


@pytest.mark.parametrize("fuse", [True, False])
async def test_a_line_keeps_its_order_however_much_more_is_waiting_than_fits_into_memory(
    fuse: bool, tmp_path: Path
) -> None:
    stage = on_stage(with_a_port(Trouble(a2=1)), tmp_path)
    stage.most, stage.fuse = 2, fuse
    async with stage:
        await stage.drive(stage.board.publish([each for n in range(9) for t in "ab" for each in passing(t, n)]))
        await stage.run()
        await stage.advance(seconds=2)
        assert await stops(stage, "a") == list(range(9))
        assert await stops(stage, "b") == list(range(9))


# dead letters


@FORMS
async def test_a_dead_letter_stops_its_line_and_no_other(form: Board, tmp_path: Path) -> None:
    async with on_stage(form(Trouble(a1=ALWAYS)), tmp_path) as stage:
        await stage.say(*passing("a", 1, 2))
        for _ in range(3):
            await stage.advance(seconds=20)
        await stage.say(*passing("a", 3), *passing("b", 1))
        assert await stops(stage, "a") == []
        assert await stops(stage, "b") == [1]
        assert await parked_as(stage) == [("trams.note", "dead"), ("trams.note", "behind"), ("trams.note", "behind")]


@pytest.mark.parametrize("wish", ["replay", "discard"])
@pytest.mark.parametrize("crash", [True, False])
@FORMS
async def test_what_stood_behind_a_dead_letter_goes_on_in_order_once_it_is_gone(
    form: Board, crash: bool, wish: str, tmp_path: Path
) -> None:
    trouble = Trouble(a1=3)
    async with on_stage(form(trouble), tmp_path) as stage:
        await stage.say(*passing("a", 1, 2, 3))
        for _ in range(3):
            await stage.advance(seconds=20)
        (letter,) = await stage.dead()
        await stage.ask(letter, wish)
        if crash:
            await stage.restart()
        await stage.say(*passing("a", 4))
        assert await stops(stage, "a") == [1, 2, 3, 4] if wish == "replay" else [2, 3, 4]
        assert await stage.parked() == []


async def test_a_dead_letter_that_fails_again_when_it_is_replayed_stops_its_line_again(tmp_path: Path) -> None:
    async with on_stage(plain(Trouble(a1=4)), tmp_path) as stage:
        await stage.say(*passing("a", 1, 2))
        for _ in range(3):
            await stage.advance(seconds=20)
        await stage.ask((await stage.dead())[0], "replay")
        await stage.run()
        assert await stops(stage, "a") == []
        await stage.ask((await stage.dead())[0], "replay")
        await stage.run()
        assert await stops(stage, "a") == [1, 2]


async def test_a_second_dead_letter_of_a_line_stops_what_is_behind_it_when_the_first_is_discarded(
    tmp_path: Path,
) -> None:
    async with on_stage(plain(Trouble(a1=ALWAYS, a2=ALWAYS)), tmp_path) as stage:
        await stage.say(*passing("a", 1, 2, 3))
        for _ in range(3):
            await stage.advance(seconds=20)
        await stage.ask((await stage.dead())[0], "discard")
        for _ in range(3):
            await stage.advance(seconds=20)
        assert await stops(stage, "a") == []
        assert [row.why for row in await stage.parked()] == ["dead", "behind"]


# slow runs


async def test_a_slow_run_holds_up_nothing_but_its_own_line(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "wait")
    async with on_stage(with_a_port(Trouble()), tmp_path, outside) as stage:
        await stage.say(*passing("a", 1, 2), *passing("b", 1, 2), *passing("c", 1))
        assert await stops(stage, "b") == [1, 2]
        assert await stops(stage, "c") == [1]
        assert outside.made("take").count("a2") == 0
        outside.let_go("take")
        await stage.run()
        assert await stops(stage, "a") == [1, 2]


@pytest.mark.parametrize(
    ("first", "many"), [("wait", 400), ("fail", 400), pytest.param("wait", 100_000, marks=pytest.mark.slow)]
)
async def test_a_line_with_many_behind_its_first_run_holds_up_no_other_and_keeps_its_order(
    first: Next, many: int, tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("take", first)
    async with on_stage(with_a_port(Trouble()), tmp_path, outside) as stage:
        for begin in range(0, many, 10_000):
            await stage.publish(passing("hot", *range(begin, min(many, begin + 10_000))))
        await stage.run()
        await stage.say(*passing("b", 1, 2, 3))
        assert await stops(stage, "b") == [1, 2, 3]
        assert await stops(stage, "hot") == []
        if many < 1_000:
            await stage.restart()
            await stage.run()
            await stage.advance(minutes=1)
            assert await stops(stage, "hot") == list(range(many))
            assert await stage.parked() == []


async def test_two_reactions_to_one_event_are_two_lines(tmp_path: Path) -> None:
    service = Service("trams")
    outside = Outside()
    outside.next("take", "wait")

    @service.reaction
    async def slow(passed: Passed, desk: Desk) -> Noted:
        await desk.take(f"{passed.tram}{passed.stop}")
        return Noted(tram=passed.tram, stop=passed.stop, by="slow")

    @service.reaction
    def quick(passed: Passed) -> Noted:
        return Noted(tram=passed.tram, stop=passed.stop, by="quick")

    async with on_stage(Choreography("trams", service), tmp_path, outside) as stage:
        await stage.say(*passing("a", 1, 2))
        assert [(n.by, n.stop) for n in await told(stage, Noted)] == [("quick", 1), ("quick", 2)]
        outside.let_go()
        await stage.run()
        assert [n.stop for n in await told(stage, Noted) if n.by == "slow"] == [1, 2]


@pytest.mark.parametrize("suspends", [True, False])
async def test_runs_on_one_state_row_never_overlap_whichever_reactions_they_are_of(
    suspends: bool, tmp_path: Path
) -> None:
    service = Service("trams")
    outside = Outside()

    @service.reaction
    async def slow(passed: Passed, row: Odometer, desk: Desk) -> None:
        await desk.take(f"{passed.tram}{passed.stop}")
        row.stops = (*row.stops, passed.stop)

    @service.reaction
    def quick(passed: Passed, row: Odometer) -> None:
        row.stops = (*row.stops, -passed.stop)

    outside.next("take", *(("wait",) if suspends else ()))
    async with on_stage(Choreography("trams", service), tmp_path, outside) as stage:
        await stage.say(*passing("a", 1, 2), *passing("b", 1))
        other = await stage.load(Odometer, "b")
        assert other is not None
        assert other.stops == (1, -1)
        if suspends:
            assert await stage.load(Odometer, "a") is None
            outside.let_go()
            await stage.run()
        row = await stage.load(Odometer, "a")
        assert row is not None
        assert row.stops == (1, -1, 2, -2)


async def test_a_run_beyond_its_time_limit_is_a_failure_and_its_line_stays_in_order(tmp_path: Path) -> None:
    service = Service("trams")
    outside = Outside()
    outside.next("take", "wait")

    @service.reaction(timeout=timedelta(milliseconds=1))
    async def note(passed: Passed, desk: Desk) -> Noted:
        await desk.take(f"{passed.tram}{passed.stop}")
        return Noted(tram=passed.tram, stop=passed.stop)

    async with on_stage(Choreography("trams", service), tmp_path, outside) as stage:
        await stage.say(*passing("a", 1, 2))
        await stage.until(lambda: not stage.work.running)
        assert [(row.why, "AttemptTimedOut" in (row.error or "")) for row in await stage.parked()] == [
            ("retry", True),
            ("behind", False),
        ]
        await stage.advance(seconds=2)
        assert await stops(stage, "a") == [1, 2]


async def test_no_more_runs_go_on_at_once_than_concurrency_allows_and_none_is_lost(tmp_path: Path) -> None:
    service = Service("trams")
    outside = Outside(lambda _: "wait")

    @service.reaction(concurrency=2)
    async def note(passed: Passed, desk: Desk) -> Noted:
        await desk.take(f"{passed.tram}{passed.stop}")
        return Noted(tram=passed.tram, stop=passed.stop)

    async with on_stage(Choreography("trams", service), tmp_path, outside) as stage:
        await stage.say(*(Passed(tram=tram, stop=stop) for stop in (1, 2) for tram in "abcde"))
        rounds = 0
        while outside.waiting():
            assert len(outside.waiting()) <= 2
            outside.let_go(key=outside.waiting()[-1])
            await stage.run()
            rounds += 1
        assert rounds == 10
        for tram in "abcde":
            assert await stops(stage, tram) == [1, 2]


# flows


async def test_what_is_about_a_flow_is_in_the_line_of_the_flow_and_other_flows_go_on(tmp_path: Path) -> None:
    async with on_stage(trips(Trouble(xl1=ALWAYS)), tmp_path) as stage:
        await stage.say(TripBegun(trip="x"), TripBegun(trip="y"))
        await stage.say(*(DoorOpened(trip=trip, door=door, number=1) for trip in "xy" for door in "lr"))
        assert [(seen.trip, seen.door) for seen in await told(stage, DoorSeen)] == [("y", "l"), ("y", "r")]


async def test_each_part_of_a_flow_is_a_line_of_its_own(tmp_path: Path) -> None:
    async with on_stage(trips(Trouble(xl1=ALWAYS), per="door"), tmp_path) as stage:
        await stage.say(TripBegun(trip="x"))
        await stage.say(*(DoorOpened(trip="x", door=door, number=number) for number in (1, 2) for door in "lr"))
        assert [(seen.door, seen.number) for seen in await told(stage, DoorSeen)] == [("r", 1), ("r", 2)]


async def test_a_reaction_that_looks_back_into_its_flow_is_in_the_line_of_the_flow_whatever_key_is_declared(
    tmp_path: Path,
) -> None:
    service = Service("doors")
    trouble = Trouble(x1=ALWAYS)

    @event(key="tram")
    class Rang:
        trip: str
        tram: str
        number: int

    @service.reaction(needs=TripBegun, retry=ONCE)
    def hear(rang: Rang, begun: TripBegun) -> DoorSeen:
        trouble.at(f"{rang.trip}{rang.number}")
        return DoorSeen(trip=rang.trip, door=rang.tram, number=rang.number)

    flow = Flow("trip", key="trip", starts=TripBegun, succeeds=TripEnded)
    choreography = Choreography("doors", service, flows=[flow], incoming=TripEnded | Rang)
    async with on_stage(choreography, tmp_path) as stage:
        x, y = await stage.say(TripBegun(trip="x"), TripBegun(trip="y"))
        for handle in (x, y):
            await stage.publish(Rang(trip=handle.key or "", tram="7", number=1), flow=handle)
        await stage.publish(Rang(trip="x", tram="8", number=2), flow=x)
        await stage.run()
        assert [seen.trip for seen in await told(stage, DoorSeen)] == ["y"]


# loose


def loosely(trouble: Trouble) -> Choreography:
    service = Service("trams")

    @service.reaction(retry=Retry(max_attempts=2), order="loose")
    def note(passed: Passed, ctx: Context) -> Noted:
        trouble.at(f"{passed.tram}{passed.stop}")
        return Noted(tram=passed.tram, stop=passed.stop)

    return Choreography("trams", service)


async def test_a_loose_line_goes_on_past_its_dead_letter(tmp_path: Path) -> None:
    async with on_stage(loosely(Trouble(a1=2)), tmp_path) as stage:
        await stage.say(*passing("a", 1, 2))
        await stage.advance(seconds=2)
        await stage.say(*passing("a", 3))
        assert await stops(stage, "a") == [2, 3]
        assert await parked_as(stage) == [("trams.note", "dead")]
        await stage.restart()
        await stage.say(*passing("a", 4))
        await stage.ask((await stage.dead())[0], "replay")
        await stage.run()
        assert await stops(stage, "a") == [2, 3, 4, 1]


async def test_a_loose_line_keeps_its_order_as_long_as_nothing_is_dead(tmp_path: Path) -> None:
    async with on_stage(loosely(Trouble(a1=1)), tmp_path) as stage:
        await stage.say(*passing("a", 1, 2))
        assert await stops(stage, "a") == []
        await stage.advance(seconds=2)
        assert await stops(stage, "a") == [1, 2]
