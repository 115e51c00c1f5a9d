"""What is refused when it is published or opened, with the fix."""

from datetime import timedelta
from typing import Any, cast

import pytest

from callboard import Choreography, ContractError, Flow, FlowTimedOut, PublishInReaction, Service, event
from callboard.ledger import Parked


@event
class Asked:
    key: str


@event
class Answered:
    key: str


def build(*, incoming: type[Answered] | None = None) -> Choreography:
    desk = Service("desk")

    @desk.reaction
    def answer(asked: Asked) -> Answered:
        return Answered(key=asked.key)

    return Choreography(
        "talk", desk, incoming=incoming, flows=[Flow("talk", key="key", starts=Asked, succeeds=Answered)]
    )


async def test_what_a_service_says_is_not_said_from_outside() -> None:
    async with build().open("sqlite:///:memory:") as board:
        await board.publish(Asked(key="a"))
        with pytest.raises(ContractError, match=r"desk\.answer emits Answered: name it in incoming="):
            await board.publish(Answered(key="a"))


async def test_what_incoming_names_may_be_said_from_outside() -> None:
    async with build(incoming=Answered).open("sqlite:///:memory:") as board:
        flow = await board.publish(Asked(key="a"))
        assert (await board.publish(Answered(key="a"))).id == flow.id


def test_a_deadline_is_not_joined_with_an_event() -> None:
    desk = Service("desk")

    @desk.reaction
    def give_up(late: FlowTimedOut[Asked], answered: Answered) -> None: ...

    with pytest.raises(ContractError, match=r"`late` would be waited for together with Answered.*needs=Answered"):
        Choreography("talk", desk)


async def test_keepers_come_in_a_list_and_services_are_given_themselves() -> None:
    with pytest.raises(ContractError, match=r"ports=\[object\(\.\.\.\)\]"):
        async with build().open("sqlite:///:memory:", ports=cast("Any", object())):
            pass
    with pytest.raises(ContractError, match=r"services=\[orders\]"):
        async with build().open("sqlite:///:memory:", services=cast("Any", ["desk"])):
            pass


async def test_a_reaction_that_publishes_is_a_dead_letter_at_once() -> None:
    desk = Service("desk")
    boards: list[Any] = []

    @desk.reaction
    async def answer(asked: Asked) -> Answered:
        await boards[0].publish(Asked(key="b"))
        return Answered(key=asked.key)

    talk = Choreography("talk", desk, flows=[Flow("talk", key="key", starts=Asked, succeeds=Answered)])
    async with talk.open("sqlite:///:memory:") as board:
        boards.append(board)
        await board.publish(Asked(key="a"))

        async def dead_letter() -> Parked | None:
            return next(iter(await board.work.ledger.parked(why=["dead"])), None)

        dead = await board.until(dead_letter, timedelta(seconds=20), "no dead letter")
        assert (dead.attempts, PublishInReaction.__name__ in (dead.error or "")) == (1, True)
