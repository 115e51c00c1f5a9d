"""Leaving out orders that make no difference finds every end that exploring all of them finds."""

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from callboard import Choreography
from callboard.checks import world
from callboard.checks.catalogue import CHECKS, check
from callboard.checks.exploration import explore, shortest
from callboard.checks.net import Net, Switch, Transition, each_bit
from callboard.checks.subject import Subject
from callboard.cli.discovery import load_app
from callboard.errors import ContractError
from tests.fragments import FAILURES, KINDS, choreography
from tests.mutants.defects import changed, defects
from tests.mutants.draft import built, draft
from tests.mutants.run import CLEAN

EVERY_DAY, LONG = 2_000, 40_000
LIMIT = 2_500
NEVER = 99  # steps
LARGE = 20_000


def mask(chance: Random, near: int, bits: int, most: int) -> int:
    """Up to so many bits, near each other so that far transitions have nothing to do with each other."""
    found = 0
    for _ in range(chance.randint(0, most)):
        found |= 1 << (near + chance.randint(0, 2)) % bits
    return found


def random_net(seed: int) -> Net:
    """Bits on a ring; each transition needs, looks at and switches a few neighbours."""
    chance = Random(seed)
    bits = chance.randint(5, 24)
    transitions: list[Transition] = []
    for _ in range(chance.randint(4, 13)):
        near = chance.randrange(bits)
        on = mask(chance, near, bits, 1) | 1 << near
        off = mask(chance, near, bits, 1) & ~on
        switches = [Switch(clear=on if chance.random() < 0.9 else 1 << near)]
        for _ in range(chance.randint(0, 3)):
            four = [mask(chance, near, bits, most) for most in (1, 1, 1, 2)]
            switches.append(Switch(*four))
        transitions.append(Transition(on, off, tuple(switches)))
    observed = chance.getrandbits(bits) if chance.random() < 0.8 else -1
    optional = chance.getrandbits(len(transitions)) & chance.getrandbits(len(transitions))
    return Net(chance.getrandbits(bits), transitions, observed=observed, optional=optional)


def compare(net: Net) -> tuple[int, int]:
    """How many states were seen in all and reduced; the ends are the same, and what happens somewhere."""
    whole = Net(net.initial, net.transitions, scratch=net.scratch, optional=net.optional)
    full = explore(whole, limit=LIMIT, reduced=False)
    if full.bounded:
        return 0, 0
    some = explore(net, limit=LIMIT)
    nearest: dict[int, int] = {}
    for end in full.ends:
        nearest.setdefault(net.forget(end), len(full.path(end)))
    assert {end: len(some.path(end)) for end in some.ends} == nearest
    assert set(some.came) <= {net.forget(state) for state in full.came}
    assert some.fired == full.fired
    return len(full.came), len(some.came)


def test_random_nets_have_the_same_ends() -> None:
    seen = [compare(random_net(seed)) for seed in range(EVERY_DAY)]
    assert sum(some for _, some in seen) < 0.8 * sum(full for full, _ in seen)


def compare_ways(net: Net) -> list[int]:
    """The lengths of the shortest ways to each bit, and to two at once, which are the same with orders left out."""
    full = explore(net.looked_at_for(-1), limit=LIMIT, reduced=False)
    later = list(each_bit(full.ever & ~net.initial))
    pairs = [one | other for one, other in pairwise(later)]
    lengths: list[int] = []
    for goal in [*later, *pairs] if not full.bounded else ():
        state = full.first(goal)
        length = NEVER if state is None else len(full.path(state))
        aimed = net.looked_at_for(goal)
        way, bounded = shortest(aimed, goal, below=length + 1, limit=LIMIT)
        assert not bounded
        assert (NEVER if way is None else len(way)) == length
        assert shortest(aimed, goal, below=length, limit=LIMIT) == (None, False)
        at = net.initial
        for number in way or ():
            assert number in net.enabled(at)
            at = net.transitions[number].fire(at)
        assert way is None or at & goal == goal
        lengths.append(length)
    return lengths


@pytest.mark.slow
def test_many_more_random_nets_have_the_same_ends_and_shortest_ways() -> None:
    for seed in range(EVERY_DAY, LONG):
        compare(random_net(seed))
        compare_ways(random_net(seed))


OPTIONS = ("", "", "", 'once="one"', 'once="two"', "needs={0}", "unless={0}", "wait=timedelta(days=1), unless={0}")
RESULTS = ("{0}", "{0} | {1}", "{0} | None", "tuple[{0}, {1}]", "{0} | list[{1}]", "list[{0}]")


def random_lines(seed: int) -> str:
    """Reactions that hear and emit events at random, some with memories, effects, compensations and timers."""
    chance = Random(seed)
    kinds = sorted(KINDS)[: chance.randint(5, 10)]
    heard = ["Ordered"]
    lines: list[str] = []
    for number in range(chance.randint(2, 5)):
        service = chance.choice(("stock", "money"))
        first, second = chance.sample(kinds, 2)
        options = chance.choice(OPTIONS).format(chance.choice(heard))
        event = chance.choice(heard)
        if "unless" in options and event in options:
            options = ""
        effect = chance.choice(("", ", shelf: Shelf", ", bank: Bank", ", note: Note"))
        returns = chance.choice(RESULTS).format(first, second)
        lines.append(f"@{service}.reaction({options})\ndef step_{number}(a: {event}{effect}) -> {returns}: ...\n")
        if chance.random() < 0.4:
            maybe = chance.choice(("", " | None"))
            others = [kind for kind in kinds if kind not in (first, second)]
            late = chance.choice(("FlowTimedOut[Ordered]", chance.choice(others)))
            given = second if first in FAILURES else first
            lines.append(
                f"@{service}.reaction(compensates=step_{number})\n"
                f"def undo_{number}(a: {late}, b: {given}{maybe}{effect}) -> {chance.choice(kinds)} | None: ...\n"
            )
        heard += [first, second]
    good, bad = chance.sample([kind for kind in kinds if kind != "Ordered"], 2)
    flow = f'Flow("f", key="order", starts=Ordered, succeeds={good}, fails={bad}, timeout=timedelta(days=1))'
    return "\n".join([*lines, f"flows, incoming = [{flow}], {chance.choice(kinds)}"])


def random_choreography(seed: int) -> Net | None:
    """The net of a random choreography; None if it is refused as no choreography."""
    try:
        made = choreography(random_lines(seed))
    except ContractError:
        return None
    (flow,) = made.flows.values()
    return Subject(made, limit=LIMIT).extract(flow.start).net


def test_random_choreographies_have_the_same_ends() -> None:
    nets = [net for net in map(random_choreography, range(80)) if net is not None]
    assert len(list(map(compare, nets))) > 30


def test_ways_that_leave_orders_out_are_shortest_ways() -> None:
    nets = [random_net(seed) for seed in range(300)]
    nets += [net for net in map(random_choreography, range(40)) if net is not None]
    lengths = [length for net in nets for length in compare_ways(net)]
    assert NEVER in lengths
    assert sum(3 < length < NEVER for length in lengths) > 100


@pytest.mark.slow
def test_many_more_random_choreographies_have_the_same_ends_and_shortest_ways() -> None:
    for seed in range(40, 5_000):
        if (net := random_choreography(seed)) is not None:
            compare(net)
            compare_ways(net)


def ways(made: Choreography) -> dict[str, int]:
    """How long the way is to each finding."""
    return {each.name: len(each.way) for each in check(made, ignore={"CB305"}).findings if each.way}


def test_findings_have_ways_as_short_where_orders_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = 0
    examples = [choreography(CHECKS[code].broken) for code in CHECKS if code[2] in "23"]
    for made in [*examples, load_app("showcase/timeout.py:shop", Path(__file__).parents[1] / "examples")]:
        monkeypatch.setattr(world, "SMALL", LARGE)
        of_all_orders = ways(made)
        monkeypatch.setattr(world, "SMALL", 1)
        assert ways(made) == of_all_orders
        found += len(of_all_orders)
    assert found > len(examples)


@pytest.mark.slow
def test_every_mutant_has_ways_as_short_where_orders_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for clean in CLEAN.values():
        known = draft(clean)
        for _, plant in defects(known):
            try:
                made = built(changed(known, plant))
            except (ContractError, LookupError):  # refused
                continue
            monkeypatch.setattr(world, "SMALL", LARGE)
            of_all_orders = ways(made)
            monkeypatch.setattr(world, "SMALL", 1)
            assert ways(made) == of_all_orders


BESIDE = """
@parcels.reaction
def pack(ordered: Ordered) -> Packed: ...

@desk.reaction
def note(packed: Packed) -> Noted: ...

outgoing = Noted
"""


def test_a_way_that_may_not_be_the_shortest_says_so_and_has_no_step_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "SMALL", 1)
    monkeypatch.setattr(world, "SHORTER", 1)
    made = choreography(CHECKS["CB203"].broken + BESIDE)
    (finding,) = check(made, select={"CB203"}).findings
    assert finding.end[-1] == world.MAY_BE_SHORTER
    assert [each.reaction for each in finding.way] == ["", "charge", "release", "hold"]


@pytest.mark.parametrize("clean", ["orders", "journeys", "media"])
def test_what_is_clean_is_clean_also_where_the_exploration_was_bounded(clean: str) -> None:
    for limit in (1, 3, 10, 30, 100):
        report = check(CLEAN[clean], limit=limit)
        assert [each.name for each in report.findings if each.severity != "information"] == []
    assert check(CLEAN[clean], limit=3).bounded


def test_no_random_choreography_breaks_a_check() -> None:
    checked = 0
    for seed in range(40):
        try:
            made = choreography(random_lines(seed))
        except ContractError:
            continue
        checked += 1
        for finding in check(made, limit=500, broker="kafka").findings:
            assert finding.code in CHECKS
            assert finding.fix
    assert checked > 15
