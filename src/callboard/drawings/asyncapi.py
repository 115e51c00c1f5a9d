"""AsyncAPI 3: a document for each service, and a merged one for people. What causes what stands in `x-callboard-*`."""

import json
import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from callboard import fields
from callboard.choreography import Choreography
from callboard.contract import Contract, ways
from callboard.drawings.names import label
from callboard.event import EventType
from callboard.graph import OUTSIDE

CLOUD_EVENT = {
    "title": "a CloudEvent in JSON",
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string"},
        "source": {"type": "string", "format": "uri-reference", "description": "the service that emitted it"},
        "type": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string"},
        "correlationid": {"type": "string", "description": "the flow that it belongs to"},
        "causationid": {"type": "string", "description": "the event that directly caused it"},
        "partitionkey": {"type": "string"},
        "dataversion": {"type": "integer"},
    },
}
SCHEMAS = "#/components/schemas/"


def draw(choreography: Choreography, service: str | None = None) -> str:
    """The document of this service, or of all of them."""
    return json.dumps(document(choreography, service), indent=2, ensure_ascii=False) + "\n"


def document(choreography: Choreography, service: str | None = None) -> dict[str, Any]:
    """As `draw`, as plain values."""
    operations, events = _operations(choreography, service)
    merged = {"x-callboard-merged": True} if service is None else {}
    return {
        "asyncapi": "3.0.0",
        "id": ":".join(["urn:callboard", *map(_key, [choreography.name, *([service] if service else [])])]),
        "info": {"title": f"{choreography.name}{f': {service}' if service else ''}", "version": "1.0.0"},
        "defaultContentType": "application/cloudevents+json",
        **merged,
        "channels": {_key(label(each)): _channel(each, choreography) for each in events},
        "operations": operations,
        "components": {
            "messages": {_key(label(each)): _envelope(each) for each in events},
            "schemas": {"callboard.CloudEvent": CLOUD_EVENT, **_schemas(events)},
        },
    }


def _operations(choreography: Choreography, service: str | None) -> tuple[dict[str, Any], list[EventType]]:
    """What each reaction receives and sends: whatever an edge of the graph says, and what nobody hears as well."""
    found: dict[str, Any] = {}
    events: dict[EventType, None] = {}

    def add(path: str, action: str, event: EventType, **more: Any) -> None:
        found.setdefault(_operation(path, action, event), _ask(action, event)).update(more)
        events[event] = None

    contracts = [each for each in choreography.contracts.values() if service in (None, each.service)]
    for contract in contracts:
        for event in contract.hears:
            add(contract.path, "receive", event, **_said_of(contract, choreography))
        for event in contract.emits:
            add(contract.path, "send", event)
    flows = [each for each in choreography.flows.values() if service in (None, choreography.home_of(each).name)]
    mine = {each.path for each in contracts} | {f"({each.name})" for each in flows}
    for edge in choreography.edges():
        if edge.source in mine and edge.source != OUTSIDE:
            add(edge.source, "send", edge.event)
        if edge.target in mine and edge.kind == "prerequisite":
            add(edge.target, "receive", edge.event, **{"x-callboard-prerequisite": True})
        elif edge.target in mine and edge.target not in choreography.contracts:
            add(edge.target, "receive", edge.event, **{"x-callboard-completion": edge.target.strip("()")})
    return found, list(events)


def _operation(path: str, action: str, event: EventType) -> str:
    return _key(f"{path.strip('()')}.{action}.{label(event)}")


def _ask(action: str, event: EventType) -> dict[str, Any]:
    key = _key(label(event))
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{key}"},
        "messages": [{"$ref": f"#/channels/{key}/messages/{key}"}],
    }


def _said_of(contract: Contract, choreography: Choreography) -> dict[str, Any]:
    """What AsyncAPI has no words for."""
    failed = [edge.event for edge in choreography.edges() if edge.source == contract.path]
    sends = dict.fromkeys(_operation(contract.path, "send", each) for each in (*contract.emits, *failed))
    said: dict[str, Any] = {"x-callboard-emits": [{"$ref": f"#/operations/{each}"} for each in sends]}
    if contract.options.compensates:
        said["x-callboard-compensates"] = f"{contract.service}.{contract.options.compensates}"
    if contract.options.wait is not None:
        said["x-callboard-timer"] = True
    return said


def _channel(event: EventType, choreography: Choreography) -> dict[str, Any]:
    key = _key(label(event))
    ends = [
        {"flow": flow.name, "verdict": verdict}
        for flow in choreography.flows.values()
        for verdict, shape in (("succeeded", flow.succeeds), ("failed", flow.fails))
        if shape is not None and any(event in way for way in ways(shape))
    ]
    starts = [flow.name for flow in choreography.flows.values() if flow.start is event]
    return {
        "address": event.name,
        "messages": {key: {"$ref": f"#/components/messages/{key}"}},
        **({"x-callboard-starts": starts} if starts else {}),
        **({"x-callboard-ends": ends} if ends else {}),
        **({"x-callboard-failure": True} if event.failure else {}),
    }


def _envelope(event: EventType) -> dict[str, Any]:
    body = {"properties": {"type": {"const": event.name}, "data": {"$ref": SCHEMAS + _key(label(event))}}}
    return {
        "name": event.name,
        "title": label(event),
        "contentType": "application/cloudevents+json",
        "correlationId": {"location": "$message.payload#/correlationid"},
        "payload": {"allOf": [{"$ref": f"{SCHEMAS}callboard.CloudEvent"}, {**body, "required": ["data"]}]},
    }


def _schemas(events: Iterable[EventType]) -> dict[str, Any]:
    """JSON Schema of draft 7, which every reader of AsyncAPI knows."""
    found: dict[str, Any] = {}

    def foreign(cls: type[Any]) -> dict[str, Any]:
        if fields.kind_of(cls) != "pydantic":
            raise NotImplementedError
        schema: dict[str, Any] = cast("Any", cls).model_json_schema(ref_template=SCHEMAS + "{model}")
        found.update(schema.pop("$defs", {}))
        return schema

    for event in events:
        (root,), parts = msgspec.json.schema_components(
            [event.annotation], schema_hook=foreign, ref_template=SCHEMAS + "{name}"
        )
        found.update(parts)
        found.setdefault(_key(label(event)), root)
    return {_key(name): _draft_7(each) for name, each in found.items()}


def _draft_7(schema: Any) -> Any:
    match schema:
        case [*parts]:
            return [_draft_7(each) for each in parts]
        case dict():
            said = {name: _draft_7(each) for name, each in cast("dict[str, Any]", schema).items()}
        case _:
            return schema
    if "prefixItems" in said:
        said.update(items=said.pop("prefixItems"), additionalItems=False)
    if isinstance(said.get("$ref"), str):
        said["$ref"] = SCHEMAS + _key(said["$ref"].removeprefix(SCHEMAS))
    return said


def _key(name: str) -> str:
    """AsyncAPI wants letters, digits, dots, dashes and underscores only."""
    if re.fullmatch(r"[A-Za-z0-9._-]+", name):
        return name
    return re.sub(r"[^A-Za-z0-9._-]", lambda each: f"_{ord(each[0]):x}", name.replace("[", ".").replace("]", ""))
