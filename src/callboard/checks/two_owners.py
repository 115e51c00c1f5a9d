"""CB106: two services say the same event."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.subject import Subject, at_reaction


def find(subject: Subject) -> Iterator[Finding]:
    """Event types that reactions of more than one service emit."""
    for kind in subject.choreography.events.values():
        emitters = subject.emitters(kind)
        services = list(dict.fromkeys(each.service for each in emitters))
        if len(services) > 1:
            second = next(each for each in emitters if each.service != services[0])
            yield at_reaction(
                second,
                CHECK,
                f"{kind} is said by {' and by '.join(services)}",
                f"give {second.service} an event of its own, and let the hearers take either",
                about=str(kind),
            )


CHECK = Check(
    code="CB106",
    name="two owners",
    severity="warning",
    find=find,
    meaning="An event type is emitted by two services. Neither can change it without the other, and whoever hears it "
    "cannot tell whose word it is, nor whether it comes twice.",
    broken="""
@stock.reaction(once="end")
def refuse(ordered: Ordered) -> Cancelled | Held: ...

@money.reaction
def charge(held: Held) -> Paid | Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Cancelled)]
""",
    mended="""
@stock.reaction(once="end")
def refuse(ordered: Ordered) -> Cancelled | Held: ...

@money.reaction
def charge(held: Held) -> Paid | Declined: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Cancelled | Declined)]
""",
)
