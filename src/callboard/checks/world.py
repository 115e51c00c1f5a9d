"""All that may happen in flows that begin with one event, and how to tell of it."""

from collections.abc import Iterator
from functools import cached_property

from callboard.check import Step, place_of_contract
from callboard.checks.exploration import Exploration, explore, shortest, trimmed
from callboard.checks.extraction import Extraction, Happening
from callboard.checks.instances import Instance, Slot
from callboard.checks.net import Transition
from callboard.contract import Contract, types_in
from callboard.event import EventType
from callboard.flow import Flow

SMALL = 10_000  # up to so many states all are explored, beyond it so many that every end is among them
SHORTER = 3_000  # states that are looked at for a shorter way

ITS_TURN = "its turn"
MAY_BE_SHORTER = "no step of this way can be left out, but there may be another with fewer"


class World:
    """The net of one starting event, explored."""

    def __init__(self, extraction: Extraction, limit: int) -> None:
        self.extraction = extraction
        self.bits = extraction.bits
        self.flows = extraction.flows
        self.net = extraction.net
        found = explore(self.net, limit=min(limit, SMALL), reduced=False)
        self.exploration: Exploration = found if not found.bounded else explore(self.net, limit=limit)
        self._shorter: dict[int, list[int]] = {}  # ways that were found later
        self._may_be_shorter: set[int] = set()  # the search for a shorter way to them was bounded
        fired = self.exploration.fired
        self.happened = [each.label for number, each in enumerate(self.net.transitions) if fired >> number & 1]

    @property
    def runs(self) -> set[str]:
        """The reactions that ran somewhere."""
        return {each.contract.path for each in self.happened if each.contract is not None}

    @cached_property
    def ever_said(self) -> set[EventType]:
        """The types of events that were published somewhere."""
        return {each.kind for happening in self.happened for each in happening.emitted}

    @cached_property
    def of_reaction(self) -> dict[str, list[int]]:
        """The transitions in which a reaction takes up a delivery, by number."""
        found: dict[str, list[int]] = {}
        for number, each in enumerate(self.net.transitions):
            contract = each.label.contract
            if contract is not None and self.extraction.taken_up(each, contract.path):
                found.setdefault(contract.path, []).append(number)
        return found

    @cached_property
    def before(self) -> dict[str, int]:
        """Of each reaction that ran: the nearest state in which it could."""
        paths = {number: path for path, numbers in self.of_reaction.items() for number in numbers}
        found: dict[str, int] = {}
        for before, number in self.exploration.came.values():
            if number in paths:
                found.setdefault(paths[number], before)
        return found

    def first(self, mask: int, *, ends: bool = False) -> int | None:
        """The nearest state with all these bits. Where orders were left out only ends are known to be that: to others
        the way is trimmed, and a shorter one looked for.
        """
        state = self.exploration.first(mask, ends_only=ends) if self.exploration.ever & mask == mask else None
        if state is None or ends or not self.exploration.reduced:
            return state
        known = trimmed(self.net, self.exploration.path(state), mask)
        way, bounded = shortest(self.net.looked_at_for(mask), mask, below=len(known), limit=SHORTER)
        way = way or known
        state = self.net.initial
        for number in way:
            state = self.net.after(state, number)
        self._shorter[state] = way
        self._may_be_shorter |= {state} if bounded else set()
        return state

    def verdict(self, flow: Flow, state: int) -> bool | None:
        """Whether the flow succeeded; None: it has no verdict."""
        if state & self.extraction.verdict(flow, good=True):
            return True
        return False if state & self.extraction.verdict(flow, good=False) else None

    # what led there

    def way(self, state: int) -> list[tuple[Transition, int, int]]:
        """What happened on a shortest way to a state, each with the state before and after."""
        found: list[tuple[Transition, int, int]] = []
        before = self.net.initial
        for number in self._shorter.get(state) or self.exploration.path(state):
            transition = self.net.transitions[number]
            after = transition.fire(before)
            found.append((transition, before, after))
            before = after
        return found

    def happenings(self, state: int) -> Iterator[Happening]:
        """What happened on the way."""
        yield from (transition.label for transition, _, _ in self.way(state))

    def steps(self, state: int, about: int = 0) -> tuple[Step, ...]:
        """The way to a state, told; `about` are the bits that matter: what had no part in switching them is folded."""
        way = self.way(state)
        kept = self._involved(way, about) if about else [True] * len(way)
        steps: list[Step] = []
        came: list[Instance] = []
        left_out = 0
        for (transition, _, _), involved in zip(way, kept, strict=True):
            heard = self._heard(transition, came)
            came += transition.label.emitted
            if not involved:
                left_out += 1
                continue
            if left_out:
                steps.append(_folded(left_out))
                left_out = 0
            steps.append(step_of(transition.label, heard))
        return (*steps, _folded(left_out)) if left_out else tuple(steps)

    def _heard(self, transition: Transition, came: list[Instance]) -> str:
        """What a join or a gather took of what came before: the first of each parameter, or all parts."""
        contract, instances = transition.label.contract, self.extraction.instances
        slots = self.extraction.taken_up(transition, contract.path) if contract is not None else []
        if contract is None or not slots or slots[0].heard is not None:
            return ""
        mine = [one for one in came if one.kind in contract.hears and instances.slot(contract, one) == slots[0]]
        if contract.gathered is None:
            mine = [next(one for one in mine if one.kind in each.types) for each in contract.triggers]
        return " + ".join(dict.fromkeys(map(str, mine)))

    @staticmethod
    def _involved(way: list[tuple[Transition, int, int]], about: int) -> list[bool]:
        kept: list[bool] = []
        for transition, before, after in reversed(way):
            involved = bool((before ^ after) & about)
            if involved:
                about |= transition.on
            kept.append(involved)
        return kept[::-1]

    # how things stand

    def said(self, state: int) -> set[EventType]:
        """The types that were published on the way."""
        return {each.kind for happening in self.happenings(state) for each in happening.emitted}

    def silent(self, state: int) -> list[EventType]:
        """What the world could have said and did not."""
        return [kind for kind in self.extraction.instances.incoming if state & self.extraction.may_come(kind)]

    def waiting(self, state: int) -> list[tuple[Contract, str]]:
        """The reactions that wait, and for what."""
        found: dict[tuple[str, str], tuple[Contract, str]] = {}
        for slot in self.extraction.instances.slots:
            contract = self.extraction.contracts[slot.path]
            for what in self._waits(slot, contract, state):
                found[slot.path, what] = (contract, what)
        return list(found.values())

    def _waits(self, slot: Slot, contract: Contract, state: int) -> Iterator[str]:
        bit = self.extraction.slot_bit(slot)
        if state & bit == bit:
            needs = contract.options.needs
            missing = (
                [kind for kind in types_in(needs) if not state & self.bits.get("seen", kind)]
                if needs is not None
                else []
            )
            yield " and ".join(map(str, missing)) or ITS_TURN
            return
        if slot.heard is not None:
            return
        here = [name for name in self.extraction.halves(slot) if state & self.bits.get("half", slot, name)]
        if here:
            lacking = [each for each in contract.triggers if each.name not in here]
            yield " and ".join(" | ".join(map(str, each.types)) for each in lacking) or "the other parts"

    def standing(self, state: int, what: str = "applied") -> list[Contract]:
        """The reactions whose effect stands."""
        return [
            contract
            for path, contract in self.extraction.contracts.items()
            if self.extraction.effects.is_effect(contract)
            and any(state & self.bits.get(what, path, part) for part in self.extraction.parts(path))
        ]

    def end(self, state: int) -> tuple[str, ...]:
        """How things stand, in lines."""
        lines: list[str] = []
        for flow in self.flows:
            verdict = self.verdict(flow, state)
            words = {True: "succeeded", False: "failed", None: "has no verdict"}
            lines.append(f"the flow {flow.name} {words[verdict]}")
        effects, waiting = self.extraction.effects, self.waiting(state)
        next_ = {contract.path for contract, what in waiting if what == ITS_TURN}
        for each in self.standing(state):
            undos = {it.path for it in (*effects.undos(each), *effects.alike(each))}
            undo, shared = min(next_ & undos, default=""), ", ".join(effects.names(effects.shared(each))) or "a pivot"
            until = f" until {undo} runs, which is still to come" if undo else ""
            lines.append(f"the effect of {each.path} stands ({shared}){until}")
        lines += [f"nobody knows whether {each.path} took effect" for each in self.standing(state, "unknown")]
        lines += [f"{contract.path} waits for {what}" for contract, what in waiting if what != ITS_TURN]
        return (*lines, MAY_BE_SHORTER) if state in self._may_be_shorter else tuple(lines)


def _folded(number: int) -> Step:
    return Step("", "", note=f"{number} more {'step that has' if number == 1 else 'steps that have'} no part in it")


def step_of(happening: Happening, heard: str = "") -> Step:
    """What happened, told; `heard` is what a join took, where it is known."""
    emitted = tuple(map(str, happening.emitted))
    contract = happening.contract
    if contract is None:
        if happening.flow is None:
            return Step("(outside)", "", emitted=emitted)
        is_deadline = emitted[0].startswith("FlowTimedOut")
        note = f"the deadline of {happening.flow.name} passes" if is_deadline else "somebody calls it off"
        return Step("(tracker)" if is_deadline else "(outside)", "", emitted=emitted, note=note)
    shapes = [" | ".join(map(str, each.types)) for each in contract.triggers] or list(map(str, contract.hears))
    every = " + ".join(f"({shape})" if " | " in shape else shape for shape in shapes)
    heard = heard or str(happening.heard or every)
    note = happening.note or ("" if emitted else "emits nothing")
    return Step(contract.service, contract.name, heard, emitted, note, place_of_contract(contract))
