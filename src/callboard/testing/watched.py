"""Adapters that are watched: what a ledger commits is told, and what a broker has been given and not handed over yet is
known, whatever adapter it is.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from callboard.simulation.ledger import PASSED, Written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from callboard.broker import Delivery, Unsendable
    from callboard.envelope import Envelope
    from callboard.ledger import Position

    Mark = tuple[str, str, str]  # subscription, type, id


class Watched:
    """Something that does what it always does, but for the methods that are watched."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class WatchedLedger(Watched):
    """Each commit is told. Who is silent has passed everything."""

    def __init__(self, inner: Any, silent: set[str], committed: Callable[[Written], None]) -> None:
        super().__init__(inner)
        self._silent = silent
        self._committed = committed

    async def positions(self) -> list[Position]:
        """As they were left."""
        found: list[Position] = await self._inner.positions()
        return [replace(each, pos=PASSED, open=()) if each.reaction in self._silent else each for each in found]

    @asynccontextmanager
    async def transaction(self, tokens: Mapping[str, int]) -> AsyncIterator[Any]:
        """As ever."""
        async with self._inner.transaction(tokens) as tx:
            watched = Watched(tx)
            written = Written(watched)
            yield watched
        self._committed(written)


class Road:
    """What was sent by all brokers of one place, and not acknowledged yet."""

    def __init__(self) -> None:
        self.hears: dict[str, set[str]] = {}  # subscription -> types
        self.waiting: dict[Mark, None] = {}
        self.taken: set[Mark] = set()

    def left(self) -> list[str]:
        """What waits, in words."""
        return [f"{kind} {id} is on its way to {subscription}" for subscription, kind, id in self.waiting]

    def sent(self, envelopes: Sequence[Envelope]) -> list[Mark]:
        """What waits from now on, of what was never taken in."""
        marks = [(to, e.type, e.id) for e in envelopes for to, types in self.hears.items() if e.type in types]
        fresh = [mark for mark in marks if mark not in self.taken and mark not in self.waiting]
        self.waiting.update(dict.fromkeys(fresh))
        return fresh

    def forget(self, marks: Collection[Mark]) -> None:
        """They wait no more."""
        for mark in marks:
            self.waiting.pop(mark, None)


class WatchedBroker(Watched):
    """What it is given and hands over is written down in the road."""

    def __init__(self, inner: Any, road: Road) -> None:
        super().__init__(inner)
        self._road = road

    async def declare(self, subscription: str, types: Collection[str]) -> None:
        """As ever."""
        self._road.hears.setdefault(subscription, set()).update(types)
        await self._inner.declare(subscription, types)

    async def send(self, envelopes: Sequence[Envelope]) -> Sequence[Unsendable]:
        """As ever; it waits before this returns, since it may be handed over before."""
        fresh = self._road.sent(envelopes)
        try:
            refused: Sequence[Unsendable] = await self._inner.send(envelopes)
        except BaseException:
            self._road.forget(fresh)  # all of it is sent again
            raise
        lost = {each.envelope.id for each in refused}
        self._road.forget([mark for mark in fresh if mark[2] in lost])
        return refused

    async def ack(self, subscription: str, deliveries: Sequence[Delivery]) -> None:
        """As ever."""
        await self._inner.ack(subscription, deliveries)
        marks = [(subscription, each.envelope.type, each.envelope.id) for each in deliveries if each.envelope]
        self._road.taken.update(marks)
        self._road.forget(marks)
