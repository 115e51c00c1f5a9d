"""Compensation is a barrier: whatever became of a reaction, each effect is undone once, and none is taken after it."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest

from callboard import Choreography, Context, Flow, FlowTimedOut, ReactionFailed, Retry, Service, event, failure, state
from callboard.errors import LedgerError
from tests.support.desk import Desk, Trouble, on_stage, parked_as, told
from tests.support.ledger import Crash, Trick, busy, crash, disk_full
from tests.support.outside import Next, Outside
from tests.support.stage import Stage


@event
class Ordered:
    order: str


@event
class ItemHeld:
    order: str
    number: int = 1


@event
class Priced:
    order: str


@event
class Charged:
    order: str
    number: int


@failure
class Declined:
    order: str
    number: int


@event
class CancelAsked:
    order: str
    number: int = 1


@event
class Refunded:
    order: str
    number: int  # 0: there was nothing that anybody knew of


@event
class OrderClosed:
    order: str


@state(key="shelf")
class Shelf:
    shelf: str = "one"
    free: int = 10


X = Ordered(order="x")
HELD = ItemHeld(order="x")
CANCEL = CancelAsked(order="x")
TWICE = Retry(max_attempts=2)
SAID = ItemHeld | Priced | CancelAsked | OrderClosed
Refund = Literal["answers", "insists"]  # it takes `Charged | None`, or `Charged`


def orders(*services: Service, timeout: timedelta | None = None) -> Choreography:
    flow = Flow("order", key="order", starts=Ordered, succeeds=OrderClosed, timeout=timeout)
    return Choreography("orders", *services, flows=[flow], incoming=SAID)


def bank(refund: Refund = "answers", *, per: str | None = None, needs: type | None = None) -> Choreography:
    """What is held is charged, and refunded when that is asked."""
    payments = Service("payments")

    @payments.reaction(retry=TWICE, per=per, needs=needs)
    async def charge(held: ItemHeld, desk: Desk) -> Charged | Declined:
        if await desk.take(f"{held.order}{held.number}"):
            return Charged(order=held.order, number=held.number)
        return Declined(order=held.order, number=held.number)

    if refund == "answers":

        @payments.reaction(compensates=charge, per=per, retry=TWICE)
        async def answer(why: CancelAsked, charged: Charged | None, desk: Desk) -> Refunded:
            await desk.void(f"{why.order}{charged.number if charged is not None else why.number}")
            return Refunded(order=why.order, number=charged.number if charged is not None else 0)

    else:

        @payments.reaction(compensates=charge, per=per, retry=TWICE)
        async def insist(why: CancelAsked, charged: Charged, desk: Desk) -> Refunded:
            await desk.void(f"{why.order}{charged.number}")
            return Refunded(order=why.order, number=charged.number)

    return orders(payments)


REFUNDS = pytest.mark.parametrize("refund", ["answers", "insists"])


async def refunds(stage: Stage) -> list[int]:
    return [refunded.number for refunded in await told(stage, Refunded)]


async def notes(stage: Stage, what: str) -> list[str]:
    return [note.why for note in await stage.notes("order", "x") if note.what == what]


async def later(stage: Stage) -> None:
    """Whatever is still due has happened."""
    for _ in range(3):
        await stage.advance(minutes=1)


# what became of it before it was asked to be undone


@REFUNDS
async def test_what_never_ran_is_closed_by_its_compensation_and_is_skipped_when_it_comes(
    refund: Refund, tmp_path: Path
) -> None:
    outside = Outside()
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, CANCEL)
        assert await refunds(stage) == ([0] if refund == "answers" else [])
        await stage.restart()
        await stage.say(HELD, ItemHeld(order="x", number=2))
        assert outside.made("take") == []
        assert (await notes(stage, "skipped")).count("closed") == 2


@REFUNDS
@pytest.mark.parametrize("fuse", [True, False])
async def test_what_has_committed_is_undone_once(refund: Refund, fuse: bool, tmp_path: Path) -> None:
    outside = Outside()
    stage = on_stage(bank(refund), tmp_path, outside)
    stage.fuse = fuse
    async with stage:
        await stage.say(X, HELD, CANCEL)
        assert outside.calls == [("take", "x1"), ("void", "x1")]
        assert await refunds(stage) == [1]
        await stage.restart()
        await stage.say(CANCEL, HELD)
        assert await refunds(stage) == [1]
        assert outside.made("take") == ["x1"]


@REFUNDS
async def test_what_was_refused_took_no_effect(refund: Refund, tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "refuse")
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL)
        assert await refunds(stage) == ([0] if refund == "answers" else [])


@REFUNDS
async def test_a_compensation_waits_for_what_is_running_and_undoes_it(refund: Refund, tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "wait")
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL)
        assert outside.calls == [("take", "x1")]
        outside.let_go()
        await stage.run()
        assert outside.calls == [("take", "x1"), ("void", "x1")]
        assert await refunds(stage) == [1]


async def test_a_compensation_waits_for_what_is_suspended_without_a_port(tmp_path: Path) -> None:
    outside = Outside()
    payments = Service("payments")

    @payments.reaction
    async def charge(held: ItemHeld) -> Charged:
        await outside.take("take", held.order)
        return Charged(order=held.order, number=held.number)

    @payments.reaction(compensates=charge)
    def refund(why: CancelAsked, charged: Charged | None) -> Refunded:
        return Refunded(order=why.order, number=charged.number if charged is not None else 0)

    outside.next("take", "wait")
    async with on_stage(orders(payments), tmp_path) as stage:
        await stage.say(X, HELD, CANCEL)
        assert await refunds(stage) == []
        outside.let_go()
        await stage.run()
        assert await refunds(stage) == [1]


@pytest.mark.parametrize("what", ["fail", "lose"])
@pytest.mark.parametrize("crash", [True, False])
async def test_what_is_to_be_tried_again_is_not_and_its_unknown_outcome_is_settled(
    crash: bool, what: Literal["fail", "lose"], tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("take", what)
    async with on_stage(bank(), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        if crash:
            await stage.restart()
        await stage.say(CANCEL)
        await later(stage)
        assert outside.calls == [("take", "x1"), ("void", "x1")]
        assert outside.held == set()
        assert await refunds(stage) == [0]
        assert await stage.parked() == []
        assert await notes(stage, "superseded") == ["retry, closed by payments.answer"]


@pytest.mark.parametrize("crash", [True, False])
async def test_a_compensation_that_cannot_settle_an_unknown_outcome_is_a_dead_letter_and_never_a_silent_skip(
    crash: bool, tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("take", "lose")
    async with on_stage(bank("insists"), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        if crash:
            await stage.restart()
        await stage.say(CANCEL)
        await later(stage)
        (letter,) = await stage.parked()
        assert (letter.reaction, letter.why) == ("payments.insist", "dead")
        assert "outcome of charge is unknown" in (letter.error or "")
        assert outside.made("take") == ["x1"]


@REFUNDS
@pytest.mark.parametrize("crash", [True, False])
async def test_a_dead_letter_stops_its_reaction_and_never_its_compensation(
    refund: Refund, crash: bool, tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("take", "fail", "lose")
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        await later(stage)
        assert [row.reaction for row in await stage.dead()] == ["payments.charge"]
        if crash:
            await stage.restart()
        await stage.say(CANCEL)
        if refund == "answers":
            assert await refunds(stage) == [0]
            assert outside.held == set()
            assert await stage.parked() == []
        else:
            assert [row.reaction for row in await stage.dead()] == ["payments.insist"]
            assert await refunds(stage) == []


@REFUNDS
async def test_what_stands_behind_a_dead_letter_is_superseded_with_it(refund: Refund, tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "fail", "fail")
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, HELD, ItemHeld(order="x", number=2))
        await later(stage)
        assert [row.why for row in await stage.parked()] == ["dead", "behind"]
        await stage.say(CANCEL)
        await later(stage)
        assert outside.made("take") == ["x1", "x1"]
        assert [row.reaction for row in await stage.parked()] == ([] if refund == "answers" else ["payments.insist"])
        assert len(await notes(stage, "superseded")) == 2


@REFUNDS
async def test_what_committed_before_a_dead_letter_of_its_line_is_undone_too(refund: Refund, tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "answer", "fail", "fail")
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, HELD, ItemHeld(order="x", number=2))
        await later(stage)
        await stage.say(CancelAsked(order="x", number=2))
        await later(stage)
        assert sorted(await refunds(stage)) == ([0, 1] if refund == "answers" else [1])
        assert outside.held == set()
        assert len(await stage.dead()) == (refund == "insists")


@REFUNDS
async def test_what_waits_for_a_prerequisite_was_never_tried_and_is_closed(refund: Refund, tmp_path: Path) -> None:
    outside = Outside()
    async with on_stage(bank(refund, needs=Priced), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL, Priced(order="x"))
        await later(stage)
        assert outside.made("take") == []
        assert await refunds(stage) == ([0] if refund == "answers" else [])
        assert await stage.parked() == []


@REFUNDS
@pytest.mark.parametrize("took_place", [True, False])
@pytest.mark.parametrize("asked", ["before the owner died", "while there was no owner", "after the restart"])
async def test_what_was_running_when_its_owner_died_is_never_taken_for_empty(
    refund: Refund, asked: str, took_place: bool, tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("take", "wait")
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        if took_place:
            outside.held.add("x1")
        if asked == "before the owner died":
            await stage.say(CANCEL)
        await stage.crash()
        if asked == "while there was no owner":
            async with Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other:
                await other.publish(CANCEL)
        await stage.open()
        if asked == "after the restart":
            await stage.publish(CANCEL)
        await stage.run()
        await later(stage)
        if refund == "insists" and not await refunds(stage):
            (letter,) = await stage.dead()
            assert "outcome of charge is unknown" in (letter.error or "")
            return
        assert outside.held == set()
        assert len(await refunds(stage)) == 1
        assert await stage.parked() == []


@REFUNDS
async def test_what_is_logged_while_its_compensation_runs_is_not_started(refund: Refund, tmp_path: Path) -> None:
    outside = Outside()
    outside.next("void", "wait")
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL, ItemHeld(order="x", number=2))
        assert outside.made("take") == ["x1"]
        outside.let_go()
        await stage.run()
        assert outside.made("take") == ["x1"]
        assert await refunds(stage) == [1]


async def test_what_is_logged_after_a_compensation_that_failed_and_will_be_tried_again_is_not_started(
    tmp_path: Path,
) -> None:
    outside = Outside()
    outside.next("void", "fail")
    async with on_stage(bank(), tmp_path, outside) as stage:
        await stage.say(X, CANCEL, HELD)
        assert outside.made("take") == []
        await stage.restart()
        await later(stage)
        assert outside.made("take") == []
        assert await refunds(stage) == [0]


async def test_what_is_parked_does_not_run_while_its_compensation_is_being_asked(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "fail")
    async with (
        on_stage(bank(), tmp_path, outside) as stage,
        Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=9) as other,
    ):
        await stage.say(X, HELD)
        await other.publish(CANCEL)
        stage.clock.advance(timedelta(minutes=1))  # the retry is due, and the compensation is asked, in one group
        await stage.run()
        await later(stage)
        assert outside.calls == [("take", "x1"), ("void", "x1")]
        assert await refunds(stage) == [0]


@pytest.mark.parametrize("again", ["retry", "dead"])
async def test_a_compensation_that_needs_what_its_reaction_hears_does_not_wait_for_it(
    again: str, tmp_path: Path
) -> None:
    outside, desk = Outside(), Service("desk")

    @desk.reaction(retry=Retry(max_attempts=1 if again == "dead" else 5))
    async def charge(held: ItemHeld, desk: Desk) -> Charged:
        await desk.take(held.order)
        return Charged(order=held.order, number=1)

    @desk.reaction(compensates=charge, needs=ItemHeld)
    async def refund(why: CancelAsked, charged: Charged | None, desk: Desk) -> Refunded:
        await desk.void(why.order)
        return Refunded(order=why.order, number=0)

    outside.next("take", "lose")
    async with on_stage(orders(desk), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        assert [why for _, why in await parked_as(stage)] == [again]
        await stage.say(CANCEL)
        assert (await stage.count(Refunded), outside.held) == (1, set())
        await later(stage)
        assert outside.made("take") == ["x"]


# many effects


_ANSWERS: list[Next] = ["answer"] * 5
FIVE = [ItemHeld(order="x", number=number) for number in range(1, 6)]


@REFUNDS
async def test_each_of_five_effects_is_undone_once(refund: Refund, tmp_path: Path) -> None:
    outside = Outside()
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, *FIVE)
        await stage.say(CANCEL, CANCEL)
        assert await refunds(stage) == [1, 2, 3, 4, 5]
        assert outside.made("void") == ["x1", "x2", "x3", "x4", "x5"]
        assert stage.ledger.doubled() == []


@REFUNDS
async def test_each_of_five_effects_of_one_run_is_undone_once(refund: Refund, tmp_path: Path) -> None:
    payments = Service("payments")

    @payments.reaction
    def charge(held: ItemHeld) -> list[Charged]:
        return [Charged(order=held.order, number=number) for number in range(1, 6)]

    if refund == "answers":

        @payments.reaction(compensates=charge)
        def answer(why: CancelAsked, charged: Charged | None) -> Refunded:
            return Refunded(order=why.order, number=charged.number if charged is not None else 0)

    else:

        @payments.reaction(compensates=charge)
        def insist(why: CancelAsked, charged: Charged) -> Refunded:
            return Refunded(order=why.order, number=charged.number)

    async with on_stage(orders(payments), tmp_path) as stage:
        await stage.say(X, HELD, CANCEL, CANCEL)
        assert await refunds(stage) == [1, 2, 3, 4, 5]
        assert stage.ledger.doubled() == []


@pytest.mark.parametrize("fails_at", range(5))
@pytest.mark.parametrize("what", ["fail", "lose"])
async def test_an_effect_that_cannot_be_undone_at_once_is_tried_again_and_the_others_are_undone_once(
    what: Literal["fail", "lose"], fails_at: int, tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("void", *_ANSWERS[:fails_at], what)
    async with on_stage(bank(), tmp_path, outside) as stage:
        await stage.say(X, *FIVE, CANCEL)
        assert len(await refunds(stage)) == 4
        await later(stage)
        assert sorted(await refunds(stage)) == [1, 2, 3, 4, 5]
        assert sorted(outside.made("void")) == sorted(["x1", "x2", "x3", "x4", "x5", f"x{fails_at + 1}"])


async def test_an_effect_that_can_never_be_undone_is_one_dead_letter_and_its_replay_undoes_it(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("void", "answer", "fail", "answer", "answer", "answer", "fail")
    async with on_stage(bank("insists"), tmp_path, outside) as stage:
        await stage.say(X, *FIVE, CANCEL)
        await later(stage)
        assert await refunds(stage) == [1, 3, 4, 5]
        (letter,) = await stage.dead()
        await stage.ask(letter, "replay")
        await stage.run()
        assert await refunds(stage) == [1, 3, 4, 5, 2]
        assert await stage.parked() == []


@REFUNDS
@pytest.mark.parametrize("done", range(5))
async def test_a_crash_between_two_effects_of_a_compensation_undoes_each_once(
    refund: Refund, done: int, tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("void", *_ANSWERS[:done], "wait")
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, *FIVE, CANCEL)
        assert await refunds(stage) == list(range(1, done + 1))
        await stage.restart()
        await stage.run()
        await later(stage)
        assert sorted(await refunds(stage)) == [1, 2, 3, 4, 5]
        assert outside.held == set()
        assert stage.ledger.doubled() == []
        assert await stage.parked() == []


FAILURES = [
    (crash, "before"), (crash, "at_end"), (crash, "after"),
    (disk_full, "before"), (disk_full, "at_end"), (busy, "before"),
]  # fmt: skip


@pytest.mark.parametrize(("trick", "place"), FAILURES)
@pytest.mark.parametrize("commit", range(6))
async def test_whichever_commit_fails_the_charge_is_undone_once(
    commit: int, trick: Trick, place: str, tmp_path: Path
) -> None:
    outside = Outside()
    async with on_stage(bank(), tmp_path, outside) as stage:
        await stage.say(X)
        getattr(stage.ledger, place).extend([lambda: None] * commit + [trick])

        said = [CANCEL] * 4 + [HELD]
        for _ in range(12):
            try:
                await stage.run()
                if said:
                    await stage.publish(said[-1], idempotency_key=f"ask {len(said)}")
                    said.pop()
            except Crash:
                await stage.restart()
            except LedgerError as error:
                assert "disk is full" in str(error)  # noqa: PT017  # what else fails is a finding
        await stage.run()
        await later(stage)
        assert outside.held == set()
        assert await refunds(stage) in ([1], [0])
        assert len(await told(stage, Charged)) <= 1
        assert stage.ledger.doubled() == []
        assert await stage.parked() == []


# answers


async def test_a_compensation_that_takes_none_answers_once_however_often_it_is_asked(tmp_path: Path) -> None:
    outside = Outside()
    async with on_stage(bank(), tmp_path, outside) as stage:
        await stage.say(X, CANCEL, CANCEL)
        await stage.restart()
        await stage.say(CANCEL)
        assert await refunds(stage) == [0]
        assert await notes(stage, "skipped") == ["answered", "answered"]


async def test_asks_that_came_together_are_answered_once(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("void", "wait")
    async with on_stage(bank(), tmp_path, outside) as stage:
        await stage.drive(stage.board.publish([X, HELD, CANCEL, CANCEL, CANCEL]))
        await stage.run()
        outside.let_go()
        await stage.run()
        assert await refunds(stage) == [1]
        assert outside.made("void") == ["x1"]


async def test_each_part_of_a_flow_is_undone_closed_and_answered_on_its_own(tmp_path: Path) -> None:
    outside = Outside()
    async with on_stage(bank(per="number"), tmp_path, outside) as stage:
        await stage.say(X, ItemHeld(order="x", number=1), CancelAsked(order="x", number=1))
        await stage.say(ItemHeld(order="x", number=2), ItemHeld(order="x", number=1), CancelAsked(order="x", number=3))
        assert await refunds(stage) == [1, 0]
        assert outside.held == {"x2"}
        await stage.restart()
        await stage.say(
            CancelAsked(order="x", number=1), CancelAsked(order="x", number=2), ItemHeld(order="x", number=3)
        )
        assert await refunds(stage) == [1, 0, 2]
        assert outside.held == set()
        assert outside.made("take") == ["x1", "x2"]


async def test_an_unknown_outcome_of_one_part_is_settled_in_that_part_alone(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "lose", "answer")
    async with on_stage(bank("insists", per="number"), tmp_path, outside) as stage:
        await stage.say(X, ItemHeld(order="x", number=1), ItemHeld(order="x", number=2))
        await stage.say(CancelAsked(order="x", number=2), CancelAsked(order="x", number=3))
        assert await stage.dead() == []
        assert await refunds(stage) == [2]
        await stage.say(CancelAsked(order="x", number=1))
        assert [row.reaction for row in await stage.dead()] == ["payments.insist"]


@REFUNDS
async def test_a_compensation_touches_its_own_flow_alone(refund: Refund, tmp_path: Path) -> None:
    outside = Outside()
    async with on_stage(bank(refund), tmp_path, outside) as stage:
        await stage.say(X, Ordered(order="y"), ItemHeld(order="x"), ItemHeld(order="y"), CANCEL)
        assert outside.held == {"y1"}


@pytest.mark.parametrize("what", ["fail", "lose"])
async def test_a_compensation_that_is_tried_again_undoes_once_under_the_same_key(
    what: Literal["fail", "lose"], tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("void", what)
    async with on_stage(bank(), tmp_path, outside) as stage:
        await stage.say(X, HELD, CANCEL, CANCEL)
        await stage.restart()
        await later(stage)
        assert outside.made("void") == ["x1", "x1"]
        assert await refunds(stage) == [1]


@pytest.mark.parametrize("what", ["answer", "lose"])
async def test_a_compensation_can_name_the_key_of_the_call_that_it_undoes(
    what: Literal["answer", "lose"], tmp_path: Path
) -> None:
    payments = Service("payments")

    @payments.reaction(retry=TWICE)
    async def charge(held: ItemHeld, desk: Desk, ctx: Context) -> Charged:
        await desk.take(ctx.idempotency_key("card"))
        return Charged(order=held.order, number=held.number)

    @payments.reaction(compensates=charge, retry=TWICE)
    async def refund(why: CancelAsked, charged: Charged | None, desk: Desk, ctx: Context) -> Refunded:
        await desk.void(ctx.key_of(charge, "card"))
        return Refunded(order=why.order, number=charged.number if charged is not None else 0)

    outside = Outside()
    outside.next("take", "answer", "answer", what)
    outside.next("void", "answer", "fail")
    async with on_stage(orders(payments), tmp_path, outside) as stage:
        await stage.say(X, *FIVE[:3], CANCEL)
        await later(stage)
        assert len(set(outside.made("take"))) == 3
        assert outside.voided == set(outside.made("take"))


async def test_a_compensation_that_settles_an_unknown_outcome_names_the_call_that_was_made(tmp_path: Path) -> None:
    payments = Service("payments")

    @payments.reaction(retry=Retry(max_attempts=1))
    async def charge(held: ItemHeld, desk: Desk, ctx: Context) -> Charged:
        await desk.take(ctx.idempotency_key())
        return Charged(order=held.order, number=held.number)

    @payments.reaction(compensates=charge)
    async def refund(why: CancelAsked, charged: Charged | None, desk: Desk, ctx: Context) -> Refunded:
        await desk.void(ctx.key_of(charge))
        return Refunded(order=why.order, number=0)

    outside = Outside()
    outside.next("take", "lose")
    async with on_stage(orders(payments), tmp_path, outside) as stage:
        await stage.say(X, *FIVE[:2])  # the second stands behind the dead letter of the first, and was never tried
        await stage.say(CANCEL)
        assert outside.held == set()


async def test_a_compensation_names_the_same_key_again_after_what_it_undoes_was_asked_too_late(tmp_path: Path) -> None:
    payments = Service("payments")

    @payments.reaction
    async def charge(held: ItemHeld, desk: Desk, ctx: Context) -> Charged:
        raise AssertionError("it is closed")

    @payments.reaction(compensates=charge, retry=TWICE)
    async def refund(why: CancelAsked, charged: Charged | None, desk: Desk, ctx: Context) -> Refunded:
        await desk.void(ctx.key_of(charge))
        return Refunded(order=why.order, number=0)

    outside = Outside()
    outside.next("void", "lose")
    async with on_stage(orders(payments), tmp_path, outside) as stage:
        await stage.say(X, CANCEL)
        await stage.say(FIVE[0])
        await later(stage)
        first, again = outside.made("void")
        assert first == again


# what fails is undone because it failed


async def test_a_compensation_that_hears_of_the_failure_of_its_reaction_settles_it_in_the_same_flow(
    tmp_path: Path,
) -> None:
    payments = Service("payments")

    @payments.reaction(retry=TWICE)
    async def charge(held: ItemHeld, desk: Desk) -> Charged:
        await desk.take(held.order)
        return Charged(order=held.order, number=held.number)

    @payments.reaction(compensates=charge)
    async def refund(why: ReactionFailed[ItemHeld] | CancelAsked, charged: Charged | None, desk: Desk) -> Refunded:
        await desk.void("x")
        return Refunded(order="x", number=charged.number if charged is not None else 0)

    @payments.reaction(retry=Retry(max_attempts=1))
    def other(held: ItemHeld) -> None:
        raise ValueError("not its failure")

    outside = Outside()
    outside.next("take", "lose", "lose")
    async with on_stage(orders(payments), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        assert await refunds(stage) == []
        await later(stage)
        assert await refunds(stage) == [0]
        assert outside.held == set()
        assert [row.reaction for row in await stage.dead()] == ["payments.other"]
        await stage.say(CANCEL)
        assert await refunds(stage) == [0]


# state


async def test_a_row_is_as_before_once_its_change_was_undone_and_a_late_change_is_not_made(tmp_path: Path) -> None:
    inventory = Service("inventory")

    @event
    class Wanted:
        order: str
        shelf: str

    @event
    class Dropped:
        order: str
        shelf: str

    @event
    class Got:
        order: str
        shelf: str

    trouble = Trouble()

    @inventory.reaction(retry=TWICE)
    def hold(wanted: Wanted, shelf: Shelf) -> Got:
        shelf.free -= 1
        return Got(order=wanted.order, shelf=wanted.shelf)

    @inventory.reaction(compensates=hold, retry=Retry(max_attempts=9))
    def put_back(why: Dropped, got: Got, shelf: Shelf) -> None:
        shelf.free += 1
        trouble.at("back")

    flow = Flow("order", key="order", starts=Ordered, succeeds=OrderClosed)
    choreography = Choreography("orders", inventory, flows=[flow], incoming=Wanted | Dropped | OrderClosed)

    async def free(stage: Stage) -> int:
        row = await stage.load(Shelf, "one")
        return 10 if row is None else row.free

    async with on_stage(choreography, tmp_path) as stage:
        await stage.say(X, *[Wanted(order="x", shelf="one")] * 3)
        assert await free(stage) == 7
        trouble.times = {"back": 2}
        await stage.say(Dropped(order="x", shelf="one"), Wanted(order="x", shelf="one"))
        await later(stage)
        await stage.say(Dropped(order="x", shelf="one"))
        await later(stage)
        assert await free(stage) == 10


# pivots


def shipping(*, timeout: timedelta = timedelta(minutes=30)) -> Choreography:
    """Shipping cannot be undone; it can only be called off as long as it has not happened."""
    carrier = Service("carrier")

    @carrier.reaction(pivot=True, retry=TWICE)
    async def ship(held: ItemHeld, desk: Desk) -> Charged | Declined:
        if await desk.take(held.order):
            return Charged(order=held.order, number=held.number)
        return Declined(order=held.order, number=held.number)

    @carrier.reaction(compensates=ship)
    async def call_off(late: FlowTimedOut[Ordered], shipped: Charged | None, desk: Desk) -> Refunded | None:
        if shipped is not None:
            return None
        await desk.void(late.started.order)
        return Refunded(order=late.started.order, number=0)

    return orders(carrier, timeout=timeout)


async def test_an_effect_of_a_pivot_that_has_committed_stays(tmp_path: Path) -> None:
    outside = Outside()
    async with on_stage(shipping(), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        await stage.advance(minutes=31)
        assert outside.held == {"x"}
        assert await refunds(stage) == []


@pytest.mark.parametrize("what", ["fail", "lose", None])
async def test_a_pivot_that_has_not_committed_is_settled_and_closed(
    what: Literal["fail", "lose"] | None, tmp_path: Path
) -> None:
    outside = Outside()
    told: list[Next] = [what, what] if what else []
    outside.next("take", *told)
    async with on_stage(shipping(), tmp_path, outside) as stage:
        await stage.say(X, *([HELD] if what else []))
        await later(stage)
        await stage.advance(minutes=31)
        assert await refunds(stage) == [0]
        await stage.say(HELD)
        assert outside.held == set()
        assert outside.made("take") == ["x"] * (2 if what else 0)


async def test_a_pivot_that_is_running_at_the_deadline_is_waited_for(tmp_path: Path) -> None:
    outside = Outside()
    outside.next("take", "wait")
    async with on_stage(shipping(), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        await stage.advance(minutes=31)
        assert outside.made("void") == []
        outside.let_go()
        await stage.run()
        assert outside.held == {"x"}
        assert await refunds(stage) == []


@pytest.mark.parametrize("took_place", [True, False])
async def test_a_pivot_that_is_running_when_its_owner_dies_is_settled_at_the_deadline(
    took_place: bool, tmp_path: Path
) -> None:
    outside = Outside()
    outside.next("take", "wait", "lose", "fail")
    async with on_stage(shipping(), tmp_path, outside) as stage:
        await stage.say(X, HELD)
        if took_place:
            outside.held.add("x")
        await stage.restart()
        await later(stage)
        await stage.advance(minutes=31)
        assert await refunds(stage) == [0]
        made = outside.made("take")
        await stage.say(HELD)
        assert (outside.held, outside.made("take")) == (set(), made)
