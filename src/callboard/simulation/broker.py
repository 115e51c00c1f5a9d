"""A broker in virtual time: it delivers late, twice and again, and forgets nothing. Without a world it is quick."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from msgspec import Struct

from callboard.broker import Delivery, Features, Unsendable
from callboard.errors import BrokerUnavailable
from callboard.simulation.loop import LIFE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from callboard.envelope import Envelope
    from callboard.simulation.worker import Worker
    from callboard.simulation.world import World

_WINDOW = 300  # seconds in which a worker is cut off once at most
_QUICKEST, _SLOWEST = 0.001, 0.02  # seconds on the road


class Held(Struct):
    """Bytes for one subscription, to be handed over from `at` on."""

    data: bytes
    at: float
    label: str


class SimulatedBroker:
    """Carries bytes between the ledgers of one world."""

    features = Features(keeps_order=False, replays_history=False, survives_restart=True)

    def __init__(self, world: World | None = None, *, largest: int = 8_388_608) -> None:
        self._world = world
        self._largest = largest
        self._types: dict[str, set[str]] = {}
        self._waiting: dict[str, dict[int, Held]] = {}
        self._sent = 0
        self._wakes: dict[Callable[[], None], str] = {}  # with the worker that is woken
        self._readers: dict[str, set[str]] = {}  # subscription -> the workers that ask for what it holds
        self._windows: set[tuple[str, int]] = set()  # in which it was asked whether this worker is cut off
        self._cut: dict[str, float] = {}  # until when this worker is

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on the road."""
        return not any(self._waiting.values())

    async def open(self, wake: Callable[[], None]) -> None:
        """`wake` is called when something arrives."""
        worker = self._reach()
        self._wakes = {each: name for each, name in self._wakes.items() if worker is None or name != worker.name}
        self._wakes[wake] = "" if worker is None else worker.name

    async def close(self, wake: Callable[[], None]) -> None:
        """What waits stays."""
        self._wakes.pop(wake, None)

    async def declare(self, subscription: str, types: Collection[str]) -> None:
        """The subscription is there."""
        self._reach()
        self._types.setdefault(subscription, set()).update(types)
        self._waiting.setdefault(subscription, {})

    async def send(self, envelopes: Sequence[Envelope]) -> Sequence[Unsendable]:
        """All are on their way but those that are too large."""
        worker = self._reach()
        refused: list[Unsendable] = []
        for envelope in envelopes:
            data = envelope.encode()
            if len(data) > self._largest:
                refused.append(Unsendable(envelope, f"it has {len(data)} bytes, {self._largest} fit"))
                continue
            label = "" if self._world is None else self._world.label(envelope.type, envelope.correlation_id)
            if worker is not None:
                await worker.may_die(f"before it sends {label}")
            for subscription, types in self._types.items():
                if envelope.type in types:
                    self._carry(subscription, data, label)
            if worker is not None:
                await worker.may_die(f"after it sent {label}")
                self._may_cut(worker, f"once it has sent {label}")
        return refused

    async def receive(self, subscription: str, *, limit: int) -> Sequence[Delivery]:
        """What has arrived, the earliest first. Until it is acknowledged it is handed over each time, unless it is lost
        on that way: then it comes again.
        """
        worker = self._reach()
        self._readers.setdefault(subscription, set()).add("" if worker is None else worker.name)
        if not self._waiting.get(subscription):
            return ()
        now = asyncio.get_running_loop().time()
        arrived = [(held.at, place) for place, held in self._waiting.get(subscription, {}).items() if held.at <= now]
        found: list[Delivery] = []
        for _, place in sorted(arrived)[:limit]:
            held = self._waiting[subscription][place]
            wait = self._strikes("drop", held.label, subscription, "is lost on the way, and comes again")
            if wait is None:
                found.append(Delivery.of(held.data, place))
            else:
                self._hold(subscription, place, held, wait)
        return found

    async def ack(self, subscription: str, deliveries: Sequence[Delivery]) -> None:
        """They are forgotten."""
        waiting = self._waiting.get(subscription, {})
        for delivery in deliveries:
            held = waiting.get(delivery.receipt)
            if held is None:
                continue
            wait = self._strikes("lost-ack", held.label, subscription, "is acknowledged, and the broker never hears it")
            if wait is None:
                del waiting[delivery.receipt]
            else:
                self._hold(subscription, delivery.receipt, held, wait)

    def _carry(self, subscription: str, data: bytes, label: str) -> None:
        wait = 0.0
        if self._world is not None:
            wait = self._world.choices.between(
                self._world.choices.visit(f"road {label} -> {subscription}"), _QUICKEST, _SLOWEST
            )
        late = self._strikes("late", label, subscription, "is late")
        again = self._strikes("duplicate", label, subscription, "comes twice")
        for more in [late or 0.0] if again is None else [late or 0.0, (late or 0.0) + again]:
            self._sent += 1
            self._hold(subscription, self._sent, Held(data, 0, label), wait + more)

    def _hold(self, subscription: str, place: int, held: Held, wait: float) -> None:
        loop = asyncio.get_running_loop()
        held.at = loop.time() + wait
        self._waiting[subscription][place] = held
        if wait:
            loop.call_at(held.at, self._arrive, subscription, context=Context())  # in nobody's life
        else:
            self._arrive(subscription)

    def _arrive(self, subscription: str) -> None:
        for worker in self._readers.get(subscription, ()):
            self.wake(worker)

    def wake(self, worker: str) -> None:
        """It looks at what has arrived."""
        for wake, name in self._wakes.items():
            if name == worker:
                wake()

    def _strikes(self, fault: str, label: str, subscription: str, text: str) -> float | None:
        if self._world is None:
            return None
        to = subscription.rpartition(".")[2] if subscription.count(".") else "a publisher"
        return self._world.strikes(fault, f"{label} -> {to}", "broker", f"{label} to {to} {text}")

    def _reach(self) -> Worker | None:
        """The worker that calls. Raises BrokerUnavailable while it is cut off."""
        life = LIFE.get()
        if self._world is None or life is None:
            return None
        worker = self._world.workers[life.worker]
        now = self._world.loop.time()
        window = (worker.name, int(now // _WINDOW))
        if window not in self._windows:
            self._windows.add(window)
            self._may_cut(worker, f"from minute {window[1] * _WINDOW // 60}")
        if now < self._cut.get(worker.name, 0.0):
            raise BrokerUnavailable("the broker does not answer (simulated)")
        return worker

    def _may_cut(self, worker: Worker, when: str) -> None:
        """The worker may be cut off now. Raises BrokerUnavailable in the middle of what it sends: it never hears that
        the broker has it.
        """
        cut = worker.strikes("partition", f"{worker.name} {when}", f"cannot reach the broker {when}")
        if cut is not None:
            self._cut[worker.name] = asyncio.get_running_loop().time() + cut
            raise BrokerUnavailable("the broker does not answer (simulated)")
