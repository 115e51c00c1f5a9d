"""SQL of your own, on the ledger's file: what a reaction writes with `ctx.transaction` commits with its run."""

import asyncio
import sqlite3
from datetime import timedelta

from callboard import Choreography, Context, Flow, Retry, Service, event


@event
class InvoicePaid:
    invoice: str
    customer: str
    cents: int


@event
class PaymentBooked:
    invoice: str
    balance: int  # of the customer, after this payment


BOOKING = "CREATE TABLE IF NOT EXISTS booking (invoice TEXT PRIMARY KEY, customer TEXT, cents INTEGER)"

books = Service("books")


@books.reaction(retry=Retry(max_attempts=2, first_wait=timedelta(milliseconds=10)))
def book(paid: InvoicePaid, ctx: Context) -> PaymentBooked:
    db = ctx.transaction  # a plain `def` without a port: nothing can be awaited while the file is locked
    db.execute(BOOKING)
    db.execute("INSERT INTO booking VALUES (?, ?, ?)", (paid.invoice, paid.customer, paid.cents))
    if paid.invoice == "i-2" and ctx.attempt == 1:
        raise ConnectionError("a bad moment: the row above is taken back, and the run is tried again")
    ((balance,),) = db.execute("SELECT sum(cents) FROM booking WHERE customer = ?", (paid.customer,))
    return PaymentBooked(invoice=paid.invoice, balance=balance)


company = Choreography(
    "company", books, flows=[Flow("payment", key="invoice", starts=InvoicePaid, succeeds=PaymentBooked, timeout=None)]
)


async def main() -> None:
    async with company.open("sqlite:///:memory:") as board:
        for number, (customer, cents) in enumerate([("ada", 1200), ("ada", 300), ("bob", 50), ("ada", 1)], 1):
            flow = await board.publish(InvoicePaid(invoice=f"i-{number}", customer=customer, cents=cents))
            done = await flow.completion(timeout=timedelta(seconds=5))
            print(flow.key, done.event(PaymentBooked))


if __name__ == "__main__":
    test = Context(transaction=sqlite3.connect(":memory:"))  # in a unit test any connection will do
    assert book(InvoicePaid(invoice="i", customer="ada", cents=7), test) == PaymentBooked(invoice="i", balance=7)
    asyncio.run(main())
