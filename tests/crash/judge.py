"""The counters that must read 0, from what lies in the files when everything has come to rest."""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from callboard.ledgers.sqlite import SqliteLedger

from .company import Heard, Player
from .look import reading, unfinished
from .scenes import Scene

COUNTERS = (
    "charged twice",
    "charged without a completed order",
    "completed without a charge",
    "stock not adding up",
    "orders lost",
    "two verdicts",
    "events doubled",
    "events without their state, or reverse",
    "order per line broken",
    "rules of a reaction broken",
    "parked rows left in decided flows",
    "left unfinished",
    "fenced owners that committed",
    "positions that moved back",
    "crashes taken for clean stops",
    "wrong answers to publishers",
    "workers that broke down",
    "ledger verify faults",
)
Fault = tuple[str, str]


class Logged(NamedTuple):
    """One event of the log."""

    pos: int
    id: str
    type: str
    flow: int
    by: str
    cause: int
    key: str | None
    data: dict[str, Any]


@dataclass
class Facts:
    """Everything that is in the two files."""

    log: list[Logged]
    by_flow: dict[int, list[Logged]]
    verdicts: dict[str, str | None]  # of each flow, by key
    ids: dict[str, str]
    numbers: dict[str, int]
    states: dict[str, dict[str, dict[str, Any]]]
    ledger: Path
    outside: Path

    def types(self, key: str) -> Counter[str]:
        """How often each type is in the flow with this key."""
        return Counter(event.type for event in self.by_flow[self.numbers[key]])

    def of(self, key: str, kind: str) -> list[dict[str, Any]]:
        """What the events of a type in a flow say."""
        return [event.data for event in self.by_flow[self.numbers[key]] if event.type == kind]

    def asked(self, query: str) -> list[Any]:
        """Rows of the outside file."""
        with reading(self.outside) as file:
            return file.execute(query).fetchall()


def gather(folder: Path, scene: Scene) -> Facts:
    """Read both files."""
    ledger = folder / "ledger.db"
    with reading(ledger) as file:
        names: dict[int, str] = dict(file.execute("SELECT number, name FROM name"))
        query = "SELECT pos, id, type, flow, by, cause, key, data FROM log ORDER BY pos"
        log = [
            Logged(pos, id_, names[kind], flow, names[by] if by else "", cause, key, json.loads(data) or {})
            for pos, id_, kind, flow, by, cause, key, data in file.execute(query)
        ]
        flows = file.execute("SELECT key, verdict, id, number FROM flow WHERE name = ?", (scene.flow,)).fetchall()
        states = {name: _states(file, name) for name in scene.choreography.states}
    by_flow: dict[int, list[Logged]] = defaultdict(list)
    for event in log:
        by_flow[event.flow].append(event)
    return Facts(
        log, by_flow, {row[0]: row[1] for row in flows}, {row[0]: row[2] for row in flows},
        {row[0]: row[3] for row in flows}, states, ledger, folder / "outside.db",
    )  # fmt: skip


def _states(file: sqlite3.Connection, name: str) -> dict[str, dict[str, Any]]:
    return {key: json.loads(data) for key, data in file.execute(f'SELECT key, data FROM "state_{name}"')}


async def judge(folder: Path, scene: Scene, heard: Heard, players: list[Player]) -> dict[str, list[str]]:
    """Every counter with what it counts, in words."""
    facts = gather(folder, scene)
    found: dict[str, list[str]] = {counter: [] for counter in COUNTERS}
    plays = {"checkout": _shop, "consignment": _depot}
    sources: list[Iterator[Fault]] = [
        _orders(facts, heard), _events(facts), _lines(facts, heard, players), _rest(facts, scene),
        _owners(facts, players), plays[scene.flow](facts, scene),
    ]  # fmt: skip
    for faults in sources:
        for counter, told in faults:
            found[counter].append(told)
    found["workers that broke down"] += heard.broken
    found["wrong answers to publishers"] += heard.faults
    ledger = SqliteLedger(f"sqlite:///{facts.ledger}")
    await ledger.open([], [])
    found["ledger verify faults"] += await ledger.verify()
    await ledger.close()
    return found


# of every choreography


def _orders(facts: Facts, heard: Heard) -> Iterator[Fault]:
    for order, flow in heard.flows.items():
        if facts.ids.get(order) != flow:
            yield "orders lost", f"{order}: acknowledged as {flow}, in the ledger as {facts.ids.get(order)}"
    for order, verdict in facts.verdicts.items():
        if verdict is None:
            yield "orders lost", f"{order}: no verdict; flow {facts.numbers[order]}"
        told = heard.verdicts.get(order)
        if told is not None and told != verdict:
            yield "two verdicts", f"{order}: told {told}, is {verdict}"


def _events(facts: Facts) -> Iterator[Fault]:
    for id_, many in Counter(event.id for event in facts.log).items():
        if many > 1:
            yield "events doubled", f"{id_}: {many} times"
    several = {"unpack", "clear", "settle_fees"}  # a list, and compensations of many effects
    runs: Counter[tuple[int, str, str]] = Counter()
    for event in facts.log:
        once = event.by and event.by.rpartition(".")[2] not in several and not event.type.startswith("callboard.R")
        if once and event.by != "callboard.tracker":
            runs[event.cause, event.by, "timer" if event.type.startswith("callboard.Timer[") else ""] += 1
        if event.type.startswith("callboard.FlowTimedOut["):
            runs[event.flow, "FlowTimedOut", ""] += 1
    for (cause, by, _), many in runs.items():
        if many > 1:
            yield "events doubled", f"{by} answered {cause} {many} times"


def _lines(facts: Facts, heard: Heard, players: list[Player]) -> Iterator[Fault]:
    readings: dict[str, list[int]] = defaultdict(list)
    recorded: dict[str, list[int]] = defaultdict(list)
    for event in facts.log:
        if event.type in ("Reading", "Recorded"):
            (readings if event.type == "Reading" else recorded)[event.data["dial"]].append(event.data["number"])
    acknowledged = {**heard.dials, **{f"{name}-edits": number for name, number in heard.edits.items()}}
    for dial, number in acknowledged.items():
        if len(readings[dial]) < number:
            yield "orders lost", f"{dial}: {number} acknowledged, {len(readings[dial])} in the log"
    shown = dict(facts.asked("SELECT dial, number FROM gauge"))
    for dial, numbers in readings.items():
        wanted = list(range(1, len(numbers) + 1))
        if numbers != wanted or recorded[dial] != wanted:
            yield "order per line broken", f"{dial}: read {numbers}, recorded {recorded[dial]}"
        for name in ("Seen", "Copied"):
            row = facts.states[name].get(dial, {"last": 0, "broken": 0})
            if row["broken"] or row["last"] != len(numbers):
                yield "order per line broken", f"{dial}: {name} is {row}, {len(numbers)} were read"
        if shown.get(dial) != len(numbers):
            yield "order per line broken", f"{dial}: the gauge shows {shown.get(dial)} of {len(numbers)}"
    robbed = {name for player in players for name in player.robbed}
    for worker, key, outcome in facts.asked("SELECT worker, key, outcome FROM call WHERE outcome LIKE 'out of%'"):
        if worker not in robbed:  # a call of a fenced owner may come late, its commit does not
            yield "order per line broken", f"{worker} showed {key} {outcome}"


def _rest(facts: Facts, scene: Scene) -> Iterator[Fault]:
    with reading(facts.ledger) as file:
        query = (
            "SELECT p.reaction, p.pos, p.why, f.key, f.verdict FROM parked p JOIN flow f ON f.number = p.flow "
            "WHERE f.verdict IS NOT NULL AND p.why != 'dead'"
        )
        for reaction, pos, why, key, verdict in file.execute(query):
            yield "parked rows left in decided flows", f"{key} ({verdict}): {reaction} at {pos} is {why}"
        for what, told in file.execute("SELECT what, told FROM witness_fault"):
            yield {"position moved back": "positions that moved back"}.get(what, what), told
        rows = file.execute("SELECT reaction, pos, why, flow FROM parked WHERE why != 'dead' LIMIT 20").fetchall()
    left = unfinished(facts.ledger, scene.choreography, list(scene.choreography.services))
    if left.work:
        yield "left unfinished", f"{left}: {rows}"


def _owners(facts: Facts, players: list[Player]) -> Iterator[Fault]:
    killed = {name for player in players for name in player.killed}
    last: dict[str, str] = {}
    emitted: dict[int, str] = {event.pos: event.by.partition(".")[0] for event in facts.log if event.by}
    newest: dict[str, int] = {}
    with reading(facts.ledger) as file:
        for service, token, worker, clean in file.execute("SELECT service, token, worker, clean FROM witness_owner"):
            if clean and last.get(service) in killed:
                told = f"{worker} took {service} ({token}) from {last[service]}, which was killed, as stopped cleanly"
                yield "crashes taken for clean stops", told
            last[service] = worker
        for worker, low, high, told in file.execute("SELECT worker, low, high, tokens FROM witness_commit"):
            tokens: dict[str, int] = json.loads(told)
            for service, token in tokens.items():
                if token < newest.get(service, 0):
                    yield "fenced owners that committed", f"{worker}: {service} {token} at {low}"
                newest[service] = max(token, newest.get(service, 0))
            for pos in range(low + 1, high + 1):
                service = emitted.get(pos, "callboard")
                if service != "callboard" and service not in tokens:
                    yield "fenced owners that committed", f"{worker}: {pos} is of {service}, it owns {list(tokens)}"


def _receipts(facts: Facts, scene: Scene) -> Counter[str]:
    """What the edits from outside have added to each stock."""
    added: Counter[str] = Counter()
    for key, row in facts.states[scene.stock.__name__].items():
        if key.startswith("receipt-"):
            added[scene.stocks[int(key.rpartition("-")[2]) % len(scene.stocks)]] += row["free"]
    edits = Counter(event.data["dial"] for event in facts.log if event.type == "Reading")
    for dial, many in edits.items():
        publisher, _, what = dial.rpartition("-")
        if what == "edits":
            kept = sum(key.startswith(f"receipt-{publisher}-") for key in facts.states[scene.stock.__name__])
            if kept != many:
                added["(receipts)"] += kept - many
    return added


def _stock(facts: Facts, scene: Scene, taken: Counter[str]) -> Iterator[Fault]:
    added = _receipts(facts, scene)
    if added["(receipts)"]:
        yield "events without their state, or reverse", f"edits: {added['(receipts)']} more receipts than readings"
    for key in scene.stocks:
        free = facts.states[scene.stock.__name__][key]["free"]
        wanted = scene.first_stock + added[key] - taken[key]
        if free != wanted:
            yield "stock not adding up", f"{key}: {free} free, should be {wanted}"


# the shop


def _shop(facts: Facts, scene: Scene) -> Iterator[Fault]:
    accounts = {key: (charged, voided) for key, charged, voided in facts.asked("SELECT key, charged, voided FROM account")}
    booked = {key: tracking for key, tracking in facts.asked("SELECT key, tracking FROM booking") if tracking}
    taken: Counter[str] = Counter()
    for order, verdict in facts.verdicts.items():
        charged, voided = accounts.get(f"order-{order}", (0, 0))
        succeeded = verdict == "succeeded"
        if charged > 1:
            yield "charged twice", f"{order}: {charged} times"
        if charged > voided and not succeeded:
            yield "charged without a completed order", f"{order}: {verdict}, flow {facts.numbers[order]}"
        if succeeded and charged - voided != 1:
            yield "completed without a charge", f"{order}: charged {charged}, voided {voided}"
        if (f"order-{order}" in booked) != succeeded:
            where = "charged without a completed order" if not succeeded else "completed without a charge"
            yield where, f"{order}: {verdict}, booked {booked.get(f'order-{order}')}"
        if succeeded:
            taken.update({line["sku"]: line["quantity"] for line in facts.of(order, "OrderCreated")[0]["lines"]})
        yield from _order(facts, order, verdict)
    yield from _stock(facts, scene, taken)


def _order(facts: Facts, order: str, verdict: str | None) -> Iterator[Fault]:
    types = facts.types(order)
    if types["OrderCompleted"] + types["OrderCancelled"] > 1:
        yield "two verdicts", f"{order}: {dict(types)}"
    ends = {"succeeded": "OrderCompleted", "failed": "OrderCancelled"}
    if verdict is not None and not types[ends[verdict]]:
        yield "two verdicts", f"{order}: {verdict} without its event: {dict(types)}"
    status = facts.states["Order"].get(order, {"status": "open"})["status"]
    wanted = "complete" if types["OrderCompleted"] else "cancelled" if types["OrderCancelled"] else "open"
    if status != wanted:
        yield "events without their state, or reverse", f"{order}: is {status}, its events say {wanted}"
    if verdict == "failed" and types["ItemsReserved"] and not types["ItemsReleased"]:
        yield "rules of a reaction broken", f"{order}: failed before its items were released"


# the depot


def _depot(facts: Facts, scene: Scene) -> Iterator[Fault]:
    charged: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for key, purpose, many, voided in facts.asked("SELECT key, purpose, charged, voided FROM account"):
        charged[purpose] += many
        kept[purpose] += many - voided
        if not purpose:
            yield "rules of a reaction broken", f"key {key} was voided and never charged"
    for purpose, many in charged.items():
        if many > 1:
            yield "charged twice", f"{purpose}: {many} times"
    taken: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    letters = Counter(row[0] for row in facts.asked("SELECT consignment FROM letter"))
    for key, verdict in facts.verdicts.items():
        placed = facts.of(key, "ConsignmentPlaced")[0]
        succeeded = verdict == "succeeded"
        paid = [kept[f"{key}/{number}"] for number in range(placed["parcels"])]
        if any(paid) and not succeeded:
            yield "charged without a completed order", f"{key}: {verdict}, {paid}, flow {facts.numbers[key]}"
        if succeeded and not all(paid):
            yield "completed without a charge", f"{key}: {paid}, flow {facts.numbers[key]}"
        if letters[key] != int(succeeded):
            yield "rules of a reaction broken", f"{key}: {verdict}, {letters[key]} letters"
        if succeeded:
            taken[placed["bay"]] += placed["parcels"]
        if not facts.types(key)["Abandoned"]:
            counted[placed["bay"]] += placed["parcels"]
        yield from _consignment(facts, key, verdict, placed["parcels"])
    yield from _stock(facts, scene, taken)
    for bay in scene.stocks:
        parcels = facts.states["Tally"].get(bay, {"parcels": 0})["parcels"]
        if parcels != counted[bay]:
            yield "stock not adding up", f"{bay}: {parcels} counted, should be {counted[bay]}"


def _consignment(facts: Facts, key: str, verdict: str | None, parcels: int) -> Iterator[Fault]:
    types, flow = facts.types(key), facts.numbers[key]
    if types["Sealed"] + types["Abandoned"] > 1:
        yield "two verdicts", f"{key}: {dict(types)}"
    ends = {"succeeded": "Sealed", "failed": "Abandoned"}
    if verdict is not None and not types[ends[verdict]]:
        yield "two verdicts", f"{key}: {verdict} without its event: {dict(types)}"
    docket = facts.states["Docket"].get(key, {"end": "open", "chased": 0})
    end = "sealed" if types["Sealed"] else "abandoned" if types["Abandoned"] else "open"
    if docket["end"] != end or docket["chased"] != types["PapersChased"]:
        yield "events without their state, or reverse", f"{key}: {docket}, its events say {end}, {dict(types)}"
    if types["Loaded"] + types["LoadRefused"] > 1 or types["ParcelTaken"] != parcels:
        yield "rules of a reaction broken", f"{key}: gathered twice, or not scattered: {dict(types)}"
    for loaded in facts.of(key, "Loaded"):
        if loaded["numbers"] != list(range(parcels)):
            yield "rules of a reaction broken", f"{key}: gathered {loaded['numbers']} of {parcels}"
    undone = Counter(event["number"] for kind in ("FeeReturned", "FeesSettled") for event in facts.of(key, kind))
    cleared = Counter(event["number"] for event in facts.of(key, "ParcelCleared"))
    for number, many in [*undone.items(), *cleared.items()]:
        if many > 1:
            yield "rules of a reaction broken", f"{key}: {number} was undone {many} times, flow {flow}"
    if verdict == "failed" and not undone:
        yield "rules of a reaction broken", f"{key}: failed before its fees were settled"
    yield from _timer(facts.by_flow[flow], key)


def _timer(events: list[Logged], key: str) -> Iterator[Fault]:
    fired = [event.pos for event in events if event.type == "callboard.Timer[desk.chase]"]
    papers = [event.pos for event in events if event.type in ("PapersCleared", "PapersRefused")]
    chased = [event.pos for event in events if event.type == "PapersChased"]
    if len(fired) > 1 or len(chased) > 1:
        yield "rules of a reaction broken", f"{key}: the timer fired {len(fired)} times"
    first = bool(fired) and not any(pos < fired[0] for pos in papers)
    if bool(chased) != first:
        yield "rules of a reaction broken", f"{key}: timer at {fired}, papers at {papers}, chased at {chased}"
