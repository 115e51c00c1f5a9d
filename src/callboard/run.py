"""Running a choreography: opens the ledger, owns services, and repeats the movers until the block ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from random import Random
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from callboard.board import Board, Completion, Edit, FlowHandle
from callboard.choreography import pick_keepers
from callboard.clock import SystemClock
from callboard.codecs.json import JsonCodec
from callboard.errors import ContractError, LedgerBusy, LedgerCorrupt, LedgerError, LedgerLost, LedgerRefusal
from callboard.hops.abroad import RELAY, Abroad
from callboard.hops.project import Projector, project
from callboard.hops.react import react, unwind
from callboard.hops.retention import BATCH, DEFAULT_KEEP, Retention, prune
from callboard.hops.work import LOOKS, Looks, Work, types_heard
from callboard.ledger import Ledger, Position
from callboard.letters import letter_id, patiently
from callboard.options import read_duration
from callboard.rebuild import begin, places
from callboard.tracker import Tracker, path_of
from callboard.traffic import Traffic, first_place, open_broker, rest
from callboard.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from datetime import timedelta

    from callboard.broker import Broker
    from callboard.choreography import Choreography
    from callboard.clock import Clock
    from callboard.codec import Codec
    from callboard.contract import Contract
    from callboard.service import Service

__all__ = ["Board", "Completion", "Edit", "FlowHandle", "open_board", "open_ledger"]

T = TypeVar("T")
LOG = logging.getLogger("callboard")
_STAND_BY = 0.25  # seconds between two tries to own a service that somebody else owns
_AFTER_ERROR = 1.0  # seconds before a commit that failed is tried again
_COMPLAIN = 60.0  # seconds between two complaints that nothing can be committed
_CUT = "it was cut each time its board stopped"
_PRUNE_AGAIN, _PRUNE_REST = 0.01, 5.0  # seconds between two looks for what may be forgotten
_PRUNE_MOST = 2048  # events that are looked at in one
_COUNTED = 1000  # deliveries of a reaction that is gone from the code
_NAMED = 8  # deliveries that may have been running, in one line of the log
_SUSPECTS = 512  # entries that may have been in hand when a process died


def open_ledger(url: str, *, read_only: bool = False) -> Ledger:
    """The ledger that a URL names, not opened yet. Raises LedgerError for a kind that there is not."""
    scheme = url.partition(":")[0]
    if scheme == "sqlite" and url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        from callboard.ledgers.sqlite import SqliteLedger

        return SqliteLedger(url, read_only=read_only)
    raise LedgerError(f"{url!r} names no ledger: write sqlite:///shop.db for a file, or sqlite:///:memory:")


@asynccontextmanager
async def open_board(
    choreography: Choreography,
    url: str | Ledger,
    *,
    broker: Broker | str | None,
    ports: Sequence[object],
    services: Sequence[Service] | None,
    grace: timedelta,
    keep: timedelta | None = DEFAULT_KEEP,
    clock: Clock | None,
    codec: Codec | None,
    chance: Random | None = None,
    looks: Looks = LOOKS,
    watched: bool = True,
) -> AsyncIterator[Board]:
    """Open the ledger, run the services, and drain them at the end. See `Choreography.open`.

    The simulation gives a ledger and chance of its own, looks less often for others' commits, forgets nothing
    (`keep` is None), and has no watchdog.
    """
    owned = list(choreography.services.values()) if services is None else list(services)
    _refuse_strangers(choreography, owned)
    keepers = pick_keepers(choreography, ports, owned)
    ledger = open_ledger(url) if isinstance(url, str) else url
    await ledger.open(_names(choreography), _states(choreography))
    executor = ThreadPoolExecutor(32, "callboard")
    work = Work(
        choreography, ledger, codec or JsonCodec(), clock or SystemClock(), chance or Random(),
        keepers=keepers, executor=executor,
    )  # fmt: skip
    work.looks = looks
    names = [service.name for service in owned]
    if broker is not None:
        work.abroad = Abroad(choreography, open_broker(broker), here=names, identity=await ledger.identity())
    runner = Runner(work, Board(choreography, work), names)
    runner.watched = watched
    if keep is not None:
        read_duration(keep, "keep", "open(keep=)")
        runner.retention = Retention(choreography, keep, separate=broker is not None)
    try:
        await runner.start()
        yield runner.board
    finally:
        try:
            await runner.stop(grace)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            await ledger.close()


def _refuse_strangers(choreography: Choreography, owned: Sequence[object]) -> None:
    for service in owned:
        if isinstance(service, str):
            raise ContractError("open(services=)", "give the services themselves, not their names: services=[orders]")
        if service not in choreography.services.values():
            raise ContractError("open(services=)", f"{service!r} is no service of {choreography.name}")


@lru_cache(256)
def _names(choreography: Choreography) -> frozenset[str]:
    """Every name that the log may hold."""
    types = set(choreography.events)
    own = {name for name in types if not name.startswith("callboard.")}
    for kind in ("ReactionFailed", "FlowTimedOut", "FlowCancelled"):
        types |= {f"callboard.{kind}[{name}]" for name in own}
    types |= {f"callboard.Timer[{path}]" for path, c in choreography.contracts.items() if c.options.wait is not None}
    return frozenset(types) | set(choreography.contracts) | {"callboard.tracker"}


def _states(choreography: Choreography) -> list[str]:
    """Every state that has rows here."""
    folded = [state.name for each in choreography.projections.values() for state in each.states]
    return [*choreography.states, *folded]


class Runner:
    """Repeats the movers of one process on one ledger."""

    def __init__(self, work: Work, board: Board, services: Sequence[str]) -> None:
        self.work = work
        self.board = board
        self._wanted = list(services)
        self._places: dict[str, Position] = {}  # where everybody stood when a service was taken up last
        self._loop: asyncio.Task[None] | None = None
        self._look = work.looks.first
        self._next_try = 0.0
        self.retention: Retention | None = None  # None: nothing is pruned
        self._pruned, self._came, self._next_prune = 0, 0, 0.0
        self._next_complaint = 0.0
        self._projectors: dict[str, Projector] = {}
        self._traffic = None if work.abroad is None else Traffic(work, work.abroad, self._fail)
        self.watched = True
        self._watchdog: Watchdog | None = None

    async def start(self) -> None:
        """Begin, and repeat the movers until `stop`."""
        await self.begin()
        if self.watched and (self.work.readers or self._wanted):
            self._watchdog = Watchdog(self.work)
            self._watchdog.start()
        self._loop = asyncio.create_task(self._repeat(), name="callboard")
        if self._traffic is not None:
            await self._traffic.start()

    async def begin(self) -> None:
        """Own what nobody owns, register what is new, and stand where the ledger says. Nothing moves by itself yet."""
        if not await self._own():
            await self._patiently(self._register)
        work = self.work
        work.head = work.start_head = await work.ledger.head()
        for newest in await work.ledger.entries([work.head]):
            work.time = newest.time  # time never goes backwards in one ledger
        self._begin_reading()

    async def stop(self, grace: timedelta) -> None:
        """Nothing new is begun; what runs has `grace` to finish and is committed, then the services are given up."""
        work = self.work
        work.draining = True
        work.wake()
        deadline = asyncio.get_running_loop().time() + grace.total_seconds()
        if self._traffic is not None:
            await self._traffic.stop_intake()
        while self._loop is not None and not self._loop.done() and asyncio.get_running_loop().time() < deadline:
            if not (work.running or work.finished or work.publications or work.group or work.unsaved):
                break
            await asyncio.sleep(0.001)
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        if self._watchdog is not None:
            self._watchdog.stop()
        self.board.closed = True
        await self._refuse_all(None)
        running = [attempt.task for attempt in work.running if attempt.task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._traffic is not None:
            await self._traffic.stop(deadline)
        if self.board.failure is None:
            await self._uncount()
            await self._fold_the_rest()
        for service in work.tokens:
            await work.ledger.disown(service, clean=not (running or work.finished or self.board.failure))

    async def _uncount(self) -> None:
        """What the end of its grace has cut is no failure: an attempt that was written down ahead is taken back.

        One is kept: it says that the call may have taken place.
        """
        announced = [a.delivery.parked for a in self.work.running if a.delivery.announced and a.delivery.parked]
        cut = [replace(row, attempts=max(1, row.attempts - 1), error=row.error or _CUT) for row in announced]
        if not cut:
            return

        async def write() -> None:
            async with self.work.ledger.transaction(self.work.tokens) as tx:
                await tx.park(cut)

        try:
            await self._patiently(write)
        except LedgerError:
            LOG.exception("what was cut is counted as an attempt")

    async def _fold_the_rest(self) -> None:
        """What the projections have come to is written, unless nothing can be committed: then they come to it again."""
        try:
            await self._patiently(partial(self.fold, draining=True))
        except LedgerError:
            LOG.exception("what the projections have come to is not written down, and is looked at again")

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """What the step returns, once nobody else is committing."""
        return await patiently(step, partial(self.work.chance.uniform, 0.001, 0.01))

    # who reads what

    async def _register(self) -> dict[str, Position]:
        """Reactions that the ledger does not know start from now, or from the beginning where they say so.

        Returns where everybody stands.
        """
        choreography, ledger, abroad = self.work.choreography, self.work.ledger, self.work.abroad
        known = await self._known()
        if abroad is None and RELAY in known and self._wanted:
            raise LedgerError(
                f"{ledger.url}: other ledgers hear of what is logged here, and it would not be sent: "
                "give it the broker that it was run with, open(broker=...) or --broker"
            )
        head = await ledger.head()
        new: list[Position] = []
        for path, contract in self._contracts():
            if path not in known and f"{contract.service}.{contract.options.was}" not in known:
                start = 0 if contract.options.since == "beginning" else head
                new.append(Position(path, start, start, (), hears=tuple(types_heard(contract))))
        for flow in choreography.flows.values():
            home = choreography.home_of(flow).name
            path = path_of(home)
            if abroad is not None and home not in abroad.here:
                continue
            if path not in known and all(position.reaction != path for position in new):
                new.append(Position(path, head, head, ()))
        if abroad is not None:
            new += [] if RELAY in known else [first_place(abroad, await ledger.owners(), head)]
        if new:
            await ledger.register(new, {})
        await ledger.tell_hearers({path: types_heard(contract) for path, contract in self._contracts()})
        return await self._known() if new else known

    async def _known(self) -> dict[str, Position]:
        return {position.reaction: position for position in await self.work.ledger.positions() if position.live}

    def _contracts(self) -> Iterable[tuple[str, Contract]]:
        """The reactions that this ledger runs. Those of services that are not here have their place where these are."""
        abroad = self.work.abroad
        for path, contract in self.work.choreography.contracts.items():
            if abroad is None or contract.service in abroad.here:
                yield path, contract

    async def _own(self) -> bool:
        """Own every wanted service that no live process owns. True if there is a new one."""
        work, new, unclean = self.work, list[str](), list[str]()
        for service in self._wanted:
            if service in work.tokens:
                continue
            ownership = await self._patiently(partial(work.ledger.own, service))
            if ownership is None:
                continue
            work.tokens[service] = ownership.token
            new.append(service)
            if not ownership.clean:
                work.suspects = _SUSPECTS
                unclean.append(service)
        if new:
            await self._take_up(new)
        for service in unclean:
            ran = [f"{reader.path}@{pos}" for reader, pos in work.reopen if reader.contract.service == service]
            ran += [
                letter_id(row)
                for _, row in work.due_now
                if row.why == "running" and row.reaction.startswith(f"{service}.")
            ]
            LOG.warning(
                "%s was not stopped cleanly: %s may have been running, and is run again, one at a time",
                service,
                ", ".join(ran[:_NAMED]) or "what is next in the log",
            )
        return bool(new)

    async def _take_up(self, services: Sequence[str]) -> None:
        work = self.work
        known = await self._patiently(self._register)
        positions = self._places = await self._patiently(partial(self._carry_over, services, known))
        await self._retire(services, positions.values())
        readers = [reader for service in services for reader in work.add_readers(service, positions)]
        work.route()
        if any(positions[reader.path].paused for reader in readers):
            work.guards.tell(known=False)
        parked = await work.ledger.parked(reactions=[reader.path for reader in readers]) if readers else []
        await work.place(readers, positions, parked)
        work.views.forget()  # what these services remember of a flow is not in them
        tracker = Tracker(work.choreography, work.ledger, work.tokens, separate=work.abroad is not None)
        await tracker.load()
        work.watcher = tracker if tracker.paths else None
        work.start_head = await work.ledger.head()
        for projection in work.choreography.projections.values():
            if work.choreography.home_of(projection).name in services:
                await self._patiently(partial(begin, work.ledger, projection, work.tokens))
        work.moved = True

    async def _carry_over(self, services: Sequence[str], known: dict[str, Position]) -> dict[str, Position]:
        """What is renamed is carried over by the owner alone: a worker of an older build may have run it until now."""
        renamed: dict[str, str] = {}
        told: list[Position] = []
        for path, contract in self._contracts():
            if contract.service not in services:
                continue
            was = f"{contract.service}.{contract.options.was}"
            if was in known and (path not in known or _is_untouched(known[path])):
                renamed[was] = path
            hears = tuple(types_heard(contract))
            if path not in known or known[path].hears != hears:
                told.append(Position(path, 0, 0, (), hears=hears))
        if not (told or renamed):
            return known
        await self.work.ledger.register(told, renamed, self.work.tokens)
        return await self._known()

    async def _retire(self, services: Sequence[str], positions: Iterable[Position]) -> None:
        """A reaction that is gone from the code is not forgotten silently; LedgerError if it has something to do.

        One that has nothing to do is retired: it holds nothing back.
        """
        work = self.work
        known = {path for path, _ in self._contracts()}
        gone = [p for p in positions if p.reaction.partition(".")[0] in services and "(" not in p.reaction]
        gone = [p for p in gone if p.reaction not in known]
        for position in gone:
            await _refuse_orphan(work.ledger, position)
        if gone:

            async def write() -> None:
                async with work.ledger.transaction(work.tokens) as tx:
                    await tx.retire([position.reaction for position in gone])

            await self._patiently(write)
            LOG.warning("gone from the code, with nothing left to do: %s", ", ".join(p.reaction for p in gone))

    def _begin_reading(self) -> None:
        """Read on from the lowest position; what a reaction has had already is not handed to it again."""
        work = self.work
        places = [reader.pos for reader in work.readers.values()]
        places += [self._places[path].pos for path in (work.watcher.paths if work.watcher else ())]
        work.read = min(places, default=work.head)
        work.fresh.clear()

    # repeating

    async def _repeat(self) -> None:
        try:
            while True:
                await self._once()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            await self._fail(error)
            raise

    async def _fail(self, error: BaseException) -> None:
        """Nothing goes on: whoever uses the board is told why."""
        if self.board.failure is None:
            self.board.failure = error
            LOG.error("callboard has stopped", exc_info=error)
            await self._refuse_all(error)

    def _complain(self, error: LedgerError) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_complaint:
            self._next_complaint = now + _COMPLAIN
            LOG.error("nothing can be committed, it is tried again every %g s: %s", _AFTER_ERROR, error)

    async def _once(self) -> None:
        work = self.work
        await self._take_over()
        try:
            done = await react(work)
            folded = await self.fold()
        except LedgerBusy:
            await asyncio.sleep(work.chance.uniform(0.0005, 0.004))
            return
        except (LedgerLost, LedgerCorrupt):
            raise
        except LedgerError as error:
            self._complain(error)
            await asyncio.sleep(_AFTER_ERROR)
            return
        self._next_complaint = 0.0
        work.rounds, work.quiet = work.rounds + 1, not (done or folded)
        await self.board.notify()
        if self._traffic is not None:
            self._traffic.wake()
        await self._prune()
        if done or folded:
            self._look = work.looks.first
        if folded or (done and (work.busy or work.later or work.lags)):
            await asyncio.sleep(0)
        else:
            await self._rest()

    async def fold(self, *, draining: bool = False) -> int:
        """Some of what the projections have not come to is in their rows."""
        if not self.work.choreography.projections:
            return 0
        if self.work.moved:  # an operator may want one rebuilt
            await self._place_projectors()
        return sum([await project(self.work, each, draining=draining) for each in self._projectors.values()])

    async def _place_projectors(self) -> None:
        """One for each projection of a service of ours, and for each that an operator wants rebuilt beside it."""
        work, found = self.work, dict[str, Projector]()
        for name, projection in work.choreography.projections.items():
            if work.choreography.home_of(projection).name not in work.tokens:
                continue
            for form, position in (await places(work.ledger, name)).items():
                known = self._projectors.get(position.reaction)
                if form != "snapshot" and (known is None or known.saved != position.pos):
                    known = Projector(projection, form, position, work)
                if known is not None:
                    found[position.reaction] = known
        self._projectors = found

    async def _take_over(self) -> None:
        """From time to time: own what is wanted and nobody owns any more, also on a board that is never at rest."""
        work = self.work
        if len(work.tokens) >= len(self._wanted) or work.draining or work.group is not None:
            return
        now = asyncio.get_running_loop().time()
        if now >= self._next_try:
            self._next_try = now + _STAND_BY
            if await self._own():
                self._begin_reading()

    async def _prune(self) -> None:
        """From time to time a batch of what may be forgotten, by the owner of the ledger's first service."""
        work = self.work
        if self.retention is None or work.group is not None or work.draining:
            return
        now = asyncio.get_running_loop().time()
        if now < self._next_prune:
            return
        here = work.choreography.services if work.abroad is None else work.abroad.heard.keys() & work.abroad.here
        if next((name for name in work.choreography.services if name in here), "") not in work.tokens:
            return
        try:
            came, self._came = work.head - self._came, work.head
            limit = min(_PRUNE_MOST, max(BATCH, 2 * came))  # under load it keeps up, and at rest it holds nobody up
            found = await prune(work, self.retention, after=self._pruned, limit=limit)
        except LedgerBusy:
            return
        except (LedgerLost, LedgerCorrupt):
            raise
        except LedgerError:
            self._next_prune = now + _PRUNE_REST
            LOG.exception("nothing can be pruned; trying again in %s s", _PRUNE_REST)
            return
        self._pruned = found.looked if found.more else 0
        self._next_prune = now + (_PRUNE_AGAIN if found.more else _PRUNE_REST)

    async def _rest(self) -> None:
        """Sleep until something is to do: something was published, something is due, or others may have committed."""
        work = self.work
        if work.publications or work.finished or (work.ready and not work.draining):
            return
        work.woken.clear()
        due = None if work.draining else work.next_due()  # nobody takes it up any more
        wait = self._look
        if due is not None:
            wait = min(wait, max(0.0, (due - work.now()) / 1_000_000))
        await rest(work.woken, wait)
        self._look = min(self._look * 1.5, work.looks.longest)

    async def _refuse_all(self, error: BaseException | None) -> None:
        """Whoever still waits for this board is told that it has stopped."""
        work = self.work
        if work.group is not None:
            unwind(work, work.group)
        refused = LedgerError("this board has stopped: nothing was published")
        refused.__cause__ = error
        for publication in work.publications:
            if not publication.future.done():
                publication.future.set_exception(refused)
        work.publications.clear()
        await self.board.notify()


def _is_untouched(position: Position) -> bool:
    """Whether it was only registered, as by a start that was refused, and has read nothing yet."""
    return position.pos == position.since and not position.open


async def _refuse_orphan(ledger: Ledger, position: Position) -> None:
    """LedgerError if a reaction that is gone from the code still has something to do."""
    path = position.reaction
    ahead = await ledger.read(position.pos, limit=_COUNTED, types=position.hears or ())
    left = len(position.open) + len(await ledger.parked(reactions=[path], limit=_COUNTED))
    left += sum(not position.finished(entry.pos) for entry in ahead)
    if left:
        raise LedgerRefusal(
            f"{path} is not in the code any more and has {left} deliveries to finish: "
            f"say was={path.partition('.')[2]!r} on the "
            f"reaction that it became, or give them up with `callboard ledger retire {path}`"
        )
