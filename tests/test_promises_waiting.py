"""Prerequisites, joins, gathers, timers: decided by log order, kept through restarts, bounded, ended by a verdict."""

from datetime import timedelta
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest

from callboard import Choreography, Context, Flow, ManualClock, ReactionFailed, Retry, Service, event, failure
from tests.support.desk import ALWAYS, Desk, Trouble, on_stage, parked_as, told
from tests.support.outside import Outside
from tests.support.stage import START, Stage


@event
class TripBooked:
    trip: str
    bags: int = 0


@event
class PassportSeen:
    trip: str
    page: int = 1


@event
class TicketPaid:
    trip: str
    seat: int = 1


@event
class VisaGiven:
    trip: str


@event
class TripCancelled:
    trip: str


@event
class Boarded:
    trip: str
    page: int = 0
    seat: int = 0


@event
class Reminded:
    trip: str
    sent: str = ""


@event
class TripEnded:
    trip: str


@event
class BagDropped:
    trip: str
    bag: int


@event
class BagWeighed:
    trip: str
    bag: int


@event
class BagScanned:
    trip: str
    bag: int


@failure
class BagLost:
    trip: str
    bag: int


@event
class BagReady:
    trip: str
    bag: int


@event
class BagsLoaded:
    trip: str
    bags: tuple[int, ...]
    lost: tuple[int, ...] = ()


X = TripBooked(trip="x")
END = TripEnded(trip="x")
ONCE = Retry(max_attempts=1)
SAID = PassportSeen | TicketPaid | VisaGiven | TripCancelled | TripEnded | BagDropped | BagWeighed | BagScanned


def trips(*services: Service, timeout: timedelta | None = None) -> Choreography:
    flow = Flow("trip", key="trip", starts=TripBooked, succeeds=TripEnded, timeout=timeout)
    return Choreography("trips", *services, flows=[flow], incoming=SAID)


async def reasons(stage: Stage) -> list[tuple[str, str]]:
    """What was skipped or closed in the flow, and why."""
    return [(note.what, note.why) for note in await stage.notes("trip", "x") if note.what in ("skipped", "closed")]


async def is_closed_by_the_verdict(stage: Stage) -> bool:
    """The flow has ended, nothing of it waits any more, and nothing of it is dead, now or later."""
    await stage.say(END)
    assert await stage.verdict("trip", "x") == "succeeded"
    assert await stage.parked() == []
    await stage.advance(days=2)
    return await stage.parked() == []


# joins


def boarding(*, outside: bool = False, within: timedelta | None = None) -> Choreography:
    gate = Service("gate")
    if outside:

        @gate.reaction(within=within)
        async def board_with(seen: PassportSeen, paid: TicketPaid, visa: VisaGiven, desk: Desk) -> Boarded:
            await desk.take(f"{seen.trip}{seen.page}{paid.seat}")
            return Boarded(trip=seen.trip, page=seen.page, seat=paid.seat)

    else:

        @gate.reaction(within=within)
        def board(seen: PassportSeen, paid: TicketPaid, visa: VisaGiven) -> Boarded:
            return Boarded(trip=seen.trip, page=seen.page, seat=paid.seat)

    return trips(gate)


PARTS = (PassportSeen(trip="x"), TicketPaid(trip="x"), VisaGiven(trip="x"))
ORDERS = pytest.mark.parametrize(
    "parts", list(permutations(PARTS)), ids=lambda parts: "".join(type(p).__name__[0] for p in parts)
)


@ORDERS
@pytest.mark.parametrize("outside", [True, False])
async def test_a_join_runs_once_whatever_the_order_of_its_parts(
    parts: tuple[object, ...], outside: bool, tmp_path: Path
) -> None:
    async with on_stage(boarding(outside=outside), tmp_path) as stage:
        await stage.say(X)
        for part in parts:
            assert await told(stage, Boarded) == []
            await stage.say(part)
        assert len(await told(stage, Boarded)) == 1
        assert await stage.parked() == []


@ORDERS
async def test_a_join_runs_once_although_its_owner_dies_after_each_part(
    parts: tuple[object, ...], tmp_path: Path
) -> None:
    async with on_stage(boarding(), tmp_path) as stage:
        await stage.say(X)
        for part in parts:
            await stage.say(part)
            await stage.restart()
        await stage.run()
        assert len(await told(stage, Boarded)) == 1
        assert await stage.parked() == []


async def test_a_join_whose_parts_come_in_one_commit_runs_once(tmp_path: Path) -> None:
    async with on_stage(boarding(), tmp_path) as stage:
        await stage.drive(stage.board.publish([X, *PARTS]))
        await stage.run()
        assert len(await told(stage, Boarded)) == 1


async def test_a_join_takes_the_earliest_of_each_and_later_ones_are_late_parts(tmp_path: Path) -> None:
    async with on_stage(boarding(), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x", page=1), PassportSeen(trip="x", page=2), VisaGiven(trip="x"))
        await stage.say(TicketPaid(trip="x", seat=1), TicketPaid(trip="x", seat=2), PassportSeen(trip="x", page=3))
        assert await told(stage, Boarded) == [Boarded(trip="x", page=1, seat=1)]
        assert (await reasons(stage)).count(("skipped", "late part")) == 3


async def test_parts_of_other_flows_do_not_complete_a_join(tmp_path: Path) -> None:
    async with on_stage(boarding(), tmp_path) as stage:
        await stage.say(X, TripBooked(trip="y"), PassportSeen(trip="x"), TicketPaid(trip="y"), VisaGiven(trip="x"))
        assert await told(stage, Boarded) == []


async def test_a_join_that_fails_is_tried_again_with_the_same_parts(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "fail", "lose")
    async with on_stage(boarding(outside=True), tmp_path, outside) as stage:
        await stage.say(X, *PARTS, PassportSeen(trip="x", page=2))
        await stage.restart()
        for _ in range(3):
            await stage.advance(seconds=20)
        assert outside.made("take") == ["x11"] * 3
        assert await told(stage, Boarded) == [Boarded(trip="x", page=1, seat=1)]


@pytest.mark.parametrize("crash", [True, False])
@pytest.mark.parametrize("parts", list(permutations(PARTS, 2)), ids=str)
async def test_a_join_that_is_never_complete_is_a_dead_letter_that_says_what_is_missing(
    parts: tuple[object, ...], crash: bool, tmp_path: Path
) -> None:
    async with on_stage(boarding(within=timedelta(minutes=5)), tmp_path) as stage:
        await stage.say(X, *parts)
        if crash:
            await stage.restart()
        await stage.advance(minutes=4)
        assert await stage.dead() == []
        await stage.advance(minutes=2)
        (letter,) = await stage.dead()
        (missing,) = {"PassportSeen", "TicketPaid", "VisaGiven"} - {type(part).__name__ for part in parts}
        assert missing in (letter.error or "")
        assert await told(stage, Boarded) == []


# parts of a flow


def bags() -> tuple[Choreography, Trouble]:
    """One trip has ten bags; each is weighed and scanned, and is ready when both were done."""
    counter, belt = Service("counter"), Service("belt")
    trouble = Trouble()

    @counter.reaction
    def drop(trip: TripBooked) -> list[BagDropped]:
        return [BagDropped(trip=trip.trip, bag=bag) for bag in range(trip.bags)]

    @counter.reaction(per="bag")
    async def weigh(bag: BagDropped, desk: Desk) -> BagWeighed:
        await desk.take(f"weigh {bag.bag}")
        trouble.at(f"weigh{bag.bag}")
        return BagWeighed(trip=bag.trip, bag=bag.bag)

    @counter.reaction(per="bag")
    async def scan(bag: BagDropped, desk: Desk) -> BagScanned:
        await desk.take(f"scan {bag.bag}")
        trouble.at(f"scan{bag.bag}")
        return BagScanned(trip=bag.trip, bag=bag.bag)

    @belt.reaction(per="bag")
    def ready(weighed: BagWeighed, scanned: BagScanned) -> BagReady:
        assert weighed.bag == scanned.bag
        return BagReady(trip=weighed.trip, bag=weighed.bag)

    return trips(counter, belt), trouble


@pytest.mark.parametrize("crashes", [True, False])
@pytest.mark.parametrize("seed", range(4))
async def test_a_fan_out_of_ten_into_joins_per_part_loses_none_and_doubles_none(
    seed: int, crashes: bool, tmp_path: Path
) -> None:
    chance = Random(seed)
    outside = Outside(lambda _: chance.choice(["wait", "wait", "answer", "fail"]))
    choreography, trouble = bags()
    trouble.times = {f"{what}{bag}": chance.randint(0, 2) for what in ("weigh", "scan") for bag in range(10)}
    async with on_stage(choreography, tmp_path, outside, seed=seed) as stage:
        await stage.say(TripBooked(trip="x", bags=10))
        for _ in range(300):
            if not (await stage.parked() or outside.waiting()):
                break
            if outside.waiting():
                outside.let_go(key=chance.choice(outside.waiting()), what=chance.choice(["answer", "lose"]))
            if crashes and chance.random() < 0.1:
                await stage.restart()
            await stage.advance(seconds=chance.choice([0, 0, 1, 30]))
            for letter in await stage.dead():
                await stage.ask(letter, "replay")
        assert sorted(ready.bag for ready in await told(stage, BagReady)) == list(range(10))


async def test_each_part_of_a_flow_is_joined_on_its_own(tmp_path: Path) -> None:
    belt = Service("belt")

    @belt.reaction(per="bag", within=timedelta(minutes=1))
    def ready(weighed: BagWeighed, scanned: BagScanned) -> BagReady:
        return BagReady(trip=weighed.trip, bag=scanned.bag)

    async with on_stage(trips(belt), tmp_path) as stage:
        await stage.say(X, BagWeighed(trip="x", bag=1), BagScanned(trip="x", bag=2), BagWeighed(trip="x", bag=3))
        assert await told(stage, BagReady) == []
        await stage.say(BagScanned(trip="x", bag=3), BagScanned(trip="x", bag=1))
        assert [ready.bag for ready in await told(stage, BagReady)] == [3, 1]
        await stage.advance(minutes=2)
        assert [("BagWeighed" in (row.error or "")) for row in await stage.dead()] == [True]


# gathers


def loading(trouble: Trouble, *, retry: Retry = ONCE, within: timedelta | None = None) -> Choreography:
    """Bags are dropped as one scatter; the plane is loaded when each is scanned or lost."""
    counter, plane = Service("counter"), Service("plane")

    @counter.reaction
    def drop(trip: TripBooked) -> list[BagDropped]:
        return [BagDropped(trip=trip.trip, bag=bag) for bag in range(trip.bags)]

    @counter.reaction(per="bag", retry=retry)
    async def scan(bag: BagDropped, desk: Desk) -> BagScanned:
        await desk.take(f"{bag.bag}")
        trouble.at(f"scan{bag.bag}")
        return BagScanned(trip=bag.trip, bag=bag.bag)

    @counter.reaction(per="bag")
    def lose(failed: ReactionFailed[BagDropped]) -> BagLost | None:
        if trouble.times.get("silent"):
            return None
        return BagLost(trip=failed.event.trip, bag=failed.event.bag)

    @plane.reaction(gathers=BagDropped, within=within)
    def load(parts: list[BagScanned | BagLost]) -> BagsLoaded:
        trouble.at("load")
        lost = tuple(part.bag for part in parts if isinstance(part, BagLost))
        return BagsLoaded(trip=parts[0].trip, bags=tuple(part.bag for part in parts), lost=lost)

    return trips(counter, plane)


TEN = TripBooked(trip="x", bags=10)


@pytest.mark.parametrize("seed", range(4))
async def test_a_gather_runs_once_with_every_part_in_the_order_of_the_scatter(seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    outside = Outside(lambda _: "wait")
    async with on_stage(loading(Trouble()), tmp_path, outside) as stage:
        await stage.say(TEN)
        while outside.waiting():
            assert await told(stage, BagsLoaded) == []
            outside.let_go(key=chance.choice(outside.waiting()))
            await stage.run()
        assert await told(stage, BagsLoaded) == [BagsLoaded(trip="x", bags=tuple(range(10)))]
        assert await stage.parked() == []


async def test_a_gather_waits_for_parts_that_are_retried_also_across_a_restart(tmp_path: Path) -> None:
    async with on_stage(loading(Trouble(scan3=1, scan7=2), retry=Retry(max_attempts=4)), tmp_path) as stage:
        await stage.say(TEN)
        assert await told(stage, BagsLoaded) == []
        await stage.advance(seconds=1.5)
        await stage.restart()
        await stage.run()
        assert await told(stage, BagsLoaded) == []
        await stage.advance(seconds=30)
        assert await told(stage, BagsLoaded) == [BagsLoaded(trip="x", bags=tuple(range(10)))]


async def test_a_part_that_was_given_up_counts_and_what_comes_of_its_replay_is_a_late_part(tmp_path: Path) -> None:
    trouble = Trouble(scan3=1)
    async with on_stage(loading(trouble), tmp_path) as stage:
        await stage.say(TEN)
        assert await told(stage, BagsLoaded) == [BagsLoaded(trip="x", bags=tuple(range(10)), lost=(3,))]
        (letter,) = await stage.dead()
        assert await stage.ask(letter, "replay")
        await stage.run()
        assert len(await told(stage, BagScanned)) == 10
        assert len(await told(stage, BagsLoaded)) == 1
        assert ("skipped", "late part") in await reasons(stage)


async def test_a_gather_that_fails_is_tried_again_with_all_its_parts(tmp_path: Path) -> None:
    async with on_stage(loading(Trouble(load=2)), tmp_path) as stage:
        await stage.say(TEN)
        await stage.restart()
        for _ in range(3):
            await stage.advance(seconds=30)
        assert await told(stage, BagsLoaded) == [BagsLoaded(trip="x", bags=tuple(range(10)))]


async def test_a_scatter_of_nothing_is_gathered_by_nobody_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with on_stage(loading(Trouble()), tmp_path) as stage:
        await stage.say(X)
        assert await told(stage, BagsLoaded) == []
        assert await stage.parked() == []


async def test_a_scatter_of_one_is_gathered_at_once(tmp_path: Path) -> None:
    async with on_stage(loading(Trouble()), tmp_path) as stage:
        await stage.say(TripBooked(trip="x", bags=1))
        assert await told(stage, BagsLoaded) == [BagsLoaded(trip="x", bags=(0,))]


async def test_a_gather_whose_parts_never_come_is_a_dead_letter_that_says_how_many_are_missing(tmp_path: Path) -> None:
    trouble = Trouble(scan3=ALWAYS, scan4=ALWAYS, silent=1)
    async with on_stage(loading(trouble, within=timedelta(minutes=5)), tmp_path) as stage:
        await stage.say(TEN)
        await stage.restart()
        await stage.advance(minutes=6)
        (letter,) = [row for row in await stage.dead() if row.reaction == "plane.load"]
        assert "of 10 parts" in (letter.error or "")
        assert await told(stage, BagsLoaded) == []


async def test_two_scatters_in_one_flow_are_gathered_apart(tmp_path: Path) -> None:
    counter, plane = Service("counter"), Service("plane")

    @counter.reaction
    def drop(paid: TicketPaid) -> list[BagDropped]:
        return [BagDropped(trip=paid.trip, bag=paid.seat * 10 + n) for n in range(3)]

    @counter.reaction(per="bag")
    async def scan(bag: BagDropped, desk: Desk) -> BagScanned:
        await desk.take(f"{bag.bag}")
        return BagScanned(trip=bag.trip, bag=bag.bag)

    @plane.reaction(gathers=BagDropped)
    def load(parts: list[BagScanned]) -> BagsLoaded:
        return BagsLoaded(trip=parts[0].trip, bags=tuple(part.bag for part in parts))

    outside = Outside(lambda _: "wait")
    async with on_stage(trips(counter, plane), tmp_path, outside) as stage:
        await stage.say(X, TicketPaid(trip="x", seat=1), TicketPaid(trip="x", seat=2))
        for key in ("10", "20", "22", "12", "21", "11"):
            outside.let_go(key=key)
            await stage.run()
        assert [loaded.bags for loaded in await told(stage, BagsLoaded)] == [(20, 21, 22), (10, 11, 12)]


# prerequisites


def needing(
    trouble: Trouble, *, needs: Any = TicketPaid, within: timedelta | None = None, timeout: timedelta | None = None
) -> Choreography:
    """Boarding needs other events, and one of these is handled by another reaction of the same service first."""
    gate = Service("gate")

    @gate.reaction(retry=ONCE)
    def book(paid: TicketPaid) -> None:
        trouble.at("book")

    @gate.reaction(needs=needs, within=within)
    def board(seen: PassportSeen) -> Boarded:
        return Boarded(trip=seen.trip, page=seen.page)

    return trips(gate, timeout=timeout)


@ORDERS
@pytest.mark.parametrize("crash", [True, False])
async def test_what_needs_other_events_runs_once_after_them_in_every_order(
    parts: tuple[object, ...], crash: bool, tmp_path: Path
) -> None:
    async with on_stage(needing(Trouble(), needs=tuple[TicketPaid, VisaGiven]), tmp_path) as stage:
        await stage.say(X)
        for part in parts:
            assert await told(stage, Boarded) == []
            await stage.say(part)
            if crash:
                await stage.restart()
                await stage.run()
        assert await told(stage, Boarded) == [Boarded(trip="x", page=1)]
        assert await stage.parked() == []


@pytest.mark.parametrize("enough", [TicketPaid(trip="x"), VisaGiven(trip="x")], ids=lambda e: type(e).__name__)
async def test_what_needs_one_of_two_events_runs_after_either(enough: object, tmp_path: Path) -> None:
    async with on_stage(needing(Trouble(), needs=TicketPaid | VisaGiven), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        assert await told(stage, Boarded) == []
        await stage.say(enough)
        assert len(await told(stage, Boarded)) == 1


@pytest.mark.parametrize("wish", ["replay", "discard"])
@pytest.mark.parametrize("crash", [True, False])
@pytest.mark.parametrize("passport_first", [True, False])
async def test_what_needs_an_event_waits_behind_the_dead_letter_of_it_and_says_so(
    passport_first: bool, crash: bool, wish: str, tmp_path: Path
) -> None:
    async with on_stage(needing(Trouble(book=1)), tmp_path) as stage:
        seen, paid = PassportSeen(trip="x"), TicketPaid(trip="x")
        await stage.say(X, *((seen, paid) if passport_first else (paid, seen)))
        assert await told(stage, Boarded) == []
        if crash:
            await stage.restart()
            await stage.run()
        (row,) = await stage.parked("waiting")
        assert "TicketPaid" in (row.missing or "")
        assert passport_first or "dead letter of gate.book" in (row.missing or "")
        await stage.ask((await stage.dead())[0], wish)
        await stage.run()
        assert len(await told(stage, Boarded)) == 1
        assert await stage.parked() == []


async def test_a_later_event_of_its_line_waits_behind_one_that_waits(tmp_path: Path) -> None:
    async with on_stage(needing(Trouble()), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x", page=1), PassportSeen(trip="x", page=2))
        assert await parked_as(stage) == [("gate.board", "waiting"), ("gate.board", "behind")]
        await stage.restart()
        await stage.say(TicketPaid(trip="x"))
        assert [boarded.page for boarded in await told(stage, Boarded)] == [1, 2]


async def test_an_event_that_is_given_if_there_is_one_is_not_waited_for_and_is_the_latest(tmp_path: Path) -> None:
    gate = Service("gate")

    @gate.reaction
    def board(seen: PassportSeen, paid: TicketPaid | None) -> Boarded:
        return Boarded(trip=seen.trip, seat=paid.seat if paid is not None else 0)

    async with on_stage(trips(gate), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"), TicketPaid(trip="x", seat=1), TicketPaid(trip="x", seat=2))
        await stage.say(PassportSeen(trip="x"))
        assert [boarded.seat for boarded in await told(stage, Boarded)] == [0, 2]


@pytest.mark.parametrize("crash", [True, False])
async def test_a_prerequisite_that_never_comes_makes_a_dead_letter_that_says_what_is_missing(
    crash: bool, tmp_path: Path
) -> None:
    choreography = needing(Trouble(), needs=tuple[TicketPaid, VisaGiven], within=timedelta(minutes=5))
    async with on_stage(choreography, tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"), TicketPaid(trip="x"))
        if crash:
            await stage.restart()
        await stage.advance(minutes=4)
        assert await stage.dead() == []
        await stage.advance(minutes=2)
        (letter,) = await stage.dead()
        assert letter.error == "never came: VisaGiven"


async def test_the_wait_for_a_prerequisite_is_not_longer_because_part_of_it_came_late(tmp_path: Path) -> None:
    choreography = needing(Trouble(), needs=tuple[TicketPaid, VisaGiven], within=timedelta(minutes=5))
    async with on_stage(choreography, tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        await stage.advance(minutes=4)
        await stage.say(TicketPaid(trip="x"))
        await stage.advance(minutes=2)
        assert [row.error for row in await stage.dead()] == ["never came: VisaGiven"]


async def test_a_wait_without_a_bound_of_its_own_ends_an_hour_after_the_deadline_of_the_flow(tmp_path: Path) -> None:
    async with on_stage(needing(Trouble(), timeout=timedelta(minutes=30)), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        await stage.advance(minutes=89)
        assert await stage.dead() == []
        await stage.advance(minutes=2)
        assert [row.error for row in await stage.dead()] == ["never came: TicketPaid"]


async def test_what_never_came_is_told_as_a_failed_reaction(tmp_path: Path) -> None:
    gate = Service("gate")

    @gate.reaction(needs=TicketPaid, within=timedelta(minutes=5))
    def board(seen: PassportSeen) -> Boarded:
        return Boarded(trip=seen.trip)

    @gate.reaction
    def remind(failed: ReactionFailed[PassportSeen]) -> Reminded:
        return Reminded(trip=failed.event.trip, sent=failed.error)

    async with on_stage(trips(gate), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        await stage.advance(minutes=6)
        assert [reminded.sent for reminded in await told(stage, Reminded)] == ["never came: TicketPaid"]


async def test_a_dead_wait_runs_when_it_is_replayed_after_what_was_missing_has_come(tmp_path: Path) -> None:
    async with on_stage(needing(Trouble(), within=timedelta(minutes=5)), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        await stage.advance(minutes=6)
        await stage.say(TicketPaid(trip="x"))
        assert await told(stage, Boarded) == []
        await stage.ask((await stage.dead())[0], "replay")
        await stage.run()
        assert len(await told(stage, Boarded)) == 1
        assert await stage.parked() == []


# timers


def reminding(*, per_page: bool = False) -> Choreography:
    gate = Service("gate")

    def by_page(seen: PassportSeen) -> timedelta:
        return timedelta(minutes=seen.page)

    wait = by_page if per_page else timedelta(minutes=10)

    @gate.reaction(wait=wait, unless=TicketPaid | TripCancelled)
    def remind(seen: PassportSeen, ctx: Context) -> Reminded:
        return Reminded(trip=seen.trip, sent=f"{ctx.now():%H:%M}")

    return trips(gate)


async def test_a_timer_fires_once_when_it_is_due(tmp_path: Path) -> None:
    async with on_stage(reminding(), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        await stage.advance(minutes=9)
        assert await told(stage, Reminded) == []
        await stage.advance(minutes=2)
        await stage.advance(days=1)
        assert [reminded.sent for reminded in await told(stage, Reminded)] == ["00:11"]
        assert await stage.parked() == []


@pytest.mark.parametrize("down_past_it", [True, False])
async def test_a_timer_survives_a_restart_and_is_not_begun_anew(down_past_it: bool, tmp_path: Path) -> None:
    async with on_stage(reminding(), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        await stage.advance(minutes=9)
        await stage.crash()
        if down_past_it:
            stage.clock.advance(timedelta(hours=5))
        await stage.open()
        await stage.run()
        assert len(await told(stage, Reminded)) == down_past_it
        await stage.advance(minutes=2)
        assert len(await told(stage, Reminded)) == 1
        await stage.restart()
        await stage.advance(days=1)
        assert len(await told(stage, Reminded)) == 1


async def test_a_timer_of_an_event_that_was_read_late_is_due_by_the_time_of_the_event(tmp_path: Path) -> None:
    stage = on_stage(reminding(), tmp_path)
    async with Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other:
        async with stage:
            await stage.run()
        await other.publish(X)
        await other.publish(PassportSeen(trip="x"))
        stage.clock.advance(timedelta(minutes=9))
        async with stage:
            await stage.run()
            assert await told(stage, Reminded) == []
            await stage.advance(minutes=2)
            assert len(await told(stage, Reminded)) == 1


async def test_a_timer_of_an_event_from_a_clock_that_is_ahead_is_due_by_the_clock_of_its_owner(tmp_path: Path) -> None:
    stage = on_stage(reminding(), tmp_path)
    ahead = ManualClock(START + timedelta(hours=3))
    async with stage, Stage(stage.choreography, stage.file, services=[], clock=ahead, seed=9) as other:
        await stage.run()
        await other.publish(X)
        await other.publish(PassportSeen(trip="x"))
        await stage.run()
        (row,) = await stage.parked("timer")
        assert row.due == int((START + timedelta(minutes=10)).timestamp() * 1_000_000)


async def test_the_wait_may_be_a_function_of_the_event(tmp_path: Path) -> None:
    async with on_stage(reminding(per_page=True), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x", page=7), PassportSeen(trip="x", page=3))
        await stage.advance(minutes=4)
        assert [reminded.sent for reminded in await told(stage, Reminded)] == ["00:04"]
        await stage.advance(minutes=4)
        assert len(await told(stage, Reminded)) == 2


@pytest.mark.parametrize("crash", [True, False])
@pytest.mark.parametrize("before_it_is_armed", [True, False])
async def test_a_timer_does_not_run_if_what_it_was_to_remind_of_came_first(
    before_it_is_armed: bool, crash: bool, tmp_path: Path
) -> None:
    async with on_stage(reminding(), tmp_path) as stage:
        seen, paid = PassportSeen(trip="x"), TicketPaid(trip="x")
        await stage.say(X, *((paid, seen) if before_it_is_armed else (seen, paid)))
        if crash:
            await stage.restart()
        await stage.advance(minutes=11)
        assert await told(stage, Reminded) == []
        assert ("skipped", "unless TicketPaid") in await reasons(stage)
        assert await stage.parked() == []


@pytest.mark.parametrize("crash", [True, False])
async def test_what_was_in_the_log_when_a_timer_became_due_came_before_it_however_late_it_is_read(
    crash: bool, tmp_path: Path
) -> None:
    async with (
        on_stage(reminding(), tmp_path) as stage,
        Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other,
    ):
        await stage.say(X, PassportSeen(trip="x"))
        if crash:
            await stage.crash()
        await other.publish(TicketPaid(trip="x"))
        stage.clock.advance(timedelta(minutes=11))
        if crash:
            await stage.open()
        await stage.run()
        assert await told(stage, Reminded) == []


async def test_what_comes_after_a_timer_has_fired_is_too_late_for_it(tmp_path: Path) -> None:
    gate = Service("gate")

    @gate.reaction(wait=timedelta(minutes=10), unless=TicketPaid)
    async def remind(seen: PassportSeen, desk: Desk) -> Reminded:
        await desk.take(seen.trip)
        return Reminded(trip=seen.trip)

    outside = Outside()
    outside.next("take", "fail")
    async with on_stage(trips(gate), tmp_path, outside) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        await stage.advance(minutes=11)
        await stage.say(TicketPaid(trip="x"))
        await stage.restart()
        await stage.advance(seconds=30)
        assert outside.made("take") == ["x", "x"]
        assert len(await told(stage, Reminded)) == 1


async def test_unless_without_a_timer_is_decided_by_log_order(tmp_path: Path) -> None:
    gate = Service("gate")

    @gate.reaction(unless=TripCancelled)
    def board(seen: PassportSeen) -> Boarded:
        return Boarded(trip=seen.trip, page=seen.page)

    async with on_stage(trips(gate), tmp_path) as stage:
        said = [X, PassportSeen(trip="x", page=1), TripCancelled(trip="x"), PassportSeen(trip="x", page=2)]
        await stage.drive(stage.board.publish(said))
        await stage.run()
        assert [boarded.page for boarded in await told(stage, Boarded)] == [1]


def answering() -> Choreography:
    """Whoever pays is let on board, by a call outside; whoever shows a passport is reminded: one of the two."""
    gate = Service("gate")

    @gate.reaction(once="answer", retry=Retry(max_attempts=2))
    async def board(paid: TicketPaid, desk: Desk) -> Boarded:
        await desk.take(paid.trip)
        return Boarded(trip=paid.trip)

    @gate.reaction(once="answer")
    def remind(seen: PassportSeen) -> Reminded:
        return Reminded(trip=seen.trip)

    return trips(gate)


@pytest.mark.parametrize("paid_first", [True, False])
async def test_of_those_that_share_once_the_first_that_commits_something_wins(paid_first: bool, tmp_path: Path) -> None:
    gate = Service("gate")

    @gate.reaction(once="answer")
    def board(paid: TicketPaid) -> Boarded | None:
        return Boarded(trip=paid.trip, seat=paid.seat) if paid.seat else None

    @gate.reaction(once="answer", wait=timedelta(minutes=10))
    def remind(seen: PassportSeen) -> Reminded:
        return Reminded(trip=seen.trip)

    async with on_stage(trips(gate), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"), TicketPaid(trip="x", seat=0))
        if paid_first:
            await stage.say(TicketPaid(trip="x", seat=1))
            await stage.restart()
        await stage.advance(minutes=11)
        await stage.say(TicketPaid(trip="x", seat=2))
        assert len(await told(stage, Boarded)) == paid_first
        assert len(await told(stage, Reminded)) == (not paid_first)
        assert ("skipped", "lost once") in await reasons(stage)


async def test_of_those_that_share_once_one_that_will_be_tried_again_holds_nothing_and_loses_to_another(
    tmp_path: Path,
) -> None:
    choreography, outside = answering(), Outside()
    outside.next("take", "fail")
    async with on_stage(choreography, tmp_path, outside) as stage:
        await stage.say(X, TicketPaid(trip="x"))
        assert await parked_as(stage) == [("gate.board", "retry")]
        await stage.restart()
        await stage.say(PassportSeen(trip="x"))
        await stage.advance(minutes=1)
        assert len(await told(stage, Reminded)) == 1
        assert await told(stage, Boarded) == []
        assert outside.made("take") == ["x"]
        assert ("skipped", "lost once") in await reasons(stage)
        assert await stage.parked() == []


async def test_of_those_that_share_once_a_dead_one_holds_nothing_and_its_replay_loses_too(tmp_path: Path) -> None:
    choreography, outside = answering(), Outside()
    outside.next("take", "fail", "fail")
    async with on_stage(choreography, tmp_path, outside) as stage:
        await stage.say(X, TicketPaid(trip="x"))
        await stage.advance(minutes=1)
        await stage.say(PassportSeen(trip="x"))
        assert len(await told(stage, Reminded)) == 1
        (letter,) = await stage.dead()
        await stage.ask(letter, "replay")
        await stage.run()
        assert (await stage.parked(), await told(stage, Boarded)) == ([], [])
        assert outside.made("take") == ["x", "x"]


@pytest.mark.parametrize("what", ["answer", "crash"])
async def test_of_those_that_share_once_none_begins_while_another_runs(what: str, tmp_path: Path) -> None:
    choreography, outside = answering(), Outside()
    outside.next("take", "wait", "answer")
    async with on_stage(choreography, tmp_path, outside) as stage:
        await stage.say(X, TicketPaid(trip="x"), PassportSeen(trip="x"))
        assert await told(stage, Reminded) == []
        if what == "crash":
            await stage.restart()
        else:
            outside.let_go()
        await stage.run()
        assert len(await told(stage, Boarded)) == 1
        assert await told(stage, Reminded) == []
        assert ("skipped", "lost once") in await reasons(stage)


async def test_a_run_that_emits_no_event_takes_no_once(tmp_path: Path) -> None:
    gate = Service("gate")

    @gate.reaction(once="answer")
    def load(paid: TicketPaid) -> list[BagDropped]:
        return [BagDropped(trip=paid.trip, bag=bag) for bag in range(paid.seat)]

    async with on_stage(trips(gate), tmp_path) as stage:
        await stage.say(X, TicketPaid(trip="x", seat=0), TicketPaid(trip="x", seat=2), TicketPaid(trip="x", seat=3))
        assert [dropped.bag for dropped in await told(stage, BagDropped)] == [0, 1]


async def test_once_is_for_each_part_and_for_each_service(tmp_path: Path) -> None:
    gate, other = Service("gate"), Service("other")

    @gate.reaction(once="answer", per="bag")
    def scan(dropped: BagDropped) -> BagScanned:
        return BagScanned(trip=dropped.trip, bag=dropped.bag)

    @other.reaction(once="answer")
    def weigh(dropped: BagDropped) -> BagWeighed:
        return BagWeighed(trip=dropped.trip, bag=dropped.bag)

    async with on_stage(trips(gate, other), tmp_path) as stage:
        await stage.say(X, *(BagDropped(trip="x", bag=bag) for bag in (1, 2, 1)))
        assert [scanned.bag for scanned in await told(stage, BagScanned)] == [1, 2]
        assert [weighed.bag for weighed in await told(stage, BagWeighed)] == [1]


# the verdict


async def test_a_half_join_is_closed_by_the_verdict(tmp_path: Path) -> None:
    async with on_stage(boarding(within=timedelta(minutes=5)), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        assert await is_closed_by_the_verdict(stage)
        assert ("closed", "half: no longer needed") in await reasons(stage)


async def test_a_wait_for_a_prerequisite_is_closed_by_the_verdict_with_what_stands_behind_it(tmp_path: Path) -> None:
    async with on_stage(needing(Trouble(), within=timedelta(minutes=5)), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x", page=1), PassportSeen(trip="x", page=2))
        await stage.say(END)
        await stage.advance(minutes=6)
        assert await stage.parked() == []
        assert await told(stage, Boarded) == []


async def test_a_timer_is_closed_by_the_verdict(tmp_path: Path) -> None:
    async with on_stage(reminding(), tmp_path) as stage:
        await stage.say(X, PassportSeen(trip="x"))
        assert await is_closed_by_the_verdict(stage)
        assert await told(stage, Reminded) == []


async def test_an_incomplete_gather_is_closed_by_the_verdict(tmp_path: Path) -> None:
    trouble = Trouble(scan3=ALWAYS, silent=1)
    async with on_stage(loading(trouble, within=timedelta(minutes=5)), tmp_path) as stage:
        await stage.say(TEN, END)
        await stage.advance(minutes=6)
        assert [row.reaction for row in await stage.parked()] == ["counter.scan"]


async def test_what_waits_in_another_flow_is_not_closed_by_a_verdict(tmp_path: Path) -> None:
    async with on_stage(boarding(within=timedelta(minutes=5)), tmp_path) as stage:
        await stage.say(X, TripBooked(trip="y"), PassportSeen(trip="x"), PassportSeen(trip="y"), END)
        assert [row.why for row in await stage.parked()] == ["half"]
        await stage.say(TicketPaid(trip="y"), VisaGiven(trip="y"))
        assert await told(stage, Boarded) == [Boarded(trip="y", page=1, seat=1)]


async def test_what_begins_to_wait_after_the_verdict_leaves_no_dead_letter(tmp_path: Path) -> None:
    async with on_stage(needing(Trouble(), within=timedelta(minutes=5)), tmp_path) as stage:
        await stage.say(X, END, PassportSeen(trip="x"))
        await stage.advance(minutes=6)
        assert await stage.parked() == []
        assert ("skipped", "no longer needed") in await reasons(stage)
