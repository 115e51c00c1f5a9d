"""Recorded orders: read from a CSV file, told as events at their moments, and compared with what became of them."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from recorded import (
    OrderPurchased,
    OrderRevoked,
    ParcelDelivered,
    ParcelHandedOver,
    PaymentApproved,
    marketplace,
)

DEADLINE = marketplace.flows["order"].timeout or timedelta.max
REVOKED = ("canceled", "unavailable")


@dataclass(frozen=True)
class Recorded:
    """One order as it was recorded. A moment is None where the record has none."""

    order_id: str
    customer_id: str
    status: str
    purchased: datetime
    approved: datetime | None
    handed_over: datetime | None
    delivered: datetime | None

    @property
    def deadline(self) -> datetime:
        return self.purchased + DEADLINE

    def told(self) -> list[tuple[datetime, Any]]:
        """What is published, and when, in this order.

        Nothing is told before the purchase. A moment that must have been and is missing is told with the next one that
        is recorded, the delivery of a delivered order and the end of a revoked one after all others.
        """
        delivered, handed, approved = self.delivered, self.handed_over, self.approved
        latest = max(moment for moment in (self.purchased, approved, handed, delivered) if moment is not None)
        if self.status == "delivered":
            delivered = delivered or latest
        handed = handed or delivered
        approved = approved or handed
        said: list[tuple[datetime | None, Any]] = [
            (self.purchased, OrderPurchased(order_id=self.order_id, customer_id=self.customer_id)),
            (approved, PaymentApproved(order_id=self.order_id)),
            (handed, ParcelHandedOver(order_id=self.order_id)),
            (delivered, ParcelDelivered(order_id=self.order_id)),
        ]
        if self.status in REVOKED:
            said.append((latest, OrderRevoked(order_id=self.order_id, status=self.status)))
        known = [(max(moment, self.purchased), event) for moment, event in said if moment is not None]
        return sorted(known, key=lambda each: each[0])  # the sort keeps the order of what came at one moment

    @property
    def ending(self) -> str:
        """How the order must end by its record: delivered, revoked or deadline."""
        if self.status == "delivered" or self.delivered is not None:
            return "delivered"
        return "revoked" if self.status in REVOKED and self.handed_over is None else "deadline"

    def exceptions(self) -> Iterator[str]:
        """What is unusual about it."""
        moments = (self.approved, self.handed_over, self.delivered)
        if self.handed_over and self.approved and self.handed_over < self.approved:
            yield "handed over before the approval"
        if self.delivered and self.approved and self.delivered < self.approved:
            yield "delivered before the approval"
        if self.delivered and self.handed_over and self.delivered < self.handed_over:
            yield "delivered before the hand-over"
        if any(moment is not None and moment < self.purchased for moment in moments):
            yield "recorded before the purchase"
        if self.handed_over and self.handed_over > self.deadline:
            yield "handed over after the deadline"
        if self.delivered and self.delivered > self.deadline:
            yield "delivered after the deadline"
        if self.status == "delivered" and None in moments:
            yield "delivered, a moment is missing"
        if self.status in REVOKED and self.handed_over:
            yield f"revoked after the hand-over, {self.ending.replace('deadline', 'lost')}"


WHAT_CAME_OF_IT = {
    "handed over before the approval": "held by a prerequisite until the payment was collected",
    "delivered before the approval": "held until the parcel was dispatched",
    "delivered before the hand-over": "held until the parcel was dispatched",
    "recorded before the purchase": "told right after the purchase",
    "handed over after the deadline": "the deadline asks first: completed, late",
    "delivered after the deadline": "the deadline asks first: completed, late",
    "delivered, a moment is missing": "told with the next moment, or after the last",
    "revoked after the hand-over, delivered": "not called off: completed",
    "revoked after the hand-over, lost": "not called off: ended by the deadline, refunded",
}


def read(path: Path) -> list[Recorded]:
    """The orders of a file with the columns of the Olist data set."""
    with path.open(newline="", encoding="utf-8") as lines:
        return [_recorded(row) for row in csv.DictReader(lines)]


def _recorded(row: dict[str, str]) -> Recorded:
    purchased = _moment(row["order_purchase_timestamp"])
    if purchased is None:
        raise ValueError(f"order {row['order_id']}: a purchase has a moment")
    return Recorded(
        row["order_id"],
        row["customer_id"],
        row["order_status"],
        purchased,
        _moment(row["order_approved_at"]),
        _moment(row["order_delivered_carrier_date"]),
        _moment(row["order_delivered_customer_date"]),
    )


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


def contradiction(order: Recorded, verdict: str | None, types: Sequence[str], takings: int, held: int) -> str | None:
    """Why what became of the order is not what its record says; None if it is. `held`: payments not given back."""
    said = [type(event).__name__ for _, event in order.told()]
    doubled = {kind for kind in types if types.count(kind) > 1}
    if verdict is None:
        return f"it is lost: {', '.join(types) or 'nothing'} was said, and there is no verdict"
    if doubled or takings > 1:
        return f"it is doubled: {', '.join(sorted(doubled)) or f'{takings} payments'}"
    if [kind for kind in types if kind in said] != said:
        return f"told were {', '.join(said)}; the log has {', '.join(types)}"
    return next(_disagreements(order, verdict, types, held), None)


def _disagreements(order: Recorded, verdict: str, types: Sequence[str], held: int) -> Iterator[str]:
    success = order.ending == "delivered"
    if (verdict == "succeeded") is not success:
        yield f"it is {order.status}, and its flow has {verdict}"
    if held != success:
        yield f"its flow has {verdict}, and the till holds {held} payments of it"
    if "ParcelDispatched" in types and types.index("PaymentCollected") > types.index("ParcelDispatched"):
        yield "its parcel was dispatched before the payment was collected"
    if order.ending == "revoked" and ("ShippingCalledOff" not in types or "OrderOverdue" in types):
        yield "it was revoked, and that is not how it ended"
    if order.ending == "deadline" and "OrderOverdue" not in types:
        yield "it ended before its deadline"
