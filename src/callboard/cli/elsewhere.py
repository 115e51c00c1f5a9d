"""Services with ledgers of their own: which of them keeps a flow, and whether a command reaches it by the broker."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from callboard.choreography import Choreography
from callboard.cli.command import Refusal
from callboard.cli.reading import is_one_of_several, reading
from callboard.event import EventType
from callboard.flow import Flow


def flows_of(choreography: Choreography, kind: EventType) -> list[Flow]:
    """The flows that an event of this type begins or may join."""
    return [each for each in choreography.flows.values() if each.start is kind or kind.carries(each.key)]


def broker_for(url: str, broker: str | None, choreography: Choreography, flows: Iterable[Flow]) -> str | None:
    """The broker to publish with into `flows` from this ledger; None where it keeps them itself.

    Exit 2 where it needs one and none is named, or where nobody would hear of it there.
    """
    if not Path(url.removeprefix("sqlite:///")).exists():
        return broker
    return asyncio.run(_needed(url, broker, choreography, flows))


async def _needed(url: str, broker: str | None, choreography: Choreography, flows: Iterable[Flow]) -> str | None:
    async with reading(url) as ledger:
        owners, several = await ledger.owners(), await is_one_of_several(ledger)
    if owners and not several and broker is not None:
        raise Refusal(2, f"{url} was run without a broker, so it keeps its flows itself: leave --broker away")
    if not several or broker is not None:
        return broker
    for flow in flows:
        if (home := choreography.home_of(flow).name) not in owners:
            raise Refusal(
                2,
                f"{flow.name} is kept in the ledger of {home}, and {url} reaches it through a broker: say --broker "
                f"URL, as its workers do, or name the ledger of {home}",
            )
    return None
