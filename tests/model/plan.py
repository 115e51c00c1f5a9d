"""The inputs of a world, as plain data drawn from its seed by keyed hash: the same for the model and for the real thing."""
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple

Fault = Literal["none", "refused", "lost"]


@lru_cache(maxsize=65536)
def draw(seed: int, *key: str | int) -> float:
    """A number in [0, 1) that depends on the seed and the key alone, never on the order of asking."""
    digest = blake2b(repr((seed, key)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56


class Order(NamedTuple):
    """One flow: so many of one sku."""

    flow: str
    sku: str
    quantity: int


class Input(NamedTuple):
    """What comes from outside, in the order of publication; a restock belongs to no flow, its line is the sku."""

    type: Literal["OrderCreated", "Restocked"]
    key: str
    number: int = 0

    @property
    def id(self) -> str:
        """The same for a duplicate."""
        return f"{self.key}.{self.number}" if self.type == "Restocked" else f"{self.key}.{self.type}"


def _place(seed: int, i: int, one: Input) -> float:
    """Restocks of one sku stay in order."""
    chance = draw(seed, "place", i, one.id)
    if one.type == "Restocked":
        return (one.number - 1 + chance) / 4
    return chance


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a world that is not its schedule. A calm plan has one outcome, whatever the schedule."""

    seed: int
    calm: bool
    orders: dict[str, Order]
    stock: dict[str, int]
    inputs: tuple[Input, ...]
    cancels: tuple[str, ...]  # flows that are cancelled from outside, if they have no end by then
    expiry: int  # how long `expire` waits
    timeout: int  # of each flow
    closing: bool  # a void or close refuses what comes later under its key
    zombies: bool  # a call that outlives its attempt may take place late
    suspends: bool  # plain reactions suspend as well
    locked: bool  # a Shelf is loaded by signature (its row is held), else through States[...] (version check alone)
    poisoned: bool  # a few reactions fail for ever, or kill the process

    @classmethod
    def of(cls, seed: int, *, calm: bool = False) -> "Plan":
        """Draw the plan of a seed."""
        orders = {f"o{i}": Order(f"o{i}", "ab"[int(draw(seed, "sku", i) * 1.2)], 1 + int(draw(seed, "quantity", i) * 2))
                  for i in range(1 + int(draw(seed, "orders") * 4))}
        inputs = [Input("OrderCreated", flow) for flow in orders]
        inputs += [Input("Restocked", sku, n) for sku in "ab" for n in range(1, 1 + int(draw(seed, "restocks", sku) * 4))]
        if not calm:
            inputs += [Input("OrderCreated", flow) for flow in orders if draw(seed, "duplicate", flow) < 0.25]
        places = sorted((_place(seed, i, one), one) for i, one in enumerate(inputs))
        return cls(
            seed=seed, calm=calm, orders=orders, inputs=tuple(one for _, one in places),
            cancels=tuple(flow for flow in orders if not calm and draw(seed, "cancel", flow) < 0.5),
            stock={sku: 99 if calm else int(draw(seed, "stock", sku) * 4) for sku in "ab"},
            expiry=10_000 if calm else 5 + int(draw(seed, "expiry") * 60),
            timeout=20_000 if calm else 20 + int(draw(seed, "timeout") * 120),
            closing=calm or draw(seed, "closing") < 0.4,
            zombies=calm or draw(seed, "closing") < 0.4,
            suspends=draw(seed, "suspends") < 0.3,
            locked=draw(seed, "locked") < 0.6,
            poisoned=not calm and draw(seed, "poisoned") < 0.4,
        )

    def declines(self, port: str, key: str) -> bool:
        """Whether the provider says no to this key: always the same answer."""
        return not self.calm and port != "club" and draw(self.seed, "declines", port, key) < 0.15

    def fault(self, port: str, key: str, call: int) -> Fault:
        """What becomes of the n-th call under one key: refused before it took place, or its answer lost afterwards."""
        often = 0.2 if self.calm else 0.6 * draw(self.seed, "faults")
        if call > (2 if self.calm else 5) or draw(self.seed, "fault", port, key, call) > often:
            return "none"
        return "lost" if draw(self.seed, "lost", port, key, call) < 0.7 else "refused"

    def fails(self, reaction: str, event_id: str, attempt: int) -> bool:
        """Whether the user's code raises in this attempt."""
        return attempt <= 2 and draw(self.seed, "fails", reaction, event_id, attempt) < 0.3 * draw(self.seed, "failures")

    def poisons(self, reaction: str, key: str, replays: int) -> bool:
        """Whether the user's code raises in every attempt, perhaps until it is replayed."""
        return self.poisoned and draw(self.seed, "poisons", reaction, key) < (0.03 if replays else 0.08)

    def kills(self, reaction: str, key: str) -> bool:
        """Whether the user's code ends the process in every attempt."""
        return self.poisoned and draw(self.seed, "kills", reaction, key) < 0.01
