"""All services and flows as one graph. Building it reads every contract, and refuses what is wrong."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from callboard import fields, ids
from callboard.clock import Clock
from callboard.contract import Contract, read_contract, shape_of, types_in
from callboard.errors import ContractError, place
from callboard.event import EventType, StateType
from callboard.flow import Flow
from callboard.graph import Edge, Graph, Node
from callboard.guard import looked_through
from callboard.projection import Projection
from callboard.reaction import Reaction
from callboard.rules import refuse_nonsense
from callboard.service import Events, Service
from callboard.signature import place_of

if TYPE_CHECKING:
    from callboard.broker import Broker
    from callboard.codec import Codec
    from callboard.run import Board

F = TypeVar("F", bound=Callable[[Any], Any])
K = TypeVar("K")


class Choreography:
    """Services that react to each other's events, and the flows that are expected to come of it."""

    name: str
    where: str
    services: dict[str, Service]
    flows: dict[str, Flow]
    projections: dict[str, Projection]
    incoming: tuple[EventType, ...]
    outgoing: tuple[EventType, ...]
    reactions: dict[str, Reaction]  # by path, "service.name", as are
    contracts: dict[str, Contract]
    compensations: dict[str, tuple[str, ...]]  # of a path: the paths of the reactions that undo it
    states: dict[str, StateType]  # by name
    events: dict[str, EventType]  # by their type on the wire: all that are named anywhere
    ports: tuple[type[Any], ...]
    invariants: list[Callable[[Any], Any]]  # of the user's, for the simulation, as are
    workloads: list[Callable[[Any], Any]]

    def __init__(
        self,
        name: str,
        *services: Service,
        flows: Sequence[Flow] = (),
        incoming: Events | None = None,
        outgoing: Events | None = None,
        projections: Sequence[Projection] = (),
    ) -> None:
        self.name = name
        self.where = f"{place()} Choreography({name!r})"
        self._refuse_strangers(services, flows, projections)
        self.services = _unique(((each.name, each, f"{each.where} {each!r}") for each in services), "service")
        self.flows = _unique(((each.name, each, each.where) for each in flows), "flow")
        self.projections = _unique(((each.name, each, each.where) for each in projections), "projection")
        self.incoming = _named(incoming, f"{self.where} incoming=")
        self.outgoing = _named(outgoing, f"{self.where} outgoing=")
        self.reactions = {each.path: each for service in services for each in service.reactions}
        self.contracts = {}
        for reaction in self.reactions.values():
            self._read(reaction)
        self._refuse_clashes()
        self.states = self._read_states()
        self.events = self._read_events()
        self.ports = tuple(dict.fromkeys(each.port for contract in self.contracts.values() for each in contract.ports))
        self.compensations = self._pair()
        self.invariants, self.workloads = [], []

    def invariant(self, function: F) -> F:
        """`callboard simulate` asks at the end of every world: it holds unless it raises, or returns False."""
        self.invariants.append(function)
        return function

    def workload(self, function: F) -> F:
        """`callboard simulate` begins every world with this, instead of a workload that it makes from the types."""
        self.workloads.append(function)
        return function

    def home_of(self, one: Flow | Projection) -> Service:
        """The service whose ledger keeps this flow's keys, deadline and verdict, or this projection."""
        return one.home or next(iter(self.services.values()))

    def owner_of(self, state: StateType) -> Service:
        """The one service that takes this state."""
        return self.services[self._owners[state.name].service]

    def is_private(self, state: StateType) -> bool:
        """Its rows are keyed by a flow's own key, so one flow never sees another's."""
        return any(flow.key == state.key for flow in self.flows.values())

    def nodes(self) -> list[Node]:
        """Every reaction, in the order of the services."""
        return [Node(path, each.service, each.name, each) for path, each in self.contracts.items()]

    def edges(self) -> list[Edge]:
        """Every way an event may take, each once."""
        graph = Graph(self.contracts.values(), self.flows.values(), self.incoming, self.outgoing)
        return list(dict.fromkeys(graph.edges()))

    def open(
        self,
        url: str,
        *,
        broker: "Broker | str | None" = None,
        ports: Sequence[object] = (),
        services: Sequence[Service] | None = None,
        grace: timedelta = timedelta(seconds=30),
        keep: timedelta = timedelta(days=30),
        clock: Clock | None = None,
        codec: "Codec | None" = None,
    ) -> "AbstractAsyncContextManager[Board]":
        """Runs `services` (None: all; []: none, publish and read only) on the ledger at `url` until the block ends.

        At the end no new event is begun, and what runs has `grace` to finish. Flows that have been over for `keep`
        are pruned, unless their Flow says otherwise.
        """
        self._refuse_late_reactions()
        from callboard.run import open_board  # noqa: PLC0415

        return open_board(
            self, url, broker=broker, ports=ports, services=services, grace=grace, keep=keep, clock=clock, codec=codec
        )

    def _refuse_strangers(
        self, services: Sequence[object], flows: Sequence[object], projections: Sequence[object]
    ) -> None:
        if not services:
            raise ContractError(self.where, f"list its services: Choreography({self.name!r}, orders, payments)")
        for each in services:
            if not isinstance(each, Service):
                inner = next(
                    (name for name, it in getattr(each, "__dict__", {}).items() if isinstance(it, Service)), None
                )
                meant = f", did you mean its `.{inner}`?" if inner else ": give what Service(...) returned"
                if isinstance(each, list | tuple):
                    meant = ": list them one by one, or write a star before it"
                raise ContractError(self.where, f"{each!r} is no Service{meant}")
        for cls, given in ((Flow, flows), (Projection, projections)):
            for each in given:
                if not isinstance(each, cls):
                    raise ContractError(self.where, f"{each!r} is no {cls.__name__}")

    def _refuse_late_reactions(self) -> None:
        for service in self.services.values():
            for reaction in service.reactions:
                if reaction.path not in self.contracts:
                    raise ContractError(
                        reaction.where,
                        f"it was written after {self.where} was built, and would never run: import its module first",
                    )

    def _read(self, reaction: Reaction) -> Contract:
        if reaction.path not in self.contracts:
            compensated = self._compensated_by(reaction)
            undone = None if compensated is None else self._read(compensated)
            self.contracts[reaction.path] = reaction.contract = read_contract(
                reaction.function, service=reaction.service, options=reaction.options, compensated=undone
            )
            refuse_nonsense(reaction.contract, undone)
        return self.contracts[reaction.path]

    def _compensated_by(self, reaction: Reaction) -> Reaction | None:
        function = reaction.options.get("compensates")
        if function is None:
            return None
        if (found := self.services[reaction.service].find(function)) is not None:
            if found.options.get("compensates") is not None:
                raise ContractError(
                    reaction.where, f"compensates= names {found.name}, a compensation itself: nothing undoes it"
                )
            return found
        name = getattr(function, "__name__", repr(function))
        for service in self.services.values():
            if service.find(function) is not None:
                raise ContractError(
                    reaction.where,
                    f"compensates= names {service.name}.{name}: a service undoes only what "
                    f"it did itself, so write this reaction in {service.name}",
                )
        raise ContractError(
            reaction.where,
            f"compensates= names {name}, which is no reaction of {reaction.service}: give the "
            "decorated function itself",
        )

    def _refuse_clashes(self) -> None:
        tags: dict[tuple[EventType, str], Reaction] = {}
        for path, reaction in self.reactions.items():
            was = self.contracts[path].options.was
            if was is not None and (other := self.reactions.get(f"{reaction.service}.{was}")) is not None:
                raise ContractError(reaction.where, f"was={was!r} is the name of another reaction, {other.where}")
            for heard in self.contracts[path].hears:
                if (other := tags.setdefault((heard, ids.tag(path)), reaction)) is not reaction:
                    raise ContractError(
                        reaction.where,
                        f"it hears {heard} as {other.where} does, and has the same short tag: call one of them "
                        "otherwise",
                    )
        homed: list[Flow | Projection] = [*self.flows.values(), *self.projections.values()]
        for each in homed:
            if each.home is not None and each.home not in self.services.values():
                raise ContractError(each.where, f"home= is {each.home!r}, which is not part of {self.name!r}")

    def _read_states(self) -> dict[str, StateType]:
        states: dict[str, StateType] = {}
        self._owners: dict[str, Contract] = {}
        for contract in self.contracts.values():
            for row in contract.states:
                known = states.setdefault(row.state.name, row.state)
                owner = self._owners.setdefault(row.state.name, contract)
                if known is not row.state:
                    raise ContractError(
                        contract.where,
                        f"two state classes are named {row.state.name!r}, the other is taken "
                        f"at {owner.where}: give one of them @state(name=...)",
                    )
                if owner.service != contract.service:
                    raise ContractError(
                        contract.where,
                        f"the state {row.state} belongs to {owner.service} (taken at "
                        f"{owner.where}): a state has one owner, so let {owner.service} say it in an event",
                    )
        for state in (*states.values(), *self._folded()):
            _refuse_unreadable(state.cls)
        return states

    def _folded(self) -> Iterator[StateType]:
        """The states of projections. Nobody else writes their rows."""
        owners: dict[str, str] = {name: owner.where for name, owner in self._owners.items()}
        for projection in self.projections.values():
            for state in projection.states:
                if (other := owners.setdefault(state.name, projection.where)) != projection.where:
                    fix = f"{state} is taken at {other} too: the rows of a projection are its own"
                    raise ContractError(projection.where, fix)
                yield state

    def _read_events(self) -> dict[str, EventType]:
        events: dict[str, EventType] = {}
        for event, where in self._mentioned():
            known = events.setdefault(event.name, event)
            if known is not event:
                raise ContractError(
                    where,
                    f"two event classes are {event.name!r} on the wire, {place_of(known.cls)} and "
                    f"{place_of(event.cls)}: give one of them @event(type=...)",
                )
        for event in events.values():
            if event.inner is None:
                _refuse_unreadable(event.cls)
        return events

    def _mentioned(self) -> Iterator[tuple[EventType, str]]:
        """Every event type that is named anywhere, and by whom."""
        for contract in self.contracts.values():
            for each in contract.mentions:
                yield from _with_inner(each, contract.where)
        for flow in self.flows.values():
            for each in (flow.start, *types_in(flow.succeeds), *types_in(flow.fails)):
                yield from _with_inner(each, flow.where)
        for projection in self.projections.values():
            for each in projection.hears:
                yield from _with_inner(each, projection.where)
        for each in (*self.incoming, *self.outgoing):
            yield from _with_inner(each, self.where)

    def _pair(self) -> dict[str, tuple[str, ...]]:
        pairs: dict[str, tuple[str, ...]] = {}
        for path, contract in self.contracts.items():
            if contract.options.compensates is not None:
                undone = f"{contract.service}.{contract.options.compensates}"
                pairs[undone] = (*pairs.get(undone, ()), path)
        return pairs


def pick_keepers(
    choreography: Choreography, keepers: Sequence[object], services: Sequence[Service] | None = None
) -> dict[type[Any], object]:
    """The keeper of each port that the reactions of `services` take (None: all), as it was given: a Guarded stays one.

    ContractError for a port without a keeper or with two, and for a keeper of no port.
    """
    given = cast("object", keepers)
    if not isinstance(given, Sequence):
        raise ContractError("open(ports=)", f"takes a list of keepers: ports=[{type(given).__name__}(...)]")
    names = set(choreography.services) if services is None else {each.name for each in services}
    picked: dict[type[Any], object] = {}
    for port in choreography.ports:
        fitting = [each for each in keepers if port in type(looked_through(each)).__mro__]
        takers = [each for each in choreography.contracts.values() if any(it.port is port for it in each.ports)]
        if len(fitting) > 1:
            given = " and ".join(type(looked_through(each)).__name__ for each in fitting)
            raise ContractError(
                takers[0].where, f"the port {port.__name__} has two keepers, {given}: give one in open(ports=)"
            )
        if fitting:
            picked[port] = fitting[0]
        elif wanting := next((each for each in takers if each.service in names), None):
            raise ContractError(
                wanting.where,
                f"the port {port.__name__} has no keeper: give one in open(ports=[...]), an "
                f"object whose class names it, `class Real({port.__name__})`",
            )
    for keeper in keepers:
        if not any(keeper is each for each in picked.values()):
            _refuse_keeper_of_nothing(choreography, looked_through(keeper))
    return picked


def _refuse_keeper_of_nothing(choreography: Choreography, keeper: object) -> None:
    if isinstance(keeper, type):
        raise ContractError(
            choreography.where, f"open(ports=) takes keepers, not classes: write {keeper.__name__}(...)"
        )
    known = ", ".join(each.__name__ for each in choreography.ports) or "none"
    raise ContractError(
        choreography.where,
        f"{type(keeper).__name__} keeps no port of {choreography.name} (there are: {known})"
        f": name its port as a base class, `class {type(keeper).__name__}(...)`",
    )


def _unique(named: Iterator[tuple[str, K, str]], word: str) -> dict[str, K]:
    known: dict[str, K] = {}
    for name, each, where in named:
        if name in known:
            raise ContractError(
                where, f"there are two {word}s named {name!r}: list it once, or call one of them otherwise"
            )
        known[name] = each
    return known


def _named(events: Any, where: str) -> tuple[EventType, ...]:
    return () if events is None else types_in(shape_of(events, where))


def _with_inner(event: EventType, where: str) -> Iterator[tuple[EventType, str]]:
    one: EventType | None = event
    while one is not None:
        yield one, where
        one = one.inner


def _refuse_unreadable(cls: type[Any]) -> None:
    if (why := fields.unreadable(cls)) is not None:
        raise ContractError(place_of(cls), why)
