"""Missing deduplication: the key is passed, and the adapter that books the money does not look at it."""

from typing import Protocol

from callboard import Choreography, Context, Flow, Service, event, port
from callboard.simulation.world import World


@event
class InvoiceDue:
    invoice: str
    cents: int


@event
class InvoicePaid:
    invoice: str


@port
class Till(Protocol):
    async def collect(self, cents: int, *, key: str) -> None: ...


class Drawer(Till):
    def __init__(self) -> None:
        self.collected: list[int] = []

    async def collect(self, cents: int, *, key: str) -> None:
        self.collected.append(cents)


billing = Service("billing")


@billing.reaction(pivot=True)
async def collect(due: InvoiceDue, till: Till, ctx: Context) -> InvoicePaid:
    await till.collect(due.cents, key=ctx.idempotency_key())
    return InvoicePaid(invoice=due.invoice)


planted = Choreography(
    "missing_deduplication",
    billing,
    flows=[Flow("invoice", key="invoice", starts=InvoiceDue, succeeds=InvoicePaid)],
)


@planted.invariant
def every_invoice_is_collected_once(world: World) -> None:
    due = sum(each.cents for each in world.events(InvoiceDue))
    collected = sum(sum(vars(drawer)["collected"]) for drawer in world.keepers)
    assert collected <= due, f"{collected} cents in the drawer, {due} were due"


def keepers() -> list[object]:
    return [Drawer()]
