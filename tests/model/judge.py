"""The invariants, judged on an Outcome alone. An empty answer means that every promise held."""
from collections import Counter
from collections.abc import Iterator

from .plan import Plan
from .world import ENDS, Outcome


def judge(plan: Plan, outcome: Outcome) -> tuple[str, ...]:
    """Every invariant that is broken, in words."""
    if not outcome.quiet:
        return ("never quiet",)
    return (*_effects(outcome), *_lines(outcome), *_shelves(plan, outcome), *_flows(plan, outcome))


def _effects(outcome: Outcome) -> Iterator[str]:
    ids = Counter((event.id, event.type) for event in outcome.log)
    yield from (f"twice: {type_} {id_}" for (id_, type_), count in ids.items() if count > 1)


def _lines(outcome: Outcome) -> Iterator[str]:
    last: dict[tuple[str, str], int] = {}
    for event in outcome.log:
        if event.by:
            if last.get((event.by, event.key), 0) > event.cause:
                yield f"out of order: {event.by} {event.id}"
            last[event.by, event.key] = event.cause


def _shelves(plan: Plan, outcome: Outcome) -> Iterator[str]:
    """Fold the log: each refusal and each reservation must be right where it stands, and the rows what the fold gives."""
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
            yield f"shelf {sku} is {shelf.free}/{shelf.filled}, the log says {free[sku]}/{filled[sku]}"


def _flows(plan: Plan, outcome: Outcome) -> Iterator[str]:
    for flow, order in plan.orders.items():
        row, events = outcome.verdicts.get(flow), [event for event in outcome.log if event.flow == flow]
        if row is None:
            yield f"{flow}: never began"
            continue
        ends = [event for event in events if event.type in ENDS]
        if len(ends) > 1:
            yield f"{flow}: {len(ends)} ends"
        if not row.verdict and not outcome.stuck[flow]:
            yield f"{flow}: lost, no verdict and no reason"
        if row.verdict and outcome.status.get(flow) != ends[0].type:
            yield f"{flow}: status is not {ends[0].type}"
        if row.verdict == "failed" and row.asked:
            yield f"{flow}: verdict before a compensation that was asked"
        yield from _timers(flow, outcome)
        stock = -sum(event.number for event in events if event.type in ("ItemsReserved", "ItemsReleased"))
        held = {port: outcome.outside.held(port, flow) for port in ("bank", "carrier", "club")}
        if held["bank"] > 1 or held["carrier"] > 1:
            yield f"{flow}: taken twice"
        if row.verdict == "succeeded" and (held["bank"], held["carrier"], stock) != (1, 1, order.quantity):
            yield f"{flow}: succeeded with {held}, stock {stock}"
        if row.verdict == "failed":
            yield from _leaks(flow, outcome, held | {"stock": stock})
        by_hand = [event for event in events if event.type == "ReactionFailed[OrderShipped]"]
        if by_hand and not row.verdict and not any("complete_by_hand is dead" in reason for reason in outcome.stuck[flow]):
            yield f"{flow}: nobody may end it"


def _timers(flow: str, outcome: Outcome) -> Iterator[str]:
    row = outcome.verdicts[flow]
    late = [event.seq for event in outcome.log if event.flow == flow and event.type == "FlowTimedOut"]
    done = [event.seq for event in outcome.log if event.flow == flow and event.type == "OrderCompleted"]
    if len(late) > 1 or any(seq > end for seq in late for end in done) or (row.verdict and any(seq > row.at for seq in late)):
        yield f"{flow}: timed out after its end, or twice"
    for event in outcome.log:
        if event.flow == flow and event.type == "PaymentLate" and any(
                one.flow == flow and one.type in ("PaymentProcessed", "PaymentFailed") and one.seq < event.cause
                for one in outcome.log):
            yield f"{flow}: late although it was paid first"


def _leaks(flow: str, outcome: Outcome, left: dict[str, int]) -> Iterator[str]:
    """What is left of a failed flow is named, and only the dead letter of a compensation excuses it."""
    pairs = {"bank": ("charge", "refund"), "club": ("earn", "unearn"), "stock": ("reserve", "release")}
    for what, count in left.items():
        reaction, compensation = pairs.get(what, ("", ""))
        if count and (reaction not in outcome.verdicts[flow].leaked or (flow, compensation) not in outcome.dead):
            yield f"{flow}: failed, {what} {count} left"
