"""What must be true of every consignment of the depot."""

from collections import Counter
from collections.abc import Iterator

from .facts import Facts, Fault, Logged, stock_faults
from .scenes import Scene


def depot_faults(facts: Facts, scene: Scene) -> Iterator[Fault]:
    kept: Counter[str] = Counter()
    yield from _fees(facts, kept)
    taken: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    letters = Counter(row[0] for row in facts.asked("SELECT consignment FROM letter"))
    for key, verdict in facts.verdicts.items():
        placed = facts.of(key, "ConsignmentPlaced")[0]
        succeeded = verdict == "succeeded"
        yield from _paid(facts, key, [kept[f"{key}/{number}"] for number in range(placed["parcels"])])
        if letters[key] != int(succeeded):
            yield "rules of a reaction broken", f"{key}: {verdict}, {letters[key]} letters"
        if succeeded:
            taken[placed["bay"]] += placed["parcels"]
        if not facts.types(key)["Abandoned"]:
            counted[placed["bay"]] += placed["parcels"]
        yield from _consignment(facts, key, verdict, placed["parcels"])
    yield from stock_faults(facts, scene, taken)
    for bay in scene.stocks:
        parcels = facts.states["Tally"].get(bay, {"parcels": 0})["parcels"]
        if parcels != counted[bay]:
            yield "stock not adding up", f"{bay}: {parcels} counted, should be {counted[bay]}"


def _fees(facts: Facts, kept: Counter[str]) -> Iterator[Fault]:
    charged: Counter[str] = Counter()
    for key, purpose, many, voided in facts.asked("SELECT key, purpose, charged, voided FROM account"):
        charged[purpose] += many
        kept[purpose] += many - voided
        if not purpose:
            yield "rules of a reaction broken", f"key {key} was voided and never charged"
    for purpose, many in charged.items():
        if many > 1:
            yield "charged twice", f"{purpose}: {many} times"


def _paid(facts: Facts, key: str, paid: list[int]) -> Iterator[Fault]:
    verdict, flow = facts.verdicts[key], facts.numbers[key]
    if any(paid) and verdict != "succeeded":
        yield "charged without a completed order", f"{key}: {verdict}, {paid}, flow {flow}"
    if not all(paid) and verdict == "succeeded":
        yield "completed without a charge", f"{key}: {paid}, flow {flow}"


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
    settled = [event for kind in ("FeeReturned", "FeesSettled") for event in facts.of(key, kind)]
    undone = Counter(event["number"] for event in settled if event.get("undone", True))
    cleared = Counter(event["number"] for event in facts.of(key, "ParcelCleared"))
    for number, many in [*undone.items(), *cleared.items()]:
        if many > 1:
            yield "rules of a reaction broken", f"{key}: {number} was undone {many} times, flow {flow}"
    if verdict == "failed" and not settled:
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
