"""What is an effect, who answers for it, and who undoes it without saying so."""

from collections.abc import Iterable

from callboard.checks.outcomes import Outcome
from callboard.checks.paths import Paths
from callboard.choreography import Choreography
from callboard.contract import Contract
from callboard.event import EventType


class Effects:
    """The effects of a choreography's reactions, from their signatures and options."""

    def __init__(self, choreography: Choreography, paths: Paths) -> None:
        self._choreography = choreography
        self._paths = paths
        self.compensations: dict[str, tuple[Contract, ...]] = {
            path: tuple(choreography.contracts[each] for each in undoers)
            for path, undoers in choreography.compensations.items()
        }
        self.undeclared = dict(self._undeclared())

    def shared(self, contract: Contract) -> frozenset[object]:
        """What of the world it may change: ports, and states that other flows see too."""
        rows = [each.state for each in contract.states if each.form != "read"]
        return frozenset(
            [each.port for each in contract.ports]
            + [state for state in rows if not self._choreography.is_private(state)]
        )

    def names(self, shared: Iterable[object]) -> list[str]:
        """What these ports and states are called."""
        return sorted(each.__name__ if isinstance(each, type) else str(each) for each in shared)

    def is_effect(self, contract: Contract) -> bool:
        """Whether a run of it must be answered for: compensated, a pivot, or undone by somebody."""
        options = contract.options
        return (
            options.compensates is None
            and options.keeps is None
            and contract.path not in self.undeclared
            and bool(self.shared(contract))
        )

    def takes(self, contract: Contract, outcome: Outcome) -> bool:
        """Whether a run that ends so took its effect."""
        kinds = self.kinds(contract)
        if kinds:
            return any(each.kind in kinds for each in outcome)
        if not outcome:
            return not contract.emits or contract.path in self.compensations
        return any(not each.kind.failure for each in outcome)

    def kinds(self, contract: Contract) -> frozenset[EventType]:
        """The events that stand for its effect, where its compensations are given one."""
        return frozenset(kind for each in self.compensations.get(contract.path, ()) for kind in each.effect_types)

    def undoers(self, contract: Contract) -> set[str]:
        """The paths of what undoes it, declared or not."""
        undeclared = {undoer for undoer, doer in self.undeclared.items() if doer is contract}
        return undeclared | {each.path for each in self.compensations.get(contract.path, ())}

    def _undeclared(self) -> list[tuple[str, Contract]]:
        """Reactions on a failure path that write what an earlier reaction of their service wrote, and which one."""
        contracts = list(self._choreography.contracts.values())
        takers = [
            each
            for each in contracts
            if each.options.compensates is None and each.options.keeps is None and self.shared(each)
        ]
        found: list[tuple[str, Contract]] = []
        for undoer in takers:
            if not self._paths.on_failure(undoer) or undoer.options.pivot:
                continue
            for doer in takers:
                if (
                    doer.service == undoer.service
                    and not self._paths.on_failure(doer)
                    and not doer.options.pivot
                    and self.shared(doer) & self.shared(undoer)
                ):
                    found.append((undoer.path, doer))
                    break
        return found


def answers(compensation: Contract) -> bool:
    """Whether it takes `E | None`: it runs once however things stand."""
    kinds = set(compensation.effect_types)
    return any(given.optional and kinds and kinds >= set(given.types) for given in compensation.givens)
