"""What the checks look at: a choreography, who says and who hears what, and everything that may happen in a flow."""

from functools import cached_property

from callboard.check import Finding, Place, Severity, Step, place_of_contract
from callboard.choreography import Choreography
from callboard.contract import Contract
from callboard.event import EventType


class Subject:
    """A choreography under check. What several checks want is found once."""

    def __init__(self, choreography: Choreography, *, broker: str | None = None, limit: int = 200_000) -> None:
        self.choreography = choreography
        self.broker = broker
        self.limit = limit  # of states

    @cached_property
    def contracts(self) -> tuple[Contract, ...]:
        return tuple(self.choreography.contracts.values())

    def emitters(self, event: EventType) -> list[Contract]:
        """The reactions that may emit it."""
        return [each for each in self.contracts if event in each.emits]

    def hearers(self, event: EventType) -> list[Contract]:
        """The reactions that it makes run."""
        return [each for each in self.contracts if event in each.hears]

    def finding(
        self,
        contract: Contract,
        code: str,
        severity: Severity,
        title: str,
        *,
        fix: str,
        about: str = "",
        steps: tuple[Step, ...] = (),
        end: tuple[str, ...] = (),
    ) -> Finding:
        """A finding at a reaction."""
        place: Place = place_of_contract(contract)
        return Finding(
            code=code,
            severity=severity,
            title=title,
            about=about or contract.path,
            place=place,
            fix=fix,
            steps=steps,
            end=end,
        )
