"""Why a flow has no verdict: one answer for each thing that may stand in its way."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from callboard import Breaker, Choreography, Flow, Guarded, Retry, Service, event, port
from callboard.cli.diagnosis import diagnose
from callboard.cli.reading import find_flow, reading
from callboard.cli.story import read_story
from tests.support.outside import Outside
from tests.support.stage import Stage
from tests.support.tables import change

ANSWER = "waits for Picked | Refused from yard.pick_up"


@event
class Ordered:
    order: str
    sku: str = ""


@event
class Picked:
    order: str


@event
class Refused:
    order: str


@event
class Packed:
    order: str


@event
class Signed:
    order: str


@event(key="sku")
class Counted:
    order: str
    sku: str


@port
class Crane(Protocol):
    async def lift(self, order: str) -> bool: ...


class TheCrane(Crane):
    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    async def lift(self, order: str) -> bool:
        return await self.outside.take("lift", order)


def depot(**pick: Any) -> Choreography:
    """Picked by a crane, packed once it is signed by somebody outside."""
    yard, desk = Service("yard"), Service("desk")

    @yard.reaction(**pick)
    async def pick_up(ordered: Ordered, crane: Crane) -> Picked | Refused | None:
        if ordered.sku == "air":
            return None
        return Picked(order=ordered.order) if await crane.lift(ordered.order) else Refused(order=ordered.order)

    @desk.reaction(needs=Signed, within=timedelta(minutes=5))
    def pack(picked: Picked) -> Packed:
        return Packed(order=picked.order)

    flow = Flow("order", key="order", starts=Ordered, succeeds=Packed, fails=Refused, timeout=timedelta(minutes=1))
    return Choreography("depot", yard, desk, flows=[flow], incoming=Signed)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "depot.db"


@pytest.fixture
def outside() -> Outside:
    return Outside()


async def because(stage: Stage, *, key: str = "o", app: bool = True) -> list[tuple[str, str]]:
    """What stands in the way, as the command line reads it from the file."""
    async with reading(f"sqlite:///{stage.file}") as ledger:
        choreography = stage.choreography if app else None
        flow = await find_flow(ledger, f"order/{key}", choreography)
        causes = diagnose(await read_story(ledger, flow, int(stage.clock.now().timestamp() * 1_000_000), choreography))
    return [(cause.what, str(cause)) for cause in causes]


async def test_a_dead_letter_is_named(file: Path, outside: Outside) -> None:
    async with Stage(depot(retry=Retry(max_attempts=1)), file, ports=[TheCrane(outside)]) as stage:
        outside.next("lift", "fail")
        await stage.say(Ordered(order="o"))
        for _ in range(2):  # before the deadline, and past it
            assert await because(stage) == [
                ("dead letter", "yard.pick_up: dead letter yard.pick_up@1: ConnectionError: lift o")
            ]
            await stage.advance(minutes=2)


async def test_a_retry_says_when_it_is_due(file: Path, outside: Outside) -> None:
    retry = Retry(first_wait=timedelta(seconds=30), jitter=0)
    async with Stage(depot(retry=retry), file, ports=[TheCrane(outside)]) as stage:
        outside.next("lift", "fail")
        await stage.say(Ordered(order="o"))
        assert await because(stage) == [("retry", "yard.pick_up: next attempt in 30 s")]


async def test_what_waits_for_a_prerequisite_says_which_and_how_long(file: Path, outside: Outside) -> None:
    async with Stage(depot(), file, ports=[TheCrane(outside)]) as stage:
        await stage.say(Ordered(order="o"))
        assert await because(stage) == [("waiting", "desk.pack: waits for Signed, gives up in 5 min")]
        assert await because(stage, app=False) == [("waiting", "desk.pack: waits for Signed, gives up in 5 min")]
        await stage.say(Signed(order="o"))
        assert await because(stage) == []


async def test_an_open_breaker_is_named_with_its_port_and_its_end(file: Path, outside: Outside) -> None:
    keeper = Guarded(TheCrane(outside), breaker=Breaker(failures=1, pause=timedelta(seconds=90)))
    async with Stage(depot(retry=Retry(first_wait=timedelta(seconds=1), jitter=0)), file, ports=[keeper]) as stage:
        outside.next("lift", "fail")
        await stage.say(Ordered(order="o"))
        await stage.say(Ordered(order="p"))
        paused = "paused by a breaker of Crane, until 2026-01-01 00:01:30 UTC"
        assert await because(stage) == [("paused", f"yard.pick_up: next attempt in 1 s, but {paused}")]
        assert await because(stage, key="p") == [
            ("paused", f"yard.pick_up: has not come to it yet (Ordered #1), {paused}")
        ]


async def test_a_service_that_nobody_runs_is_named(file: Path, outside: Outside) -> None:
    async with Stage(depot(retry=Retry()), file, ports=[TheCrane(outside)]) as stage:
        outside.next("lift", "fail")
        await stage.say(Ordered(order="o"))
        await stage.crash()
        change(file, "UPDATE owner SET process = 'pid 999999999'")
        assert [what for what, _ in await because(stage)] == ["no owner"]
    async with Stage(depot(), file, services=[], clock=stage.clock, seed=500) as publisher:
        await publisher.publish(Ordered(order="p"))
        assert await because(publisher, key="p") == [
            ("no owner", "yard.pick_up: has not come to it yet (Ordered #1), no worker runs yard")
        ]


async def test_how_far_a_reaction_is_behind_in_the_log_is_told(file: Path, outside: Outside) -> None:
    async with Stage(depot(concurrency=1), file, ports=[TheCrane(outside)]) as stage:
        outside.next("lift", "wait")
        await stage.say(Ordered(order="first"))
        async with Stage(depot(), file, services=[], clock=stage.clock, seed=500) as publisher:
            for name in ("o", "p"):
                await publisher.publish(Ordered(order=name))
        assert await because(stage) == [
            ("behind", "yard.pick_up: has not come to it yet (Ordered #1), behind in the log by 2 events")
        ]
        outside.let_go()
        await stage.run()


async def test_what_was_handled_and_emitted_nothing_is_named_with_what_it_might_have_said(
    file: Path, outside: Outside
) -> None:
    async with Stage(depot(), file, ports=[TheCrane(outside)]) as stage:
        await stage.say(Ordered(order="o", sku="air"))
        assert await because(stage) == [
            ("silent", f"yard.pick_up: handled #1 Ordered and emitted nothing; the flow {ANSWER}")
        ]
        assert [what for what, _ in await because(stage, app=False)] == ["event"]


async def test_what_was_discarded_or_skipped_is_named_with_what_the_flow_still_waits_for(
    file: Path, outside: Outside
) -> None:
    async with Stage(depot(retry=Retry(max_attempts=1)), file, ports=[TheCrane(outside)]) as stage:
        outside.next("lift", "fail")
        await stage.say(Ordered(order="o"))
        await stage.board.dead_letters.discard(await stage.board.dead_letters.find(), by="ann")
        await stage.run()
        assert await because(stage) == [("event", f"yard.pick_up: {ANSWER}, which has skipped #1 Ordered")]


async def test_what_must_come_from_outside_is_named(file: Path) -> None:
    desk = Service("desk")

    @desk.reaction
    def pack(signed: Signed) -> Packed:
        return Packed(order=signed.order)

    flow = Flow("order", key="order", starts=Ordered, succeeds=Packed, timeout=None)
    async with Stage(Choreography("depot", desk, flows=[flow], incoming=Signed), file) as stage:
        await stage.say(Ordered(order="o"))
        assert await because(stage) == [("event", "waits for Signed from outside")]


async def test_what_stands_in_line_behind_another_flow_says_behind_what(file: Path) -> None:
    desk = Service("desk")

    @desk.reaction
    def count(ordered: Ordered) -> Counted:
        return Counted(order=ordered.order, sku=ordered.sku)

    @desk.reaction(retry=Retry(max_attempts=1))
    def pack(counted: Counted) -> Packed:
        if counted.order == "first":
            raise ConnectionError("no box")
        return Packed(order=counted.order)

    flow = Flow("order", key="order", starts=Ordered, succeeds=Packed, timeout=None)
    async with Stage(Choreography("depot", desk, flows=[flow]), file) as stage:
        await stage.say(Ordered(order="first", sku="s"))
        await stage.say(Ordered(order="o", sku="s"))
        [letter] = await stage.board.dead_letters.find()
        assert await because(stage) == [
            ("line", f"desk.pack: stands in line behind dead letter {letter.id}: ConnectionError: no box")
        ]


async def test_a_flow_that_has_its_verdict_waits_for_nothing(file: Path, outside: Outside) -> None:
    async with Stage(depot(), file, ports=[TheCrane(outside)]) as stage:
        outside.next("lift", "refuse")
        await stage.say(Ordered(order="o"))
        assert await because(stage) == []
