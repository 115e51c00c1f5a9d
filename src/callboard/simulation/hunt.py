"""A hunt: many seeds, each a world; what fails is run again, shrunk, kept, and told first next time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from callboard.check import Step
from callboard.errors import CallboardError
from callboard.simulation import codes, coverage
from callboard.simulation.choices import PUBLISH, Deviations
from callboard.simulation.escapes import uncollected
from callboard.simulation.faults import FAULTS
from callboard.simulation.oracles import Violation, fix_of
from callboard.simulation.shrinking import Shrinker
from callboard.simulation.stage import Stage
from callboard.simulation.world import Ending, Scene, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from callboard.simulation.guiding import Way

_LAYOUT = 1
_SAMPLE = 100  # one of so many passing seeds is run twice


class NotThisFailure(CallboardError):
    """A file of a failure that cannot be told here: of another choreography, or written otherwise."""


@dataclass
class Failure:
    """A seed that broke something, and the smallest way to break it again."""

    seed: int
    violations: list[Violation]
    deviations: Deviations
    first: int  # deviations before it was shrunk
    runs: int
    ending: Ending
    code: str = ""  # of `callboard check`
    fix: str = ""  # what mends it, where that is known
    places: dict[str, str] = field(default_factory=dict[str, str])  # where each reaction is written
    explained: str = ""  # what the code is, and whether the check finds it here
    script: list[Step] = field(default_factory=list["Step"])  # the order that was forced, where one was
    way: str = ""  # where that leads to


@dataclass
class Hunt:
    """What came of many seeds."""

    scene: Scene
    seeds: int = 0
    steps: int = 0
    events: int = 0
    flows: int = 0
    struck: Counter[str] = field(default_factory=Counter[str])
    digests: list[str] = field(default_factory=list[str])
    outcomes: set[str] = field(default_factory=set[str])
    failures: list[Failure] = field(default_factory=list[Failure])
    seen: set[coverage.Seen] = field(default_factory=set[coverage.Seen])
    ways: list[Way] = field(default_factory=list["Way"])  # that were walked, if the model was the guide
    cut_short: bool = False  # there are more of them
    foreign: list[str] = field(default_factory=list[str])  # ends of flows that the model says cannot be
    unsteady: list[str] = field(default_factory=list[str])  # worlds that were not the same when lived again

    @property
    def digest(self) -> str:
        """One for all seeds."""
        return blake2b("".join(self.digests).encode(), digest_size=8).hexdigest()

    @property
    def missing(self) -> list[str]:
        """Outcomes that reactions declare and no seed has reached."""
        declared = {
            f"{path} -> {kind.name}" for path, c in self.scene.choreography.contracts.items() for kind in c.emits
        }
        return sorted(declared - self.outcomes)

    @property
    def missing_ends(self) -> list[str]:
        """Completions that no flow has had."""
        return [*coverage.missing_ends(self.scene.choreography, self.seen)]

    @property
    def missing_undos(self) -> list[str]:
        """Compensations that no flow has had."""
        return coverage.missing_undos(self.scene.choreography, self.outcomes)

    def take(self, lived: Lived) -> None:
        """One more world."""
        ending = lived.ending
        self.seeds += 1
        self.steps += ending.steps
        self.events += ending.events
        self.flows += ending.flows
        self.digests.append(ending.digest)
        self.outcomes |= ending.outcomes
        self.struck.update(dict.fromkeys((key.partition(" ")[0] for key in ending.deviations), 1))
        self.seen |= lived.seen


class Lived(NamedTuple):
    """What is left of a world."""

    ending: Ending
    seen: set[coverage.Seen]

    @property
    def is_looked_into(self) -> bool:
        """Whether it is run again: it has failed, or is one of the sample."""
        return bool(self.ending.violations) or self.ending.seed % _SAMPLE == 0


def live(scene: Scene, seed: int) -> Lived:
    """The world of this seed, from beginning to end."""
    with uncollected():  # until the world is gone: to go through what lives takes as long as to bury it
        world = World(scene, seed)
        lived = Lived(world.run(), coverage.observe(world))
        del world
    return lived


def hunt(
    scene: Scene,
    seeds: Iterable[int],
    *,
    most: int = 1,
    told: Callable[[Hunt, int], None] = lambda _hunt, _seed: None,
    lives: Callable[[Iterable[int]], Iterable[Lived]] | None = None,
) -> Hunt:
    """Every seed is run, here or by `lives`, until so many have failed; each of these is shrunk."""
    found = Hunt(scene)
    for lived in lives(seeds) if lives is not None else (live(scene, seed) for seed in seeds):
        found.take(lived)
        ending = lived.ending
        if lived.is_looked_into and not ending.given_up:
            found.unsteady += compare(ending, World(scene, ending.seed).run())
        if ending.violations:
            found.failures.append(shrink(scene, ending))
        told(found, ending.seed)
        if len(found.failures) >= most:
            break
    return found


def compare(one: Ending, other: Ending) -> Iterator[str]:
    """The first line in which two lives of one seed differ, and what is likely to make them differ."""
    if one.digest == other.digest:
        return
    pairs = [*zip(one.trace, other.trace, strict=False), ("(the end)", "(the end)")]
    here, there = next(((a, b) for a, b in pairs if a != b), pairs[-1])
    yield (
        f"seed {one.seed} is not the same when it is run again:\n    {here}\n    {there}\n"
        f"  likely: {_likely(one, here)}"
    )


def _likely(ending: Ending, line: str) -> str:
    if any(each.oracle == "module-state" for each in ending.violations):
        return "a variable of a module, which the run before has changed"
    if " outside " in line:
        return "a keeper that answers otherwise each time: make a new one for each world (--ports names a function)"
    return "an order that is not kept: of a set, of hash(), of id(), or of what a library keeps for itself"


def shrink(scene: Scene, ending: Ending) -> Failure:
    """The same failure with as few deviations as it needs."""
    oracles = {each.oracle for each in ending.violations[:1]}

    def lived(deviations: Deviations, *, tells_runs: bool = False) -> Ending:
        world = World(scene, ending.seed, forced=deviations)
        world.tells_runs = tells_runs
        return world.run()

    def fails(deviations: Deviations) -> bool:
        return any(each.oracle in oracles for each in lived(deviations).violations)

    def places(deviations: Deviations) -> list[str]:
        world = World(scene, ending.seed, forced=deviations)
        world.run()
        return [key for fault in reversed(scene.faults) for key in world.choices.visited(fault)]

    shrinker = Shrinker(most=0 if ending.given_up else 400, places=places)
    left = shrinker.shrink(ending.deviations, fails)
    last = ending if ending.given_up else lived(left, tells_runs=True)
    if not last.violations:
        left, last = ending.deviations, ending
    first = sorted(last.violations, key=lambda each: each.oracle not in oracles)
    return explained(scene, Failure(ending.seed, first, left, len(ending.deviations), shrinker.runs, last))


def explained(scene: Scene, failure: Failure) -> Failure:
    """The same, with the code of the check, what mends it, and where the reactions are."""
    contracts = scene.choreography.contracts
    failure.places = {path: f"{contract.file}:{contract.line}" for path, contract in contracts.items()}
    if failure.violations:
        ran = {outcome.partition(" -> ")[0] for outcome in failure.ending.outcomes}
        failure.code, finding = codes.match(scene.choreography, failure.violations[0], ran)
        failure.explained = codes.told(failure.code, finding)
        failure.fix = fix_of(failure.violations[0]) if finding is None else finding.fix
    return failure


# what is kept


class Kept(msgspec.Struct):
    """A failure as its file has it."""

    choreography: str
    seed: int
    deviations: Deviations
    oracle: str
    text: str
    digest: str
    ledgers: str
    flows: int
    layout: int = _LAYOUT
    script: list[Step] = []  # the order that is forced, where one was


def keep(failure: Failure, scene: Scene, folder: Path) -> Path:
    """The file that replays it."""
    violation = failure.violations[0]
    kept = Kept(
        scene.choreography.name, failure.seed, failure.deviations, violation.oracle, violation.text,
        failure.ending.digest, scene.ledgers, scene.flows, script=failure.script,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{scene.choreography.name}-{failure.seed}-{violation.oracle}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    return file


def read_kept(file: Path, scene: Scene) -> Kept:
    """The failure in this file. Raises NotThisFailure."""
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError) as error:
        raise NotThisFailure(f"{file} holds no failure that can be replayed: {error}") from error
    if kept.layout != _LAYOUT:
        raise NotThisFailure(f"{file} was written in layout {kept.layout}, this callboard reads {_LAYOUT}: hunt anew")
    if kept.choreography != scene.choreography.name:
        raise NotThisFailure(f"{file} is a failure of {kept.choreography!r}, not of {scene.choreography.name!r}")
    for fault in sorted({key.partition(" ")[0] for key in kept.deviations} - {PUBLISH, *FAULTS}):
        raise NotThisFailure(f"{file} has a fault {fault!r} that this callboard does not know: hunt anew")
    return kept


def replay(kept: Kept, scene: Scene) -> Failure:
    """The kept failure, lived again; without violations if it is mended."""
    scene.ledgers, scene.flows = _ledgers(kept.ledgers), kept.flows
    given = kept.deviations  # of a script: its inputs
    world = Stage(scene, kept.script, given) if kept.script else World(scene, kept.seed, forced=given)
    world.tells_runs = True
    ending = world.run()
    failure = Failure(kept.seed, ending.violations, given, len(given), 0, ending, script=kept.script)
    return explained(scene, failure)


def _ledgers(name: str) -> Any:
    return name if name in ("shared", "separate") else "either"
