"""An outside call whose outcome nobody knows: the bank took the money, and every answer was lost on the way.

When the attempts are used up, the event is a dead letter and `ReactionFailed` says so in the same commit. The
compensation takes `PaymentTaken | None`: None means "not that we know of", and it settles the matter under the key
that the charge used.
"""

import asyncio
from datetime import timedelta
from typing import Protocol

from callboard import Choreography, Context, Flow, ReactionFailed, Retry, Service, event, failure, port


@event
class TicketWanted:
    ticket_id: str
    card: str


@event
class PaymentTaken:
    ticket_id: str
    reference: str


@failure
class PaymentDeclined:
    ticket_id: str


@event
class PaymentReturned:
    ticket_id: str
    was_known: bool


@event
class TicketRefused:
    ticket_id: str


@port
class Bank(Protocol):
    async def charge(self, card: str, *, key: str) -> str | None: ...
    async def void(self, *, key: str) -> None: ...


payments, tickets = Service("payments"), Service("tickets")


@payments.reaction(retry=Retry(max_attempts=3, first_wait=timedelta(milliseconds=20)))
async def charge(wanted: TicketWanted, bank: Bank, ctx: Context) -> PaymentTaken | PaymentDeclined:
    reference = await bank.charge(wanted.card, key=ctx.idempotency_key())
    if reference is None:
        return PaymentDeclined(ticket_id=wanted.ticket_id)
    return PaymentTaken(ticket_id=wanted.ticket_id, reference=reference)


@payments.reaction(compensates=charge)
async def void(
    failed: ReactionFailed[TicketWanted], taken: PaymentTaken | None, bank: Bank, ctx: Context
) -> PaymentReturned:
    await bank.void(key=ctx.key_of(charge))
    return PaymentReturned(ticket_id=failed.event.ticket_id, was_known=taken is not None)


@tickets.reaction(once="end")
def refuse(why: PaymentDeclined | PaymentReturned) -> TicketRefused:
    return TicketRefused(ticket_id=why.ticket_id)


box_office = Choreography(
    "box office",
    tickets,
    payments,
    flows=[Flow("ticket", key="ticket_id", starts=TicketWanted, succeeds=PaymentTaken, fails=TicketRefused)],
)


class BankInTheFog(Bank):
    """Takes money as asked, once for each key; its answers are lost for cards that end in "lost"."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}

    async def charge(self, card: str, *, key: str) -> str | None:
        self.taken[key] = card
        print(f"   bank: took the money of {card!r}, as asked")
        if card.endswith("lost"):
            raise ConnectionError("no answer")
        return f"ref-{len(self.taken)}"

    async def void(self, *, key: str) -> None:
        print(f"   bank: gave it back to {self.taken.pop(key)!r}")


async def main() -> None:
    bank = BankInTheFog()
    async with box_office.open("sqlite:///:memory:", ports=[bank]) as board:
        for ticket_id, card in (("t-1", "a card"), ("t-2", "a card, answers lost")):
            flow = await board.publish(TicketWanted(ticket_id=ticket_id, card=card))
            done = await flow.completion(timeout=timedelta(seconds=5))
            print(f"{ticket_id} {done.verdict}:", " > ".join(type(each).__name__ for each in done.events))
    print("the bank still has the money of", list(bank.taken.values()))


if __name__ == "__main__":
    asyncio.run(main())
