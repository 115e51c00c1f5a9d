"""The way to the outside world is a port: a Protocol, and a keeper given at `open(ports=[...])`.

Whatever the keeper raises is an accident and is tried again, under the same key; what it answers is an outcome.
"""

import asyncio
from datetime import timedelta
from typing import Protocol

from callboard import Choreography, Context, Flow, Retry, Service, event, failure, port


@event
class CodeAsked:
    login_id: str
    phone: str


@event
class CodeSent:
    login_id: str
    receipt: str


@failure
class CodeNotSent:
    login_id: str
    reason: str


@port
class Telephone(Protocol):
    async def text(self, phone: str, words: str, *, key: str) -> str | None:
        """A receipt, or None for a number that does not exist. Two calls with one key are one text."""
        ...


doors = Service("doors")


@doors.reaction(
    retry=Retry(max_attempts=5, first_wait=timedelta(milliseconds=20)),
    keeps="a text that was sent stays sent",
)
async def send_code(asked: CodeAsked, telephone: Telephone, ctx: Context) -> CodeSent | CodeNotSent:
    print(f"   attempt {ctx.attempt} for {asked.phone}")
    receipt = await telephone.text(asked.phone, "Your code is 4711.", key=ctx.idempotency_key())
    if receipt is None:
        return CodeNotSent(login_id=asked.login_id, reason="no such number")
    return CodeSent(login_id=asked.login_id, receipt=receipt)


logins = Choreography(
    "logins",
    doors,
    flows=[Flow("login", key="login_id", starts=CodeAsked, succeeds=CodeSent, fails=CodeNotSent)],
)


class ShakyTelephone(Telephone):  # a keeper names its port as a base class
    """Sends the text the first time, and loses the answer twice."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}
        self.lost = 0

    async def text(self, phone: str, words: str, *, key: str) -> str | None:
        if not phone.startswith("+"):
            return None
        self.sent.setdefault(key, f"{phone}: {words}")
        if self.lost < 2:
            self.lost += 1
            raise ConnectionError("the line went dead")
        return f"receipt {len(self.sent)}"


async def main() -> None:
    telephone = ShakyTelephone()
    async with logins.open("sqlite:///:memory:", ports=[telephone]) as board:
        for login_id, phone in (("l-1", "+49 30 1"), ("l-2", "nobody")):
            flow = await board.publish(CodeAsked(login_id=login_id, phone=phone))
            done = await flow.completion(timeout=timedelta(seconds=5))
            print(login_id, done.verdict, done.events[-1])
    print("texts that went out:", list(telephone.sent.values()))


if __name__ == "__main__":
    asyncio.run(main())
