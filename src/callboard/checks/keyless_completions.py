"""CB602: an event that ends a flow does not say which one."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.subject import Subject, at_flow


def find(subject: Subject) -> Iterator[Finding]:
    """Completions without the key of their flow."""
    for flow in subject.flows:
        for event in flow.ends:
            if not event.carries(flow.key):
                yield at_flow(
                    flow,
                    CHECK,
                    f"{event} ends {flow.name}, and has no `{flow.key}`",
                    f"add `{flow.key}` to {event}, so that whoever reads it alone knows which {flow.name} it ended",
                    about=f"{flow.name} {event}",
                )


CHECK = Check(
    code="CB602",
    name="completion without the key",
    severity="information",
    find=find,
    meaning="Inside, an event carries the id of its flow, and nothing is lost. But a person, a report or another "
    "company that reads this event has only its fields, and cannot tell which flow has ended.",
    broken="""
@event
class Shipped:
    parcel: str

@stock.reaction
def ship(ordered: Ordered) -> Shipped: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Shipped)]
""",
    mended="""
@event
class Shipped:
    order: str
    parcel: str

@stock.reaction
def ship(ordered: Ordered) -> Shipped: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Shipped)]
""",
)
