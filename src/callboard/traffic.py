"""The traffic between ledgers: opens the broker, and repeats relay and intake while the board is open."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from callboard.errors import BrokerError, BrokerUnavailable, LedgerBusy, LedgerError, LedgerLost
from callboard.hops.abroad import RELAY
from callboard.hops.intake import intake
from callboard.hops.relay import relay
from callboard.ledger import Position

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from callboard.broker import Broker
    from callboard.hops.abroad import Abroad
    from callboard.hops.work import Work

LOG = logging.getLogger("callboard")
_FIRST_WAIT, _LAST_WAIT = 0.05, 30.0  # seconds before a broker that did not answer is asked again
_PAGE = 256  # events that are moved at once; after fewer there is nothing more for now
_STAND_BY = 0.25  # seconds between two tries to own the relay that another process owns


def open_broker(broker: Broker | str) -> Broker:
    """The broker that is given, or that a URL names. Raises BrokerError for a kind that there is not."""
    if not isinstance(broker, str):
        return broker
    if broker.startswith("sqlite:///") and len(broker) > len("sqlite:///"):
        from callboard.brokers.sqlite import SqliteBroker  # noqa: PLC0415 - only who uses it imports it

        return SqliteBroker(broker)
    raise BrokerError(f"{broker!r} names no broker: write sqlite:///bus.db for a file, or give a Broker of your own")


class Traffic:
    """Repeats the movers between ledgers, for one process. A broker that is away stops nothing but them."""

    def __init__(self, work: Work, abroad: Abroad, fail: Callable[[BaseException], Awaitable[None]]) -> None:
        self._work = work
        self._abroad = abroad
        self._fail = fail
        self._open = False
        self._sending = asyncio.Event()
        self._arriving = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """The broker is asked to hold a place for everybody, and what waits begins to move; if it is away, later."""
        try:
            await self.connect()
        except BrokerUnavailable as error:
            LOG.warning("the broker is not there yet; what is published waits in the ledger: %s", error)
        await self._patiently(self.own)
        self._tasks = [
            asyncio.create_task(self._repeat(self._relay, self._sending), name="callboard relay"),
            asyncio.create_task(self._repeat(self._intake, self._arriving), name="callboard intake"),
        ]

    async def connect(self) -> None:
        """Who sends declares for who receives: what is sent before they come is kept for them."""
        if not self._open:
            await self._abroad.broker.open(self._arriving.set)
            for subscription, kinds in self._abroad.declarations():
                await self._abroad.broker.declare(subscription, kinds)
            self._open = True

    def wake(self) -> None:
        """Something was logged."""
        if self._abroad.sent < self._work.head:
            self._sending.set()

    async def stop_intake(self) -> None:
        """Nothing more is taken in. What was received and not acknowledged comes again."""
        if self._tasks:
            self._tasks[1].cancel()
            await asyncio.gather(self._tasks[1], return_exceptions=True)

    async def stop(self, deadline: float) -> None:
        """What was logged is sent, if the broker takes it before the loop's time is `deadline`; else it stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout_at(deadline):
                while self._open and self._abroad.token is not None and await self._patiently(self._relay):
                    pass
        except (TimeoutError, BrokerError, LedgerError) as error:
            LOG.warning("not all is sent; it stays in the ledger, and goes with the next start: %s", error)
        if self._abroad.token is not None:
            await self._work.ledger.disown(RELAY, clean=True)
            self._abroad.token = None
        if self._open:
            await self._abroad.broker.close(self._arriving.set)

    async def _repeat(self, move: Callable[[], Awaitable[int]], more: asyncio.Event) -> None:
        """Move what is there, rest when there is nothing, and ask a broker that is away less and less often."""
        looks = self._work.looks
        wait, look, told = _FIRST_WAIT, looks.first, False
        try:
            while True:
                try:
                    await self.connect()
                    moved = await self._patiently(move)
                    wait, told = _FIRST_WAIT, False
                    if move == self._relay and self._abroad.away is not None:
                        await self._patiently(partial(self._say_away, None))
                except BrokerError as error:
                    if not told and move == self._relay:
                        await self._patiently(partial(self._say_away, str(error)))
                    if not told and (move == self._relay or self._abroad.away is None):
                        LOG.warning("the broker does not do its part; nothing is lost, it is asked again: %s", error)
                    told = True
                    await asyncio.sleep(self._work.chance.uniform(wait, wait * 1.2))
                    wait = min(wait * 2, _LAST_WAIT)
                    continue
                look = looks.first if moved else min(look * 1.5, looks.longest)
                await (asyncio.sleep(0) if moved >= _PAGE else rest(more, look))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            await self._fail(error)
            raise

    async def _patiently(self, move: Callable[[], Awaitable[int]]) -> int:
        """What the mover moved, once nobody else is committing and the ledger can be written."""
        while True:
            try:
                return await move()
            except LedgerBusy:
                await asyncio.sleep(self._work.chance.uniform(0.0005, 0.004))
            except LedgerLost:
                raise
            except LedgerError:
                LOG.exception("nothing can be committed; trying again")
                await asyncio.sleep(1.0)

    async def _relay(self) -> int:
        self._sending.clear()
        if self._abroad.token is None and not await self.own():
            await asyncio.sleep(_STAND_BY)
            return 0
        return await relay(self._work, self._abroad, limit=_PAGE)

    async def _say_away(self, why: str | None) -> int:
        """Who looks at the ledger sees whether the broker is there."""
        abroad = self._abroad
        abroad.away = None if why is None else (self._work.now(), why)
        if abroad.token is not None or await self.own():
            async with self._work.ledger.transaction({RELAY: abroad.token or 0}) as tx:
                await tx.advance([abroad.position()])
        return 0

    async def own(self) -> bool:
        """This process relays for the ledger, unless another does."""
        ledger, abroad = self._work.ledger, self._abroad
        ownership = await ledger.own(RELAY)
        if ownership is not None:
            places = {position.reaction: position.pos for position in await ledger.positions()}
            abroad.sent = abroad.saved = places[RELAY]
            abroad.token = ownership.token
        return ownership is not None

    async def _intake(self) -> int:
        self._arriving.clear()
        services: list[str | None] = [*self._work.tokens]
        if self._abroad.token is not None:
            services.append(None)
        return sum([await intake(self._work, self._abroad, service, limit=_PAGE) for service in services])


async def rest(more: asyncio.Event, seconds: float) -> None:
    """Until `more` is set, at most so long."""
    if seconds == inf:
        await more.wait()
        return
    timer = asyncio.get_running_loop().call_later(seconds, more.set)
    try:
        await more.wait()
    finally:
        timer.cancel()


def first_place(abroad: Abroad, owners: dict[str, str], head: int) -> Position:
    """Where the relay of a ledger begins that never had one.

    From the first event on: nobody else could have read it. But not if services that live elsewhere now once shared
    this ledger, and read it here.
    """
    shared = any(service in abroad.heard and service not in abroad.here for service in owners)
    start = head if shared else 0
    return Position(RELAY, start, start, ())
