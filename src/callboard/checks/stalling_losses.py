"""CB305: one dead letter, or a word that the world never says, and the flow has no verdict."""

from collections.abc import Collection, Iterator

from callboard.check import Check, Finding, Severity
from callboard.checks import mending
from callboard.checks.exploration import find_end
from callboard.checks.extraction import GAVE_UP, Happening
from callboard.checks.net import Switch, Transition, each_bit, union
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_flow
from callboard.checks.unfinished_flows import stuck
from callboard.checks.world import World
from callboard.event import EventType
from callboard.flow import Flow

FIRST = 90_000  # states that are looked at for all losses together


def find(subject: Subject) -> Iterator[Finding]:
    """Flows that end in nothing if one reaction gives up, or if the world stays silent."""
    for world in subject.worlds:
        each = max(FIRST // max(len(world.before), 1), 500)
        losing = Losing(subject, world)
        for flow in world.flows:
            paths = [path for path in sorted(world.before) if losing.stalls(flow, path, each)]
            severity: Severity = "warning" if flow.timeout is None or _leaves(subject, flow) else "information"
            if paths:
                title = f"a dead letter of {_some(paths)} leaves {flow.name} without a verdict{_listed(flow)}"
                about = f"{flow.name} dead letters"
                yield at_flow(flow, CHECK, title, _fix(subject, flow), severity=severity, about=about)
            if open_end := _never_said(world, flow):
                silent, standing = open_end
                if standing:  # and nobody is asked to undo it
                    severity = "warning"
                title = f"{flow.name} may wait for ever for {named(silent)} from outside{_listed(flow)}"
                about = f"{flow.name} waits for the world"
                yield at_flow(flow, CHECK, title, _fix(subject, flow, silent[0]), severity=severity, about=about)


def _leaves(subject: Subject, flow: Flow) -> bool:
    """Whether nobody undoes anything when the deadline passes, and there is something to undo."""
    effects = (each for each in subject.contracts if subject.effects.is_effect(each))
    return mending.is_late_unheard(subject, flow) and any(map(subject.effects.shared, effects))


class Losing:
    """The net of a world in which one reaction, as chosen at the start, takes up its deliveries and gives up.

    An end that the silence of the world explains, since without a loss too that leaves the flow open, is none of it.
    """

    def __init__(self, subject: Subject, world: World) -> None:
        self.subject, self.world = subject, world
        self.lost = world.bits.of("lost")
        transitions = list(world.net.transitions)
        self.losses: dict[str, range] = {}  # of each reaction, by number
        for path in world.before:
            first = len(transitions)
            for number in world.of_reaction.get(path, ()):
                each = transitions[number]
                transitions[number] = each._replace(off=each.off | self._choice(path))
                transitions += self._giving_up(path, each)
            self.losses[path] = range(first, len(transitions))
        observed = self.lost | union(map(world.extraction.verdicts, world.flows))
        self.net = world.net.replaced(transitions, observed)

    def _choice(self, path: str) -> int:
        return self.world.bits.of("loses", path)

    def _giving_up(self, path: str, each: Transition) -> list[Transition]:
        """What a run is now. Somebody may hear that it gives up: then it gives up as it always may."""
        contract = self.subject.choreography.contracts[path]
        happening: Happening = each.label
        chosen = each._replace(on=each.on | self._choice(path))
        if happening.note == GAVE_UP:
            return [chosen._replace(switches=(*each.switches, Switch(set=self.lost)))]
        kind = happening.heard.kind if happening.heard is not None else None
        if self.world.extraction.instances.failure_is_heard(contract, kind):
            return []
        unknown = 0
        if path in self.subject.effects.compensations and contract.reaches_outside:
            for part in self.world.extraction.parts(path):
                unknown |= self.world.extraction.bits.of("unknown", path, part)
        return [chosen._replace(switches=(each.switches[0], Switch(set=unknown), Switch(set=self.lost)))]

    def stalls(self, flow: Flow, path: str, limit: int) -> bool:
        """Whether the flow has no verdict at some end, if this reaction never does its work: it is a dead letter."""
        verdicts, reduced = self.world.extraction.verdicts(flow), self.world.exploration.reduced
        known, bounded = self._silences(verdicts), False
        for starts in self._starts(path):
            state, bounded = find_end(
                self.net, starts, on=self.lost, off=verdicts, known=known, limit=limit, reduced=reduced
            )
            if state is not None:
                return True
        self.subject.cut_short |= bounded
        return False

    def _starts(self, path: str) -> Iterator[set[int]]:
        """Where the reaction is lost: at the nearest place, most stalls are seen there; then everywhere."""
        yield self._lost(path, (self.world.before[path],))
        exploration = self.world.exploration
        yield {self.net.initial | self._choice(path)} if exploration.reduced else self._lost(path, exploration.came)

    def _lost(self, path: str, states: Collection[int]) -> set[int]:
        choice, after, found = self._choice(path), self.net.after, set[int]()
        for number in self.losses[path]:
            each = self.net.transitions[number]
            on, off = each.on & ~choice, each.off
            found |= {after(state | choice, number) for state in states if state & on == on and not state & off}
        return found

    def _silences(self, verdicts: int) -> set[int]:
        """What the world has not said at each end without a verdict, where nothing is lost; every word, if ends may be
        unknown.
        """
        exploration, words = self.world.exploration, self.world.extraction
        may_come = union(map(words.may_come, words.instances.incoming))
        if exploration.bounded:
            return set(each_bit(may_come))
        return {end & may_come for end in exploration.ends if not end & verdicts} - {0}


def _never_said(world: World, flow: Flow) -> tuple[list[EventType], bool] | None:
    """What the world does not say where a flow stays open, and whether an effect may stand there."""
    verdicts = world.extraction.verdicts(flow)
    open_ends = [end for end in world.exploration.ends if not end & verdicts and world.silent(end)]
    if not open_ends or stuck(world, flow, parked=False) is not None:  # with every word it has no end either: CB301
        return None
    fewest = min(map(world.silent, open_ends), key=len)  # the others would not have helped
    return fewest, any(world.standing(end) for end in open_ends)


def _some(paths: list[str]) -> str:
    if len(paths) > 6:
        return f"{', '.join(paths[:5])} or one of {len(paths) - 5} others"
    return " or ".join([", ".join(paths[:-1]), paths[-1]] if len(paths) > 1 else paths)


def _listed(flow: Flow) -> str:
    return "" if flow.timeout is None else ": it is listed as stuck after its deadline"


def _fix(subject: Subject, flow: Flow, silent: EventType | None = None) -> str:
    if flow.timeout is None:
        return (
            f"give {flow.name} a timeout=, and let a reaction to FlowTimedOut[{flow.start}] end it with an event of "
            "fails=; without one it is not even listed as stuck"
        )
    first = "`callboard flows list --status stuck` shows it; "
    first += "`callboard dead-letters replay` mends it" if silent is None else f"publish {silent}, or cancel the flow"
    if not mending.is_late_unheard(subject, flow):
        return first
    return f"{mending.end_late(subject, flow)}: then the flow ends by itself. Until then {first}"


CHECK = Check(
    code="CB305",
    name="loss that stalls the flow",
    severity="warning",
    find=find,
    meaning="A reaction that gives up after its last attempt says nothing more in the flow, unless somebody hears "
    "ReactionFailed of its event; the world may stay silent too. Without a deadline the flow then waits for "
    "ever, and nobody is told. Where the flow has a timeout= this is information: the flow is listed as "
    "stuck.",
    broken="""
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held)]
""",
    mended="""
@stock.reaction(once="end")
def hold(ordered: Ordered) -> Held: ...

@stock.reaction(once="end")
def expire(late: FlowTimedOut[Ordered]) -> Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held, fails=Cancelled, timeout=timedelta(hours=1))]
""",
)
