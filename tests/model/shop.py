"""The order choreography of the model, and the outside world that it pays, ships and gives points through."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import NamedTuple

from .plan import Plan


class Event(NamedTuple):
    """One row of the log."""

    seq: int
    id: str  # a path: the input from outside, then the reactions that led here
    type: str
    key: str  # of the line: the flow, or the sku of what belongs to no flow
    flow: str
    by: str = ""
    cause: int = 0
    about: str = ""  # of ReactionFailed: the reaction that failed
    number: int = 0  # of a restock: its place on the sku; of an event that moved stock: by how much
    time: int = 0


@dataclass(slots=True)
class Shelf:
    """The contended row. Never changed in place once it is in the ledger."""

    free: int
    filled: int = 0  # the last restock that was put on it
    version: int = 0


@dataclass(slots=True, eq=False)
class Call:
    """One outside call. It outlives the process that made it."""

    port: str
    op: str  # take | void | close | pause
    key: str
    answer: str | None = None
    handled: bool = False
    lost: bool = False


@dataclass(slots=True)
class Given:
    """What a reaction's body gets."""

    event: Event
    quantity: int
    key: str
    effect: Event | None
    shelf: Shelf
    vouched: bool  # the ledger vouches (only a saboteur does) that nothing happened outside


Emitted = tuple[str, ...]
Steps = Generator[Call, str | None, Emitted]


def reserve(given: Given) -> Emitted:
    """Take from the shelf."""
    if given.shelf.free < given.quantity:
        return ("InventoryReservationFailed",)
    given.shelf.free -= given.quantity
    return ("ItemsReserved",)


def release(given: Given) -> Emitted:
    """Put back what was taken."""
    given.shelf.free += given.quantity if given.effect else 0
    return ("ItemsReleased",)


def restock(given: Given) -> Emitted:
    """Put one more on the shelf, and note which restock it was."""
    given.shelf.free += 1
    given.shelf.filled = given.event.number
    return ("ShelfFilled",)


def charge(given: Given) -> Steps:
    """Take the money."""
    paid = yield Call("bank", "take", given.key)
    return ("PaymentProcessed",) if paid else ("PaymentFailed",)


def refund(given: Given) -> Steps:
    """Give it back, also when nobody knows whether it was taken."""
    if not given.vouched:
        yield Call("bank", "void", given.key)
    return ("PaymentRefunded",)


def expire(_: Given) -> Emitted:
    """Say that the payment takes too long."""
    return ("PaymentLate",)


def ship(given: Given) -> Steps:
    """Book the parcel: the pivot."""
    tracking = yield Call("carrier", "take", given.key)
    return ("OrderShipped",) if tracking else ("ShippingFailed",)


def call_off(given: Given) -> Steps:
    """Find out whether it is on the road, and see that it does not leave any more."""
    if given.effect:
        return ()
    tracking = None if given.vouched else (yield Call("carrier", "close", given.key))
    return ("OrderShipped",) if tracking else ("ShippingFailed",)


def earn(given: Given) -> Steps:
    """Give points."""
    yield Call("club", "take", given.key)
    return ("PointsEarned",)


def unearn(given: Given) -> Steps:
    """Take points back. It is strict: it wants to know what it takes back."""
    yield Call("club", "void", given.key)
    return ("PointsTaken",)


def complete(_: Given) -> Emitted:
    """End well."""
    return ("OrderCompleted",)


def cancel(_: Given) -> Emitted:
    """End badly."""
    return ("OrderCancelled",)


@dataclass(frozen=True, slots=True)
class Reaction:
    """A reaction's contract, as far as the model needs it."""

    name: str
    body: Callable[[Given], Emitted | Steps]
    hears: tuple[str, ...]
    outside: bool = False
    shelf: bool = False
    compensates: str = ""
    effect: str = ""  # the type that says that the compensated reaction took effect
    strict: bool = False  # a compensation that does not take `E | None`
    once: str = ""
    waits: bool = False
    unless: tuple[str, ...] = ()

    @property
    def timer(self) -> str:
        """The type of its own timer, written to the log when it is due."""
        return f"Timer[{self.name}]"


REACTIONS = {
    reaction.name: reaction
    for reaction in (
        Reaction("reserve", reserve, ("OrderCreated",), shelf=True),
        Reaction(
            "release",
            release,
            ("PaymentFailed", "PaymentRefunded"),
            shelf=True,
            compensates="reserve",
            effect="ItemsReserved",
        ),
        Reaction("restock", restock, ("Restocked",), shelf=True),
        Reaction("charge", charge, ("ItemsReserved",), outside=True),
        Reaction(
            "refund",
            refund,
            ("ShippingFailed", "ReactionFailed[ItemsReserved]"),
            outside=True,
            compensates="charge",
            effect="PaymentProcessed",
        ),
        Reaction(
            "expire",
            expire,
            ("ItemsReserved", "Timer[expire]"),
            waits=True,
            unless=("PaymentProcessed", "PaymentFailed"),
        ),
        Reaction("ship", ship, ("PaymentProcessed",), outside=True),
        Reaction(
            "call_off",
            call_off,
            ("FlowTimedOut", "FlowCancelled", "PaymentLate"),
            outside=True,
            compensates="ship",
            effect="OrderShipped",
        ),
        Reaction("earn", earn, ("PaymentProcessed",), outside=True),
        Reaction(
            "unearn",
            unearn,
            ("PaymentRefunded", "FlowCancelled"),
            outside=True,
            compensates="earn",
            effect="PointsEarned",
            strict=True,
        ),
        Reaction("complete", complete, ("OrderShipped",), once="end"),
        Reaction("complete_by_hand", complete, ("ReactionFailed[OrderShipped]",), once="end"),
        Reaction("cancel", cancel, ("InventoryReservationFailed", "ItemsReleased"), once="end"),
    )
}
COMPENSATION = {reaction.compensates: reaction for reaction in REACTIONS.values() if reaction.compensates}
ONCE = {"end": tuple(name for name, reaction in REACTIONS.items() if reaction.once == "end")}
HEARS: dict[str, tuple[Reaction, ...]] = {
    heard: tuple(one for one in REACTIONS.values() if heard in one.hears)
    for reaction in REACTIONS.values()
    for heard in reaction.hears
}
FAILURES = frozenset({"InventoryReservationFailed", "PaymentFailed", "ShippingFailed"})
ENDS = ("OrderCompleted", "OrderCancelled")


def heard_by(event: Event) -> list[Reaction]:
    """Who hears it. A compensation hears of the failure of the reaction it compensates, and of no other."""
    return [
        reaction
        for reaction in HEARS.get(event.type, ())
        if not event.about or not reaction.compensates or event.about == reaction.compensates
    ]


def flow_of(key: str) -> str:
    """The flow whose call has this key."""
    return key.partition("#")[0]


class Account(NamedTuple):
    """What the outside world knows of one (port, key)."""

    taken: int = 0
    voided: int = 0
    closed: bool = False


@dataclass(slots=True)
class Outside:
    """The bank, the carrier and the club. No crash of ours reaches them."""

    plan: Plan
    pending: list[Call] = field(default_factory=list[Call])
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict[tuple[str, str], Account])
    calls: dict[tuple[str, str, str], int] = field(default_factory=dict[tuple[str, str, str], int])

    def handle(self, call: Call) -> None:
        """Let the call take place, or not, and answer, or not."""
        if call in self.pending:
            self.pending.remove(call)
        count = self.calls[call.port, call.op, call.key] = self.calls.get((call.port, call.op, call.key), 0) + 1
        fault = "" if call.op == "pause" else self.plan.fault(call.port, call.op, flow_of(call.key), count)
        if fault != "refused":
            call.answer = self.answer(call.port, call.op, call.key)
        call.handled, call.lost = True, bool(fault)

    def answer(self, port: str, op: str, key: str) -> str | None:
        """Keep one key to one effect."""
        account = self.accounts.get((port, key), Account())
        if op == "take" and not account.taken and not account.closed and not self.plan.declines(port, flow_of(key)):
            account = account._replace(taken=1)
        elif op == "void":
            account = account._replace(voided=account.taken, closed=self.plan.closing)
        elif op == "close":
            account = account._replace(closed=self.plan.closing)
        self.accounts[port, key] = account
        return key if account.taken else None

    def held(self, port: str, flow: str) -> int:
        """How much of the flow's money, parcels or points is out there, over all its keys."""
        return sum(
            account.taken - account.voided
            for (name, key), account in self.accounts.items()
            if name == port and flow_of(key) == flow
        )
