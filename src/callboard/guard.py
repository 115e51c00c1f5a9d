"""Limits on a keeper: how many calls at once, and when to stop calling it for a while. Declarations only."""

from dataclasses import dataclass
from datetime import timedelta

from callboard.errors import ContractError, place


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """After `failures` failed calls in a row, the reactions that take the port pause for `pause`."""

    failures: int = 5
    pause: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ContractError(f"{place()} Breaker", "failures= is 1 or more")
        if self.pause <= timedelta(0):
            raise ContractError(f"{place()} Breaker", f"pause= is a time to wait, not {self.pause}")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A keeper with its limits, given where the keeper would be: `ports=[Guarded(Stripe(key), concurrency=8)]`."""

    keeper: object
    concurrency: int | None = None
    breaker: Breaker | None = None

    def __post_init__(self) -> None:
        if isinstance(self.keeper, Guarded):
            raise ContractError(f"{place()} Guarded", "a keeper is guarded once: give both limits to one Guarded")
        if isinstance(self.keeper, type):
            raise ContractError(
                f"{place()} Guarded", f"give a keeper, not its class: Guarded({self.keeper.__name__}(...))"
            )
        if self.concurrency is not None and self.concurrency < 1:
            raise ContractError(f"{place()} Guarded", "concurrency= is 1 or more, or None for no limit")


def looked_through(keeper: object) -> object:
    """The keeper itself, without its limits."""
    return keeper.keeper if isinstance(keeper, Guarded) else keeper
