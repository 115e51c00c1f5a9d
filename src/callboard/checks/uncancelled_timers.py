"""CB306: a timer fires although the flow went on without it, or is off in every later round of a loop."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.subject import Subject, at_reaction
from callboard.contract import Contract, types_in
from callboard.event import EventType


def find(subject: Subject) -> Iterator[Finding]:
    """Timers that nothing but the verdict stops, in flows that go on beside them; and what stops one for good."""
    for contract in subject.contracts:
        options = contract.options
        if options.wait is None or options.once is not None:
            continue
        if options.unless is None:
            if beside := _goes_on_beside(subject, contract):
                stops = " | ".join(sorted(str(each) for each in beside if each not in contract.hears))
                yield at_reaction(
                    contract,
                    CHECK,
                    f"nothing stops the timer of {contract.name} while the flow goes on",
                    f"name {stops or 'what goes on beside it'} in unless=, or what else leaves it nothing to say",
                )
        elif not any(_can_come(subject, contract, kind) for kind in types_in(options.unless)):
            yield at_reaction(
                contract,
                CHECK,
                f"`unless={options.unless}` never stops the timer of {contract.name}: it does not come while it runs",
                f"name in unless= what is said between {' | '.join(map(str, contract.hears))} and the end of the wait",
            )
        elif stopped := _stops_for_good(subject, contract):
            kind, heard = stopped
            yield at_reaction(
                contract,
                CHECK,
                f"{kind} stops the timer of {contract.name} for good: it leads to another {heard}, which finds it said",
                f"say per= on {contract.name}, with the field that tells one {heard} from the next",
            )


def _goes_on_beside(subject: Subject, contract: Contract) -> list[EventType]:
    """What else comes of its event, or what the world may say meanwhile."""
    for kind in contract.hears:
        for each in subject.hearers(kind):
            if each is not contract and each.options.wait is None and (each.emits or each.options.compensates is None):
                return list(each.emits) or [kind]
    starts = [flow for flow in subject.flows if subject.paths.leads_to(flow.start, contract.hears)]
    return [kind for kind in subject.choreography.incoming if any(kind.carries(flow.key) for flow in starts)]


def _can_come(subject: Subject, contract: Contract, kind: object) -> bool:
    """It is said by the world, by a deadline, or by a reaction that does not come strictly before the timer."""
    one = next((each for each in subject.choreography.events.values() if each is kind), None)
    if one is None:
        return False
    if one in subject.choreography.incoming or one.inner is not None:
        return True
    only_before = all(subject.paths.leads_to(one, [heard]) for heard in contract.hears)
    return bool(subject.emitters(one)) and not (only_before and not any(
        subject.paths.leads_to(heard, [one]) for heard in contract.hears
    ))  # fmt: skip


def _stops_for_good(subject: Subject, contract: Contract) -> tuple[EventType, EventType] | None:
    """What stops it in one round of a loop and leads to the next, in which unless= finds it in the log."""
    if contract.options.unless is None or contract.options.per is not None:
        return None
    for kind in types_in(contract.options.unless):
        for heard in contract.hears:
            if subject.paths.in_cycle(heard) and subject.paths.leads_to(kind, [heard]):
                return kind, heard
    return None


CHECK = Check(
    code="CB306",
    name="timer that nothing stops",
    severity="warning",
    find=find,
    meaning="A reaction with wait= is armed, the flow goes on by another way, and nothing names in unless= that the "
    "timer is not wanted any more. Only the verdict of the flow stops it; until then it fires into a flow "
    "that has moved on. Or, in a loop, unless= finds what stopped it in an earlier round, and it is never armed "
    "again.",
    broken="""
@money.reaction(wait=timedelta(days=3))
def remind(ordered: Ordered) -> Noted: ...

@money.reaction
def book(paid: Paid) -> Closed: ...

flows, incoming, outgoing = [Flow("order", key="order", starts=Ordered, succeeds=Closed)], Paid, Noted
""",
    mended="""
@money.reaction(wait=timedelta(days=3), unless=Paid)
def remind(ordered: Ordered) -> Noted: ...

@money.reaction
def book(paid: Paid) -> Closed: ...

flows, incoming, outgoing = [Flow("order", key="order", starts=Ordered, succeeds=Closed)], Paid, Noted
""",
)
