"""Services that keep separate ledgers, moved by hand: every hop is one step, and any may be the last of its process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from callboard import Choreography, ManualClock, Service
from callboard.board import Board, FlowHandle
from callboard.broker import Broker, Delivery, Features, Unsendable
from callboard.brokers.memory import MemoryBroker
from callboard.choreography import pick_keepers
from callboard.codecs.json import JsonCodec
from callboard.envelope import Envelope
from callboard.errors import BrokerUnavailable
from callboard.hops.abroad import Abroad
from callboard.hops.intake import intake
from callboard.hops.react import react
from callboard.hops.relay import relay
from callboard.hops.work import Work
from callboard.ledgers.sqlite import SqliteLedger
from callboard.ledgers.sqlite_transaction import SqliteTransaction
from callboard.run import Runner, _names

T = TypeVar("T")


class Crash(BaseException):
    """The process is gone at this very place."""


@dataclass
class Faults:
    """What may go wrong, each with its chance. All are off at first."""

    chance: Random = field(default_factory=lambda: Random(1))
    crash: float = 0.0  # at each commit, sending and acknowledgement, before or after it
    away: float = 0.0  # the broker does not answer
    lost_ack: float = 0.0
    doubled: float = 0.0  # sent twice
    redelivered: float = 0.0  # handed over again although it was acknowledged
    late: float = 0.0  # overtaken by what is sent later
    shuffled: float = 0.0
    at: Callable[[str], None] | None = None  # told of each place where a crash may happen

    def hits(self, probability: float) -> bool:
        return probability > 0 and self.chance.random() < probability

    def here(self, place: str) -> None:
        if self.at is not None:
            self.at(place)
        if self.hits(self.crash):
            raise Crash(place)

    def stop(self) -> None:
        """From now on all goes well."""
        self.crash = self.away = self.lost_ack = self.doubled = self.redelivered = self.late = self.shuffled = 0.0
        self.at = None


class FragileLedger(SqliteLedger):
    """May crash right before and right after a commit."""

    def __init__(self, url: str, faults: Faults) -> None:
        super().__init__(url, synchronous="OFF")
        self._faults = faults

    @asynccontextmanager
    async def transaction(self, tokens: Mapping[str, int]) -> AsyncIterator[SqliteTransaction]:
        async with super().transaction(tokens) as tx:
            yield tx
            self._faults.here("before commit")
        self._faults.here("after commit")


class WornBroker:
    """At least once, and no more than that."""

    features = Features(keeps_order=False, replays_history=False, survives_restart=False)

    def __init__(self, faults: Faults, inner: Broker | None = None) -> None:
        self._inner = inner or MemoryBroker()
        self._faults = faults
        self._late: list[Envelope] = []
        self._acked: dict[str, list[Delivery]] = {}
        self.sent: list[Envelope] = []
        self._wakes: list[Callable[[], None]] = []

    async def open(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)
        await self._inner.open(wake)

    async def close_all(self) -> None:
        for wake in self._wakes:
            await self._inner.close(wake)

    async def close(self, wake: Callable[[], None]) -> None:
        await self._inner.close(wake)

    async def declare(self, subscription: str, types: Collection[str]) -> None:
        await self._inner.declare(subscription, types)

    async def send(self, envelopes: Sequence[Envelope]) -> Sequence[Unsendable]:
        faults = self._faults
        faults.here("before send")
        if faults.hits(faults.away):
            await self._inner.send(envelopes[: faults.chance.randrange(len(envelopes) + 1)])
            raise BrokerUnavailable("the broker is away")
        going = [each for each in envelopes for _ in range(2 if faults.hits(faults.doubled) else 1)]
        late = [each for each in going if faults.hits(faults.late)]
        self._late += late
        refused = await self._inner.send([each for each in going if each not in late])
        self.sent += going
        faults.here("after send")
        return refused

    async def receive(self, subscription: str, *, limit: int) -> Sequence[Delivery]:
        faults = self._faults
        if faults.hits(faults.away):
            raise BrokerUnavailable("the broker is away")
        if self._late and not faults.hits(faults.late):
            late, self._late = self._late, []
            await self._inner.send(late)
        found = list(await self._inner.receive(subscription, limit=limit))
        if faults.hits(faults.redelivered):
            found += self._acked.get(subscription, [])[-10:]
        if faults.hits(faults.shuffled):
            faults.chance.shuffle(found)
        return found

    async def ack(self, subscription: str, deliveries: Sequence[Delivery]) -> None:
        self._faults.here("before ack")
        if self._faults.hits(self._faults.lost_ack):
            return
        await self._inner.ack(subscription, deliveries)
        self._acked.setdefault(subscription, []).extend(deliveries)
        self._faults.here("after ack")


class Site:
    """One ledger and the services that keep it, in one process that may die and be started again."""

    def __init__(
        self,
        town: Town,
        name: str,
        services: Sequence[Service],
        ports: Sequence[object],
        ledger: str,
    ) -> None:
        self.town = town
        self.name = name
        self.ledger = ledger
        self.services = list(services)
        self.ports = list(ports)
        self.is_up = False
        self.board: Board
        self.work: Work
        self.file: FragileLedger
        self.abroad: Abroad
        self._runner: Runner

    async def start(self) -> None:
        """As a process that is started: whatever its ledger holds is all it knows."""
        town = self.town
        ledger = self.file = FragileLedger(f"sqlite:///{town.folder}/{self.ledger}.db", town.faults)
        await ledger.open(_names(town.choreography), list(town.choreography.states))
        keepers = pick_keepers(town.choreography, self.ports, self.services)
        chance = Random(town.faults.chance.random())
        self.work = Work(town.choreography, ledger, JsonCodec(), town.clock, chance, keepers=keepers)
        names = [service.name for service in self.services]
        self.abroad = Abroad(town.choreography, town.broker, here=names, identity=await ledger.identity())
        self.work.abroad = self.abroad
        self.board = Board(town.choreography, self.work)
        self._runner = Runner(self.work, self.board, names)
        self.is_up = True
        await self._runner.begin()
        traffic = self._runner._traffic
        assert traffic is not None
        await traffic.connect()
        await traffic.own()

    def die(self) -> None:
        """As kill -9: what is in memory is gone, what is committed stays."""
        self.is_up = False
        for attempt in list(self.work.running):
            if attempt.task is not None:
                attempt.finished = True
                attempt.task.cancel()
            if attempt.limit is not None:
                attempt.limit.cancel()
        for lock in self.file._locks.values():
            lock.release()
        self.file._db.close()

    async def close(self) -> None:
        if self.is_up:
            self.die()

    async def react(self) -> int:
        moved = await react(self.work)
        await self.board.notify()
        return moved

    async def relay(self) -> int:
        return 0 if self.abroad.token is None else await relay(self.work, self.abroad)

    async def intake(self) -> int:
        services: list[str | None] = [*self.work.tokens, *([] if self.abroad.token is None else [None])]
        return sum([await intake(self.work, self.abroad, service) for service in services])

    async def publish(self, event: object, **options: Any) -> FlowHandle:
        """Publish and commit."""
        publishing: asyncio.Task[FlowHandle] = asyncio.ensure_future(self.board.publish(event, **options))
        return await self.until(publishing)

    async def until(self, task: asyncio.Task[T]) -> T:
        """React until this is done."""
        try:
            while not task.done():
                await asyncio.sleep(0)
                await self.react()
        except BaseException:
            task.cancel()
            raise
        return await task


def crash_at(place: str) -> Callable[[str], None]:
    """A fault: whoever comes to this place is gone."""

    def crash(here: str) -> None:
        if here == place:
            raise Crash(here)

    return crash


class Town:
    """All sites, what carries between them, and one clock."""

    def __init__(
        self, choreography: Choreography, folder: Path, *, seed: int = 1, broker: Broker | None = None
    ) -> None:
        self.choreography = choreography
        self.folder = folder
        self.faults = Faults(Random(seed))
        self.broker = WornBroker(self.faults, broker)
        self.clock = ManualClock()
        self.clock.advance(timedelta(days=20_000))
        self.sites: dict[str, Site] = {}

    async def settle(
        self, name: str, *services: Service, ports: Sequence[object] = (), ledger: str | None = None
    ) -> Site:
        """A new site, started; on a ledger of its own if none is named."""
        site = self.sites[name] = Site(self, name, services, ports, ledger or name)
        await site.start()
        return site

    async def step(self) -> bool:
        """One hop of one site, drawn by chance. A crash takes its process; the next step of it is a new start."""
        chance = self.faults.chance
        site = chance.choice(list(self.sites.values()))
        try:
            if not site.is_up:
                await site.start()
                return True
            hop = chance.choice([site.react, site.react, site.relay, site.intake])
            return bool(await hop())
        except BrokerUnavailable:
            return True
        except Crash:
            site.die()
            return True
        finally:
            await asyncio.sleep(0)

    async def rest(self, *, upto: timedelta = timedelta(hours=1)) -> None:
        """Everything that can happen has happened, also what is due within `upto`."""
        end = self.clock.now() + upto
        while True:
            await self._quiet()
            dues = [due for site in self.sites.values() if (due := site.work.next_due()) is not None]
            now = int(self.clock.now().timestamp() * 1_000_000)
            if not dues:
                return
            wait = timedelta(microseconds=max(1, min(dues) - now))
            if self.clock.now() + wait > end:
                return
            self.clock.advance(wait)

    async def _quiet(self) -> None:
        idle = 0
        while idle < 3:
            moved = 0
            for site in self.sites.values():
                if not site.is_up:
                    await site.start()
                try:
                    moved += await site.react() + await site.relay() + await site.intake()
                except BrokerUnavailable:
                    moved += 1
                moved += len(site.work.running) + len(site.work.finished)
                await asyncio.sleep(0)
            idle = 0 if moved else idle + 1

    async def close(self) -> None:
        for site in self.sites.values():
            await site.close()
        await self.broker.close_all()


@asynccontextmanager
async def a_town(
    choreography: Choreography, folder: Path, *, seed: int = 1, broker: Broker | None = None
) -> AsyncIterator[Town]:
    """A town that is closed afterwards."""
    town = Town(choreography, folder, seed=seed, broker=broker)
    try:
        yield town
    finally:
        await town.close()
