"""The inputs of a world, drawn from its seed by keyed hash: the same for the model and for the real thing."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple


@lru_cache(maxsize=65536)
def draw(seed: int, *key: str | int) -> float:
    """Draw a number in [0, 1) that depends on the seed and the key alone, never on the order of asking."""
    digest = blake2b(repr((seed, key)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56


class Order(NamedTuple):
    """One flow: so many of one sku."""

    flow: str
    sku: str
    quantity: int


class Input(NamedTuple):
    """What is published from outside. A restock belongs to no flow: its line is the sku, its number its place there."""

    type: Literal["OrderCreated", "Restocked"]
    key: str
    number: int = 0

    @property
    def id(self) -> str:
        """The same for a duplicate."""
        return f"{self.key}.{self.number or self.type}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a world that is not its schedule. A calm plan has one outcome, whatever the schedule."""

    seed: int
    calm: bool
    declining: bool  # though all else is calm, the bank and the carrier say no to some
    orders: dict[str, Order]
    stock: dict[str, int]
    inputs: tuple[Input, ...]  # in the order of publication
    cancels: tuple[str, ...]  # flows that are cancelled from outside, unless they have their end by then
    expiry: int  # how long `expire` waits
    timeout: int  # of each flow
    max_attempts: int
    closing: bool  # a void or close refuses what comes later under its key
    zombies: bool  # a call that outlives its attempt may take place late
    suspends: bool  # plain reactions suspend as well
    locked: (
        bool  # a Shelf is named in the signature (its row is held), else reached through States[...] (versions alone)
    )
    poisoned: bool  # a few reactions fail for ever, or kill the process

    @classmethod
    def of(cls, seed: int, *, calm: bool = False, declining: bool = False) -> "Plan":
        """Draw the plan of a seed."""
        skus = {f"o{i}": "ab"[int(draw(seed, "sku", i) * 1.2)] for i in range(1 + int(draw(seed, "orders") * 4))}
        orders = {flow: Order(flow, sku, 1 + int(draw(seed, "quantity", flow) * 2)) for flow, sku in skus.items()}
        strong = calm or draw(seed, "strong") < 0.4
        return cls(
            seed=seed,
            calm=calm,
            declining=declining or not calm,
            orders=orders,
            inputs=_inputs(seed, orders, calm=calm),
            stock={sku: 99 if calm else int(draw(seed, "stock", sku) * 4) for sku in "ab"},
            cancels=tuple(flow for flow in orders if not calm and draw(seed, "cancel", flow) < 0.5),
            expiry=10_000 if calm else 5 + int(draw(seed, "expiry") * 60),
            timeout=20_000 if calm else 20 + int(draw(seed, "timeout") * 120),
            max_attempts=1_000 if calm else 3,
            closing=strong,
            zombies=strong,
            suspends=draw(seed, "suspends") < 0.3,
            locked=draw(seed, "locked") < 0.6,
            poisoned=not calm and draw(seed, "poisoned") < 0.4,
        )

    @property
    def faultless(self) -> bool:
        """Whether hardly anything fails."""
        return draw(self.seed, "faults") < 0.05 and draw(self.seed, "failures") < 0.2

    def declines(self, port: str, key: str) -> bool:
        """Whether the provider says no to this key: always the same answer."""
        return (
            self.declining and port != "club" and draw(self.seed, "declines", port, key) < (0.5 if self.calm else 0.15)
        )

    def fault(self, port: str, op: str, key: str, call: int) -> Literal["", "refused", "lost"]:
        """What becomes of the n-th call under one key: refused before it took place, or its answer lost afterwards."""
        often = 0.6 * draw(self.seed, "faults")
        if call > 5 or draw(self.seed, "fault", port, op, key, call) > often:
            return ""
        return "lost" if draw(self.seed, "lost", port, op, key, call) < 0.7 else "refused"

    def fails(self, reaction: str, event_id: str, attempt: int) -> Literal["", "early", "late"]:
        """Whether the user's code raises in this attempt: before its outside call, or after the answer."""
        if attempt > 2 or draw(self.seed, "fails", reaction, event_id, attempt) > 0.3 * draw(self.seed, "failures"):
            return ""
        return "early" if draw(self.seed, "early", reaction, event_id, attempt) < 0.5 else "late"

    def poisons(self, reaction: str, key: str, replays: int) -> bool:
        """Whether the user's code raises in every attempt, perhaps until it is replayed."""
        return self.poisoned and draw(self.seed, "poisons", reaction, key) < (0.03 if replays else 0.08)

    def kills(self, reaction: str, key: str) -> bool:
        """Whether the user's code ends the process in every attempt."""
        return self.poisoned and draw(self.seed, "kills", reaction, key) < 0.01


def _inputs(seed: int, orders: dict[str, Order], *, calm: bool) -> tuple[Input, ...]:
    """Orders, some of them twice, and restocks, which keep their order on each sku."""
    places = [(draw(seed, "place", flow), Input("OrderCreated", flow)) for flow in orders]
    places += [
        (draw(seed, "again", flow), Input("OrderCreated", flow))
        for flow in orders
        if not calm and draw(seed, "duplicate", flow) < 0.25
    ]
    places += [
        ((number - draw(seed, "place", sku, number)) / 4, Input("Restocked", sku, number))
        for sku in "ab"
        for number in range(1, 1 + int(draw(seed, "restocks", sku) * 4))
    ]
    return tuple(one for _, one in sorted(places))
