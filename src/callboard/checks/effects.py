"""What is an effect, who answers for it, and who undoes it without saying so."""

from collections.abc import Iterable
from itertools import product

from callboard.checks.outcomes import Outcome
from callboard.checks.paths import Paths
from callboard.choreography import Choreography
from callboard.contract import Contract, types_in
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
        self.undeclared = self._undeclared()  # what each looks like the undo of

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
            and (options.pivot or bool(self.shared(contract)))
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
        return frozenset(kind for each in self.undos(contract) for kind in each.effect_types)

    def undos(self, contract: Contract) -> tuple[Contract, ...]:
        """Its compensations."""
        return self.compensations.get(contract.path, ())

    def alike(self, contract: Contract) -> list[Contract]:
        """What undoes it and does not say so."""
        return [self._choreography.contracts[path] for path, doers in self.undeclared.items() if contract in doers]

    def undone(self, contract: Contract) -> Contract:
        """What a compensation compensates; any other reaction itself."""
        name = contract.options.compensates
        return contract if name is None else self._choreography.contracts[f"{contract.service}.{name}"]

    def taken(self, undoer: Contract, doer: Contract) -> list[EventType]:
        """What stands for the effect of one, where the other takes it beside a failure."""
        done = [kind for kind in doer.emits if not kind.failure]
        needed = types_in(undoer.options.needs) if undoer.options.needs is not None else ()
        heard = [*(set(each.types) for each in undoer.triggers), *({kind} for kind in needed)]
        if not any(each & self._paths.bad and not each.intersection(done) for each in heard):
            return []
        heard += [set(each.types) for each in undoer.givens]
        return [kind for kind in done if any(kind in each for each in heard)]

    def _undeclared(self) -> dict[str, list[Contract]]:
        """Reactions that hear a failure and write what an earlier reaction of their service wrote, and which: those
        whose events they take too, if they take any. Without they are undos only where they hear nothing else.
        """
        takers = [
            each
            for each in self._choreography.contracts.values()
            if each.options.compensates is None and each.options.keeps is None and self.shared(each)
        ]
        pairs = [
            (undoer, doer)
            for undoer, doer in product(takers, takers)
            if doer.service == undoer.service
            and doer is not undoer
            and not (undoer.options.pivot or doer.options.pivot or self._paths.on_failure(doer))
            and self.shared(doer) & self.shared(undoer)
            and (self._paths.on_failure(undoer) or self.taken(undoer, doer))
        ]
        undoers, found = {undoer for undoer, _ in pairs}, dict[str, list[Contract]]()
        for undoer, doer in pairs:
            if doer not in undoers:
                found.setdefault(undoer.path, []).append(doer)
        return {
            path: [each for each in doers if self.taken(self._choreography.contracts[path], each)] or doers[:1]
            for path, doers in found.items()
        }


def answers(compensation: Contract) -> bool:
    """Whether it takes `E | None`: it runs once however things stand."""
    kinds = set(compensation.effect_types)
    return any(given.optional and kinds and kinds >= set(given.types) for given in compensation.givens)
