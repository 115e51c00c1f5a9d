"""The net of a flow, made from contracts alone. docs/check.md says in words what is made of what."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from callboard.checks.effects import Effects, answers
from callboard.checks.instances import WHOLE, Instance, Instances, Part, Slot
from callboard.checks.net import Bits, Net, Switch, Transition, union
from callboard.checks.outcomes import SEVERAL, Outcome
from callboard.checks.paths import Paths
from callboard.choreography import Choreography
from callboard.contract import Contract, types_in, ways
from callboard.event import EventType, FlowCancelled, FlowTimedOut
from callboard.flow import Flow

OUTCOME_UNKNOWN = "a dead letter: outcome unknown"
ATTEMPT_FAILED, GAVE_UP = "an attempt fails, it will be tried again", "gives up after its last attempt: a dead letter"
ITS_TIME = "its timer fires"
NOTHING_TO_UNDO = "nothing to undo: it only closes the reaction"

OBSERVED = {"slot", "half", "unknown", "hollow", "twice", "leaked", "late", "again", "succeeded", "failed"}


class Happening(NamedTuple):
    """What a transition stands for."""

    contract: Contract | None  # None: the world outside, or the tracker
    heard: Instance | None
    emitted: tuple[Instance, ...] = ()
    note: str = ""
    flow: Flow | None = None  # whose deadline it is


class Run(NamedTuple):
    """A run that takes up a delivery: when it can, and what it switches however it ends."""

    contract: Contract
    slot: Slot
    on: int
    off: int
    switches: tuple[Switch, ...]

    def with_switches(self, *more: Switch) -> "Run":
        """The same, with more that it switches."""
        return self._replace(switches=(*self.switches, *more))


class Extraction:
    """Builds the net of the flows that begin with one event."""

    def __init__(self, choreography: Choreography, paths: Paths, effects: Effects, start: EventType) -> None:
        self.choreography = choreography
        self.contracts = choreography.contracts
        self.paths = paths
        self.effects = effects
        self.instances = Instances(choreography, paths, start)
        self.flows = self.instances.flows
        self.bits = Bits()
        self.by_path: dict[str, list[Slot]] = {}
        self._by_service: dict[str, list[Slot]] = {}
        self._cuts: dict[EventType, list[Slot]] = {}  # the timers that an event of this type stops
        for slot in self.instances.slots:
            contract = self.contracts[slot.path]
            self.by_path.setdefault(slot.path, []).append(slot)
            self._by_service.setdefault(contract.service, []).append(slot)
            if contract.options.unless is not None and contract.options.wait is not None:
                for kind in types_in(contract.options.unless):
                    self._cuts.setdefault(kind, []).append(slot)
        self._rivals: dict[Slot, tuple[Slot, ...]] = {}
        for slot in self.instances.slots:
            self.slot_bit(slot)  # first of all bits, and so what a run is found by
        self._read = self._read_kinds()
        self._fresh = self.bits.of("a verdict was just given")
        self.transitions: list[Transition] = []
        self._optional = 0
        self._build()

    @property
    def net(self) -> Net:
        """The net, begun and with nothing said."""
        apart: dict[int, int] = {}
        for slot in self.instances.slots:  # of two rivals that wait and need nothing one stands before the other
            for other in self.rivals(slot):
                if self.contracts[slot.path].options.needs is None and self.contracts[other.path].options.needs is None:
                    apart[self.slot_bit(slot)] = apart.get(self.slot_bit(slot), 0) | self.slot_bit(other)
        return Net(
            self.bits.of("begin"),
            self.transitions,
            scratch=self._fresh,
            observed=self._observed(),
            apart=apart,
            optional=self._optional,
        )

    def _observed(self) -> int:
        """The bits that the checks look at when all is over."""
        ends = {("seen", kind) for flow in self.flows for kind in flow.ends}
        effects = {path for path, each in self.contracts.items() if self.effects.is_effect(each)}
        return union(
            bit
            for name, bit in self.bits.masks.items()
            if name[0] in OBSERVED or name in ends or (name[0] == "applied" and name[1] in effects)
        )

    # names of bits; of the effect of a reaction: applied, undone, twice, unknown, early, leaked, late

    def slot_bit(self, slot: Slot) -> int:
        """This delivery waits. A join that stands in no order waits where all its halves are there."""
        if not self._is_free_join(slot):
            return self.bits.of("slot", slot)
        return self._whole(slot)

    def _whole(self, slot: Slot) -> int:
        return union(self.bits.of("half", slot, place) for place in self.halves(slot))

    def _is_free_join(self, slot: Slot) -> bool:
        options = self.contracts[slot.path].options
        return slot.heard is None and options.wait is None and options.compensates is None and not self.rivals(slot)

    def halves(self, slot: Slot) -> list[str]:
        """What a join or a gather waits for, by name."""
        contract = self.contracts[slot.path]
        if contract.gathered is not None:
            return [f"part {ordinal}" for ordinal in SEVERAL]
        return [each.name for each in contract.triggers]

    def verdict(self, flow: Flow, *, good: bool) -> int:
        """The flow has succeeded, or failed."""
        return self.bits.of("succeeded" if good else "failed", flow.name)

    def verdicts(self, flow: Flow) -> int:
        """Any verdict of it."""
        return self.verdict(flow, good=True) | self.verdict(flow, good=False)

    def seen(self, kind: EventType) -> int:
        """An event of this type is in the log."""
        return self.bits.of("seen", kind)

    def may_come(self, kind: EventType, flow: Flow | None = None) -> int:
        """The world, or the tracker, has not said it yet."""
        return self.bits.of("may come", kind, flow and flow.name)

    def parts(self, path: str) -> list[Part]:
        """The parts in which this reaction takes effects."""
        return list(dict.fromkeys(slot.part for slot in self.by_path.get(path, ())))

    # what is read

    def _read_kinds(self) -> set[EventType]:
        """The types that somebody looks back for: others need no memory."""
        found: set[EventType] = set()
        for contract in self.contracts.values():
            for shape in (contract.options.needs, contract.options.unless):
                found |= set(types_in(shape)) if shape is not None else set()
        return found.union(*(flow.ends for flow in self.flows))

    def rivals(self, slot: Slot) -> tuple[Slot, ...]:
        """The deliveries with which it shares a pair or a `once=` group: they go in the order of the log."""
        if slot not in self._rivals:
            self._rivals[slot] = tuple(
                other
                for other in self._by_service[self.contracts[slot.path].service]
                if other != slot and self._are_rivals(slot, other)
            )
        return self._rivals[slot]

    def _are_rivals(self, one: Slot, other: Slot) -> bool:
        a, b = self.contracts[one.path], self.contracts[other.path]
        if a.service != b.service or a is b:  # of one reaction either may go first: the outcomes are the same
            return False
        if a.options.once is not None and a.options.once == b.options.once and one.line == other.line:
            return self._are_caused_in_order(one, other)
        undone = {(each.options.compensates and f"{each.service}.{each.options.compensates}") or "" for each in (a, b)}
        paired = one.path in undone or other.path in undone or (len(undone) == 1 and "" not in undone)
        return paired and (one.line == other.line or WHOLE in (one.line, other.line))

    def _are_caused_in_order(self, one: Slot, other: Slot) -> bool:
        """Whether the event of one may cause that of the other. Of two that have nothing to do with each other either
        may be first in the log, and so win.
        """
        a, b = ([slot.heard.kind] if slot.heard else self.contracts[slot.path].hears for slot in (one, other))
        return any(self.paths.leads_to(x, b) for x in a) or any(self.paths.leads_to(x, a) for x in b)

    def _takes_up(self, slot: Slot) -> int:
        """The delivery and its place in every order."""
        return self.slot_bit(slot) | union(self.bits.of("before", slot, other) for other in self.rivals(slot))

    def taken_up(self, transition: Transition, path: str) -> list[Slot]:
        """The delivery that it takes up, if it is a run of this reaction and not only its timer that fires."""
        return [slot for slot in self.by_path.get(path, ()) if not self.slot_bit(slot) & ~transition.on]

    # the net

    def _build(self) -> None:
        begin = self.bits.of("begin")
        opening = [Switch(clear=begin), *self._emit(self.instances.start)]
        armed = 0
        for kind in self.instances.incoming:
            armed |= self._may_come(kind, Happening(None, None, (Instance(kind),)))
        for kind in self.instances.news():
            for flow in self.flows:
                happening = Happening(None, None, (Instance(kind),), flow=flow)
                if kind.cls is FlowCancelled or flow.timeout is not None:
                    armed |= self._may_come(kind, happening, off=self.verdicts(flow))
        happening = Happening(None, None, (self.instances.start,))
        self.transitions.append(Transition(begin, 0, (*opening, Switch(set=armed)), happening))
        for slot in self.instances.slots:
            self._build_runs(slot)

    def _may_come(self, kind: EventType, happening: Happening, off: int = 0) -> int:
        """Once, at any time: what the world says, a deadline, a cancellation. All but a deadline may never come."""
        armed = self.may_come(kind, happening.flow)
        switches = (Switch(clear=armed), *self._emit(Instance(kind)))
        self.transitions.append(Transition(armed, off, switches, happening))
        if kind.cls is not FlowTimedOut:
            self._optional |= 1 << len(self.transitions) - 1
        return armed

    # an event is published

    def _emit(self, instance: Instance, failed: Contract | None = None) -> list[Switch]:
        """What an event switches when it is committed: deliveries, timers that it cuts, memories, verdicts."""
        kind = instance.kind
        switches: list[Switch] = []
        hearers = self.instances.hearers.get(instance, [])
        if failed is not None:
            hearers = self.instances.hearers_of_failure(failed, kind.inner)
        if self.runs_again(instance):
            seen = self.bits.of("came", instance)
            switches += [Switch(on=seen, set=self.bits.of("again", instance)), Switch(set=seen)]
        for contract in hearers:
            switches += self._deliver(contract, instance)
        for slot in self._cuts.get(kind, ()):
            if slot.line in (WHOLE, instance.part) or instance.part == WHOLE:
                switches.append(Switch(clear=self.bits.of("timer", slot)))
        if kind in self._read:
            switches.append(Switch(set=self.seen(kind)))
            switches += self._complete(kind)
        return switches

    def runs_again(self, instance: Instance) -> list[Contract]:
        """The reactions that would do their work again for a second event of this kind, which nobody announced."""
        if self.paths.in_cycle(instance.kind) or instance.kind.inner is not None or instance.kind in self._scattered:
            return []
        found: list[Contract] = []
        for contract in self.instances.hearers.get(instance, ()):
            options = contract.options
            if options.compensates or options.once or options.per or contract.is_join or contract.gathered:
                continue
            if contract.emits or self.effects.shared(contract):
                found.append(contract)
        return found

    @cached_property
    def _scattered(self) -> set[EventType]:
        return {each.kind for each in self.instances.found if each.part}

    def _deliver(self, contract: Contract, instance: Instance) -> list[Switch]:
        slot = self.instances.slot(contract, instance)
        off = self._never_again(contract, slot, instance)
        if slot.heard is None:
            return self._deliver_part(contract, slot, instance, off)
        if contract.options.wait is not None:
            return [Switch(off=off, set=self.bits.of("timer", slot))]
        return self._stand_in_line(slot, 0, off)

    def _stand_in_line(self, slot: Slot, on: int, off: int) -> list[Switch]:
        """It waits from now on, behind the rivals that wait already and can run."""
        bit = self.slot_bit(slot)
        off |= bit
        switches: list[Switch] = []
        for other in self.rivals(slot):
            for way in self._needed(self.contracts[other.path]):
                ahead = self.slot_bit(other) | way
                switches.append(Switch(on=on | ahead, off=off, set=self.bits.of("before", other, slot)))
        return [*switches, Switch(on=on, off=off, set=bit)]

    def _deliver_part(self, contract: Contract, slot: Slot, instance: Instance, off: int) -> list[Switch]:
        """One half of a join, or one part of a gather: the last of them makes the delivery."""
        done = self.bits.of("joined", slot)
        places = self.halves(slot)
        if contract.gathered is not None:
            mine = f"part {instance.part[len(slot.part)][1]}" if len(instance.part) > len(slot.part) else places[0]
        else:
            mine = next(each.name for each in contract.triggers if instance.kind in each.types)
        every = self._whole(slot)
        half = self.bits.of("half", slot, mine)
        again = self.paths.in_cycle(instance.kind)
        switches = [Switch(off=off | (0 if again else done), set=half)]
        if self._is_free_join(slot):
            return switches
        if contract.options.wait is not None:
            switches.append(Switch(on=every, set=self.bits.of("timer", slot)))
        else:
            switches += self._stand_in_line(slot, every, 0)
        return [*switches, Switch(on=every, clear=every, set=done)]

    def _never_again(self, contract: Contract, slot: Slot, instance: Instance) -> int:
        """The bits that make a delivery be skipped at once. A new part of a loop has no memory yet."""
        options = contract.options
        if options.per is not None and instance.part == WHOLE and self.paths.in_cycle(instance.kind):
            return 0
        off = 0
        if options.compensates is None and contract.path in self.effects.compensations:
            off |= self.bits.of("closed", contract.path, slot.line)
        if options.once is not None:
            off |= self.bits.of("once", contract.service, options.once, slot.line)
        if options.compensates is not None and answers(contract):
            off |= self.bits.of("answered", contract.path, slot.line)
        if self.instances.failure_is_heard(contract, instance.kind):
            off |= self.bits.of("dead", contract.path, slot.line)
        for kind in types_in(options.unless) if options.unless is not None else ():
            off |= self.seen(kind)
        return off

    def _complete(self, kind: EventType) -> list[Switch]:
        """Verdicts that this event may bring, and what is closed with one."""
        switches: list[Switch] = []
        for flow in self.flows:
            for shape, good in ((flow.succeeds, True), (flow.fails, False)):
                for way in ways(shape) if shape is not None else ():
                    if kind in way:
                        seen = union(map(self.seen, way))
                        given = self.verdict(flow, good=good) | self._fresh
                        switches.append(Switch(on=seen, off=self.verdicts(flow), set=given))
        if switches:
            if any(kind in types_in(flow.succeeds) for flow in self.flows):
                switches += [each for path in self.effects.compensations for each in self._missed(path)]
            switches += self._close_waits() if len(self.flows) == 1 else []
            switches += self._note_pending()
            switches.append(Switch(clear=self._fresh))
        return switches

    def _missed(self, path: str) -> list[Switch]:
        """What was undone, where the flow succeeds."""
        undone = self.bits.of("undone", path, WHOLE)
        return [
            Switch(on=undone | self.verdict(flow, good=True), set=self.bits.of("hollow", path, flow.name))
            for flow in self.flows
        ]

    def _close_waits(self) -> Iterator[Switch]:
        """What waits is no longer needed: timers, halves of joins, prerequisites that have not come."""
        for slot in self.instances.slots:
            contract = self.contracts[slot.path]
            needed = self._needed(contract)
            if len(needed) == 1 and needed[0]:
                waiting = self.slot_bit(slot)
                for kind in types_in(contract.options.needs) if contract.options.needs is not None else ():
                    yield Switch(on=self._fresh | waiting, off=self.seen(kind), clear=self._takes_up(slot))
        timers = [slot for slot in self.instances.slots if self.contracts[slot.path].options.wait is not None]
        yield Switch(on=self._fresh, clear=union(self.bits.of("timer", slot) for slot in timers))

    def _note_pending(self) -> Iterator[Switch]:
        """Effects that are still to be taken when the verdict is given."""
        for slot in self.instances.slots:
            contract = self.contracts[slot.path]
            left = self._fresh | self.slot_bit(slot)
            if self.effects.is_effect(contract) and contract.path not in self.effects.compensations:
                yield Switch(on=left, set=self.bits.of("left", slot))
            elif contract.options.keeps is not None and self.effects.shared(contract) and slot.part == WHOLE:
                for flow in self.flows:  # what stays on purpose is missed only where all went well
                    yield Switch(on=left | self.verdict(flow, good=True), set=self.bits.of("left", slot))

    # a delivery is taken up

    def _needed(self, contract: Contract) -> list[int]:
        """The memories any of which is enough for its prerequisites."""
        needs = contract.options.needs
        return [0] if needs is None else [union(map(self.seen, way)) for way in ways(needs)]

    def _behind(self, contract: Contract, slot: Slot) -> int:
        """Deliveries of what it needs to other reactions of its service: those go first."""
        needs = contract.options.needs
        mask = 0
        for kind in types_in(needs) if needs is not None else ():
            for other in self._by_service[contract.service]:
                each = self.contracts[other.path]
                if (
                    each is not contract
                    and other.heard is not None
                    and other.heard.kind is kind
                    and (each.options.needs is None)
                    and other not in self.rivals(slot)
                ):
                    mask |= self.slot_bit(other)
        return mask

    def _build_runs(self, slot: Slot) -> None:
        contract = self.contracts[slot.path]
        bit = self.slot_bit(slot)
        off = self._behind(contract, slot) | union(self.bits.of("before", other, slot) for other in self.rivals(slot))
        done = self.bits.of("joined", slot) if self._is_free_join(slot) else 0
        taken = Switch(clear=self._takes_up(slot), set=done)
        if contract.options.wait is not None:
            timer = self.bits.of("timer", slot)
            fires = (*self._stand_in_line(slot, 0, 0), Switch(clear=timer))
            self.transitions.append(Transition(timer, bit, fires, Happening(contract, slot.heard, note=ITS_TIME)))
        for way in self._needed(contract):
            run = Run(contract, slot, bit | way, off, (taken,))
            self._build_ends(run)
            if self._is_tried_again(contract):
                self._build_attempts(run)

    def _build_attempts(self, run: Run) -> None:
        """An attempt fails, and a compensation may come before the next."""
        tried = self.bits.of("tried", run.slot)
        unknown = self.bits.of("unknown", run.contract.path, run.slot.part)
        switches = (*run.switches, Switch(set=tried | unknown))
        happening = Happening(run.contract, run.slot.heard, note=ATTEMPT_FAILED)
        self.transitions.append(Transition(run.on, run.off | tried, switches, happening))
        undos = self.effects.undos(run.contract)
        asked = union(self.slot_bit(slot) for each in undos for slot in self.by_path.get(each.path, ()))
        self._build_ends(Run(run.contract, run.slot, tried, asked, (Switch(clear=tried | unknown),)))

    def _is_tried_again(self, contract: Contract) -> bool:
        """Whether it matters that a compensation may come between two attempts."""
        return (
            contract.path in self.effects.compensations
            and contract.reaches_outside
            and contract.options.retry.max_attempts > 1
        )

    def _build_ends(self, run: Run) -> None:
        """Every way in which a run may end that takes up this delivery."""
        contract, heard = run.contract, run.slot.heard
        if self.instances.failure_is_heard(contract, heard.kind if heard is not None else None):
            self._build_death(run)
        if contract.options.compensates is not None:
            self._build_compensation(run)
            return
        for outcome in self.instances.outcomes[contract.path]:
            self._add(run.with_switches(*self._effect(contract, run.slot, outcome)), outcome)

    def _add(self, run: Run, outcome: Outcome, note: str = "") -> None:
        emitted = self.instances.instances_of(run.contract, outcome, run.slot.part)
        said = [switch for each in emitted for switch in self._emit(each)]
        switches = (*run.switches, *self._win(run.contract, run.slot, outcome), *said)
        happening = Happening(run.contract, run.slot.heard, tuple(emitted), note)
        self.transitions.append(Transition(run.on, run.off, switches, happening))

    def _build_death(self, run: Run) -> None:
        contract, slot = run.contract, run.slot
        later = union(self._takes_up(other) for other in self.by_path[contract.path] if other.line == slot.line)
        unknown = 0
        if contract.path in self.effects.compensations and contract.reaches_outside:
            unknown = self.bits.of("unknown", contract.path, slot.part)
        switches = [*run.switches, Switch(clear=later, set=unknown | self.bits.of("dead", contract.path, slot.line))]
        told = self.instances.failure_of(slot.heard) if slot.heard is not None else None
        emitted: tuple[Instance, ...] = ()
        if told is not None and slot.heard is not None and self.instances.failure_is_heard(contract, slot.heard.kind):
            emitted = (told,)
            switches += self._emit(told, contract)
        happening = Happening(contract, slot.heard, emitted, GAVE_UP)
        self.transitions.append(Transition(run.on, run.off, tuple(switches), happening))

    def _win(self, contract: Contract, slot: Slot, outcome: Outcome) -> list[Switch]:
        """It takes its `once=` group, and what waits in that is skipped."""
        once = contract.options.once
        if once is None or not outcome:
            return []
        lost = 0
        for other in self._by_service[contract.service]:
            each = self.contracts[other.path]
            if each.options.once == once and other.line == slot.line:
                lost |= self._takes_up(other)
                lost |= self.bits.of("timer", other) if each.options.wait is not None else 0
        return [Switch(clear=lost, set=self.bits.of("once", contract.service, once, slot.line))]

    # effects

    def _effect(self, contract: Contract, slot: Slot, outcome: Outcome) -> list[Switch]:
        path = contract.path
        if path in self.effects.undeclared:
            switches: list[Switch] = []
            for doer in self.effects.undeclared[path]:
                for part in self.parts(doer.path):
                    applied = self.bits.of("applied", doer.path, part)
                    switches.append(Switch(off=applied, set=self.bits.of("early", doer.path, part)))
                    switches.append(Switch(on=applied, clear=applied))
            return switches
        late = Switch(on=self.bits.of("left", slot), set=self.bits.of("late", path, slot.part))
        if contract.options.keeps is not None and self.effects.shared(contract):
            return [late] if self.effects.takes(contract, outcome) else []
        is_effect = self.effects.is_effect(contract)
        if not (is_effect or path in self.effects.compensations) or not self.effects.takes(contract, outcome):
            return []
        applied = self.bits.of("applied", path, slot.part)
        if not is_effect:
            return [Switch(set=applied)]
        switches = []
        if self._counts_twice(contract, slot):
            ever = self.bits.of("ever", path, slot.part)
            switches += [Switch(on=ever, set=self.bits.of("twice", path, slot.part)), Switch(set=ever)]
        if any(contract in doers for doers in self.effects.undeclared.values()):
            early = self.bits.of("early", path, slot.part)
            switches.append(Switch(on=early, set=self.bits.of("leaked", path, slot.part)))
        if path not in self.effects.compensations:
            switches.append(late)
        return [*switches, Switch(set=applied)]

    def _counts_twice(self, contract: Contract, slot: Slot) -> bool:
        """Whether a second effect in the same part was not announced by a loop, a list or `per=`."""
        if contract.options.per is not None or (slot.heard is not None and slot.heard.part):
            return False
        return not any(self.paths.in_cycle(kind) for kind in contract.hears)

    def _build_compensation(self, run: Run) -> None:
        contract, slot = run.contract, run.slot
        undone = self.effects.undone(contract)
        parts = [p for p in self.parts(undone.path) if slot.line in (WHOLE, p) or p == WHOLE] or [WHOLE]
        run = run.with_switches(*self._close(contract, undone, slot))
        applied = [self.bits.of("applied", undone.path, part) for part in parts]
        earlier = 0
        for bit in applied:
            self._undo(run._replace(on=run.on | bit, off=run.off | earlier), undone, sum(applied), parts)
            earlier |= bit
        self._without_effect(run._replace(off=run.off | earlier), undone, parts)

    def _unknown(self, undone: Contract, parts: Iterable[Part]) -> int:
        return union(self.bits.of("unknown", undone.path, part) for part in parts)

    def _undo(self, run: Run, undone: Contract, applied: int, parts: list[Part]) -> None:
        """An effect is known: it is undone. What a pivot did stays."""
        outcomes = self.instances.outcomes[run.contract.path]
        note = f"undoes {undone.name}"
        if undone.options.pivot:
            outcomes = tuple(each for each in outcomes if not each) or outcomes
            note = f"{undone.name} is done and stays"
        else:
            heard = run.slot.heard
            harmless = heard is None or self.paths.leads_to(heard.kind, self.paths.successes())
            mark = 0 if harmless else self.bits.of("undone", undone.path, WHOLE)
            run = run.with_switches(Switch(clear=applied, set=mark), *(self._missed(undone.path) if mark else ()))
        if answers(run.contract):
            run = run.with_switches(Switch(clear=self._unknown(undone, parts)))
        for outcome in outcomes:
            self._add(run, outcome, note)

    def _without_effect(self, run: Run, undone: Contract, parts: list[Part]) -> None:
        """No effect is known. One that takes `E | None` runs all the same, also where an attempt has failed."""
        unknown = self._unknown(undone, parts)
        uncertain = [self.bits.of("unknown", undone.path, part) for part in parts] if undone.reaches_outside else []
        if not answers(run.contract):
            self._add(run._replace(off=run.off | unknown), (), NOTHING_TO_UNDO)
            for bit in uncertain:
                self._add(run._replace(on=run.on | bit), (), OUTCOME_UNKNOWN)
            return
        kinds = self.effects.kinds(undone)
        outcomes = self.instances.outcomes[run.contract.path]
        outcomes = tuple(each for each in outcomes if each) or outcomes  # None is for an effect that stands
        took = [each for each in outcomes if any(one.kind in kinds for one in each)]
        for outcome in [each for each in outcomes if each not in took] or outcomes:
            self._add(run._replace(off=run.off | unknown), outcome, "nothing to undo")
        for part, bit in zip(parts, uncertain, strict=False):
            for outcome in outcomes:
                known = self.bits.of("applied", undone.path, part) if outcome in took else 0
                settled = run._replace(on=run.on | bit).with_switches(Switch(clear=unknown, set=known))
                self._add(settled, outcome, f"settles what {undone.name} may have done")

    def _close(self, contract: Contract, undone: Contract, slot: Slot) -> list[Switch]:
        """The reaction takes no effect in this flow (and part) any more: what waits of it is skipped."""
        gone = closed = 0
        for other in self.by_path.get(undone.path, ()):
            if slot.line == WHOLE or other.line in (slot.line, WHOLE):
                gone |= self._takes_up(other)
                gone |= self.bits.of("tried", other) if self._is_tried_again(undone) else 0
                gone |= self.bits.of("timer", other) if undone.options.wait is not None else 0
                closed |= self.bits.of("closed", undone.path, other.line)
                if self.instances.failure_is_heard(undone, other.heard.kind if other.heard else None):
                    gone |= self.bits.of("dead", undone.path, other.line)
        if answers(contract):
            closed |= self.bits.of("answered", contract.path, slot.line)
        return [Switch(clear=gone, set=closed)]
