"""`callboard simulate`: worlds are the same each time, break what is broken, and leave alone what is whole."""

import asyncio
import contextlib
import inspect
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextvars import Context
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import pytest

from callboard import Choreography, Flow, FlowTimedOut, Service, event, port
from callboard import run as running
from callboard.hops.react import react
from callboard.hops.work import Work
from callboard.simulation import escapes
from callboard.simulation.choices import Choices
from callboard.simulation.faults import FAULTS, UnknownFault, sentence
from callboard.simulation.hunt import Hunt, NotThisFailure, hunt, keep, read_kept
from callboard.simulation.loop import LIFE, Life, Loop, NeverRests
from callboard.simulation.samples import Draw, sample
from callboard.simulation.shrinking import Shrinker
from callboard.simulation.story import clock, mermaid, told
from callboard.simulation.world import LEDGERS, Scene, World
from shop.events import OrderCreated, OrderShipped
from shop.inventory import Shelf

from . import planted
from .postoffice import command, environment, shell

TARGETS = Path(__file__).parent / "targets"


@event
class Rung:
    bell_id: str


@event
class Heard:
    bell_id: str


def a_bell(*services: Service) -> Choreography:
    flow = Flow("bell", key="bell_id", starts=Rung, succeeds=Heard)
    return Choreography("bell", *services, flows=[flow])


# what is found


@pytest.mark.parametrize("defect", planted.DEFECTS, ids=lambda defect: defect.__name__)
def test_a_planted_defect_is_found_and_shrunk_to_a_few_deviations(defect: Callable[[], Choreography]) -> None:
    oracle, seeds, most = planted.DEFECTS[defect]
    found = hunt(Scene(defect()), range(seeds))
    (failure,) = found.failures
    assert failure.violations[0].oracle == oracle
    assert 1 <= len(failure.deviations) <= most
    assert len(failure.deviations) < failure.first
    assert found.unsteady == []


def test_none_of_the_deviations_that_are_left_can_be_taken_away() -> None:
    scene = Scene(planted.no_key())
    (failure,) = hunt(scene, range(20, 40)).failures
    for key in failure.deviations:
        fewer = {each: amount for each, amount in failure.deviations.items() if each != key}
        assert "outside-twice" not in {v.oracle for v in World(scene, failure.seed, forced=fewer).run().violations}


def test_a_charge_without_a_key_is_told_with_its_line() -> None:
    (failure,) = hunt(Scene(planted.no_key()), range(20, 40)).failures
    story = told(failure)
    assert story[1].endswith("await till.charge(created.card, created.total)  # no key")
    assert story[-1].startswith("  to mend it: ")
    assert "idempotency_key()" in story[-1]
    assert any(line.endswith("its answer is lost  <<<") and "FAULT" in line for line in story)


def test_a_timer_is_told_as_a_timer_with_the_lines_of_the_reactions_and_the_mending() -> None:
    (failure,) = hunt(Scene(planted.no_unless()), range(20)).failures
    story = "\n".join(told(failure))
    assert re.search(r"timer fires     hall.expire for #lot-\d  \(planted.py:\d+\)", story)
    assert "this is CB302" in story
    assert 'to mend it: let hall.expire and hall.sell share a group, once="end": the first of them wins' in story


def test_a_run_that_says_nothing_is_told_behind_what_it_heard() -> None:
    service = Service("road")

    @service.reaction
    def send(ordered: OrderCreated) -> OrderShipped | None:
        return None

    flow = Flow("way", key="order_id", starts=OrderCreated, succeeds=OrderShipped)
    (failure,) = hunt(Scene(Choreography("ways", service, flows=[flow]), faults=(), flows=1), range(1)).failures
    lines = told(failure)
    published = next(number for number, line in enumerate(lines) if "  published  " in line)
    assert "runs            road.send on OrderCreated#" in lines[published + 1]
    assert ", and says nothing" in lines[published + 1]


def test_an_invariant_is_told_with_the_line_that_does_not_hold() -> None:
    choreography = planted.a_shop()

    @choreography.invariant
    def nothing_happens(world: World) -> None:
        said = world.events(OrderCreated)
        assert not said, "something was said"

    (failure,) = hunt(Scene(choreography, faults=()), range(1)).failures
    assert told(failure)[1].endswith(": assert not said")


def test_a_sequence_is_one_that_mermaid_reads() -> None:
    """The lines of its grammar that we write; `;` and `#` would mean something else in them."""
    name = r"p\d+"
    lines = rf"    (participant {name} as \w+|({name}->>{name}|Note (over|right of) {name}): [^;#\n]+)"
    for defect in (planted.no_key, planted.no_unless):
        (failure,) = hunt(Scene(defect()), range(40)).failures
        first, *rest = mermaid(failure)
        assert first == "sequenceDiagram"
        assert [line for line in rest if not re.fullmatch(lines, line)] == []
        assert len(rest) > len(failure.deviations)


def test_the_story_of_the_page_is_the_one_that_is_told() -> None:
    (failure,) = hunt(Scene(planted.no_key()), range(20, 40)).failures
    story = re.sub(r"[\w./-]*/planted\.py", "planted.py", "\n".join(told(failure)))
    page = (Path(__file__).parent.parent / "docs" / "simulate.md").read_text("utf-8")
    assert f"```\n{story}\n```" in page


def test_a_test_of_the_users_fails_with_the_story(simulate: Callable[..., Hunt]) -> None:
    assert simulate(planted.whole_auction(), seeds=3).seeds == 3
    with pytest.raises(pytest.fail.Exception, match="two-verdicts: lot #lot-") as told:
        simulate(planted.no_unless(), seeds=20)
    assert "--callboard-seed=" in str(told.value)


def test_a_test_of_the_users_without_a_world_is_refused(simulate: Callable[..., Hunt]) -> None:
    for seeds in (0, -4):
        with pytest.raises(pytest.fail.Exception, match="at least one"):
            simulate(planted.whole_auction(), seeds=seeds)


def test_a_test_of_the_users_with_a_fault_that_there_is_not_is_told(simulate: Callable[..., Hunt]) -> None:
    with pytest.raises(UnknownFault, match="there is no fault 'crsh': there are crash, "):
        simulate(planted.whole_auction(), seeds=1, faults=["crsh"])


@pytest.mark.parametrize("ledgers", ["shared", "separate"])
def test_nothing_breaks_in_the_whole_shop(ledgers: LEDGERS) -> None:
    found = hunt(Scene(planted.whole_shop(), ledgers=ledgers), range(8))
    assert [told(failure) for failure in found.failures] == []
    assert found.seeds == 8
    assert found.unsteady == []


def test_whoever_stood_behind_what_only_waits_has_its_turn_at_once() -> None:
    """After many deaths a shipment waits for its compensation, which stood behind it in line."""
    forced = {
        "publish OrderCreated#order-1": 0.0,
        "publish OrderCreated#order-4": 0.0,
        "fail Carrier.book in shipping.ship#order-1": 1.0,
        "crash shop after Carrier.book in shipping.ship#order-1": 600.0,
        "crash shop before it commits payments.charge -> PaymentProcessed#order-4": 1.0,
        "crash shop after it committed payments.charge as running in #order-4": 1.0,
        "crash shop before it commits shipping.ship as running in #order-1 (4)": 600.0,
        "crash shop before Carrier.book in shipping.ship#order-1 (4)": 1.0,
        "crash shop before it commits payments.charge as running in #order-4 (2)": 1.0,
        "crash shop before it commits shipping.ship as dead in #order-1 (2)": 600.0,
        "crash shop after Carrier.book in shipping.ship#order-4": 1800.0,
        "crash shop before Carrier.close in shipping.call_off#order-4": 1.0,
    }
    ending = World(Scene(planted.whole_shop()), 623, forced=forced).run()
    assert set(ending.deviations) == set(forced)  # or else this is another story
    assert ending.violations == []


def test_nothing_breaks_in_the_whole_auction() -> None:
    assert hunt(Scene(planted.whole_auction()), range(12)).failures == []


@pytest.mark.slow
def test_nothing_breaks_in_a_thousand_worlds_of_the_shop() -> None:
    found = hunt(Scene(planted.whole_shop()), range(1_000))
    assert [told(failure) for failure in found.failures] == []
    assert found.seeds == 1_000
    assert set(found.struck) >= set(FAULTS) - {"cancel"}


def test_an_invariant_of_the_users_is_asked_and_told() -> None:
    choreography = planted.a_shop()

    @choreography.invariant
    async def the_shelves_are_full(world: World) -> None:
        assert all(shelf.free == 99 for shelf in await world.rows(Shelf)), "somebody took something"

    (failure,) = hunt(Scene(choreography), range(5)).failures
    assert failure.violations[0].oracle == "invariant"
    assert "the_shelves_are_full: somebody took something" in failure.violations[0].text


def test_a_workload_of_the_users_takes_the_place_of_ours() -> None:
    choreography = planted.whole_auction()

    @choreography.workload
    async def one_lot(world: World) -> None:
        await world.publish(planted.LotOffered(lot_id="the one"))

    ending = World(Scene(choreography, faults=()), 1).run()
    assert list(ending.deviations) == ["publish LotOffered#the one"]
    assert ending.outcomes == {"hall.expire -> LotExpired", "hall.expire -> callboard.Timer[hall.expire]"}


# worlds are the same each time


def test_a_seed_is_the_same_world_in_every_program_whatever_its_hashes_are() -> None:
    line = [sys.executable, "-m", "callboard", "simulate", "shop:shop", "--seeds", "6", "--trace", "--json"]
    digests: list[list[str]] = []
    for hashes in ("0", "42"):
        env = {**environment(), "PYTHONHASHSEED": hashes, "PYTHONPATH": str(TARGETS)}
        ran = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
        digests.append([world["digest"] for world in json.loads(ran.stdout)["worlds"]])
    assert digests[0] == digests[1]
    assert digests[0] == [World(Scene(planted.whole_shop()), seed).run().digest for seed in range(6)]


def test_a_world_on_a_new_database_is_the_same_as_on_one_that_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(planted.whole_shop())
    hunt(scene, range(3))
    used = [World(scene, seed).run().digest for seed in range(3)]
    for seed in range(3):
        monkeypatch.setattr("callboard.simulation.ledger._BLANK", [])
        assert World(scene, seed).run().digest == used[seed]


def test_removing_one_fault_never_shifts_another() -> None:
    def struck(*faults: str) -> dict[str, float]:
        choices = Choices(7, faults, swarm=False)
        for place in range(300):
            choices.strikes("late", f"an event {place}")
            choices.strikes("crash", f"a commit {place}")
        return choices.deviations

    both, one = struck("late", "crash"), struck("late")
    assert one
    assert {key: amount for key, amount in both.items() if key.startswith("late")} == one


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "cancel"])  # nobody in the shop hears of it
def test_each_fault_strikes_by_its_name_and_is_told_in_words(fault: str) -> None:
    scene = Scene(planted.whole_shop(), faults=(fault,), swarm=False, ledgers="separate", flows=2)
    endings = (World(scene, seed).run() for seed in range(20))
    ending = next(each for each in endings if any(key.startswith(f"{fault} ") for key in each.deviations))
    assert ending.violations == []
    told = [sentence(key, amount) for key, amount in ending.deviations.items() if not key.startswith("publish ")]
    assert all(line and "{" not in line and not line.startswith(fault) for line in told)


def test_a_deviation_is_told_in_words() -> None:
    assert sentence("late Paid#o-1 -> orders (2)", 1800) == "Paid#o-1 reaches orders 30 min late, the 2nd time"
    assert "the 31st time" in sentence("late Paid#o-1 -> orders (31)", 1800)
    assert "the 112th time" in sentence("late Paid#o-1 -> orders (112)", 1800)
    assert sentence("skew orders", -60) == "the clock of orders is 1 min behind"


def struck(deviation: str, amount: float) -> World:
    """The shop on separate ledgers, one order, and this."""
    scene = Scene(planted.whole_shop(), ledgers="separate", flows=1)
    world = World(scene, 0, forced={"publish OrderCreated#order-1": 0.0, deviation: amount})
    assert world.run().violations == []
    assert deviation in world.choices.deviations
    return world


def test_what_is_dropped_comes_again() -> None:
    world = struck("drop ItemsReserved#order-1 -> payments", 30.0)
    (fault,) = (line.time for line in world.lines if line.what == "FAULT")
    told = [line for line in world.lines if line.what == "arrives" and line.worker == "payments"]
    assert [line.time >= fault + 30 for line in told if line.text == "ItemsReserved#order-1"] == [True]


def test_who_is_cut_off_in_the_middle_of_sending_sends_again_and_nothing_is_taken_twice() -> None:
    world = struck("partition inventory once it has sent ItemsReserved#order-1", 30.0)
    told = [line.text for line in world.lines if line.what == "arrives" and line.worker == "payments"]
    assert told.count("ItemsReserved#order-1") == 1


def test_a_slow_reaction_runs_into_its_limit_and_a_plain_one_holds_the_clock_up() -> None:
    service = Service("tower")

    @service.reaction
    async def hear(rung: Rung) -> Heard:
        return Heard(bell_id=rung.bell_id)

    @service.reaction
    def listen(rung: Rung) -> None: ...

    def slowly(reaction: str) -> dict[str, float]:
        forced = {"publish Rung#bell-1": 0.0, f"slow tower.{reaction}#bell-1": 90.0}
        return {line.what: line.time for line in World(Scene(a_bell(service)), 0, forced=forced).run().lines}

    awaited, plain = slowly("hear"), slowly("listen")
    assert awaited["tries again later"] == pytest.approx(awaited["FAULT"] + 60)
    assert plain["verdict"] == plain["FAULT"] + 90


def test_what_is_different_each_time_is_told_with_the_line_where_it_differs() -> None:
    service = Service("tower")
    count = iter(range(100))

    @service.reaction
    def hear(rung: Rung) -> Heard:
        return Heard(bell_id=rung.bell_id + "!" * next(count))

    found = hunt(Scene(a_bell(service), flows=1, ledgers="shared"), range(1))
    assert any("is not the same when it is run again" in text and "hear" in text for text in found.unsteady)


def test_the_simulation_runs_the_movers_that_production_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = 0

    async def counted(work: Work) -> int:
        nonlocal groups
        groups += 1
        return await react(work)

    monkeypatch.setattr(running, "react", counted)
    World(Scene(planted.whole_auction()), 1).run()
    assert groups > 0


# a power cut


def test_a_power_cut_runs_no_finally_and_forgets_what_was_not_committed() -> None:
    ended: list[str] = []
    loop = Loop()
    life = Life("worker", 1)

    async def live() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append("finally")

    async def world() -> list[str]:
        context = Context()
        context.run(LIFE.set, life)
        loop.begin(live(), "worker", context)
        await asyncio.sleep(5)
        life.over = True
        await asyncio.sleep(10)
        return list(ended)

    assert loop.run(world()) == []
    loop.bury()


def test_workers_die_and_take_up_what_their_disk_says() -> None:
    seeds = [World(Scene(planted.whole_shop(), faults=("crash",), swarm=False), seed).run() for seed in range(8)]
    assert any(line.what == "starts" for ending in seeds for line in ending.lines)
    assert [each for ending in seeds for each in ending.violations] == []


# what leaves the world, and what never ends


def _open_a_thread() -> None:
    threading.Thread(target=print).start()


def _open_a_socket() -> None:
    urllib.request.urlopen("http://localhost:1")


def _start_a_program() -> None:
    subprocess.run(["true"], check=False)


@pytest.mark.parametrize("escape", [_open_a_thread, _open_a_socket, _start_a_program])
def test_what_leaves_the_world_raises_where_it_is_called_and_says_what_to_do(escape: Callable[[], None]) -> None:
    service = Service("tower")

    @service.reaction
    def hear(rung: Rung) -> Heard:
        escape()
        return Heard(bell_id=rung.bell_id)

    (failure,) = hunt(Scene(a_bell(service), faults=()), range(1)).failures
    text = next(each.text for each in failure.violations if each.oracle == "dead-letter")
    assert "was used under simulation at" in text
    assert Path(__file__).name in text


def _swallow() -> None:
    while True:
        with contextlib.suppress(Exception):
            while True:
                pass


async def _swallow_all() -> None:
    for _ in range(2):
        try:
            while True:
                pass
        except BaseException:
            continue


@pytest.mark.parametrize("spin", [_swallow, _swallow_all])
def test_a_reaction_that_never_yields_is_given_up_with_the_line_where_it_stood(
    spin: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(escapes, "_LONGEST", 1)
    service = Service("tower")

    @service.reaction
    async def hear(rung: Rung) -> Heard:
        if inspect.isawaitable(spun := spin()):
            await spun
        return Heard(bell_id=rung.bell_id)

    found = hunt(Scene(a_bell(service), faults=()), range(1))
    (failure,) = found.failures
    (violation,) = failure.violations
    assert found.seen == set()  # of a world that was given up nobody knows how its flows would have ended
    assert "TookTooLong" in violation.text
    assert f"{Path(__file__).name}:" in violation.text
    assert failure.runs == 0


def test_a_world_that_never_rests_is_given_up() -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110 - this is what never rests
            await asyncio.sleep(0)

    loop = Loop(most=1_000)
    with pytest.raises(NeverRests, match="after 1,000 steps"):
        loop.run(spin())
    loop.bury()


def test_virtual_time_passes_at_once() -> None:
    async def sleep() -> float:
        await asyncio.sleep(3_600)
        return asyncio.get_running_loop().time()

    loop = Loop()
    assert loop.run(sleep()) == 3_600
    loop.bury()


# outside


@port
class Bell(Protocol):
    def ring(self, *, key: str) -> int: ...


class CountingBell(Bell):
    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, *, key: str) -> int:
        self.rung.append(key)
        return len(self.rung)


def test_a_keeper_that_is_given_is_called_and_watched() -> None:
    service = Service("tower")
    made: list[CountingBell] = []

    @service.reaction(keeps="it has rung")
    def hear(rung: Rung, bell: Bell) -> Heard:
        bell.ring(key=rung.bell_id)
        return Heard(bell_id=rung.bell_id)

    def keepers() -> list[object]:
        made.append(CountingBell())
        return [made[-1]]

    world = World(Scene(a_bell(service), keepers, faults=(), flows=2), 1)
    assert world.run().violations == []
    assert sorted(made[-1].rung) == ["bell-1", "bell-2"]
    assert [call.name for call in world.calls] == ["Bell.ring", "Bell.ring"]
    assert all(call.took_place and Path(__file__).name in call.place for call in world.calls)


# shrinking


def test_what_strikes_one_place_each_time_is_one_deviation() -> None:
    (failure,) = hunt(Scene(planted.no_key(), faults=("fail", "lose")), range(60)).failures
    published = next(iter(failure.deviations))
    always = {published: 0.0, f"fail Till.charge in payments.charge#{published.partition('#')[2]}": 3.0}
    world = World(Scene(planted.no_key()), failure.seed, forced=always)
    ending = world.run()
    assert ending.deviations == always
    assert [line.what for line in ending.lines].count("FAULT") == 3
    assert sentence(*[*always.items()][1]).endswith("fails before it takes place, 3 times in a row")


def test_a_shrinker_takes_what_strikes_one_place_again_and_again_for_one_thing() -> None:
    def lost(left: dict[str, float]) -> bool:
        times = left.get("lose x", 0) + sum(key.startswith("lose x (") for key in left)
        return times >= 3

    left = Shrinker().shrink({"lose x": 1.0, "lose x (2)": 1.0, "lose x (3)": 1.0, "late y": 5.0}, lost)
    assert left == {"lose x": 3.0}


def test_a_shrinker_seeks_another_fault_that_stands_for_many() -> None:
    many = {"publish a": 0.0, "fail x": 1.0, "fail x (2)": 1.0, "fail x (3)": 1.0}
    small = {"publish a", "fail x", "lose x"}
    shrinker = Shrinker(places=lambda _: ("fail x", "lose x"))
    left = shrinker.shrink({**many, "late y": 5.0}, lambda left: {*many} <= {*left} or small <= {*left})
    assert set(left) == small


def test_a_shrinker_finds_the_two_that_matter_among_many() -> None:
    shrinker = Shrinker()
    left = shrinker.shrink({f"a {number}": 1.0 for number in range(50)}, lambda left: {"a 7", "a 31"} <= set(left))
    assert set(left) == {"a 7", "a 31"}
    assert shrinker.runs < 100


# the command


def in_shell(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return shell(
        "simulate", *args, folder=folder, PYTHONPATH=os.pathsep.join([str(TARGETS), str(TARGETS.parent.parent)])
    )


def test_the_command_says_that_nothing_broke(tmp_path: Path) -> None:
    ran = in_shell("shop:shop", "--seeds", "3", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "3 seeds" in ran.stdout
    assert ran.stdout.rstrip().endswith("nothing broke")


def test_what_only_computes_does_so_in_the_second_program_too(tmp_path: Path) -> None:
    ran = in_shell("media:media", "--pure", "Ffmpeg", "--ignore", "order", "--seeds", "5", folder=tmp_path)
    assert (ran.returncode, ran.stdout.rstrip().rpartition("\n")[2]) == (0, "nothing broke"), ran.stdout


def test_the_command_keeps_a_failure_tells_it_first_and_forgets_it_once_it_is_mended(tmp_path: Path) -> None:
    app = tmp_path / "auction.py"
    app.write_text("from tests.planted import no_unless\nauction = no_unless()\n")
    ran = in_shell("auction.py:auction", folder=tmp_path)
    assert ran.returncode == 1, ran.stderr
    assert "two-verdicts: lot #lot-" in ran.stdout
    (kept,) = (tmp_path / ".callboard" / "failures").iterdir()
    assert f"callboard simulate replay .callboard/failures/{kept.name} auction.py:auction" in ran.stdout
    again = in_shell("replay", f".callboard/failures/{kept.name}", "auction.py:auction", "--json", folder=tmp_path)
    assert again.returncode == 1, again.stderr
    assert json.loads(again.stdout)["failures"][0]["oracle"] == "two-verdicts"
    passed = in_shell("auction.py:auction", "--seeds", "1", "--ignore", "two-verdicts", folder=tmp_path)
    assert f"{kept.name} is not asked: --ignore two-verdicts" in passed.stderr
    first = in_shell("auction.py:auction", "--seed", "9", folder=tmp_path)
    assert first.returncode == 1
    assert "1 seed" not in first.stdout
    app.write_text("from tests.planted import whole_auction\nauction = whole_auction()\n")
    mended = in_shell("auction.py:auction", "--seeds", "2", folder=tmp_path)
    assert mended.returncode == 0, mended.stderr + mended.stdout
    assert "does not fail any more" in mended.stderr
    assert not kept.exists()


def test_a_failure_of_which_nothing_happens_says_nothing_and_stays(tmp_path: Path) -> None:
    (failure,) = hunt(Scene(planted.no_unless()), range(20)).failures
    failure.deviations = {f"publish Nobody#{number}": 0.0 for number in range(2)}
    kept = keep(failure, Scene(planted.no_unless()), tmp_path / ".callboard" / "failures")
    (tmp_path / "auction.py").write_text("from tests.planted import whole_auction\nauction = whole_auction()\n")
    replayed = in_shell("replay", str(kept), "auction.py:auction", folder=tmp_path)
    assert replayed.returncode == 2
    assert "nothing of it happens here, so it says nothing" in replayed.stderr
    ran = in_shell("auction.py:auction", "--seeds", "1", folder=tmp_path)
    assert "nothing of it happens here" in ran.stderr
    assert kept.exists()


@event
class Ping:
    order_id: str


@event
class Pong:
    order_id: str


def players() -> Choreography:
    left, right = Service("left"), Service("right")

    @left.reaction
    def serve(what: OrderCreated | Pong) -> Ping:
        return Ping(order_id=what.order_id)

    @right.reaction
    def answer(ping: Ping) -> Pong:
        return Pong(order_id=ping.order_id)

    flow = Flow("match", key="order_id", starts=OrderCreated, succeeds=OrderShipped, timeout=None)
    return Choreography("match", left, right, flows=[flow])


@pytest.mark.parametrize("ledgers", ["shared", "separate"])
def test_events_that_follow_from_each_other_without_an_end_are_told_soon(ledgers: LEDGERS) -> None:
    (failure,) = hunt(Scene(players(), ledgers=ledgers), range(1)).failures
    assert failure.violations[0].oracle == "endless"
    assert re.search(r"goes round and round: \d+ events and no end: ", failure.violations[0].text)
    assert "left.serve -> Ping" in failure.violations[0].text
    assert "right.answer -> Pong, and again" in failure.violations[0].text.replace("left.serve -> Ping, and", "and")
    assert len(failure.deviations) == 1
    assert "CB401" in failure.explained
    assert failure.ending.events < 5000


def test_a_story_tells_what_a_crash_has_cut() -> None:
    forced = {"publish OrderCreated#order-1": 0.0, "crash shop after Bank.charge in payments.charge#order-1": 5.0}
    world = World(Scene(planted.whole_shop(), ledgers="shared", flows=1), 0, forced=forced)
    lines = world.run().lines
    died = next(number for number, line in enumerate(lines) if line.what == "FAULT")
    assert (lines[died + 1].what, lines[died + 1].text) == ("is cut", "payments.charge#order-1")


def test_what_is_so_in_each_world_takes_nothing() -> None:
    choreography = planted.whole_shop()

    @choreography.invariant
    def never(_: World) -> bool:
        return False

    (failure,) = hunt(Scene(choreography), range(1)).failures
    assert any("it takes none of them" in line for line in told(failure))


def test_what_a_timer_begins_anew_is_no_circle() -> None:
    desk = Service("desk")

    @desk.reaction
    def look(what: OrderCreated | Pong) -> Ping:
        return Ping(order_id=what.order_id)

    @desk.reaction(wait=timedelta(minutes=5), unless=FlowTimedOut[OrderCreated])
    def look_again(ping: Ping) -> Pong:
        return Pong(order_id=ping.order_id)

    @desk.reaction
    def end(late: FlowTimedOut[OrderCreated]) -> OrderShipped:
        return OrderShipped(order_id=late.started.order_id, tracking="none")

    flow = Flow("match", key="order_id", starts=OrderCreated, succeeds=OrderShipped, timeout=timedelta(hours=20))
    scene = Scene(Choreography("looks", desk, flows=[flow]), faults=(), flows=1)
    found = hunt(scene, range(1))
    assert found.events > 400
    assert found.failures == []


def test_a_time_of_a_story_is_never_sixty_seconds() -> None:
    assert [clock(each) for each in (0.0, 59.9996, 119.9994)] == ["0:00.000", "1:00.000", "1:59.999"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--faults", "lat"], "there is no fault 'lat': did you mean 'late'?"),
        (["--ignore", "stick"], "there is no oracle 'stick': did you mean 'stuck'?"),
        (["--seeds", "-1"], "-1 is not in the range"),
        (["--seed", "-1"], "-1 is not in the range"),
        (["--jobs", "-1"], "-1 is not in the range"),
        (["--pure", "Bnk"], "--pure: no reaction takes 'Bnk': did you mean 'Bank'?"),
        (["--pure", "Bank.chrge"], "--pure: no reaction takes 'Bank.chrge'"),
        (["--pdb"], "callboard simulate replay FILE [APP] --pdb"),
        (["--guided", "--jobs", "2"], "leave --jobs away"),
        (["other:shop"], "one app, or `replay FILE` and an app"),
    ],
)
def test_wrong_usage_is_told(args: list[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(TARGETS), *sys.path])
    answer = command("simulate", "shop:shop", *args)
    assert answer.exit_code == 2
    assert told in answer.stderr + answer.stdout


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "which one? callboard simulate replay FILE [APP]"),
        (["none.json", "shop:shop"], "none.json holds no failure that can be replayed"),
    ],
)
def test_what_cannot_be_replayed_is_told(args: list[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(TARGETS), *sys.path])
    answer = command("simulate", "replay", *args)
    assert answer.exit_code == 2
    assert told in answer.stderr + answer.stdout


def test_a_failure_of_another_choreography_is_not_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "other.json"
    file.write_text(
        '{"choreography": "zoo", "seed": 1, "deviations": {}, "oracle": "stuck", "text": "", "digest": "",'
        ' "ledgers": "shared", "flows": 1}'
    )
    monkeypatch.setattr(sys, "path", [str(TARGETS), *sys.path])
    answer = command("simulate", "replay", str(file), "shop:shop")
    assert answer.exit_code != 0
    assert "is a failure of 'zoo', not of 'shop'" in answer.stderr + answer.stdout


def test_a_failure_that_another_version_wrote_is_not_replayed(tmp_path: Path) -> None:
    (failure,) = hunt(Scene(planted.no_unless()), range(20)).failures
    file = keep(failure, Scene(planted.no_unless()), tmp_path)
    file.write_text(file.read_text().replace('"layout": 1', '"layout": 99'))
    with pytest.raises(NotThisFailure, match="was written in layout 99, this callboard reads 1: hunt anew"):
        read_kept(file, Scene(planted.no_unless()))
    file.write_text(file.read_text().replace('"layout": 99', '"layout": 1').replace('"publish ', '"away hall '))
    with pytest.raises(NotThisFailure, match="a fault 'away' that this callboard does not know: hunt anew"):
        read_kept(file, Scene(planted.no_unless()))


@pytest.mark.slow
def test_seeds_over_several_processes_are_the_same_worlds_in_the_same_order(tmp_path: Path) -> None:
    (tmp_path / "auction.py").write_text("from tests.planted import no_unless\nauction = no_unless()\n")
    args = ("auction.py:auction", "--seeds", "30", "--seed", "3", "--most", "2", "--json")
    one = in_shell(*args, "--keep", "one", folder=tmp_path)
    two = in_shell(*args, "--keep", "two", "--jobs", "2", folder=tmp_path)
    assert one.returncode == two.returncode == 1, two.stderr
    assert json.loads(one.stdout) == json.loads(two.stdout)
    assert len(json.loads(two.stdout)["failures"]) == 2


class Spot(NamedTuple):
    lat: float
    lon: float


@event
class Seen:
    bell_id: str
    spot: Spot
    kind: Literal["church", "school"]
    notes: tuple[str, ...]


class Least(Choices):
    def choose(self, key: str, special: int) -> float:
        return 0.0


def test_a_value_is_made_for_every_kind_of_field() -> None:
    seen = sample(Seen, Draw(Least(0, ()), "seen"), {"bell_id": "b"})
    assert seen == Seen(bell_id="b", spot=Spot(1.0, 1.0), kind="church", notes=("note-1",))


def test_events_are_made_of_their_types() -> None:
    world = World(Scene(planted.whole_shop(), faults=()), 3)
    world.run()
    orders = [each for each in world.published if isinstance(each, OrderCreated)]
    assert [order.order_id for order in orders] == sorted({order.order_id for order in orders}, key=_place(orders))
    assert {line.sku for order in orders for line in order.lines} <= {"sku-1", "sku-2"}


def _place(orders: list[OrderCreated]) -> Callable[[str], int]:
    return [order.order_id for order in orders].index
