"""The counters that must read 0, from what lies in the files when everything has come to rest."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from callboard.ledgers.sqlite import SqliteLedger

from .company import Heard, Player
from .facts import Facts, Fault, gather
from .judge_depot import depot_faults
from .judge_shop import shop_faults
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
    "leaks told of flows that gave all back",
    "left unfinished",
    "fenced owners that committed",
    "positions that moved back",
    "crashes taken for clean stops",
    "wrong answers to publishers",
    "services that nobody took over",
    "workers that broke down",
    "ledger verify faults",
)


async def judge(folder: Path, scene: Scene, heard: Heard, players: list[Player]) -> dict[str, list[str]]:
    """Every counter with what it counts, in words."""
    facts = gather(folder, scene)
    found: dict[str, list[str]] = {counter: [] for counter in COUNTERS}
    plays = {"checkout": shop_faults, "consignment": depot_faults}
    sources: list[Iterator[Fault]] = [
        _orders(facts, heard), _leaks(facts), _events(facts), _lines(facts, heard, players), _rest(facts, scene),
        _owners(facts, players), plays[scene.flow](facts, scene),
    ]  # fmt: skip
    for faults in sources:
        for counter, told in faults:
            found[counter].append(told)
    found["workers that broke down"] += heard.broken
    found["services that nobody took over"] += heard.orphans
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


def _leaks(facts: Facts) -> Iterator[Fault]:
    """Nothing leaks here: every compensation is asked until it is done."""
    with reading(facts.ledger) as file:
        dead = {row[0] for row in file.execute("SELECT flow FROM parked WHERE why = 'dead'")}
        for key, number, leaked in file.execute("SELECT key, number, leaked FROM flow WHERE leaked IS NOT NULL"):
            if number not in dead:
                yield "leaks told of flows that gave all back", f"{key}: {leaked}, flow {number}"


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


def _numbers(facts: Facts, kind: str) -> dict[str, list[int]]:
    """The numbers of each dial, as the events of a type say them."""
    found: dict[str, list[int]] = defaultdict(list)
    for event in facts.log:
        if event.type == kind:
            found[event.data["dial"]].append(event.data["number"])
    return found


def _lines(facts: Facts, heard: Heard, players: list[Player]) -> Iterator[Fault]:
    readings, recorded = _numbers(facts, "Reading"), _numbers(facts, "Recorded")
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
    yield from _shown(facts, players)


def _shown(facts: Facts, players: list[Player]) -> Iterator[Fault]:
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
        yield from file.execute("SELECT what, told FROM witness_fault").fetchall()
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
