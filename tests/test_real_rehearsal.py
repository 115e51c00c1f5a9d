"""A rehearsal ends in the same way wherever it lives: in virtual time, on SQLite files, with a broker between them."""

import asyncio
import inspect
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from callboard import (
    Breaker,
    Choreography,
    Flow,
    FlowTimedOut,
    Guarded,
    ReactionFailed,
    Retry,
    Service,
    event,
    failure,
    port,
    state,
)
from callboard.broker import Broker, Delivery
from callboard.brokers.memory import MemoryBroker
from callboard.errors import BrokerUnavailable, LedgerBusy
from callboard.ledger import Ledger
from callboard.simulation.loop import NeverRests
from callboard.simulation.workload import an_event, rows_of
from callboard.testing import real
from callboard.testing.adapters import new_place
from callboard.testing.plugin import maker
from callboard.testing.real import Places
from callboard.testing.rehearsal import Rehearsal
from media import media
from trip import rides

from .planted import whole_shop

MINUTE = timedelta(minutes=1)
KINDS = ["simulated", "simulated, separate", "sqlite", "sqlite and sqlite", "far and far"]


class Far:
    """An adapter that is reached over a wire: whatever is asked of it comes later."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def later(*args: Any, **named: Any) -> Any:
            await asyncio.sleep(0.0002)
            answer = await found(*args, **named)
            await asyncio.sleep(0)
            return answer

        return later


class FarLedger(Far):
    _is_taken = False

    @asynccontextmanager
    async def transaction(self, tokens: Mapping[str, int]) -> AsyncIterator[Any]:
        if self._is_taken:
            raise LedgerBusy("it has one connection")
        self._is_taken = True
        try:
            async with self._inner.transaction(tokens) as tx:
                yield Far(tx)
        finally:
            self._is_taken = False


def places(kind: str, folder: Path, broker: Broker | None = None) -> Places | None:
    if kind.startswith("simulated"):
        return None
    near, _, name = kind.partition(" and ")
    make = maker("sqlite", "ledger", folder, folder)
    ours = maker(name, "broker", folder, folder) if name and name != "far" else None

    def ledger(place: str) -> Ledger:
        return cast("Ledger", FarLedger(make(place)) if near == "far" else make(place))

    def between(place: str) -> Broker:
        return cast("Broker", ours(place) if ours is not None else broker)

    return Places(ledger, between if broker or ours else None, new_place)


def rehearse(
    choreography: Choreography, kind: str, folder: Path, keepers: Any = (), broker: Broker | None = None
) -> Rehearsal:
    apart = kind == "simulated, separate"
    if kind == "far and far":
        broker = cast("Broker", Far(MemoryBroker()))
    where = places(kind, folder, broker)
    return Rehearsal(choreography, keepers, ledgers="separate" if apart else "shared", places=where)


# a parcel: a run in a thread, a call that fails at first, a timer, a deadline, and what is undone


@event
class Posted:
    parcel: str
    day: str


@event
class Weighed:
    parcel: str
    day: str
    grams: int


@event
class Reminded:
    parcel: str


@event
class Delivered:
    parcel: str


@event
class Erased:
    parcel: str


@failure
class Undeliverable:
    parcel: str
    day: str


@failure
class Lost:
    parcel: str


@state(key="day")
class Book:
    day: str
    parcels: int = 0


@port
class Scales(Protocol):
    def weigh(self, parcel: str) -> int: ...


@port
class Van(Protocol):
    async def bring(self, *, key: str) -> bool: ...


class Steelyard(Scales):
    """Is read by hand, in another thread than all else where there are threads."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def weigh(self, parcel: str) -> int:
        self.threads.add(threading.current_thread().name)
        return 10 * len(parcel)


class Beetle(Van):
    """Does not start at first."""

    def __init__(self, failures: int = 1) -> None:
        self.failures = failures

    async def bring(self, *, key: str) -> bool:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the engine is cold")
        return True


office, road = Service("office"), Service("road")


@office.reaction
def enter(posted: Posted, book: Book) -> None:
    book.parcels += 1


@office.reaction(blocking=True, keeps="a weight is no harm")
def weigh(posted: Posted, scales: Scales) -> Weighed:
    return Weighed(parcel=posted.parcel, day=posted.day, grams=scales.weigh(posted.parcel))


@office.reaction(compensates=enter)
def erase(why: FlowTimedOut[Posted] | Undeliverable, book: Book) -> Erased:
    book.parcels -= 1
    return Erased(parcel=why.started.parcel if isinstance(why, FlowTimedOut) else why.parcel)


@office.reaction(wait=10 * MINUTE, unless=Delivered)
def remind(weighed: Weighed) -> Reminded:
    return Reminded(parcel=weighed.parcel)


@office.reaction
def give_up(erased: Erased) -> Lost:
    return Lost(parcel=erased.parcel)


@road.reaction(retry=Retry(max_attempts=3, first_wait=MINUTE, max_wait=MINUTE), pivot=True)
async def bring(weighed: Weighed, van: Van) -> Delivered:
    await van.bring(key=f"parcel {weighed.parcel}")
    return Delivered(parcel=weighed.parcel)


@road.reaction
def bring_back(failed: ReactionFailed[Weighed]) -> Undeliverable:
    return Undeliverable(parcel=failed.event.parcel, day=failed.event.day)


POST = Choreography(
    "post",
    office,
    road,
    flows=[Flow("parcel", key="parcel", starts=Posted, succeeds=Delivered, fails=Lost, timeout=60 * MINUTE)],
)


@pytest.fixture(params=[*KINDS, pytest.param("sqlite and memory", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def post(kind: str, tmp_path: Path) -> Iterator[Rehearsal]:
    with closing(rehearse(POST, kind, tmp_path, lambda: [Steelyard(), Beetle()])) as found:
        yield found


def test_what_failed_is_tried_again_and_its_calls_are_in_the_book(post: Rehearsal) -> None:
    post.put(Book(day="monday", parcels=7))
    flow = post.publish(Posted(parcel="p-1", day="monday")).run()
    assert (flow.path, flow.verdict, flow.leaked) == ("Posted > Weighed > Delivered", "succeeded", ())
    assert post.emitted(Weighed, parcel="p-1") == [Weighed(parcel="p-1", day="monday", grams=30)]
    assert post.state(Book, "monday") == Book(day="monday", parcels=8)
    assert post.state(Book, "tuesday") is None
    assert [(c.told, c.flow, c.took_place, c.attempt, c.answer) for c in post.calls] == [
        ("Scales.weigh(parcel='p-1')", "p-1", True, 1, "30"),
        ("Van.bring(key='parcel p-1')", "p-1", True, 1, ""),
        ("Van.bring(key='parcel p-1')", "p-1", True, 2, "True"),
    ]
    assert post.broken() == []


def test_timers_and_the_deadline_go_by_the_clock_of_the_test(post: Rehearsal) -> None:
    post.silence(road)
    flow = post.publish(Posted(parcel="p-1", day="monday")).run()
    other = post.publish(Posted(parcel="p-2", day="monday")).advance(minutes=9)
    assert (flow.path, other.path, flow.verdict) == ("Posted > Weighed", "Posted > Weighed", None)
    post.advance(minutes=2)
    assert flow.path == "Posted > Weighed > Reminded"
    assert post.rows(Book) == [Book(day="monday", parcels=2)]
    post.advance(hours=1)
    assert flow.path == "Posted > Weighed > Reminded > FlowTimedOut > Erased > Lost"
    assert (flow.verdict, other.verdict) == ("failed", "failed")
    assert post.rows(Book) == [Book(day="monday")]


def test_a_stub_answers_or_raises_and_a_service_is_silent(post: Rehearsal) -> None:
    def light(posted: Posted, scales: Scales) -> Weighed:
        return Weighed(parcel=posted.parcel, day=posted.day, grams=1)

    post.stub(weigh, returns=light)
    post.stub(bring, raises=RuntimeError("a flat tyre"))
    flow = post.publish(Posted(parcel="p-1", day="monday")).run()
    assert flow.path == "Posted > Weighed > ReactionFailed > Undeliverable > Erased > Lost"
    assert post.emitted(Weighed) == [Weighed(parcel="p-1", day="monday", grams=1)]
    assert (flow.verdict, post.calls) == ("failed", [])
    assert any("dead-letter: road.bring gave up" in each and "a flat tyre" in each for each in post.broken())


def test_a_breaker_pauses_by_the_clock_of_the_test(kind: str, tmp_path: Path) -> None:
    van = Guarded(Beetle(2), breaker=Breaker(failures=1, pause=7 * MINUTE))
    with closing(rehearse(POST, kind, tmp_path, [Steelyard(), van])) as post:
        flows = [post.publish(Posted(parcel=f"p-{number}", day="monday")) for number in range(3)]
        post.run()
        post.advance(minutes=8)
        assert [flow.verdict for flow in flows] == ["succeeded"] * 3
        assert Counter(c.flow for c in post.calls if c.name == "Van.bring").total() == 5


def test_what_is_wrong_is_refused_as_on_a_board(post: Rehearsal) -> None:
    with pytest.raises(TypeError, match="is no event"):
        post.publish(object())
    assert post.publish(Posted(parcel="p-1", day="monday")).run().verdict == "succeeded"


async def test_an_awaited_test_has_a_loop_of_its_own(post: Rehearsal) -> None:
    before, task = asyncio.get_running_loop(), asyncio.current_task()
    assert post.publish(Posted(parcel="p-1", day="monday")).run().verdict == "succeeded"
    await asyncio.sleep(0)
    assert (asyncio.get_running_loop(), asyncio.current_task()) == (before, task)


# whole choreographies, against the simulated world


def ends(choreography: Choreography, kind: str, folder: Path) -> tuple[object, ...]:
    """How some flows end, whatever came first of what comes at once."""
    with closing(rehearse(choreography, kind, folder)) as rehearsal:
        world = rehearsal.world
        for kept in choreography.states.values():
            if not choreography.is_private(kept):
                rehearsal.put(*rows_of(world, kept))
        flows = [
            rehearsal.publish(an_event(world, flow.start, {flow.key: f"k-{number}"}, f"k-{number}"))
            for flow in choreography.flows.values()
            for number in range(3)
        ]
        rehearsal.run()
        rehearsal.advance(hours=3)
        broken = rehearsal.broken()
        events = [Counter(type(each).__name__ for each in flow.events) for flow in flows]
        calls = Counter((call.name, call.flow, call.attempt) for call in rehearsal.calls)
        rows = {each.name: len(rehearsal.rows(each.cls)) for each in choreography.states.values()}
        return events, [(flow.verdict, flow.leaked) for flow in flows], calls, rows, broken


@pytest.mark.parametrize("kind", ["sqlite", "sqlite and memory", pytest.param("far and far", marks=pytest.mark.slow)])
@pytest.mark.parametrize("make", [whole_shop, lambda: rides, lambda: media], ids=["shop", "trip", "media"])
def test_a_choreography_ends_as_in_virtual_time(make: Callable[[], Choreography], kind: str, tmp_path: Path) -> None:
    apart = "simulated, separate" if " and " in kind else "simulated"
    assert ends(make(), kind, tmp_path) == ends(make(), apart, tmp_path)


# what does not come to rest


@contextmanager
def impatience() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real, "_LONGEST", 0.5)
        yield


class Light(Scales):
    def weigh(self, parcel: str) -> int:
        return 1


class Stuck(Van):
    async def bring(self, *, key: str) -> bool:
        await asyncio.get_running_loop().create_future()
        return True


def test_what_never_comes_back_is_named(tmp_path: Path) -> None:
    with closing(rehearse(POST, "sqlite", tmp_path, [Light(), Stuck()])) as post:
        flow = post.publish(Posted(parcel="p-1", day="monday"))
        with impatience(), pytest.raises(NeverRests, match=r"after 0.5 s it is still at work: post runs road\.bring"):
            flow.run()
        assert flow.path == "Posted > Weighed"


class Forgetful(MemoryBroker):
    """Loses what is for the road."""

    async def receive(self, subscription: str, *, limit: int) -> list[Delivery]:
        return [] if subscription == "post.road" else list(await super().receive(subscription, limit=limit))


@pytest.mark.slow
def test_what_a_broker_does_not_hand_over_is_named(tmp_path: Path) -> None:
    with closing(rehearse(POST, "sqlite", tmp_path, [Light(), Stuck()], Forgetful())) as post:
        flow = post.publish(Posted(parcel="p-1", day="monday"))
        with impatience(), pytest.raises(NeverRests, match=r"at work: Weighed \S+ is on its way to post\.road"):
            flow.run()


class Away(MemoryBroker):
    async def open(self, wake: Callable[[], None]) -> None:
        raise BrokerUnavailable("there is no way to it")


@pytest.mark.slow
def test_a_broker_that_is_away_is_named(tmp_path: Path) -> None:
    with closing(rehearse(POST, "sqlite", tmp_path, [Light(), Stuck()], Away())) as post:
        flow = post.publish(Posted(parcel="p-1", day="monday"))
        with (
            impatience(),
            pytest.raises(NeverRests, match=r"office has not sent its last \d+ events \(.*no way to it\)"),
        ):
            flow.run()
