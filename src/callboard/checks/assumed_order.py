"""CB601: an order of events is taken for granted that the broker does not give."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.subject import Subject, at_reaction, wanted_by
from callboard.contract import Contract
from callboard.event import EventType

ORDERED = {  # what one sender says about one flow arrives in the order it was sent
    "memory": True,
    "sqlite": True,
    "kafka": True,
    "rabbitmq": True,
    "nats": True,
    "redis": True,
    "sqs": False,
}


def claimed(broker: str) -> str:
    """What is taken for granted of the order over this broker, in words."""
    if ORDERED[broker]:
        return (
            f"Over {broker} what one service says in a flow arrives in that order; of two services either may be first."
        )
    return f"Over {broker} two events of a flow arrive in any order, also where one service said both."


def find(subject: Subject) -> Iterator[Finding]:
    """Reactions of one service to an event and to its cause, on one state, where the broker may turn the two round."""
    if subject.broker is None:
        return
    kept = ORDERED[subject.broker]
    for later in subject.contracts:
        for earlier in subject.contracts:
            if earlier.service != later.service or not _shares(later, earlier):
                continue
            for second in later.hears:
                for first in earlier.hears:
                    if _may_be_turned_round(subject, later, first, second, kept=kept):
                        yield _finding(subject, later, earlier, first, second)


def _shares(one: Contract, other: Contract) -> bool:
    """They write one state, and nothing declared puts them in order."""
    options = (one.options, other.options)
    if any(each.compensates is not None for each in options):
        return False
    rows = [{each.state for each in it.states if each.form != "read"} for it in (one, other)]
    return bool(rows[0] & rows[1])


def _may_be_turned_round(subject: Subject, later: Contract, first: EventType, second: EventType, *, kept: bool) -> bool:
    paths = subject.paths
    if first is second or first.inner is not None or second.inner is not None:
        return False
    if first in wanted_by(later) and first not in later.hears:
        return False  # it looks back for the first itself
    if not paths.leads_to(first, [second]) or paths.leads_to(second, [first]):
        return False
    senders = [{each.service for each in subject.emitters(kind)} or {"(outside)"} for kind in (first, second)]
    if senders[0] | senders[1] == {later.service}:
        return False  # it said both itself: they are in its own log
    return not kept or senders[0] != senders[1]


def _finding(subject: Subject, later: Contract, earlier: Contract, first: EventType, second: EventType) -> Finding:
    return at_reaction(
        later,
        CHECK,
        f"over {subject.broker} {second} may reach {later.service} before {first}, which caused it: {later.name} then "
        f"finds what {earlier.name} has not written yet",
        f"say needs={first} on {later.name}"
        if later is not earlier
        else f"write two reactions, one with needs={first}",
        about=f"{later.path} {first} {second}",
    )


CHECK = Check(
    code="CB601",
    name="order taken for granted",
    severity="warning",
    find=find,
    meaning="Two events, one of which causes the other, reach a service on different ways, and it writes one state "
    "for both. In one shared log the cause comes first; over a broker two senders have no order between them, "
    "and over SQS not even one has. Asked for with --broker.",
    broken="""
@desk.reaction
def open_note(ordered: Ordered, note: Note) -> None: ...

@money.reaction
def charge(ordered: Ordered) -> Paid: ...

@desk.reaction
def close_note(paid: Paid, note: Note) -> Closed: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed)]
""",
    mended="""
@desk.reaction
def open_note(ordered: Ordered, note: Note) -> None: ...

@money.reaction
def charge(ordered: Ordered) -> Paid: ...

@desk.reaction(needs=Ordered)
def close_note(paid: Paid, note: Note) -> Closed: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed)]
""",
)
