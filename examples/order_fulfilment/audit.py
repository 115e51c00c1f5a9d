"""What became of the orders, read from the files themselves: the shop's database, the bank's and the carrier's.

Nothing here asks callboard. The log says what was said, the shelves what is left, the bank whose money it holds, the
carrier what is on the road; the publisher knows which orders were accepted. They must all tell the same story.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from shop import OrderCreated, shop

LOG = "FROM log JOIN name ON name.number = log.type"  # the log, with the names of its types
ENDS = {"OrderCompleted": "complete", "OrderCancelled": "cancelled"}
HEARD = {path: {kind.name for kind in contract.hears} for path, contract in shop.contracts.items()}


@dataclass
class Report:
    """Three counters that must read 0, and what else there is to say."""

    charged_twice: int = 0
    lost_orders: int = 0
    not_given_back: int = 0
    ways: Counter[str] = field(default_factory=Counter[str])
    retries: int = 0
    dead_letters: int = 0
    repeated_calls: int = 0
    trouble: list[str] = field(default_factory=list[str])

    @property
    def clean(self) -> bool:
        return not (self.charged_twice or self.lost_orders or self.not_given_back)


@dataclass
class Told:
    """What the log holds of one order."""

    starts: int = 0
    ends: list[str] = field(default_factory=list[str])
    types: set[str] = field(default_factory=set[str])


def rows(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What the file holds; nothing if it is not there yet."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(query, values).fetchall()


def audit(folder: Path, accepted: Sequence[OrderCreated], stock: Mapping[str, int]) -> Report:
    """Compare what was accepted with what the files say. `stock` stood on the shelves before."""
    report, told = Report(), _told(folder / "shop.db")
    for order in accepted:
        report.ways[_way(told.get(order.order_id, Told()).types)] += 1
    _compare_orders(report, folder, accepted, told)
    _compare_shelves(report, folder / "shop.db", accepted, stock, told)
    names = f"SELECT count(*) {LOG} WHERE name.name LIKE 'callboard.ReactionFailed[%'"
    report.dead_letters = rows(folder / "shop.db", names)[0][0]
    failed = rows(folder / "shop.db", "SELECT count(*) FROM note WHERE what = 'failed'")[0][0]
    report.retries = failed - report.dead_letters
    for keeper in ("bank.db", "carrier.db"):
        repeated = "SELECT count(*) FROM call WHERE came_to LIKE '% before' AND what IN ('charge', 'book')"
        report.repeated_calls += rows(folder / keeper, repeated)[0][0]
    return report


def _told(ledger: Path) -> dict[str, Told]:
    """Order by order, what was said in its flow."""
    told: dict[str, Told] = {}
    flows: dict[int, Told] = {}
    log = f"SELECT log.pos, log.flow, name.name, log.data {LOG} ORDER BY log.pos"
    for pos, flow, kind, written in rows(ledger, log):
        if kind == "OrderCreated":
            flows[pos] = told.setdefault(json.loads(written)["order_id"], Told())
            flows[pos].starts += 1
        flows[flow].types.add(kind)
        if kind in ENDS:
            flows[flow].ends.append(kind)
    return told


def _way(types: set[str]) -> str:
    late = "callboard.FlowTimedOut[OrderCreated]" in types
    if "OrderCompleted" in types:
        return "completed after the deadline" if late else "completed"
    reasons = {
        "InventoryReservationFailed": "cancelled, out of stock",
        "PaymentFailed": "cancelled, card declined",
        "callboard.ReactionFailed[ItemsReserved]": "cancelled, the bank never answered",
        "ShippingFailed": "cancelled, the deadline passed" if late else "cancelled, no carrier goes there",
    }
    return next((way for kind, way in reasons.items() if kind in types), "without an end")


def _compare_orders(report: Report, folder: Path, accepted: Iterable[OrderCreated], told: Mapping[str, Told]) -> None:
    """Every order has one end, and bank, carrier and the order's own state agree with it."""
    statuses = {
        key: json.loads(written)["status"]
        for key, written in rows(folder / "shop.db", "SELECT key, data FROM state_Order")
    }
    charges = "SELECT card, count(*) FILTER (WHERE cents > 0), sum(cents) FROM movement GROUP BY card"
    money = {card: (count, cents) for card, count, cents in rows(folder / "bank.db", charges)}
    parcels = {key for (key,) in rows(folder / "carrier.db", "SELECT key FROM booking WHERE state = 'booked'")}
    for order in accepted:
        found = told.get(order.order_id, Told())
        count, cents = money.get(order.card, (0, 0))
        complete = found.ends == ["OrderCompleted"]
        status = ENDS[found.ends[0]] if found.ends else None
        agreed = (f"order-{order.order_id}" in parcels) is complete and statuses.get(order.order_id) == status
        if found.starts != 1 or len(found.ends) != 1 or not agreed or (complete and cents <= 0):
            report.lost_orders += 1
            report.trouble.append(f"{order.order_id} is lost: {found}, status {statuses.get(order.order_id)}")
        if count > 1 or cents > order.total * 100:
            report.charged_twice += 1
            report.trouble.append(f"{order.order_id} was charged {count} times")
        if not complete and cents:
            report.not_given_back += 1
            report.trouble.append(f"{order.order_id} was cancelled, and the bank still holds {cents} cents of it")


def _compare_shelves(
    report: Report,
    ledger: Path,
    accepted: Iterable[OrderCreated],
    stock: Mapping[str, int],
    told: Mapping[str, Told],
) -> None:
    """What is gone from the shelves is what was sold, piece by piece."""
    sold: Counter[str] = Counter()
    for order in accepted:
        if told.get(order.order_id, Told()).ends == ["OrderCompleted"]:
            for line in order.lines:
                sold[line.sku] += line.quantity
    free = {key: json.loads(written)["free"] for key, written in rows(ledger, "SELECT key, data FROM state_Shelf")}
    for sku, before in stock.items():
        missing = before - sold[sku] - free.get(sku, 0)
        report.not_given_back += abs(missing)
        if missing:
            report.trouble.append(f"{sku}: {before} before, {sold[sku]} sold, {free.get(sku, 0)} left")


def undecided(ledger: Path) -> tuple[int, int, int, int]:
    """How many flows run, succeeded and failed by now, and how many events there are."""
    flows = dict(rows(ledger, "SELECT coalesce(verdict, 'open'), count(*) FROM flow GROUP BY 1"))
    events = rows(ledger, "SELECT head FROM ledger")
    return flows.get("open", 0), flows.get("succeeded", 0), flows.get("failed", 0), events[0][0] if events else 0


def handled(ledger: Path, services: Iterable[str]) -> int:
    """How far these services have come in the log, all their reactions together: it grows when they work."""
    places = dict(rows(ledger, "SELECT reaction, pos FROM reaction"))
    return sum(places.get(path, 0) for path in HEARD if path.partition(".")[0] in set(services))


def unfinished(ledger: Path, services: Iterable[str]) -> int:
    """How many deliveries these services have before them or in hand; retries and timers to come do not count."""
    found, wanted = 0, set(services)
    for path, pos, opened in rows(ledger, "SELECT reaction, pos, open FROM reaction"):
        if path.partition(".")[0] not in wanted or path not in HEARD:
            continue
        marks = ",".join("?" * len(HEARD[path]))
        ahead = f"SELECT count(*) {LOG} WHERE log.pos > ? AND name.name IN ({marks})"
        found += rows(ledger, ahead, pos, *HEARD[path])[0][0]
        found += len(msgspec.msgpack.decode(opened)) if opened else 0
        found += rows(ledger, "SELECT count(*) FROM parked WHERE reaction = ? AND why = 'running'", path)[0][0]
    return found
