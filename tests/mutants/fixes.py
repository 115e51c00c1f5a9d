"""Types the fixes of what check finds in every mutant, and tells how many take their finding away. `make fixes`."""

import sys
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "targets")]

# ruff: noqa: E402 - what is tested lies on a path of its own
from callboard import Choreography
from callboard.check import Finding
from callboard.checks.catalogue import check
from callboard.errors import ContractError
from tests.mutants.defects import FORGOTTEN, ON_PURPOSE, UNDECLARED, changed, defects
from tests.mutants.draft import Draft, built, draft
from tests.mutants.run import CLEAN
from tests.mutants.typist import typed

ROUNDS = 6  # of a finding and its fix, until nothing is found
FIRST, ALL = 0.98, 0.90  # of the mutants: the first fix takes its finding away; fixes alone lead to no findings


class Typed(NamedTuple):
    """What became of one mutant under its fixes."""

    name: str
    held: bool  # the first fix that could be typed took its finding away
    left: tuple[str, ...]  # what is found in the end
    log: tuple[str, ...]


def play(where: str) -> Iterator[Typed]:
    """Every mutant of one choreography in which something is found, with its fixes typed, one after another."""
    known = draft(CLEAN[where])
    for name, plant in defects(known):
        if name.endswith(ON_PURPOSE):
            continue
        try:
            made = changed(known, plant)
            choreography = built(made)
        except (ContractError, LookupError):
            continue
        ignore = () if name.endswith((UNDECLARED, FORGOTTEN)) else {"CB501"}
        if findings := found(choreography, ignore):
            yield mended(name, made, findings, ignore)


def found(choreography: Choreography, ignore: Collection[str]) -> list[Finding]:
    """What is more than a note."""
    return [each for each in check(choreography, ignore=ignore).findings if each.severity != "information"]


def mended(name: str, made: Draft, findings: list[Finding], ignore: Collection[str]) -> Typed:
    """One mutant: the first fix that can be typed is, until nothing is found or it changes nothing."""
    held: bool | None = None
    log: list[str] = []
    for _ in range(ROUNDS):
        one, after = next(choices(made, findings), (None, None))
        if one is None or after is None:
            break
        made, findings = after, found(built(after), ignore)
        is_gone = one.name not in [each.name for each in findings]
        held = is_gone if held is None else held
        log.append(f"{one.code} {one.title}; typed: {one.fix}; {'gone' if is_gone else 'still there'}")
        if one.fix in [each.fix for each in findings if each.name == one.name]:
            break
    codes = tuple(each.code for each in findings)
    return Typed(name, bool(held), codes, (*log, f"left: {', '.join(codes)}"))


def choices(made: Draft, findings: list[Finding]) -> Iterator[tuple[Finding, Draft]]:
    """The findings whose fix can be typed, with the draft that it makes."""
    for each in findings:
        try:
            after = typed(made, each)
            if after is not None:
                built(after)
                yield each, after
        except (ContractError, LookupError, StopIteration):
            continue  # the build refuses it: it says why, and a person reads on


def told(where: str, every: list[Typed]) -> tuple[int, int, int]:
    """The figures of one choreography, and what its fixes did not mend."""
    held, clean = sum(each.held for each in every), sum(not each.left for each in every)
    print(f"{where}: {held} of {len(every)} first fixes take their finding away; with {clean} nothing is left to find")
    for each in every:
        if each.left or not each.held:
            print(f"   {each.name}", *each.log, sep="\n      ")
    return len(every), held, clean


def main() -> int:
    names = sys.argv[1:] or list(CLEAN)
    with ProcessPoolExecutor(max_workers=2) as pool:
        figures = [told(*each) for each in zip(names, pool.map(played, names), strict=True)]
    count, held, clean = map(sum, zip(*figures, strict=True))
    print(f"together: {held} of {count} ({held / count:.1%}) first fixes hold; {clean} ({clean / count:.1%}) mended")
    return int(held < FIRST * count or clean < ALL * count)


def played(where: str) -> list[Typed]:
    """All of one choreography, for a process of its own."""
    return list(play(where))


if __name__ == "__main__":
    sys.exit(main())
