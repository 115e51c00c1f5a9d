"""What the drawings call things: events as their readers know them, and identifiers safe in every language."""

import re
from collections.abc import Iterable

from callboard.event import EventType


def label(event: EventType) -> str:
    """`OrderCreated`, `FlowTimedOut[OrderCreated]`: an event's name on the wire, a built-in one as it is written."""
    return event.name if event.inner is None else f"{event.cls.__name__}[{label(event.inner)}]"


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """An identifier of letters, digits and underscores for each name; no two are the same."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        wanted = "n_" + re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")  # never a keyword such as `end`
        number, one = 1, wanted
        while one in taken:
            number += 1
            one = f"{wanted}_{number}"
        taken.add(one)
        found[name] = one
    return found


def places(sources_and_targets: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Where edges begin and end beside the reactions: the outside, and the flows; each once, in order."""
    known = set(paths)
    return [each for each in dict.fromkeys(sources_and_targets) if each not in known]
