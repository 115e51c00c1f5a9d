"""CB502: a service says an event in a version that another cannot read."""

from collections.abc import Iterator
from itertools import permutations

from callboard.check import Check, Finding, Place
from callboard.checks.subject import Subject
from callboard.contracts.compatibility import emitted, taken, unread_event


def find(subject: Subject) -> Iterator[Finding]:
    """Pairs of contract files, of which one reads what the other says, and cannot."""
    for one, other in permutations(subject.files, 2):
        said = {event for service in one.services for event in emitted(one, service)}
        for service in other.services:
            for event, paths in taken(other, service).items():
                why = "; ".join(unread_event(event, one, other)) if event in said else ""
                for path in paths if why else ():
                    at = other.reactions[path]
                    who = next(each for each in one.services if event in emitted(one, each))
                    yield Finding(
                        code=CHECK.code,
                        severity=CHECK.severity,
                        title=f"{path} cannot read the {event} that {who} says: {why}",
                        about=f"{path} {event}",
                        place=Place(at.file, at.line, path),
                        fix=f"agree on {event}: a reader has a default for each field that a writer may leave out",
                    )


CHECK = Check(
    code="CB502",
    name="version that is not understood",
    severity="error",
    find=find,
    meaning="Two contract files tell of one event in two ways, and a service that hears it expects a field that is "
    "not there, or is of another type. Each of its runs ends as a dead letter. Found where several files are checked.",
    broken="""
# the file of stock
@event
class Wrapped:
    order: str

@stock.reaction
def wrap(ordered: Ordered) -> Wrapped: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Wrapped)]

# the file of parcels
@event
class Wrapped:
    order: str
    weight: int

@parcels.reaction
def send(wrapped: Wrapped) -> None: ...

flows = []
""",
    mended="""
# the file of stock
@event
class Wrapped:
    order: str

@stock.reaction
def wrap(ordered: Ordered) -> Wrapped: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Wrapped)]

# the file of parcels
@event
class Wrapped:
    order: str
    weight: int = 0

@parcels.reaction
def send(wrapped: Wrapped) -> None: ...

flows = []
""",
)
