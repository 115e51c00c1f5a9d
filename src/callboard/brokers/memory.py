"""A broker inside one program: for tests, and for boards that run side by side in one event loop."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from callboard.broker import Delivery, Features, Unsendable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from callboard.envelope import Envelope


class MemoryBroker:
    """Carries bytes, like any other; all is lost with the program. The boards that it connects share one object."""

    features = Features(keeps_order=True, replays_history=False, survives_restart=False)

    def __init__(self, *, largest: int = 8_388_608) -> None:
        self._largest = largest  # bytes of one envelope
        self._types: dict[str, set[str]] = {}
        self._waiting: dict[str, dict[int, bytes]] = {}
        self._sent = 0
        self._wakes: dict[Callable[[], None], None] = {}  # in the order of opening

    async def open(self, wake: Callable[[], None]) -> None:
        """`wake` is called after each sending."""
        self._wakes[wake] = None

    async def close(self, wake: Callable[[], None]) -> None:
        """What waits stays here, for the next who opens."""
        self._wakes.pop(wake, None)

    async def declare(self, subscription: str, types: Collection[str]) -> None:
        """The subscription is there."""
        self._types.setdefault(subscription, set()).update(types)
        self._waiting.setdefault(subscription, {})

    async def send(self, envelopes: Sequence[Envelope]) -> Sequence[Unsendable]:
        """All are in memory, in this order, but those that are too large."""
        refused: list[Unsendable] = []
        for envelope in envelopes:
            data = envelope.encode()
            if len(data) > self._largest:
                refused.append(Unsendable(envelope, f"it has {len(data)} bytes, {self._largest} fit"))
                continue
            self._sent += 1
            for subscription, types in self._types.items():
                if envelope.type in types:
                    self._waiting[subscription][self._sent] = data
        for wake in self._wakes:
            wake()
        return refused

    async def receive(self, subscription: str, *, limit: int) -> Sequence[Delivery]:
        """The oldest that wait. Until they are acknowledged they are handed over each time."""
        waiting = self._waiting.get(subscription, {})
        return [Delivery.of(data, place) for place, data in islice(waiting.items(), limit)]

    async def ack(self, subscription: str, deliveries: Sequence[Delivery]) -> None:
        """They are forgotten."""
        waiting = self._waiting.get(subscription, {})
        for delivery in deliveries:
            waiting.pop(delivery.receipt, None)
