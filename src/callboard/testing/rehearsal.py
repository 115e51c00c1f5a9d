"""A choreography in a test: publish, let time pass, and look at what happened. Nothing is awaited.

Where it happens is a world: a simulated one, in virtual time, or a real one, on ledgers and brokers that options name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from callboard.errors import CallboardError, ContractError
from callboard.event import state_type
from callboard.ids import FLOW_LENGTH
from callboard.service import Service
from callboard.simulation.hunt import Failure, explained
from callboard.simulation.oracles import Violation, judge
from callboard.simulation.story import told
from callboard.simulation.world import LEDGERS, Scene, World
from callboard.testing.real import Places, RealWorld

if TYPE_CHECKING:
    from callboard.board import Board, FlowHandle
    from callboard.choreography import Choreography
    from callboard.ledger import FlowRow
    from callboard.simulation.choices import Deviations

T = TypeVar("T")
Keepers = Sequence[object] | Callable[[], Sequence[object]]


class Rehearsed:
    """A flow that a test has begun: what has happened in it up to now."""

    def __init__(self, rehearsal: Rehearsal, name: str, flow_id: str) -> None:
        self._rehearsal = rehearsal
        self.name = name
        self.id = flow_id

    def run(self) -> Rehearsed:
        """Everything goes on until all that is left is to wait: for a timer, a deadline, or a word from outside."""
        self._rehearsal.run()
        return self

    def advance(self, **time: float) -> Rehearsed:
        """So much time passes, given as to `timedelta`: `advance(minutes=31)`."""
        self._rehearsal.advance(**time)
        return self

    @property
    def events(self) -> list[Any]:
        """What has happened in it, in order."""
        world, types = self._rehearsal.world, self._rehearsal.choreography.events
        once = {entry.id: entry for _, entry in world.log if entry.id.startswith(self.id)}
        return [world.codec.decode(entry.data, types[entry.type]) for entry in once.values() if entry.type in types]

    @property
    def path(self) -> str:
        """The types of its events, in order: `OrderCreated > ItemsReserved`."""
        return " > ".join(type(event).__name__ for event in self.events)

    @property
    def verdict(self) -> str | None:
        """`succeeded`, `failed`, or None while it is open."""
        found: str | None = self._row("verdict")
        return found

    @property
    def leaked(self) -> tuple[str, ...]:
        """The reactions whose effects are left although it failed."""
        return tuple((self._row("leaked") or "").split(", ")) if self._row("leaked") else ()

    def _row(self, column: str) -> Any:
        rows = [row for row in self._rehearsal.flows_like(self.name) if row.id == self.id]
        return next((value for row in rows if (value := getattr(row, column)) is not None), None)

    def __repr__(self) -> str:
        return f"<{self.name} {self.verdict or 'open'}: {self.path}>"


class Rehearsal:
    """The services of a choreography on a ledger of their own, with a clock that the test turns: the fixture
    `callboard`.
    """

    def __init__(
        self, choreography: Choreography, keepers: Keepers = (), *, seed: int = 0, ledgers: LEDGERS = "shared",
        places: Places | None = None,
    ) -> None:  # fmt: skip
        self.choreography = choreography
        self.keepers: Keepers = keepers  # or a function that makes them; the rest are made from Protocols
        self._ledgers: LEDGERS = ledgers
        self.places = places  # None: nothing is real
        self._restore = ExitStack()
        self.again(seed, ())

    def again(
        self, seed: int, faults: Sequence[str], forced: Deviations | None = None, *, first: int = 0, runs: int = 0
    ) -> None:
        """From the beginning, under this seed: what was stubbed speaks for itself again."""
        self.close()
        self.seed, self._faults, self._forced = seed, tuple(faults), forced
        self._shrunk = first, runs
        self._world: World | None = None
        self._silent: set[str] = set()

    def close(self) -> None:
        """It is over."""
        self._restore.close()

    @property
    def world(self) -> World:
        """The world that it lives in. It begins when it is first needed."""
        if self._world is None:
            keepers = self.keepers
            scene = Scene(
                self.choreography, keepers if callable(keepers) else lambda: keepers, self._faults,
                ledgers=self._ledgers, silent=self._silent,
            )  # fmt: skip
            if self.places is None:
                world = World(scene, self.seed, forced=self._forced)
            else:
                world = RealWorld(scene, self.seed, self.places)
            self._restore.enter_context(world.alive())
            self._world = world
            world.do(world.begin())
        return self._world

    # before anything happens

    def silence(self, *which: Service | Callable[..., Any]) -> None:
        """These services or reactions hear nothing, as if their program were not running."""
        self._refuse_late("silence")
        for each in which:
            services = [each.name] if isinstance(each, Service) else []
            self._silent |= {path for path, c in self.choreography.contracts.items() if c.service in services}
            self._silent |= set() if isinstance(each, Service) else {self._find(each)}

    def stub(self, reaction: Callable[..., Any], *, returns: Any = None, raises: BaseException | None = None) -> None:
        """Instead of the reaction this answers: `returns`, or what the function `returns` makes of its arguments."""
        found = self.choreography.reactions[self._find(reaction)]
        before = found.function

        @functools.wraps(before)
        def answer(*args: Any, **named: Any) -> Any:
            if raises is not None:
                raise raises
            return returns(*args, **named) if inspect.isroutine(returns) else returns

        @functools.wraps(before)
        async def answer_later(*args: Any, **named: Any) -> Any:
            return answer(*args, **named)

        self._refuse_late("stub")
        found.function = answer_later if found.contract.is_async else answer
        self._restore.callback(setattr, found, "function", before)

    def _find(self, function: Callable[..., Any]) -> str:
        for service in self.choreography.services.values():
            if (reaction := service.find(function)) is not None:
                return reaction.path
        raise ContractError(f"{function!r}", f"is no reaction of {self.choreography.name}")

    def _refuse_late(self, what: str) -> None:
        if self._world is not None:
            raise CallboardError(
                f"{what}() comes before the first put() and publish(): the services are running by now"
            )

    # what happens

    def put(self, *rows: Any) -> None:
        """These rows of state are there."""
        self.world.do(self.world.put(*rows))

    def publish(self, event: Any) -> Rehearsed:
        """Somebody outside publishes this; it is in the log. Raises as `board.publish` does."""
        world = self.world
        key = f"published {len(world.published)}"
        world.published.append(event)

        async def publish(board: Board) -> FlowHandle:
            handles: list[FlowHandle] = await board.publish([event], idempotency_key=key)
            return handles[0]

        handle = world.do(world.insist(world.home(event), publish))
        return Rehearsed(self, handle.name, (handle.id or "")[:FLOW_LENGTH])

    def run(self) -> None:
        """Everything goes on until all that is left is to wait: for a timer, a deadline, or a word from outside."""
        self.world.do(self.world.rest(waits=False))

    def advance(self, **time: float) -> None:
        """So much time passes, given as to `timedelta`: `advance(minutes=31)`."""
        if (span := timedelta(**time)) < timedelta(0):
            raise CallboardError(f"advance({span}): time goes forward only")
        self.world.do(self.world.pass_time(span.total_seconds()))

    # what is seen

    def state(self, cls: type[T], key: object) -> T | None:
        """The row with this key, or None."""
        return next((row for row in self.rows(cls) if str(getattr(row, state_type(cls).key)) == str(key)), None)

    def rows(self, cls: type[T]) -> list[T]:
        """All rows of this state."""
        return self.world.do(self.world.rows(cls))

    def emitted(self, cls: type[T], **fields: Any) -> list[T]:
        """The events of this type that happened, in order; only those with these fields."""
        found = self.world.events(cls)
        return [each for each in found if all(getattr(each, name) == value for name, value in fields.items())]

    @property
    def calls(self) -> list[Any]:
        """Every call that was made to a port, in order: `name`, `told`, `took_place`, `answer`."""
        return self.world.calls

    def broken(self) -> list[str]:
        """What does not hold once everything has come to its end, by the declaration and the invariants alone."""
        self.world.do(self.world.finish())
        return [f"{each.oracle}: {each.text}" for each in self.world.found + self.world.do(judge(self.world))]

    def flows_like(self, flow: str) -> list[FlowRow]:
        """What is kept where the flows of this name are."""
        flows = self.choreography.flows
        return self.world.flows_at(self.choreography.home_of(flows[flow]).name if flow in flows else "")

    def story(self, text: str) -> str:
        """What happened, told line by line."""
        deviations, (first, runs) = self.world.choices.deviations, self._shrunk
        ending = self.world.ended([])
        failure = Failure(self.seed, [Violation("test", "", text)], deviations, first or len(deviations), runs, ending)
        return "\n".join(told(explained(self.world.scene, failure)))
