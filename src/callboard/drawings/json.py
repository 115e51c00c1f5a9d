"""JSON, for programs: the graph with everything that the contracts say."""

import json
from typing import Any

from callboard.choreography import Choreography
from callboard.contract import Contract, Shape
from callboard.drawings.names import label
from callboard.event import EventType

SCHEMA = "callboard.graph/v1"


def draw(choreography: Choreography) -> str:
    """One object; `document` without the text."""
    return json.dumps(document(choreography), indent=2, ensure_ascii=False) + "\n"


def document(choreography: Choreography) -> dict[str, Any]:
    """Services, reactions, events, flows and edges as plain values."""
    return {
        "schema": SCHEMA,
        "name": choreography.name,
        "services": list(choreography.services),
        "events": [_event(each) for each in choreography.events.values()],
        "reactions": [_reaction(node.contract, choreography) for node in choreography.nodes()],
        "flows": [
            {
                "name": flow.name,
                "key": flow.key,
                "starts": label(flow.start),
                "succeeds": _shape(flow.succeeds),
                "fails": _shape(flow.fails),
                "timeout_seconds": None if flow.timeout is None else flow.timeout.total_seconds(),
                "home": choreography.home_of(flow).name,
            }
            for flow in choreography.flows.values()
        ],
        "incoming": [label(each) for each in choreography.incoming],
        "outgoing": [label(each) for each in choreography.outgoing],
        "edges": [
            {"event": label(edge.event), "source": edge.source, "target": edge.target, "kind": edge.kind}
            for edge in choreography.edges()
        ],
    }


def _event(event: EventType) -> dict[str, Any]:
    return {"name": label(event), "type": event.name, "failure": event.failure, "version": event.version}


def _reaction(contract: Contract, choreography: Choreography) -> dict[str, Any]:
    options = contract.options
    return {
        "path": contract.path,
        "service": contract.service,
        "name": contract.name,
        "hears": [label(each) for each in contract.hears],
        "given": [label(each) for given in contract.givens for each in given.types],
        "emits": [label(each) for each in contract.emits],
        "states": [row.state.name for row in contract.states],
        "ports": [each.port.__name__ for each in contract.ports],
        "needs": _shape(options.needs),
        "unless": _shape(options.unless),
        "compensates": None if options.compensates is None else f"{contract.service}.{options.compensates}",
        "compensated_by": list(choreography.compensations.get(contract.path, ())),
        "pivot": options.pivot,
        "keeps": options.keeps,
    }


def _shape(shape: Shape | None) -> str | None:
    return None if shape is None else str(shape)
