"""What keeps runs away from a port: so many calls at once, and a breaker that pauses its reactions when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callboard.guard import Guarded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from callboard.contract import Contract

_IN_FLIGHT = 256  # runs that take a port at once, where no keeper says less


class Guard:
    """The limits of one port in this process."""

    def __init__(self, keeper: object) -> None:
        self.keeper = keeper
        self.most = _IN_FLIGHT
        self.running = 0
        self.failures = 0  # in a row
        self.until: int | None = None  # the breaker is open up to this moment; then one run tries
        self.trying = False
        self.told = True  # the ledger knows of `until`
        self.breaker = None
        if isinstance(keeper, Guarded):
            self.keeper, self.breaker = keeper.keeper, keeper.breaker
            self.most = keeper.concurrency or _IN_FLIGHT

    def keeps_back(self, now: int) -> bool:
        """Whether no further run may start now."""
        if self.running >= self.most:
            return True
        return self.until is not None and (now < self.until or self.trying)

    def began(self) -> None:
        """A run that takes the port has started."""
        self.running += 1
        self.trying = self.until is not None

    def ended(self, now: int, *, failed: bool) -> None:
        """It has ended. A failure counts; a success closes the breaker."""
        self.running -= 1
        self.trying = False
        before = self.until
        self.failures = self.failures + 1 if failed else 0
        if not failed:
            self.until = None
        elif self.breaker is not None and (before is not None or self.failures >= self.breaker.failures):
            self.until = now + round(self.breaker.pause.total_seconds() * 1_000_000)
        self.told = self.told and self.until == before


class Guards:
    """The guards of all ports of this process."""

    def __init__(self, keepers: Mapping[type[Any], object]) -> None:
        self._guards = {port: Guard(keeper) for port, keeper in keepers.items()}
        self.keepers: dict[type[Any], Any] = {port: guard.keeper for port, guard in self._guards.items()}

    def of(self, contract: Contract) -> Iterable[Guard]:
        """The guards of the ports that a reaction takes."""
        return (self._guards[port.port] for port in contract.ports)

    def keep_back(self, contract: Contract, now: int) -> bool:
        """Whether a run of this reaction must wait."""
        return any(guard.keeps_back(now) for guard in self.of(contract))

    def next(self, now: int) -> int | None:
        """When a breaker lets one run try."""
        return min(
            (guard.until for guard in self._guards.values() if guard.until is not None and guard.until > now),
            default=None,
        )

    @property
    def told(self) -> bool:
        """Whether the ledger knows which of them are open."""
        return all(guard.told for guard in self._guards.values())

    def tell(self, *, known: bool = True) -> None:
        """It is committed which of them are open; or else, what the ledger says of them is another process's."""
        for guard in self._guards.values():
            guard.told = known

    def pause(self, contract: Contract) -> tuple[int | None, str | None]:
        """Until when an open breaker pauses this reaction, and the name of its port."""
        found = (
            (guard.until, port.port.__name__) for port, guard in zip(contract.ports, self.of(contract), strict=True)
        )
        return max(((until, name) for until, name in found if until is not None), default=(None, None))
