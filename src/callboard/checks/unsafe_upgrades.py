"""CB503: no order in which services are upgraded is safe at each step."""

from collections.abc import Iterator

from callboard.check import Check, Finding, Place, Severity
from callboard.checks.subject import Subject
from callboard.contracts.rolling import Upgrade, upgrade
from callboard.contracts.writing import write


def find(subject: Subject) -> Iterator[Finding]:
    """The walls between the version before and this one; or the order that leads around them."""
    if subject.against is None:
        return
    now = write(subject.choreography)
    way = upgrade(subject.against, now)
    if way.walls:
        wall = way.walls[0]
        file = now if wall.reader_is_new else subject.against
        at = file.reactions[wall.reactions[0]]
        yield _told(
            way,
            CHECK.severity,
            "no order of upgrading one service after the other is safe",
            Place(at.file, at.line, wall.reactions[0]),
            f"add to {wall.event} a new field with a default, beside the old one, until nobody reads that any more",
        )
    elif way.order:
        first = next(each for each in now.reactions if each.partition(".")[0] == way.order[0])
        place = Place(now.reactions[first].file, now.reactions[first].line, first)
        order = ", then ".join(way.order)
        yield _told(way, "information", f"upgrade {order}: in this order each step is safe", place, "keep to it")


def _told(way: Upgrade, severity: Severity, title: str, place: Place, fix: str) -> Finding:
    looked = f"{way.looked} mixtures of old and new services were looked at"
    return Finding(
        code="CB503", severity=severity, title=title, about=place.name, place=place, fix=fix,
        end=(*map(str, way.walls), looked),
    )  # fmt: skip


CHECK = Check(
    code="CB503",
    name="upgrade without a safe order",
    severity="error",
    find=find,
    meaning="Services are upgraded one after the other, so old and new stand beside each other for a while. There is "
    "no order in which at each step everybody can read what is said. It is found where the version before is given.",
    broken="""
# the version before
@event
class Wrapped:
    order: str
    weight: int

@stock.reaction
def wrap(ordered: Ordered) -> Wrapped: ...

@parcels.reaction
def send(wrapped: Wrapped) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent)]

# this version
@event
class Wrapped:
    order: str
    weight: str

@stock.reaction
def wrap(ordered: Ordered) -> Wrapped: ...

@parcels.reaction
def send(wrapped: Wrapped) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent)]
""",
    mended="""
# the version before
@event
class Wrapped:
    order: str
    weight: int

@stock.reaction
def wrap(ordered: Ordered) -> Wrapped: ...

@parcels.reaction
def send(wrapped: Wrapped) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent)]

# this version
@event
class Wrapped:
    order: str
    weight: int
    weighed_by: str = ""

@stock.reaction
def wrap(ordered: Ordered) -> Wrapped: ...

@parcels.reaction
def send(wrapped: Wrapped) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent)]
""",
)
