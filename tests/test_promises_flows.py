"""Flows end or are named: one verdict, a deadline told at most once, keys that name one flow, and what has leaked."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest

from callboard import (
    Choreography,
    Flow,
    FlowCancelled,
    FlowHasEnded,
    FlowIsOpen,
    FlowTimedOut,
    KeyReused,
    NoSuchFlow,
    Retry,
    Service,
    event,
)
from callboard.hops import reading
from tests.support.desk import Clerk, Desk, Trouble, on_stage, parked_as, told
from tests.support.ledger import Crash, Trick, busy, crash, disk_full
from tests.support.outside import Next, Outside
from tests.support.stage import Stage


@event
class Ordered:
    order: str
    amount: int = 1


@event
class ItemHeld:
    order: str


@event
class Charged:
    order: str


@event
class Shipped:
    order: str


@event
class Invoiced:
    order: str


@event
class CancelAsked:
    order: str


@event
class Cancelled:
    order: str
    why: str = ""


@event
class Refunded:
    order: str


@event
class Apologised:
    order: str
    started: int = 0


X = Ordered(order="x")
HELD = ItemHeld(order="x")
SHIPPED = Shipped(order="x")
INVOICED = Invoiced(order="x")
CANCELLED = Cancelled(order="x")
CANCEL = CancelAsked(order="x")
TIMED_OUT = "callboard.FlowTimedOut[Ordered]"
HOUR = timedelta(hours=1)
SAID = ItemHeld | Shipped | Invoiced | CancelAsked | Cancelled


def orders(*flows: Flow) -> Choreography:
    """A shop in which a deadline is apologised for, and everything else is said from outside."""
    desk = Service("desk")

    @desk.reaction
    def apologise(late: FlowTimedOut[Ordered]) -> Apologised:
        return Apologised(order=late.started.order, started=late.started.amount)

    return Choreography("orders", desk, flows=flows or [order()], incoming=SAID)


def order(*, timeout: timedelta | None = HOUR) -> Flow:
    return Flow(
        "order", key="order", starts=Ordered, succeeds=tuple[Shipped, Invoiced], fails=Cancelled, timeout=timeout
    )


async def verdict(stage: Stage, name: str = "order") -> str | None:
    return await stage.verdict(name, "x")


# verdicts


@pytest.mark.parametrize("first", [SHIPPED, INVOICED], ids=lambda e: type(e).__name__)
async def test_a_flow_succeeds_when_all_that_is_expected_was_seen_in_any_order(first: object, tmp_path: Path) -> None:
    second = INVOICED if first is SHIPPED else SHIPPED
    async with on_stage(orders(), tmp_path) as stage:
        await stage.say(X, first)
        assert await verdict(stage) is None
        await stage.restart()
        await stage.say(second)
        done = await stage.completion("order", "x")
        assert (done.verdict, set(done.by), done.leaked) == ("succeeded", {"Shipped", "Invoiced"}, ())
        assert done.succeeded
        assert done.event(Shipped) == SHIPPED
        assert done.event(Cancelled) is None


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_flow_has_one_verdict_and_it_is_the_first_by_log_order(
    cancelled_first: bool, together: bool, tmp_path: Path
) -> None:
    said = [CANCELLED, SHIPPED, INVOICED] if cancelled_first else [SHIPPED, INVOICED, CANCELLED]
    async with on_stage(orders(), tmp_path) as stage:
        await stage.publish(X)
        if together:
            await stage.drive(stage.board.publish(said))
            await stage.run()
        else:
            await stage.say(*said)
        first = await stage.flow("order", "x")
        assert first.verdict == ("failed" if cancelled_first else "succeeded")
        await stage.restart()
        await stage.advance(hours=2)
        await stage.say(CANCELLED, SHIPPED)
        assert await stage.flow("order", "x") == first


FAILURES = [(crash, "before"), (crash, "at_end"), (crash, "after"), (disk_full, "at_end"), (busy, "before")]


@pytest.mark.parametrize(("trick", "place"), FAILURES)
@pytest.mark.parametrize("commit", range(2))
async def test_whichever_commit_fails_a_flow_gets_its_one_verdict(
    commit: int, trick: Trick, place: str, tmp_path: Path
) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        await stage.publish(X)
        async with Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other:
            await other.drive(other.board.publish([SHIPPED, INVOICED, CANCELLED]))
        getattr(stage.ledger, place).extend([lambda: None] * commit + [trick])
        for _ in range(3):
            try:
                await stage.advance(seconds=1)
            except Crash:
                await stage.restart()
            except Exception as error:
                assert "disk is full" in str(error)  # noqa: PT017  # what else fails is a finding
        await stage.advance(hours=2)
        assert await verdict(stage) == "succeeded"
        assert TIMED_OUT not in await stage.log()


async def test_what_happens_after_the_verdict_is_handled_and_changes_nothing_of_it(tmp_path: Path) -> None:
    service = Service("desk")

    @service.reaction
    def apologise(held: ItemHeld) -> Apologised:
        return Apologised(order=held.order)

    async with on_stage(Choreography("orders", service, flows=[order()], incoming=SAID), tmp_path) as stage:
        await stage.say(X, SHIPPED, INVOICED)
        before = await stage.flow("order", "x")
        await stage.advance(minutes=5)
        (handle,) = await stage.say(HELD)
        assert not handle.is_new
        assert await stage.flow("order", "x") == before
        assert await stage.count(Apologised) == 1
        assert (await stage.completion("order", "x")).event(Apologised) is not None


async def test_whoever_waits_for_a_flow_is_told_of_its_end_in_every_worker(tmp_path: Path) -> None:
    async with (
        on_stage(orders(), tmp_path) as stage,
        Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other,
    ):
        await stage.say(X)
        with pytest.raises(TimeoutError, match="no verdict yet"):
            await stage.completion("order", "x")
        await stage.say(SHIPPED, INVOICED)
        assert (await stage.completion("order", "x")).succeeded
        assert (await other.drive(other.board.flow("order", "x").completion())).succeeded


# failed verdicts


def charging(*, keeps: str | None = None, compensated: bool = True, home: str = "bank") -> Choreography:
    """Cancelling is said at once; what was charged is refunded meanwhile."""
    bank, desk = Service("bank"), Service("desk")

    @bank.reaction(retry=Retry(max_attempts=2), keeps=keeps)
    async def charge(held: ItemHeld, desk: Desk) -> Charged:
        await desk.take(held.order)
        return Charged(order=held.order)

    if compensated:

        @bank.reaction(compensates=charge, retry=Retry(max_attempts=2))
        async def refund(why: CancelAsked, charged: Charged | None, desk: Desk) -> Refunded:
            await desk.void(why.order)
            return Refunded(order=why.order)

    @desk.reaction
    def cancel(why: CancelAsked) -> Cancelled:
        return Cancelled(order=why.order)

    services = (bank, desk) if home == "bank" else (desk, bank)
    return Choreography("orders", *services, flows=[order()], incoming=SAID)


@pytest.mark.parametrize("restart", [True, False])
async def test_a_failed_verdict_waits_for_a_compensation_that_is_running(restart: bool, tmp_path: Path) -> None:
    outside = Outside()
    outside.next("void", "wait")
    async with on_stage(charging(), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL)
        assert await stage.count(Cancelled) == 1
        assert await verdict(stage) is None
        if restart:
            await stage.restart()
            await stage.run()
        else:
            outside.let_go()
            await stage.run()
        done = await stage.completion("order", "x")
        assert (done.verdict, done.leaked, done.by) == ("failed", (), ("Cancelled",))
        assert done.event(Refunded) is not None


async def test_a_flow_that_waits_for_its_compensations_to_fail_succeeds_no_more(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("void", "wait")
    async with on_stage(charging(), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL, SHIPPED, INVOICED)
        assert await verdict(stage) is None
        outside.let_go()
        await stage.run()
        assert await verdict(stage) == "failed"


@pytest.mark.parametrize("restart", [True, False])
async def test_a_failed_verdict_waits_for_a_compensation_that_will_be_tried_again(
    restart: bool, tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("void", "fail")
    async with on_stage(charging(), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL)
        if restart:
            await stage.restart()
            await stage.run()
        assert await verdict(stage) is None
        await stage.advance(minutes=1)
        assert await verdict(stage) == "failed"
        assert (await stage.completion("order", "x")).leaked == ()


async def test_a_failed_verdict_does_not_wait_for_a_dead_compensation_and_says_what_has_leaked(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("void", "fail", "fail")
    async with on_stage(charging(), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL)
        await stage.advance(minutes=1)
        done = await stage.completion("order", "x")
        assert (done.verdict, done.leaked) == ("failed", ("bank.charge",))


async def test_a_failed_verdict_waits_for_what_a_compensation_waits_for(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "wait")
    async with on_stage(charging(), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL)
        assert await verdict(stage) is None
        outside.let_go()
        await stage.run()
        assert await verdict(stage) == "failed"
        assert (await stage.completion("order", "x")).leaked == ()
        assert outside.held == set()


@pytest.mark.parametrize(("keeps", "leaked"), [("a fee is a fee", ()), (None, ("bank.charge",))])
async def test_an_effect_that_nobody_undoes_has_leaked_unless_it_is_kept_on_purpose(
    keeps: str | None, leaked: tuple[str, ...], tmp_path: Path
) -> None:
    async with on_stage(charging(keeps=keeps, compensated=False), tmp_path) as stage:
        await stage.say(X, HELD)
        await stage.say(CANCEL)
        done = await stage.completion("order", "x")
        assert (done.verdict, done.leaked) == ("failed", leaked)


@pytest.mark.parametrize(("keeps", "leaked"), [("a fee is a fee", ()), (None, ("bank.charge",))])
@pytest.mark.parametrize("moment", ["before", "at_end", "after"])
async def test_what_is_kept_on_purpose_is_kept_through_a_crash_and_the_attempt_after_it(
    moment: str, keeps: str | None, leaked: tuple[str, ...], tmp_path: Path
) -> None:
    outside = Outside()
    async with on_stage(charging(keeps=keeps, compensated=False), tmp_path, outside) as stage:
        await stage.say(X)
        getattr(stage.ledger, moment).extend([lambda: None, crash])  # its event is logged, its outcome may not be
        with pytest.raises(Crash):
            await stage.say(HELD)
        await stage.restart()
        await stage.advance(minutes=1)
        assert await stage.count(Charged) == 1
        await stage.say(CANCEL)
        done = await stage.completion("order", "x")
        assert (done.verdict, done.leaked) == ("failed", leaked)
        assert len(set(outside.made("take"))) == 1
        assert len(outside.held) == 1


async def test_an_effect_that_was_on_its_way_at_a_failed_verdict_and_that_nobody_undoes_has_leaked(
    tmp_path: Path,
) -> None:
    outside = Outside()
    outside.next("take", "wait")
    async with on_stage(charging(compensated=False), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL)
        outside.let_go()
        await stage.run()
        assert await stage.count(Charged) == 1
        assert (await stage.completion("order", "x")).leaked == ("bank.charge",)
        [note] = [each for each in await stage.notes("order", "x") if each.what == "after the verdict"]
        assert (note.reaction, note.why) == ("bank.charge", "order has failed, not undone now: bank.charge")


async def test_what_was_begun_before_a_restart_and_ends_after_the_failed_verdict_has_leaked(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "wait", "wait")
    async with on_stage(charging(compensated=False), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL)
        assert (await stage.completion("order", "x")).leaked == ()
        await stage.restart()
        await stage.run()
        outside.let_go()
        await stage.run()
        assert (await stage.completion("order", "x")).leaked == ("bank.charge",)


async def test_an_effect_of_another_process_that_ends_after_the_failed_verdict_has_leaked(tmp_path: Path) -> None:
    outside, choreography = Outside(), charging(compensated=False, home="desk")
    outside.next("take", "wait")
    bank, desk = choreography.services["bank"], choreography.services["desk"]
    file, keeper = tmp_path / "orders.db", Clerk(outside)
    async with (
        Stage(choreography, file, services=[desk]) as home,
        Stage(choreography, file, ports=[keeper], services=[bank], clock=home.clock, seed=1000) as other,
    ):
        await home.say(X, HELD)
        await other.run()
        await home.say(CANCEL)
        assert (await home.completion("order", "x")).leaked == ()
        outside.let_go()
        await other.run()
        await home.run()
        assert (await home.completion("order", "x")).leaked == ("bank.charge",)


async def test_nothing_leaks_that_was_never_taken(tmp_path: Path) -> None:
    async with on_stage(charging(), tmp_path) as stage:
        await stage.say(X, CANCEL, HELD)
        done = await stage.completion("order", "x")
        assert (done.verdict, done.leaked) == ("failed", ())


@pytest.mark.parametrize("what", ["wait", "fail"])
async def test_a_good_end_waits_for_no_compensation(what: Literal["wait", "fail"], tmp_path: Path) -> None:
    outside = Outside()
    bank = Service("bank")

    @bank.reaction
    async def charge(held: ItemHeld, desk: Desk) -> Charged:
        await desk.take(held.order)
        return Charged(order=held.order)

    @bank.reaction(compensates=charge)
    async def refund(why: CancelAsked, charged: Charged | None, desk: Desk) -> Refunded:
        await desk.void(why.order)
        return Refunded(order=why.order)

    said: Next = what
    outside.next("void", said)
    async with on_stage(Choreography("orders", bank, flows=[order()], incoming=SAID), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL, SHIPPED, INVOICED)
        assert await verdict(stage) == "succeeded"


@pytest.mark.parametrize("again", [True, False])
async def test_what_may_have_acted_and_waits_again_is_not_closed_by_the_verdict(again: bool, tmp_path: Path) -> None:
    outside, trouble = Outside(), Trouble()
    bank = Service("bank")

    @bank.reaction(retry=Retry(first_wait=HOUR, max_wait=HOUR, jitter=0))
    def weigh(held: ItemHeld) -> None:
        trouble.at("weigh")

    @bank.reaction(needs=ItemHeld)
    async def charge(ordered: Ordered, desk: Desk) -> Charged:
        await desk.take(ordered.order)
        return Charged(order=ordered.order)

    outside.next("take", "lose" if again else "answer")
    if not again:
        trouble.times["weigh"] = 1
    async with on_stage(Choreography("orders", bank, flows=[order()], incoming=SAID), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        if again:  # one more of what it needs came before its second attempt, and is not handled yet
            trouble.times["weigh"] = 1
            await stage.say(HELD)
            await stage.advance(seconds=5)
        assert ("bank.charge", "waiting") in await parked_as(stage)
        await stage.say(SHIPPED, INVOICED)
        assert await verdict(stage) == "succeeded"
        await stage.advance(hours=2)
        assert outside.made("take") == ["x", "x"] * again
        assert await stage.count(Charged) == again


# deadlines


@pytest.mark.parametrize("restart", [True, False])
async def test_a_deadline_is_told_once_and_is_no_verdict(restart: bool, tmp_path: Path) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        await stage.say(Ordered(order="x", amount=7))
        await stage.advance(minutes=59)
        assert await stage.log() == ["Ordered"]
        await stage.advance(minutes=2)
        if restart:
            await stage.restart()
        for _ in range(3):
            await stage.advance(hours=2)
        assert (await stage.log()).count(TIMED_OUT) == 1
        assert await told(stage, Apologised) == [Apologised(order="x", started=7)]
        row = await stage.flow("order", "x")
        assert (row.verdict, row.timed_out) == (None, True)
        await stage.say(SHIPPED, INVOICED)
        assert await verdict(stage) == "succeeded"


@pytest.mark.parametrize("end", [[SHIPPED, INVOICED], [CANCELLED]], ids=["succeeded", "failed"])
async def test_no_deadline_is_told_of_a_flow_that_has_its_verdict(end: list[object], tmp_path: Path) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        await stage.say(X, *end)
        await stage.restart()
        await stage.advance(hours=2)
        assert TIMED_OUT not in await stage.log()


async def test_a_flow_without_a_timeout_has_no_deadline(tmp_path: Path) -> None:
    async with on_stage(orders(order(timeout=None)), tmp_path) as stage:
        await stage.say(X)
        await stage.advance(days=400)
        assert TIMED_OUT not in await stage.log()


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("fuse", [True, False])
async def test_what_was_in_the_log_at_the_deadline_is_read_before_anybody_is_told_of_it(
    fuse: bool, down: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE", 4)  # so that it takes many groups to read it
    stage = on_stage(orders(), tmp_path)
    stage.fuse = fuse
    async with stage, Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other:
        await stage.say(X, *(Ordered(order=f"y{number}") for number in range(20)))
        if down:
            await stage.crash()
        await other.publish(SHIPPED)
        for number in range(20):
            await other.drive(other.board.publish([Shipped(order=f"y{number}"), Invoiced(order=f"y{number}")]))
        await other.publish(INVOICED)
        stage.clock.advance(timedelta(hours=2))
        if down:
            await stage.open()
        await stage.run()
        assert TIMED_OUT not in await stage.log()
        assert await verdict(stage) == "succeeded"


async def test_an_end_that_is_committed_by_another_worker_while_the_deadline_is_being_told_comes_first(
    tmp_path: Path,
) -> None:
    async with (
        on_stage(orders(), tmp_path) as stage,
        Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other,
    ):
        await stage.say(X)
        stage.ledger.before.append(lambda: other.drive(other.board.publish([SHIPPED, INVOICED])))
        await stage.advance(hours=2)
        assert TIMED_OUT not in await stage.log()
        assert await verdict(stage) == "succeeded"


async def test_a_deadline_of_a_flow_that_another_worker_began_is_told(tmp_path: Path) -> None:
    async with (
        on_stage(orders(), tmp_path) as stage,
        Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other,
    ):
        await stage.run()
        await other.publish(X)
        await stage.run()
        await stage.advance(hours=2)
        assert (await stage.log()).count(TIMED_OUT) == 1


# several expectations over one flow


def two_flows() -> Choreography:
    desk = Service("desk")

    @desk.reaction(within=timedelta(days=1))
    def both(held: ItemHeld, invoiced: Invoiced) -> Apologised:
        return Apologised(order=held.order)

    short = Flow("short", key="order", starts=Ordered, succeeds=Shipped, timeout=timedelta(minutes=10))
    long = Flow("long", key="order", starts=Ordered, succeeds=Apologised, fails=Cancelled, timeout=timedelta(hours=5))
    return Choreography("orders", desk, flows=[short, long], incoming=SAID)


async def test_each_expectation_over_one_flow_has_its_own_verdict_and_its_own_deadline(tmp_path: Path) -> None:
    async with on_stage(
        orders(order(), Flow("quick", key="order", starts=Ordered, succeeds=ItemHeld)), tmp_path
    ) as stage:
        await stage.say(X, CANCELLED)
        assert (await verdict(stage), await verdict(stage, "quick")) == ("failed", None)
        await stage.say(HELD)
        assert (await verdict(stage), await verdict(stage, "quick")) == ("failed", "succeeded")
        assert (await stage.flow("order", "x")).number == (await stage.flow("quick", "x")).number


async def test_the_deadlines_of_two_expectations_are_told_each_once(tmp_path: Path) -> None:
    async with on_stage(two_flows(), tmp_path) as stage:
        await stage.say(X)
        await stage.advance(minutes=11)
        assert (await stage.log()).count(TIMED_OUT) == 1
        await stage.restart()
        for _ in range(3):
            await stage.advance(hours=5)
        assert (await stage.log()).count(TIMED_OUT) == 2
        assert stage.ledger.doubled() == []


async def test_what_waits_is_closed_when_the_last_expectation_over_its_flow_has_its_verdict(tmp_path: Path) -> None:
    async with on_stage(two_flows(), tmp_path) as stage:
        await stage.say(X, HELD, SHIPPED)
        assert (await verdict(stage, "short"), await verdict(stage, "long")) == ("succeeded", None)
        assert [row.why for row in await stage.parked()] == ["half"]
        await stage.say(CANCELLED)
        assert await verdict(stage, "long") == "failed"
        assert await stage.parked() == []


# cancelling


def cancelling() -> Choreography:
    bank = Service("bank")

    @bank.reaction
    async def charge(held: ItemHeld, desk: Desk) -> Charged:
        await desk.take(held.order)
        return Charged(order=held.order)

    @bank.reaction(compensates=charge)
    async def refund(why: FlowCancelled[Ordered], charged: Charged | None, desk: Desk) -> Refunded:
        await desk.void(why.started.order)
        return Refunded(order=why.started.order)

    @bank.reaction(needs=Refunded)
    def cancel(why: FlowCancelled[Ordered]) -> Cancelled:
        return Cancelled(order=why.started.order, why=why.reason)

    return Choreography("orders", bank, flows=[order()], incoming=SAID)


@pytest.mark.parametrize("held", [True, False])
async def test_a_flow_is_cancelled_from_outside_by_its_key_and_undone(held: bool, tmp_path: Path) -> None:
    outside = Outside()
    async with (
        on_stage(cancelling(), tmp_path, outside) as stage,
        Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other,
    ):
        await stage.say(X, *([HELD] if held else []))
        await other.drive(other.board.flow("order", "x").cancel("changed their mind"))
        await stage.run()
        done = await stage.completion("order", "x")
        assert (done.verdict, done.leaked) == ("failed", ())
        assert [cancelled.why for cancelled in await told(stage, Cancelled)] == ["changed their mind"]
        await stage.say(HELD)
        assert outside.held == set()


async def test_a_starting_event_that_a_reaction_emits_stays_in_its_flow(tmp_path: Path) -> None:
    desk = Service("desk")

    @desk.reaction
    def order_again(held: ItemHeld) -> Ordered:
        return Ordered(order="another")

    async with on_stage(Choreography("orders", desk, flows=[order()], incoming=SAID), tmp_path) as stage:
        await stage.say(X, HELD)
        begun = await stage.ledger.read(0, limit=9)
        assert [(entry.type, entry.flow) for entry in begun] == [("Ordered", 1), ("ItemHeld", 1), ("Ordered", 1)]
        with pytest.raises(NoSuchFlow):
            await stage.flow("order", "another")


async def test_a_flow_that_is_not_there_cannot_be_cancelled(tmp_path: Path) -> None:
    async with on_stage(cancelling(), tmp_path) as stage:
        await stage.say(X)
        with pytest.raises(NoSuchFlow):
            await stage.drive(stage.board.flow("order", "y").cancel())
        with pytest.raises(NoSuchFlow):
            stage.board.flow("trip", "x")


async def test_an_event_that_carries_the_key_joins_the_flow_whoever_publishes_it(tmp_path: Path) -> None:
    async with (
        on_stage(charging(), tmp_path) as stage,
        Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other,
    ):
        (begun,) = await stage.say(X)
        joined = await other.publish(CANCEL)
        await stage.run()
        assert (begun.is_new, joined.is_new) == (True, False)
        assert (joined.name, joined.key) == ("order", "x")
        assert await verdict(stage) == "failed"


# keys


async def test_the_same_start_again_is_the_same_flow_open_or_ended(tmp_path: Path) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        first, second = await stage.say(X, X)
        await stage.restart()
        await stage.say(SHIPPED, INVOICED)
        (third,) = await stage.say(X)
        assert [first.is_new, second.is_new, third.is_new] == [True, False, False]
        assert first.id == second.id == third.id
        assert await stage.count(Ordered) == 1


async def test_another_start_with_the_key_of_an_open_flow_is_refused_and_told_which_it_is(tmp_path: Path) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        (first,) = await stage.say(X)
        with pytest.raises(FlowIsOpen) as refused:
            await stage.publish(Ordered(order="x", amount=2))
        assert refused.value.flow.id == first.id
        assert await stage.count(Ordered) == 1


async def test_another_start_with_the_key_of_an_ended_flow_is_refused_and_told_which_it_was(tmp_path: Path) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        await stage.say(X, SHIPPED, INVOICED)
        await stage.restart()
        with pytest.raises(FlowHasEnded) as refused:
            await stage.publish(Ordered(order="x", amount=2))
        assert (await refused.value.flow.completion()).succeeded
        assert await stage.count(Ordered) == 1


@pytest.mark.parametrize("amount", [1, 2])
async def test_of_two_workers_that_begin_the_same_flow_at_once_one_does(amount: int, tmp_path: Path) -> None:
    async with (
        on_stage(orders(), tmp_path) as stage,
        Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other,
    ):
        stage.ledger.before.append(lambda: other.publish(Ordered(order="x", amount=amount)))
        if amount == 1:
            assert not (await stage.publish(X)).is_new
        else:
            with pytest.raises(FlowIsOpen):
                await stage.publish(X)
        assert [ordered.amount for ordered in await told(stage, Ordered)] == [amount]


async def test_starts_of_one_flow_in_one_commit_begin_it_once(tmp_path: Path) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        first, second = await stage.drive(stage.board.publish([X, X]))
        assert (first.is_new, second.is_new, first.id == second.id) == (True, False, True)
        with pytest.raises(FlowIsOpen):
            await stage.drive(stage.board.publish([Ordered(order="y"), Ordered(order="y", amount=2)]))
        await stage.run()
        assert [ordered.order for ordered in await told(stage, Ordered)] == ["x"]


async def test_an_event_of_no_flow_is_refused_and_never_made_a_flow(tmp_path: Path) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        await stage.say(X)
        with pytest.raises(NoSuchFlow, match="publish its starting event first"):
            await stage.publish(Shipped(order="y"))
        with pytest.raises(NoSuchFlow):
            await stage.drive(stage.board.publish([SHIPPED, Shipped(order="y")]))
        await stage.run()
        assert await stage.log() == ["Ordered"]
        with pytest.raises(NoSuchFlow):
            await stage.flow("order", "y")


async def test_an_idempotency_key_is_for_one_request_also_after_a_restart(tmp_path: Path) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        await stage.publish(X)
        await stage.publish(SHIPPED, idempotency_key="r1")
        await stage.restart()
        again = await stage.publish(SHIPPED, idempotency_key="r1")
        assert (again.name, again.key, again.is_new) == ("order", "x", False)
        with pytest.raises(KeyReused):
            await stage.publish(INVOICED, idempotency_key="r1")
        assert await stage.count(Shipped) == 1
        assert await stage.count(Invoiced) == 0


@pytest.mark.parametrize("trick", [crash, disk_full])
@pytest.mark.parametrize("place", ["before", "at_end", "after"])
async def test_a_publish_of_which_nobody_knows_whether_it_happened_is_repeated_under_its_key(
    place: str, trick: Trick, tmp_path: Path
) -> None:
    async with on_stage(orders(), tmp_path) as stage:
        await stage.publish(X)
        getattr(stage.ledger, place).append(trick)
        with pytest.raises((Crash, Exception), match=r"disk|^$"):
            await stage.publish(SHIPPED, idempotency_key="r1")
        await stage.restart()
        await stage.publish(SHIPPED, idempotency_key="r1")
        await stage.run()
        assert await stage.count(Shipped) == 1
