"""Leaving out orders that make no difference finds every end that exploring all of them finds."""

from random import Random

import pytest

from callboard.checks.catalogue import CHECKS, check
from callboard.checks.exploration import explore
from callboard.checks.net import Net, Switch, Transition
from callboard.checks.subject import Subject
from callboard.errors import ContractError
from tests.fragments import FAILURES, KINDS, choreography

EVERY_DAY, LONG = 1_500, 40_000
LIMIT = 2_500


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
    assert set(some.ends) == {net.forget(end) for end in full.ends}
    assert set(some.came) <= {net.forget(state) for state in full.came}
    assert some.fired == full.fired
    return len(full.came), len(some.came)


def test_random_nets_have_the_same_ends() -> None:
    seen = [compare(random_net(seed)) for seed in range(EVERY_DAY)]
    assert sum(some for _, some in seen) < 0.8 * sum(full for full, _ in seen)


@pytest.mark.slow
def test_many_more_random_nets_have_the_same_ends() -> None:
    for seed in range(EVERY_DAY, LONG):
        compare(random_net(seed))


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


def compare_choreography(seed: int) -> int:
    """Every net of a random choreography has the same ends; 0 if it is refused as no choreography."""
    try:
        made = choreography(random_lines(seed))
    except ContractError:
        return 0
    subject = Subject(made, limit=LIMIT)
    for start in {flow.start for flow in made.flows.values()}:
        compare(subject.extract(start).net)
    return 1


def test_random_choreographies_have_the_same_ends() -> None:
    assert sum(compare_choreography(seed) for seed in range(80)) > 30


@pytest.mark.slow
def test_many_more_random_choreographies_have_the_same_ends() -> None:
    for seed in range(80, 5_000):
        compare_choreography(seed)


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
