"""The log is the audit: of one order with retries, a dead letter, a replay and a failure, everything."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callboard import Choreography, Flow, Retry, Service, event, failure
from callboard.envelope import Envelope
from callboard.hops.abroad import address_of
from tests.postoffice import command
from tests.support.desk import Trouble
from tests.support.stage import Stage


@event
class Ordered:
    order_id: str


@event
class Paid:
    order_id: str


@event
class Sent:
    order_id: str


@failure
class NotShipped:
    order_id: str


@event
class Refunded:
    order_id: str


@event
class Closed:
    order_id: str


@event(key="shelf")
class Restocked:
    shelf: str


@event(key="shelf")
class Counted:
    shelf: str


def company(trouble: Trouble) -> Choreography:
    money, parcels, desk = Service("money"), Service("parcels"), Service("desk")
    twice = Retry(max_attempts=2, first_wait=timedelta(seconds=1), jitter=0)

    @money.reaction(retry=twice)
    def pay(ordered: Ordered) -> Paid:
        trouble.at("pay")
        return Paid(order_id=ordered.order_id)

    @parcels.reaction(retry=twice)
    def ship(paid: Paid) -> Sent | NotShipped:
        trouble.at("ship")
        return NotShipped(order_id=paid.order_id)

    @money.reaction(compensates=pay)
    def refund(why: NotShipped, paid: Paid) -> Refunded:
        return Refunded(order_id=paid.order_id)

    @desk.reaction
    def close(refunded: Refunded) -> Closed:
        return Closed(order_id=refunded.order_id)

    @desk.reaction(unless=Paid)
    def regret(why: NotShipped) -> None: ...

    @desk.reaction
    def count(restocked: Restocked) -> Counted:
        return Counted(shelf=restocked.shelf)

    flow = Flow("order", key="order_id", starts=Ordered, succeeds=Sent, fails=Closed, timeout=None)
    return Choreography("company", money, parcels, desk, incoming=Restocked, flows=[flow])


def failed(attempt: int, name: str) -> dict[str, str]:
    return {"what": "failed", "why": f"attempt {attempt}: ConnectionError: {name} has trouble, as the test has it"}


def answer(reaction: str, *emitted: str, notes: Any = (), silent: str | None = None) -> dict[str, Any]:
    return {"reaction": reaction, "emitted": list(emitted), "notes": list(notes), "parked": [], "silent": silent}


def readable(document: Any, names: dict[str, str]) -> Any:
    """Ids as the types that they stand for, and without the times, which are the clock's."""
    known: Any = document
    if isinstance(document, dict):
        return {key: readable(value, names) for key, value in known.items() if key != "time"}
    if isinstance(document, list):
        return [readable(value, names) for value in known]
    return names.get(known, known) if isinstance(known, str) else known


def shown(file: Path, *args: str) -> Any:
    result = command(*args, "--ledger", f"sqlite:///{file}", "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()] if "tail" in args else json.loads(result.stdout)


async def _happens(file: Path) -> str:
    """The address of the ledger."""
    async with Stage(company(Trouble(pay=2, ship=1)), file) as stage:
        await stage.say(Ordered(order_id="o1"))
        await stage.advance(seconds=5)
        (letter,) = await stage.dead()
        assert await stage.ask(letter, "replay")
        await stage.run()
        await stage.advance(seconds=5)
        await stage.say(Restocked(shelf="a"))
        assert await stage.parked() == []
        return address_of(await stage.ledger.identity())


@pytest.fixture
def order(tmp_path: Path) -> tuple[Path, str]:
    """An order to which everything has happened: its ledger, and the address of that."""
    return tmp_path / "c.db", asyncio.run(_happens(tmp_path / "c.db"))


DEAD = "callboard.ReactionFailed"


def one(number: int, kind: str, reaction: str | None, cause: str | None, **more: Any) -> dict[str, Any]:
    """An event of the order as the audit has it."""
    told: dict[str, Any] = {
        "number": number,
        "id": kind,
        "type": kind,
        "specversion": "1.0",
        "remarks": [],
        "causes": [],
    }
    told |= {"datacontenttype": "application/json", "correlationid": "Ordered", "data": {"order_id": "o1"}}
    told |= {"source": "this ledger"} if reaction is None else {"source": reaction.partition(".")[0]}
    told |= {"causationid": cause} if cause else {}
    told |= {"reaction": reaction} if reaction else {}
    return told | more


def expected() -> list[dict[str, Any]]:
    skipped = answer("desk.regret", notes=[{"what": "skipped", "why": "unless Paid"}])
    answers = [
        [answer("money.pay", DEAD, "Paid", notes=[failed(1, "pay"), failed(2, "pay"), *REPLAYED])],
        [],
        [answer("parcels.ship", "NotShipped", notes=[failed(1, "ship")])],
        [answer("money.refund", "Refunded"), skipped],
        [answer("desk.close", "Closed")],
        [],
    ]
    events = [
        one(1, "Ordered", None, None),
        one(2, DEAD, "money.pay", "Ordered", type=f"{DEAD}[Ordered]", data=FAILURE),
        one(3, "Paid", "money.pay", "Ordered", remarks=["undone"]),
        one(4, "NotShipped", "parcels.ship", "Paid", remarks=["closes money.pay"]),
        one(5, "Refunded", "money.refund", "NotShipped", causes=["Paid", "NotShipped"], remarks=["with #3"]),
        one(6, "Closed", "desk.close", "Refunded"),
    ]
    return [{**event, "answers": each} for event, each in zip(events, answers, strict=True)]


REPLAYED = [
    {"what": "asked", "why": "replay"},
    {"what": "replayed", "why": "done, emitted Paid; asked by an operator"},
]
FAILURE = {
    "event": {"order_id": "o1"},
    "reaction": "money.pay",
    "error": "ConnectionError: pay has trouble, as the test has it",
    "attempts": 2,
}


def test_the_audit_of_an_order_tells_every_event_and_every_exception_and_nothing_else(order: tuple[Path, str]) -> None:
    file, address = order
    story = shown(file, "flows", "show", "o1")
    names = {each["id"]: each["type"].partition("[")[0] for each in story["events"]} | {address: "this ledger"}
    assert readable(story["events"], names) == expected()
    assert all(note["time"] for each in story["events"] for one in each["answers"] for note in one["notes"])
    assert story["waits_for"] == []


def test_show_tail_explain_and_the_road_name_an_event_alike(order: tuple[Path, str]) -> None:
    file, _ = order
    story = shown(file, "flows", "show", "o1")["events"]
    followed = shown(file, "flows", "tail", "--lines", "100", "--for", "0s")
    wire = {"specversion", "id", "source", "type", "time", "datacontenttype", "correlationid", "causationid"}
    wire |= {"reaction", "data"}
    for each in story:
        members = {name: each[name] for name in wire & each.keys()}
        (line,) = [line for line in followed if line["id"] == each["id"]]
        assert {name: line[name] for name in wire & line.keys()} == members
        assert Envelope.decode(json.dumps(members).encode()).flow == story[0]["id"]
        if "." in each["id"]:
            said = shown(file, "explain", each["id"])
            assert {name: said[name] for name in wire & said.keys()} == members
    counted = next(line for line in followed if line["type"] == "Counted")
    assert (counted["partitionkey"], counted["source"], counted["reaction"]) == ("a", "desk", "desk.count")
    assert [line["type"] for line in followed][:2] == ["Ordered", "callboard.ReactionFailed[Ordered]"]
