"""The invariants, judged on an Outcome alone. No answer means that every promise held."""

from collections import Counter
from collections.abc import Iterator, Sequence

from .plan import Plan
from .shop import ENDS, Event
from .tables import FlowRow
from .world import Outcome


def judge(plan: Plan, outcome: Outcome) -> tuple[str, ...]:
    """Tell every invariant that is broken, in words."""
    if not outcome.quiet:
        return ("never quiet",)
    return (*_effects(outcome), *_lines(outcome), *_shelves(plan, outcome), *_flows(plan, outcome))


def _effects(outcome: Outcome) -> Iterator[str]:
    """Each (event, reaction) takes effect at most once: what it emits has a derived id."""
    ids = Counter((event.id, event.type) for event in outcome.log)
    yield from (f"twice: {type_} {id_}" for (id_, type_), count in ids.items() if count > 1)


def _lines(outcome: Outcome) -> Iterator[str]:
    """Each line is handled in log order."""
    last: dict[tuple[str, str], int] = {}
    for event in outcome.log:
        if event.by:
            if last.get((event.by, event.key), 0) > event.cause:
                yield f"out of order: {event.by} {event.id}"
            last[event.by, event.key] = event.cause


def _shelves(plan: Plan, outcome: Outcome) -> Iterator[str]:
    """Fold the log: refusals and reservations are right where they stand, and the rows are what the fold gives."""
    free, filled = dict(plan.stock), dict.fromkeys(plan.stock, 0)
    for event in outcome.log:
        sku = plan.orders[event.flow].sku if event.flow else event.key
        if event.type == "InventoryReservationFailed" and free[sku] >= plan.orders[event.flow].quantity:
            yield f"refused with stock: {event.id}"
        if event.type == "ShelfFilled":
            filled[sku] = outcome.log[event.cause - 1].number
        if event.type in ("ItemsReserved", "ItemsReleased", "ShelfFilled"):
            free[sku] += event.number
        if free[sku] < 0:
            yield f"sold what was not there: {event.id}"
    for sku, shelf in outcome.shelves.items():
        if (shelf.free, shelf.filled) != (free[sku], filled[sku]):
            yield f"shelf {sku}: {shelf.free}/{shelf.filled}, the log says {free[sku]}/{filled[sku]}"


def _flows(plan: Plan, outcome: Outcome) -> Iterator[str]:
    """Each flow has one verdict or a reason, and the outside world agrees with it."""
    for flow in plan.orders:
        row, events = outcome.verdicts.get(flow), [event for event in outcome.log if event.flow == flow]
        if row is None:
            yield f"{flow}: never began"
            continue
        yield from (f"{flow}: {what}" for what in (*_ends(flow, row, events, outcome), *_timers(row, events)))
        stock = -sum(event.number for event in events if event.type in ("ItemsReserved", "ItemsReleased"))
        left = {port: outcome.outside.held(port, flow) for port in ("bank", "carrier", "club")} | {"stock": stock}
        if left["bank"] > 1 or left["carrier"] > 1:
            yield f"{flow}: taken twice"
        if row.verdict == "succeeded" and (left["bank"], left["carrier"], stock) != (1, 1, plan.orders[flow].quantity):
            yield f"{flow}: succeeded with {left}"
        known = sum({"PointsEarned": 1, "PointsTaken": -1}.get(event.type, 0) for event in events)
        if row.verdict and left["club"] != known and not {(flow, "earn"), (flow, "unearn")} & outcome.dead:
            yield f"{flow}: points {left['club']}, the log knows of {known}"
        if row.verdict == "failed":
            yield from (f"{flow}: failed, {what} left" for what in _leaks(flow, row, outcome, left))


def _ends(flow: str, row: FlowRow, events: Sequence[Event], outcome: Outcome) -> Iterator[str]:
    ends = [event.type for event in events if event.type in ENDS]
    if len(ends) > 1:
        yield f"{len(ends)} ends"
    if row.verdict and outcome.status.get(flow) != ends[0]:
        yield "status and end differ"
    if row.verdict == "failed" and row.early:
        yield "verdict before a compensation that was asked"
    if not row.verdict and not outcome.stuck[flow]:
        yield "lost, no verdict and no reason"
    died = any(event.about == "complete" for event in events)
    if died and not row.verdict and (flow, "complete_by_hand") not in outcome.dead:
        yield "nobody may end it"


def _timers(row: FlowRow, events: Sequence[Event]) -> Iterator[str]:
    late = [event.seq for event in events if event.type == "FlowTimedOut"]
    end = next(
        (event.seq for event in events if event.type == "OrderCompleted"), row.at
    )  # a failed verdict comes after its end
    if len(late) > 1 or (row.verdict and any(seq > end for seq in late)):
        yield "timed out after its end, or twice"
    paid = min((event.seq for event in events if event.type in ("PaymentProcessed", "PaymentFailed")), default=0)
    if any(event.type == "PaymentLate" and 0 < paid < event.cause for event in events):
        yield "late although it was paid first"


def _leaks(flow: str, row: FlowRow, outcome: Outcome, left: dict[str, int]) -> Iterator[str]:
    """What is left of a failed flow must be named, and only the dead letter of a compensation excuses it."""
    pairs = {"bank": ("charge", "refund"), "club": ("earn", "unearn"), "stock": ("reserve", "release")}
    for what, count in left.items():
        reaction, compensation = pairs.get(what, ("", ""))
        if count and (reaction not in row.leaked or (flow, compensation) not in outcome.dead):
            yield f"{what} {count}"
