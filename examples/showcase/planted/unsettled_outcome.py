"""An outcome that nobody settles: the void goes by what is known, and nobody knows whether the charge took place."""

from typing import Protocol

from callboard import Choreography, Context, Flow, ReactionFailed, Retry, Service, event, failure, port


@event
class TicketWanted:
    ticket: str


@event
class TicketPaid:
    ticket: str


@failure
class CardDeclined:
    ticket: str


@event
class TicketRefused:
    ticket: str


@port
class Bank(Protocol):
    async def charge(self, ticket: str, *, key: str) -> bool: ...
    async def void(self, *, key: str) -> None: ...


payments = Service("payments")


@payments.reaction(retry=Retry(max_attempts=2))
async def charge(wanted: TicketWanted, bank: Bank, ctx: Context) -> TicketPaid | CardDeclined:
    if await bank.charge(wanted.ticket, key=ctx.idempotency_key()):
        return TicketPaid(ticket=wanted.ticket)
    return CardDeclined(ticket=wanted.ticket)


@payments.reaction(compensates=charge)
async def void(
    failed: ReactionFailed[TicketWanted], paid: TicketPaid | None, bank: Bank, ctx: Context
) -> TicketRefused:
    if paid is not None:
        await bank.void(key=ctx.key_of(charge))
    return TicketRefused(ticket=failed.event.ticket)


planted = Choreography(
    "unsettled_outcome",
    payments,
    flows=[
        Flow("ticket", key="ticket", starts=TicketWanted, succeeds=TicketPaid, fails=TicketRefused | CardDeclined),
    ],
)
