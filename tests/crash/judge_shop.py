"""What must be true of every order of the shop."""

from collections import Counter
from collections.abc import Iterator

from .facts import Facts, Fault, stock_faults
from .scenes import Scene


def shop_faults(facts: Facts, scene: Scene) -> Iterator[Fault]:
    accounts = {row[0]: (row[1], row[2]) for row in facts.asked("SELECT key, charged, voided FROM account")}
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
    yield from stock_faults(facts, scene, taken)


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
