"""`callboard explain`."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_type_hints

import click
from click.core import ParameterSource

from callboard import errors, fields
from callboard.choreography import Choreography
from callboard.cli.command import Command, Refusal, meant
from callboard.cli.discovery import find_app_if_any
from callboard.cli.output import near, say, say_json, shown_duration
from callboard.cli.settings import app_option, json_option, ledger_option, ledger_url
from callboard.contract import ContextOf, Contract, Gathered, Given, PortOf, StateOf, Trigger
from callboard.drawings.names import label
from callboard.event import EventType, FlowTimedOut
from callboard.flow import Flow
from callboard.graph import OUTSIDE
from callboard.ids import FLOW_LENGTH
from callboard.parameters import shown
from callboard.signature import place_of


@dataclass
class Page:
    """What is said of one thing: a headline, then facts under their names."""

    name: str
    kind: str
    where: str
    facts: list[tuple[str, list[str]]] = field(default_factory=list[tuple[str, list[str]]])

    def add(self, name: str, *said: str) -> None:
        """A fact, unless nothing is said."""
        if told := [each for each in said if each]:
            self.facts.append((name, told))


@click.command(cls=Command, name="explain")
@click.argument("target")
@app_option
@ledger_option
@json_option
def command(target: str, app: str | None, ledger: str | None, *, as_json: bool) -> None:
    """Say what TARGET is: who declares it, who hears it, what happened to it.

    TARGET is an event type, a reaction, a service, a state, a port or a flow of the app (no connection is opened), or
    what the ledger holds: a flow as NAME/KEY or by its id, or an event by its id. It may be the code of a check, such
    as CB203, or an error, such as FlowIsOpen. With --ledger, of a reaction also where it stands there.
    """
    page, choreography = _of_code(target), None
    if page is None:
        choreography = find_app_if_any(app)
        page = (None if choreography is None else find_page(choreography, target)) or _of_error(target)
    if page is not None:
        typed = click.get_current_context().get_parameter_source("ledger") == ParameterSource.COMMANDLINE
        if typed and choreography is not None and page.name in choreography.contracts:
            _add_standing(page, choreography, ledger_url(ledger))
        _tell(page, as_json=as_json)
    elif "/" in target or len(target) >= FLOW_LENGTH:
        _explain_what_happened(ledger_url(ledger), target, choreography, as_json=as_json)
    else:
        raise Refusal(4, _nothing(choreography, target))


def _of_code(target: str) -> Page | None:
    from callboard.checks.catalogue import CHECKS

    check = CHECKS.get(target.upper())
    if check is None:
        return None
    page = Page(check.code, f"a finding of `callboard check`, {check.severity}: {check.name}", "")
    page.add("means", check.meaning)
    page.add("broken", *check.broken.strip("\n").splitlines())
    page.add("mended", *check.mended.strip("\n").splitlines())
    return page


def _of_error(target: str) -> Page | None:
    error = getattr(errors, target, None)
    if not (isinstance(error, type) and issubclass(error, errors.CallboardError)):
        return None
    page = Page(target, "error", "")
    page.add("means", " ".join((error.__doc__ or "").split()))
    page.add("is a", *(each.__name__ for each in error.__mro__[1:] if issubclass(each, errors.CallboardError)))
    return page


def _add_standing(page: Page, choreography: Choreography, url: str) -> None:
    """Where the reaction stands in the ledger now."""
    from callboard.cli.services import services_of, told_of

    for service in asyncio.run(services_of(url, choreography)):
        for reaction in service["reactions"]:
            if reaction["path"] != page.name:
                continue
            _, lag, under_way, _, parked = told_of(reaction)
            limit = choreography.contracts[page.name].options.concurrency
            full = f": at its limit of {limit}" if limit is not None and reaction["open"] >= limit else ""
            page.add("owner", service["owner"]["says"])
            page.add("events behind", lag)
            page.add("under way", f"{under_way}{full}")
            page.add("parked", parked or "nothing")


def _nothing(choreography: Choreography | None, target: str) -> str:
    if choreography is None:
        return f"what {target!r} is stands in the app: name it with --app. A flow of the ledger is NAME/KEY or an id"
    hint = meant(target, names(choreography))
    more = hint if "?" in hint else ": what the app declares has a name, a flow of the ledger is NAME/KEY or an id"
    return f"{choreography.name} has no {target!r}{more}"


def names(choreography: Choreography) -> list[str]:
    """Everything in the app that can be explained."""
    found = [label(each) for each in choreography.events.values()]
    found += [*choreography.contracts, *choreography.services, *choreography.flows, *choreography.states]
    found += [each.__name__ for each in choreography.ports]
    found += [contract.name for contract in choreography.contracts.values()]
    return list(dict.fromkeys(found))


def find_page(choreography: Choreography, target: str) -> Page | None:
    """The page for what has this name; exit 2 where several reactions have it."""
    found = list(_named(choreography, target))
    if len(found) > 1 and all("." in name for name, _ in found):
        paths = " or ".join(name for name, _ in found)
        raise Refusal(2, f"{target!r} is the name of {len(found)} reactions: say which, {paths}")
    return found[0][1]() if found else None


def _named(choreography: Choreography, target: str) -> Iterator[tuple[str, Callable[[], Page]]]:
    for event in choreography.events.values():
        if target in (event.name, label(event)):
            yield "event", partial(_of_event, choreography, event)
    for contract in choreography.contracts.values():
        if target in (contract.path, contract.name):
            yield contract.path, partial(_of_reaction, choreography, contract)
    if target in choreography.flows:
        yield "flow", partial(_of_flow, choreography, choreography.flows[target])
    if target in choreography.services:
        yield "service", partial(_of_service, choreography, target)
    if target in choreography.states:
        yield "state", partial(_of_state, choreography, target)
    yield from (
        ("port", partial(_of_port, choreography, each)) for each in choreography.ports if each.__name__ == target
    )


def _of_event(choreography: Choreography, event: EventType) -> Page:
    word = "failure" if event.failure else "event"
    page = Page(label(event), word, place_of(event.cls).partition(" ")[0] if event.inner is None else "callboard")
    if event.inner is None:
        page.add("carries", *_fields(event.cls))
        page.add("wire name", event.name if event.name != event.cls.__name__ else "")
    else:
        page.add("speaks of", label(event.inner))
    edges = [edge for edge in choreography.edges() if edge.event is event]
    sources = dict.fromkeys(_source(choreography, event, edge.source) for edge in edges)
    page.add("comes from", *sources, "outside" if event in choreography.incoming and "outside" not in sources else "")
    emitters = [each.path for each in choreography.contracts.values() if event in each.emits]
    page.add("emitted by", *(f"{path}   {_place(choreography.contracts[path])}" for path in emitters))
    heard = _hearers(choreography, event)
    given = [c.path for c in choreography.contracts.values() if any(event in given.types for given in c.givens)]
    page.add("heard by", *heard)
    page.add("given to", *given)
    page.add(
        "starts",
        *(f"flow {each.name}, by its {each.key}" for each in choreography.flows.values() if each.start is event),
    )
    page.add("ends", *dict.fromkeys(f"flow {edge.target.strip('()')}" for edge in edges if edge.target.startswith("(")))
    page.add("leaves as", "outgoing" if event in choreography.outgoing else "")
    if not heard and not given and not any(edge.target.startswith("(") for edge in edges):
        page.add("note", "nobody hears it, and it ends no flow")
    return page


def _source(choreography: Choreography, event: EventType, source: str) -> str:
    if source in choreography.contracts:
        return ""
    if source == OUTSIDE:
        return "outside"
    when = "its deadline passes" if event.cls is FlowTimedOut else "it is cancelled"
    return f"flow {source.strip('()')}, when {when}"


def _hearers(choreography: Choreography, event: EventType) -> list[str]:
    found: list[str] = []
    for edge in choreography.edges():
        if edge.event is event and edge.target in choreography.contracts and edge.kind != "prerequisite":
            contract = choreography.contracts[edge.target]
            undone = contract.options.compensates
            said = f", which compensates {undone}" if undone else ""
            found.append(f"{contract.path}{said}   {_place(contract)}")
    return list(dict.fromkeys(found))


def _of_reaction(choreography: Choreography, contract: Contract) -> Page:
    page = Page(contract.path, "compensation" if contract.options.compensates else "reaction", _place(contract))
    page.add("runs for", " and ".join(" | ".join(map(label, each.types)) for each in contract.triggers))
    for parameter in contract.parameters:
        page.add("takes", _parameter(parameter))
    page.add("may emit", str(contract.returns))
    page.add("options", *_options(contract))
    if contract.options.compensates:
        page.add("compensates", f"{contract.service}.{contract.options.compensates}")
    undoers = choreography.compensations.get(contract.path, ())
    page.add("undone by", *(f"{each}, for {_heard(choreography.contracts[each])}" for each in undoers))
    page.add("effect", _effect(choreography, contract))
    page.add("attempts", _attempts(contract))
    after = [edge for edge in choreography.edges() if edge.source == contract.path and edge.kind != "prerequisite"]
    page.add("goes on to", *(f"{edge.target} by {label(edge.event)}" for edge in after))
    return page


def _attempts(contract: Contract) -> str:
    retry = contract.options.retry
    said = f"{retry.max_attempts}, each at most {shown_duration(contract.options.timeout)}"
    if retry.max_attempts == 1:
        return said
    return f"{said}; {shown_duration(retry.first_wait)} before the second, then up to {shown_duration(retry.max_wait)}"


def _fields(cls: type[Any]) -> list[str]:
    hints = get_type_hints(cls)
    return [f"{name}: {shown(hints.get(name, Any))}" for name in fields.field_names(cls)]


def _heard(contract: Contract) -> str:
    return " | ".join(map(label, contract.hears))


def _parameter(parameter: Any) -> str:
    match parameter:
        case Trigger(types=types):
            return f"{parameter.name}: {' | '.join(map(label, types))}, a trigger"
        case Given(types=types, optional=optional):
            how = "if there is one, never waited for" if optional else "and waited for"
            return f"{parameter.name}: {' | '.join(map(label, types))}, given {how}"
        case Gathered(types=types):
            return f"{parameter.name}: all {' | '.join(map(label, types))} of one scatter"
        case StateOf(state=state, form=form):
            forms = {"row": "found or new", "maybe": "found or None", "read": "only read", "any": "any keys"}
            return f"{parameter.name}: {state}, a state, {forms[form]}"
        case PortOf(port=port):
            return f"{parameter.name}: {port.__name__}, a port"
        case ContextOf():
            return f"{parameter.name}: Context"
        case _:
            return ""


def _options(contract: Contract) -> Iterator[str]:
    options = contract.options
    for name in ("needs", "unless", "per", "once", "keeps", "gathers", "concurrency", "was"):
        if (value := getattr(options, name)) is not None:
            yield f"{name}={value}"
    for name in ("wait", "within"):
        if (value := getattr(options, name)) is not None:
            yield f"{name}={'by a function of the event' if callable(value) else shown_duration(value)}"
    yield from (f"{name}=True" for name in ("pivot", "blocking") if getattr(options, name))
    yield from (
        f"{name}={value}"
        for name, value in (("order", options.order), ("since", options.since))
        if value not in ("strict", "now")
    )


def _effect(choreography: Choreography, contract: Contract) -> str:
    rows = [row.state.name for row in contract.states if row.form != "read" and not choreography.is_private(row.state)]
    touched = [*(each.port.__name__ for each in contract.ports), *rows]
    if contract.options.compensates is not None or not touched:
        return ""
    if contract.options.pivot:
        answer = "a pivot, it cannot be undone"
    elif contract.options.keeps is not None:
        answer = f"kept on purpose: {contract.options.keeps}"
    else:
        answer = "compensated" if contract.path in choreography.compensations else "nobody answers for it"
    return f"{', '.join(touched)}: {answer}"


def _of_flow(choreography: Choreography, flow: Flow) -> Page:
    page = Page(flow.name, "flow", flow.where.rpartition(" ")[0])
    page.add("starts", f"{label(flow.start)}, found by its {flow.key}")
    page.add("succeeds", str(flow.succeeds))
    page.add("fails", "" if flow.fails is None else str(flow.fails))
    page.add("deadline", "none" if flow.timeout is None else f"{shown_duration(flow.timeout)} after its start")
    page.add("home", f"{choreography.home_of(flow).name}, whose owner watches it")
    return page


def _of_service(choreography: Choreography, name: str) -> Page:
    page = Page(name, "service", choreography.services[name].where)
    mine = [each for each in choreography.contracts.values() if each.service == name]
    page.add("reactions", *(f"{each.name}: {_heard(each)} → {each.returns}" for each in mine))
    owned = [state.name for state in choreography.states.values() if choreography.owner_of(state).name == name]
    page.add("states", *owned)
    page.add("ports", *dict.fromkeys(port.port.__name__ for each in mine for port in each.ports))
    homes = [flow.name for flow in choreography.flows.values() if choreography.home_of(flow).name == name]
    page.add("home of", *homes)
    return page


def _of_state(choreography: Choreography, name: str) -> Page:
    state = choreography.states[name]
    page = Page(name, "state", place_of(state.cls).partition(" ")[0])
    page.add("key", state.key)
    page.add("fields", *_fields(state.cls))
    page.add("owned by", choreography.owner_of(state).name)
    page.add("taken by", *(c.path for c in choreography.contracts.values() if any(r.state is state for r in c.states)))
    page.add(
        "scope",
        "private to each flow" if choreography.is_private(state) else "shared by all flows: changing it is an effect",
    )
    return page


def _of_port(choreography: Choreography, port: type[Any]) -> Page:
    page = Page(port.__name__, "port", place_of(port).partition(" ")[0])
    page.add("taken by", *(c.path for c in choreography.contracts.values() if any(p.port is port for p in c.ports)))
    page.add(
        "kept by",
        f"an object whose class names it, `class Real({port.__name__})`, given in open(ports=[...]) or run --ports",
    )
    return page


def _place(contract: Contract) -> str:
    return f"{near(contract.file)}:{contract.line}"


def _tell(page: Page, *, as_json: bool) -> None:
    facts: dict[str, list[str]] = {}
    for name, said in page.facts:
        facts.setdefault(name, []).extend(said)
    if as_json:
        say_json("explain", {"name": page.name, "kind": page.kind, "where": page.where, "facts": facts})
        return
    file, colon, line = page.where.partition(" ")[0].rpartition(":")
    say(f"{page.name}   {page.kind}   {near(file)}{colon}{line}" if colon else f"{page.name}   {page.kind}")
    width = max(map(len, facts), default=0)
    for name, told in facts.items():
        for number, each in enumerate(told):
            say(f"  {name if number == 0 else '':<{width}}  {each}")


def _explain_what_happened(url: str, target: str, choreography: Choreography | None, *, as_json: bool) -> None:
    from callboard.cli.happened import explain_event, explain_flow

    is_event_id = "/" not in target and len(target) > FLOW_LENGTH and target[FLOW_LENGTH] == "."
    asyncio.run((explain_event if is_event_id else explain_flow)(url, target, choreography, as_json=as_json))
