"""What goes wrong in one place stays there: odd exceptions, odd keys and odd text stop nobody else."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callboard import (
    Choreography,
    Context,
    Flow,
    NoSuchFlow,
    ReactionFailed,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)
from callboard.errors import LedgerError
from callboard.letters import PLACE

from .support.ledger import busy, disk_full, ticks
from .support.outside import Outside
from .support.stage import Stage


@event
class Asked:
    name: str


@event
class Answered:
    name: str


@event
class Noted:
    name: str


@event
class Shouted:
    name: str
    words: list[str]


@failure
class Withdrawn:
    name: str


@state(key="name")
class Page:
    name: str
    visits: int = 0


class Untellable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@port
class Line(Outside):
    """A call to somewhere."""


TWICE = Retry(max_attempts=2, first_wait=timedelta(seconds=1))
ONCE = Retry(max_attempts=1)


class Mood:
    """What the reactions of this file do next."""

    def __init__(self) -> None:
        self.raises: BaseException | None = None
        self.wants = ""
        self.runs: Counter[str] = Counter()
        self.seen: list[Any] = []

    def forget(self) -> None:
        self.raises, self.wants = None, ""
        self.runs.clear()
        self.seen.clear()


MOOD = Mood()
desk, booth, archive = Service("desk"), Service("booth"), Service("archive")


@desk.reaction(retry=TWICE)
def answer(asked: Asked) -> Answered:
    MOOD.runs["answer"] += 1
    if MOOD.raises is not None:
        raise MOOD.raises
    return Answered(name=asked.name)


@desk.reaction
def hear(failed: ReactionFailed[Asked]) -> Noted:
    MOOD.seen.append(failed.error)
    return Noted(name=failed.event.name)


@booth.reaction(retry=ONCE)
async def look_up(asked: Asked, pages: States[Page]) -> None:
    MOOD.runs["look_up"] += 1
    if MOOD.wants == "a task that was cancelled":
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled
    if MOOD.wants == "a time limit":
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
    if MOOD.wants == "a group of tasks":
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
    page = await pages.get(asked.name) or Page(name=asked.name)
    page.visits += 1
    pages.put(page)


@archive.reaction
def listen(shouted: Shouted, ctx: Context) -> None:
    MOOD.seen.append(ctx.flow_key)


@archive.reaction
async def write(noted: Noted, line: Line, ctx: Context) -> Answered:
    await line.take("write", ctx.idempotency_key())
    return Answered(name=noted.name)


@archive.reaction(compensates=write)
async def strike(withdrawn: Withdrawn, answered: Answered, line: Line, ctx: Context) -> None:
    MOOD.seen.append(ctx.idempotency_key())
    await line.void("strike", ctx.key_of(write))


office = Choreography(
    "office",
    desk,
    booth,
    incoming=Withdrawn,
    flows=[Flow("question", key="name", starts=Asked, succeeds=Answered, timeout=None)],
)
library = Choreography(
    "library",
    archive,
    incoming=Noted | Withdrawn,
    flows=[Flow("speech", key="name", starts=Shouted, succeeds=Asked, timeout=None)],
)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    MOOD.forget()
    async with Stage(office, tmp_path / "office.db") as stage:
        yield stage


async def goes_on(stage: Stage) -> bool:
    """Whether the board still does its work."""
    MOOD.raises, MOOD.wants = None, ""
    before = MOOD.runs["look_up"]
    await stage.say(Asked(name="the next"))
    page = await stage.load(Page, "the next")
    return (
        await stage.count(Answered) > 0
        and MOOD.runs["look_up"] == before + 1
        and page == Page(name="the next", visits=1)
    )


# what reactions raise


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (OSError("no such file: caf\udce9"), "OSError: no such file: caf?"),
        (Untellable(), "Untellable, and it failed to say what it is"),
        (asyncio.CancelledError("by a friend"), "CancelledError: by a friend"),
        (ValueError("x" * 100_000), "ValueError: " + "x" * 1988),
    ],
    ids=["half a character", "nothing at all", "a cancellation", "very much"],
)
async def test_whatever_a_reaction_raises_it_is_tried_again_and_then_dead_and_told(
    stage: Stage, raised: BaseException, told: str
) -> None:
    MOOD.raises = raised
    await stage.say(Asked(name="x"))
    await stage.advance(minutes=1)
    assert MOOD.runs["answer"] == 2
    assert [PLACE.sub("", row.error or "") for row in await stage.dead()] == [told]
    assert MOOD.seen == [told]
    assert await goes_on(stage)


async def test_a_reaction_that_awaits_what_was_cancelled_has_failed_and_nobody_else_has(stage: Stage) -> None:
    MOOD.wants = "a task that was cancelled"
    await stage.say(Asked(name="x"))
    assert [PLACE.sub("", row.error or "") for row in await stage.dead()] == ["CancelledError: "]
    assert await goes_on(stage)


@pytest.mark.parametrize("wanted", ["a time limit", "a group of tasks"])
async def test_a_reaction_that_wants_to_be_a_task_is_one_and_it_costs_no_attempt(stage: Stage, wanted: str) -> None:
    MOOD.wants = wanted
    await stage.say(Asked(name="x"))
    assert await stage.dead() == []
    assert await stage.load(Page, "x") == Page(name="x", visits=1)
    assert await goes_on(stage)


# what callers give


@pytest.mark.parametrize("key", ["\ud800", 5, b"key"], ids=["half a character", "a number", "bytes"])
async def test_an_idempotency_key_that_is_no_text_is_refused_to_its_caller_alone(stage: Stage, key: Any) -> None:
    for _ in range(2):
        with pytest.raises((TypeError, ValueError), match="idempotency_key="):
            await stage.publish(Asked(name="x"), idempotency_key=key)
    assert await stage.count(Asked) == 0
    assert await goes_on(stage)


async def test_a_batch_that_is_refused_leaves_no_flow_behind_for_others_of_its_commit(stage: Stage) -> None:
    refused = asyncio.create_task(stage.board.publish([Asked(name="x"), Withdrawn(name="nobody")]))
    accepted = asyncio.create_task(stage.board.publish(Asked(name="x")))
    await ticks()
    await stage.run()
    with pytest.raises(NoSuchFlow):
        await refused
    assert (await accepted).is_new
    assert await stage.count(Asked) == 1


async def test_a_batch_that_is_repeated_with_its_key_returns_all_its_flows(stage: Stage) -> None:
    batch = [Asked(name="x"), Asked(name="y"), Withdrawn(name="x")]
    first = await stage.drive(stage.board.publish(batch, idempotency_key="once"))
    again = await stage.drive(stage.board.publish(batch, idempotency_key="once"))
    assert [(flow.name, flow.key, flow.id) for flow in first] == [(flow.name, flow.key, flow.id) for flow in again]
    assert [flow.key for flow in again] == ["x", "y", "x"]
    assert not any(flow.is_new for flow in again)
    assert await stage.count(Asked) == 2


# what the ledger cannot read just now


@pytest.mark.parametrize("trick", [busy, disk_full])
async def test_a_read_that_fails_inside_a_group_is_nobodys_attempt_and_loses_nothing(stage: Stage, trick: Any) -> None:
    for number in range(12):
        stage.ledger.reading.extend([lambda: None] * number + [trick])
        await stage.publish(Asked(name=f"x{number}"))
        for _ in range(6):
            with suppress(LedgerError):
                await stage.group()
        stage.ledger.reading.clear()
    await stage.run()
    assert await stage.dead() == []
    assert await stage.count(Answered) == 12
    assert [await stage.load(Page, f"x{number}") for number in range(12)] == [
        Page(name=f"x{number}", visits=1) for number in range(12)
    ]
    assert stage.ledger.rows("SELECT * FROM note") == []


# what a run is told of itself


async def test_a_run_is_told_the_key_of_its_flow_also_by_an_event_that_can_be_changed(tmp_path: Path) -> None:
    MOOD.forget()
    async with Stage(library, tmp_path / "library.db", ports=[Line()]) as stage:
        await stage.say(Shouted(name="x", words=["hear", "hear"]))
        assert MOOD.seen == ["x"]


async def test_each_effect_that_one_ask_undoes_has_an_idempotency_key_of_its_own_in_every_attempt(
    tmp_path: Path,
) -> None:
    MOOD.forget()
    line = Line()
    async with Stage(library, tmp_path / "library.db", ports=[line]) as stage:
        await stage.say(Shouted(name="x", words=[]), *[Noted(name="x")] * 3)
        MOOD.seen.clear()
        line.next("strike", "fail", "fail", "fail")
        await stage.say(Withdrawn(name="x"))
        await stage.advance(minutes=1)
        first, second = MOOD.seen[:3], MOOD.seen[3:]
        assert len(set(first)) == 3
        assert sorted(second) == sorted(first)
        assert line.held == set()
