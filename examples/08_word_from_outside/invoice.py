"""Events that the world says (`incoming=`), and a durable timer: remind after 14 days, unless it was paid before.

An event from outside joins the flow whose key it carries; with no such flow it is refused, never made a new one
silently.
"""

import asyncio
from datetime import timedelta

from callboard import Choreography, Flow, FlowHasEnded, FlowIsOpen, ManualClock, NoSuchFlow, Service, event


@event
class InvoiceSent:
    invoice: str
    euros: int


@event
class InvoicePaid:
    invoice: str


@event
class ReminderSent:
    invoice: str
    number: int


@event
class InvoiceSettled:
    invoice: str
    reminded: bool


office = Service("office")


@office.reaction(wait=timedelta(days=14), unless=InvoicePaid)
def remind(sent: InvoiceSent) -> ReminderSent:
    return ReminderSent(invoice=sent.invoice, number=1)


@office.reaction
def settle(paid: InvoicePaid, reminder: ReminderSent | None) -> InvoiceSettled:  # the reminder, if there was one
    return InvoiceSettled(invoice=paid.invoice, reminded=reminder is not None)


invoices = Choreography(
    "invoices",
    office,
    incoming=InvoicePaid,
    flows=[Flow("invoice", key="invoice", starts=InvoiceSent, succeeds=InvoiceSettled, timeout=timedelta(days=60))],
)


async def main() -> None:
    clock, soon = ManualClock(), timedelta(seconds=5)
    async with invoices.open("sqlite:///:memory:", clock=clock) as board:
        prompt = await board.publish(InvoiceSent(invoice="2024-1", euros=30))
        slow = await board.publish(InvoiceSent(invoice="2024-2", euros=70))

        await board.publish(InvoicePaid(invoice="2024-1"))
        print(prompt.key, (await prompt.completion(timeout=soon)).event(InvoiceSettled))

        clock.advance(timedelta(days=14))
        print(slow.key, await slow.event(ReminderSent, timeout=soon))
        await board.publish(InvoicePaid(invoice="2024-2"))
        print(slow.key, (await slow.completion(timeout=soon)).event(InvoiceSettled))

        again = await board.publish(InvoiceSent(invoice="2024-2", euros=70))  # the same event: the same flow
        print("published again, began a flow:", again.is_new)
        for wrong in (InvoiceSent(invoice="2024-2", euros=99), InvoicePaid(invoice="2023-9")):
            try:
                await board.publish(wrong)
            except (FlowIsOpen, FlowHasEnded, NoSuchFlow) as refused:
                print(f"{type(refused).__name__}: {refused}")


if __name__ == "__main__":
    asyncio.run(main())
