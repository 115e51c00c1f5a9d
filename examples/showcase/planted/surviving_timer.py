"""A timer that survives what it waits for: nothing says unless=, so whoever has paid is reminded."""

from datetime import timedelta
from typing import Protocol

from callboard import Choreography, Flow, Service, event, port
from callboard.simulation.world import World


@event
class InvoiceSent:
    invoice: str


@event
class InvoicePaid:
    invoice: str


@event
class ReceiptPrinted:
    invoice: str


@event
class Reminded:
    invoice: str


@port
class Printer(Protocol):
    async def print_receipt(self, invoice: str) -> None: ...


bank, billing, counter = Service("bank"), Service("billing"), Service("counter")


@bank.reaction
def pay(sent: InvoiceSent) -> InvoicePaid:
    return InvoicePaid(invoice=sent.invoice)


@billing.reaction(wait=timedelta(minutes=5))
def remind(sent: InvoiceSent) -> Reminded:
    return Reminded(invoice=sent.invoice)


@counter.reaction(keeps="paper")
async def print_receipt(paid: InvoicePaid, printer: Printer) -> ReceiptPrinted:
    await printer.print_receipt(paid.invoice)
    return ReceiptPrinted(invoice=paid.invoice)


planted = Choreography(
    "surviving_timer",
    bank,
    billing,
    counter,
    outgoing=Reminded,
    flows=[Flow("invoice", key="invoice", starts=InvoiceSent, succeeds=ReceiptPrinted)],
)


@planted.invariant
def nobody_who_has_paid_is_reminded(world: World) -> None:
    paid: set[str] = set()
    for _, entry in world.log:
        name = world.flow_name(entry.id)
        assert entry.type != "Reminded" or name not in paid, f"{name} had paid"
        if entry.type == "InvoicePaid":
            paid.add(name)
