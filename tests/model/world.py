"""One ledger, one process, many crashes: an executable model of the react group. ``run(seed, rules)`` gives an Outcome.

The rules are in ``react.py``; here is what surrounds them: inputs, timers, the tracker, the operator, and a random
schedule. Limits: one process, no broker, no prerequisites, joins or gathers, and a pair has at most one effect in a
flow (there is one OrderCreated in it).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

from .plan import Plan, draw
from .react import IN_FLIGHT, Killed, React
from .rules import PROPOSED, Rules
from .shop import COMPENSATION, ENDS, REACTIONS, Event, Outside, Shelf, heard_by
from .tables import Delivery, FlowRow

Picture = tuple[str, frozenset[str]]


class World(React):
    """The process, its ledger and the outside, moved one step at a time."""

    published = 0

    # -- inputs ------------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Commit the next input. Another process does it: nothing is handed on to ours."""
        if self.published < len(self.plan.inputs):
            one, ledger = self.plan.inputs[self.published], self.ledger
            self.published += 1
            self.moves += 1
            if one.id not in ledger.supplied or not self.rules.drops_duplicates:
                ledger.supplied.add(one.id)
                self.append(
                    ledger, Event(0, one.id, one.type, one.key, "" if one.number else one.key, number=one.number)
                )
                if not one.number:
                    ledger.flows.setdefault(one.key, FlowRow(self.now + self.plan.timeout))

    def cancel(self, flow: str) -> None:
        """Cancel a flow from outside. Refused if there is none, or if it has its end."""
        ledger = self.ledger
        if (
            flow in ledger.flows
            and flow not in ledger.supplied
            and not any(event.type in ENDS for event in ledger.of(flow))
        ):
            ledger.supplied.add(flow)
            self.moves += 1
            self.append(ledger, Event(0, f"{flow}.FlowCancelled", "FlowCancelled", flow, flow))

    # -- timers, the tracker, the operator ---------------------------------------------------------------------------

    def timers(self) -> None:
        """Write what is due to the log: its place there decides what came first."""
        for (name, seq), row in sorted(self.ledger.parked.items()):
            if row.why == "timer" and row.due <= self.now:
                event, early = self.ledger.event(seq), not self.rules.reads_before_firing
                read = self.ledger.log[: self.memory.read]
                del self.ledger.parked[name, seq]
                self.moves += 1
                if not (early and any(one.type in REACTIONS[name].unless and one.flow == event.flow for one in read)):
                    self.append(
                        self.ledger,
                        Event(
                            0,
                            f"{event.id}/{name}@",
                            REACTIONS[name].timer,
                            event.key,
                            event.flow,
                            cause=seq,
                            number=early,
                        ),
                    )

    def deadlines(self) -> None:
        """FlowTimedOut for what is due and has no end, once, after everything in the log was read."""
        if self.rules.reads_before_firing:
            self.track(len(self.ledger.log))
        for flow, row in self.ledger.flows.items():
            if not row.seen and not row.timed_out and row.deadline <= self.now:
                self.ledger.flows[flow] = row._replace(timed_out=True)
                self.append(self.ledger, Event(0, f"{flow}.FlowTimedOut", "FlowTimedOut", flow, flow))
                self.moves += 1

    def track(self, upto: int) -> None:
        """Read on, and give the verdicts that the log allows, in one transaction."""
        ledger = self.ledger
        for event in ledger.log[ledger.tracked : upto]:
            if event.type in ENDS and not ledger.flows[event.flow].seen:
                ledger.flows[event.flow] = ledger.flows[event.flow]._replace(seen=event.type)
        self.moves += upto > ledger.tracked
        ledger.tracked = max(upto, ledger.tracked)
        for flow, row in ledger.flows.items():
            if row.seen and not row.verdict:
                early = row.seen == "OrderCancelled" and self.asked(flow)
                if not early or not self.rules.verdict_waits:
                    self.end(flow, row._replace(early=early))

    def asked(self, flow: str) -> bool:
        """Whether a compensation was asked and is neither done nor dead: read from the tables alone."""
        ledger = self.ledger
        for event in ledger.of(flow):
            for reaction in heard_by(event):
                row = ledger.parked.get((reaction.name, event.seq))
                undone = event.seq > ledger.position[reaction.name] or event.seq in ledger.open[reaction.name]
                if reaction.compensates and (row.why not in ("dead", "settled") if row else undone):
                    return True
        return False

    def end(self, flow: str, row: FlowRow) -> None:
        """Give the verdict; what still waits in the flow is closed with it, and its dead letters stop nobody."""
        ledger, failed = self.ledger, row.seen == "OrderCancelled"
        leaked = [
            c.compensates
            for c in COMPENSATION.values()
            if self.effect(ledger, c, flow)
            or ((flow, "unknown", c.compensates) in ledger.memory and (flow, "answered", c.name) not in ledger.memory)
        ]
        ledger.flows[flow] = row._replace(
            verdict="failed" if failed else "succeeded", at=len(ledger.log), leaked=tuple(leaked) if failed else ()
        )
        for delivery, parked in list(ledger.parked.items()):
            if ledger.event(delivery[1]).flow == flow and parked.why == "timer":
                self.finish(ledger, self.memory, delivery, "no longer needed")
            elif ledger.event(delivery[1]).flow == flow and parked.why == "dead":
                ledger.parked[delivery] = replace(parked, why="settled")
        self.moves += 1

    def replay(self) -> None:
        """Replay each dead letter once, soon or late; discard what died again and belongs to no flow."""
        for delivery, row in self.ledger.parked.items():
            if row.why == "dead" and not row.replays:
                due = self.now + self.chance.choice((0, 0, 20))
                self.ledger.parked[delivery] = replace(
                    row, why="retry", due=due, attempts=0, replays=1, tried=self.rules.tried_is_kept
                )
            elif row.why == "dead" and not self.ledger.event(delivery[1]).flow:
                self.finish(self.ledger, self.memory, delivery, "discarded")
            else:
                continue
            self.moves += 1
            return

    # -- the schedule ------------------------------------------------------------------------------------------------

    def trouble(self) -> None:
        """Run a random schedule with faults. Each seed has its own pace of each step."""
        chance, rough = self.chance, draw(self.plan.seed, "rough") < 0.6
        steps: list[tuple[float, Callable[[], object]]] = [
            (2, self.publish),
            (1, self.interrupt),
            (4, self.resume),
            (3, self.provide),
            (1, self.timers),
            (1, self.deadlines),
            (3, lambda: self.read_on(chance.randint(self.memory.read, len(self.ledger.log)))),
            (4, lambda: self.claim(chance.randint(1, IN_FLIGHT), shuffled=chance.random() < 0.5)),
            (6, lambda: self.turn(rough=rough)),
            (1, lambda: self.track(chance.randint(self.ledger.tracked, len(self.ledger.log)))),
            (3, self.replay),
            (0.6, self.tick),
            (1, self.bump),
            (0.3 if draw(self.plan.seed, "overruns") < 0.5 else 0, self.overrun),
            (0.6 if rough else 0, self.kill),
        ]
        weights = list(
            accumulate(weight * 4 ** (2 * draw(self.plan.seed, "pace", i) - 1) for i, (weight, _) in enumerate(steps))
        )
        enough = self.moves + 40 + chance.randrange(200)
        for _, step in chance.choices(steps, cum_weights=weights, k=600):
            before = self.moves
            self.guarded(step)
            self.beat += 1 if self.moves > before else 4  # idle time goes by faster
            if self.moves > enough:
                return

    def guarded(self, step: Callable[[], object]) -> None:
        """Let what kills the process kill it."""
        try:
            step()
        except Killed:
            self.crash()

    def turn(self, *, rough: bool) -> None:
        """One group in the usual order, often disturbed, sometimes killed around its commit."""
        chance = self.chance
        if chance.random() < 0.5:
            self.read_on(len(self.ledger.log))
        if chance.random() < 0.6:
            self.claim(IN_FLIGHT, shuffled=chance.random() < 0.5)
        crash = chance.random() if rough else 1
        self.group(
            fuse=chance.random() < draw(self.plan.seed, "fuses"),
            foreign=self.publish if chance.random() < 0.15 else None,
            crash="before" if crash < 0.15 else "after" if crash < 0.2 else "",
        )

    def read_on(self, upto: int) -> None:
        """Notice up to there, unless the process is slow to begin after a crash."""
        if self.beat >= self.slow_until:
            self.notice(self.ledger, self.memory, self.memory.read, upto)

    def interrupt(self) -> None:
        """Cancel a flow, mostly while a certain reaction runs in it."""
        for flow in self.plan.cancels:
            during = sorted(COMPENSATION)[int(draw(self.plan.seed, "during", flow) * len(COMPENSATION))]
            if self.memory.runs(self.ledger, during, flow) or self.chance.random() < 0.03:
                self.cancel(flow)

    def provide(self) -> None:
        """Let a pending call take place."""
        if self.outside.pending:
            call = self.chance.choice(self.outside.pending)
            if not self.starves(call.op, call.key):
                self.moves += 1
                self.outside.handle(call)

    def tick(self) -> None:
        """Let time pass."""
        self.now += self.chance.randint(1, 12)

    def kill(self) -> None:
        """Kill the process, mostly while a compensation waits for a reaction that runs."""
        ledger, memory = self.ledger, self.memory
        tense = any(
            ledger.event(one).flow == ledger.event(seq).flow
            for name, seq in memory.running
            if name in COMPENSATION
            for one in memory.open[COMPENSATION[name].name]
        )
        if self.chance.random() < (0.8 if tense else 0.1):
            self.crash()

    def bump(self) -> None:
        """Write how far some reactions have come, in housekeeping, so that idle ones hold nothing back."""
        for name in self.chance.sample(tuple(REACTIONS), len(REACTIONS) // 2):
            self.write_position(self.ledger, self.memory, name)

    def overrun(self) -> None:
        """Cut an attempt that takes too long, or move it to a parked row and let it go on."""
        runs = [run for run in self.memory.running.values() if not run.finished]
        if runs:
            run = self.chance.choice(runs)
            if self.chance.random() < 0.5:
                run.error = "time limit"
                self.abandon(run.call)
            elif run.delivery not in self.ledger.parked:
                self.write_attempt(*run.delivery)

    def quiesce(self) -> bool:
        """Make no more trouble, and go on until nothing is left to do. False if that does not come."""
        self.beat = 0
        for _ in range(300):
            before = self.moves
            self.publish()
            self.notice(self.ledger, self.memory, self.memory.read, len(self.ledger.log))
            self.guarded(lambda: self.claim(IN_FLIGHT))
            for call in self.chance.sample(self.outside.pending, len(self.outside.pending)):
                self.moves += 1
                if self.chance.random() < 0.5:
                    self.outside.handle(call)
            self.resume()
            self.group(fuse=False)
            self.timers()
            self.deadlines()
            self.track(len(self.ledger.log))
            if self.moves == before and not self.wait():
                return True
        return False

    def wait(self) -> bool:
        """Find something to do: a cancellation, the next due time, the operator."""
        before = self.moves
        for flow in self.plan.cancels:
            self.cancel(flow)
        due = [row.due for row in self.ledger.parked.values() if row.why in ("retry", "timer")]
        due += [row.deadline for row in self.ledger.flows.values() if not row.seen and not row.timed_out]
        later = [one for one in due if one > self.now]
        self.now = min(later, default=self.now)
        if not later:
            self.replay()
        return bool(later) or self.moves > before


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a world ended, as plain data: all that the judge reads, and what the real thing is compared by."""

    quiet: bool
    log: tuple[Event, ...]
    verdicts: dict[str, FlowRow]
    stuck: dict[str, tuple[str, ...]]  # flow without a verdict -> what it waits for
    dead: frozenset[tuple[str, str]]  # (flow, reaction) of each dead letter, listed or settled
    shelves: dict[str, Shelf]
    status: dict[str, str]
    outside: Outside
    skipped: tuple[tuple[Delivery, str], ...]

    @classmethod
    def of(cls, world: World) -> "Outcome":
        """Let the world come to rest, and tell what it has become."""
        quiet, ledger = world.quiesce(), world.ledger
        rows = [(ledger.event(seq).flow, name, row) for (name, seq), row in ledger.parked.items()]
        return cls(
            quiet,
            tuple(ledger.log),
            ledger.flows,
            {
                flow: tuple(f"{name} is {parked.why}: {parked.reason}" for one, name, parked in rows if one == flow)
                for flow, row in ledger.flows.items()
                if not row.verdict
            },
            frozenset((flow, name) for flow, name, row in rows if row.why in ("dead", "settled")),
            ledger.shelves,
            ledger.status,
            world.outside,
            tuple(ledger.skipped),
        )

    def picture(self, flow: str) -> Picture:
        """The verdict of a flow and the paths of its events, in no order."""
        row = self.verdicts.get(flow)
        return row.verdict if row else "", frozenset(f"{one.id} {one.type}" for one in self.log if one.flow == flow)


def run(seed: int, rules: Rules = PROPOSED, *, plan: Plan | None = None, schedule: int = 0) -> Outcome:
    """Run the plan of a seed under one random schedule until nothing is left to do."""
    world = World(plan or Plan.of(seed), rules, schedule)
    world.trouble()
    return Outcome.of(world)


def reached(plan: Plan, schedules: Iterable[int], rules: Rules = PROPOSED) -> dict[str, set[Picture]]:
    """For each flow of a plan, the pictures that the model ends with: the real thing must end with one of them."""
    pictures: dict[str, set[Picture]] = {flow: set() for flow in plan.orders}
    for schedule in schedules:
        outcome = run(plan.seed, rules, plan=plan, schedule=schedule)
        for flow, found in pictures.items():
            found.add(outcome.picture(flow))
    return pictures
