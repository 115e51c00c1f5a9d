"""What joins `callboard check` and `callboard simulate`: a finding is forced on the code, a model's ends are walked."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from callboard import Choreography, Flow, Retry, Service, event, failure, port, state
from callboard.check import Finding
from callboard.checks.catalogue import check
from callboard.checks.world import step_of
from callboard.cli.discovery import load_app
from callboard.simulation.codes import codes_of, match
from callboard.simulation.confirming import confirm, confirm_all
from callboard.simulation.coverage import Seen, foreign
from callboard.simulation.guiding import goals_of, guided
from callboard.simulation.hunt import hunt, keep, read_kept, replay
from callboard.simulation.inputs import Director
from callboard.simulation.oracles import Violation
from callboard.simulation.samples import constants_of
from callboard.simulation.stage import Stage
from callboard.simulation.story import told
from callboard.simulation.world import Scene, World

from . import planted, ways
from .postoffice import shell
from .test_check_examples import DESERVED, EXAMPLES

TARGETS = Path(__file__).parent / "targets"


@event
class Asked:
    seat: str
    row: str


@event
class Held:
    seat: str


@event
class Paid:
    seat: str
    row: str


@failure
class Declined:
    seat: str
    row: str


@event
class Released:
    seat: str


@state(key="row")
class Row:
    row: str
    seats: tuple[str, ...] = ()


@port
class Bank(Protocol):
    async def take(self, *, key: str) -> str | None: ...


class Undecided(Exception): ...


def a_theatre(*services: Service, succeeds: Any = Paid, fails: Any = Released) -> Choreography:
    flow = Flow("booking", key="seat", starts=Asked, succeeds=succeeds, fails=fails)
    return Choreography("theatre", *services, flows=[flow])


def undone_by_hand(*, declines: bool = True, keeps: str | None = None) -> Choreography:
    """A seat is held and paid at once. The undo is not declared: it may come first, and then the seat stays held."""
    stalls, money = Service("stalls"), Service("money")

    @stalls.reaction(keeps=keeps)
    def hold(asked: Asked, row: Row) -> Held:
        row.seats += (asked.seat,)
        return Held(seat=asked.seat)

    @money.reaction(keeps="a declined card is not charged")
    async def charge(asked: Asked, bank: Bank) -> Paid | Declined:
        if await bank.take(key=asked.seat) is None and declines:
            return Declined(seat=asked.seat, row=asked.row)
        return Paid(seat=asked.seat, row=asked.row)

    @stalls.reaction(keeps=keeps)
    def release(declined: Declined, row: Row) -> Released:
        row.seats = tuple(each for each in row.seats if each != declined.seat)
        return Released(seat=declined.seat)

    theatre = a_theatre(stalls, money, succeeds=tuple[Held, Paid])

    @theatre.invariant
    async def no_seat_is_held_for_nobody(world: World) -> None:
        held = {seat for row in await world.rows(Row) for seat in row.seats}
        gone = {released.seat for released in world.events(Released)}
        assert not held & gone, f"{held & gone} was given back and is held"

    return theatre


def findings(choreography: Choreography, code: str) -> list[Finding]:
    return [each for each in check(choreography).findings if each.code == code]


# codes


@pytest.mark.parametrize(
    ("defect", "code"), [(planted.no_compensation, "CB201"), (planted.no_unless, "CB302"), (planted.no_key, "")]
)
def test_a_failure_of_the_simulation_names_the_code_of_the_check_that_finds_it_too(
    defect: Callable[[], Choreography], code: str
) -> None:
    (failure,) = hunt(Scene(defect()), range(40)).failures
    assert failure.code == code
    assert any(f"callboard check --explain {code}" in line for line in told(failure)) == bool(code)
    if code:
        assert findings(defect(), code)
        assert "which `callboard check` finds too, at " in failure.explained


def test_a_failure_does_not_name_a_finding_of_other_reactions() -> None:
    found = Violation("leak", "seat-1", "#seat-1 failed, and nothing undoes what money.charge did")
    ran = {"stalls.hold", "stalls.release", "money.charge"}
    code, finding = match(undone_by_hand(), found, ran)
    assert (code, finding) == ("CB201", None)
    found = Violation("leak", "seat-1", "#seat-1 failed, and nothing undoes what stalls.hold did")
    code, finding = match(undone_by_hand(), found, ran)
    assert finding is not None
    assert (code, finding.about) == ("CB203", "stalls.release")


def test_a_dead_letter_is_explained_by_one_before_it_that_a_fault_has_made() -> None:
    money, stalls = Service("money"), Service("stalls")

    @money.reaction(retry=Retry(max_attempts=1))
    async def charge(asked: Asked, bank: Bank) -> Paid:
        await bank.take(key=asked.seat)
        return Paid(seat=asked.seat, row=asked.row)

    @stalls.reaction(needs=Paid, within=timedelta(minutes=1))
    def hold(asked: Asked) -> Held:
        return Held(seat=asked.seat)

    theatre = a_theatre(money, stalls, succeeds=tuple[Held, Paid], fails=None)
    calm = {"publish Asked#seat-1": 0.0}
    for forced in (calm, {**calm, "fail Bank.take in money.charge#seat-1": 1.0}):
        ending = World(Scene(theatre, flows=1, ledgers="shared"), 0, forced=forced).run()
        assert ending.violations == []
    assert any("never came: Paid" in line.text for line in ending.lines)


def test_a_failure_that_the_signatures_do_not_show_says_so() -> None:
    desk = Service("desk")

    @desk.reaction
    def answer(asked: Asked) -> Paid:
        raise Undecided

    (failure,) = hunt(Scene(a_theatre(desk, fails=None), faults=(), ignored=frozenset({"dead-letter"})), [1]).failures
    assert failure.violations[0].oracle == "stuck"
    assert failure.explained.startswith("this is CB30")


def test_a_wait_that_nothing_ends_is_the_property_of_parked_for_ever() -> None:
    assert codes_of(Violation("dead-letter", "", "desk.seat gave up on an event: never came: Paid"))[0] == "CB303"


# a finding is forced on the code


@pytest.mark.parametrize("defect", [planted.no_compensation, planted.no_unless])
def test_every_way_that_is_found_in_a_broken_choreography_is_gone_by_its_code(
    defect: Callable[[], Choreography],
) -> None:
    report = confirm_all(Scene(defect()), check(defect()))
    labels = {each.code: each.confirmation.label for each in report.findings if each.confirmation is not None}
    assert labels
    assert set(labels.values()) == {"confirmed"}


def test_an_undo_that_overtakes_what_it_undoes_is_gone_by_the_code() -> None:
    theatre = undone_by_hand()
    (finding,) = findings(theatre, "CB203")
    said = confirm(Director(Scene(theatre)), finding)
    assert said is not None
    assert said.label == "confirmed"
    assert "your code goes this way, and then booking #seat-1 failed, and leaked stalls.hold" in said.why


def test_a_way_that_the_body_never_takes_is_not_reproduced_and_says_what_the_body_did() -> None:
    theatre = undone_by_hand(declines=False)
    (finding,) = findings(theatre, "CB203")
    said = confirm(Director(Scene(theatre)), finding)
    assert said is not None
    assert said.label == "not reproduced"
    assert "money.charge said Paid to Asked, not Declined" in said.why
    assert said.runs >= 3


def test_a_finding_without_a_way_has_nothing_to_be_forced() -> None:
    theatre = undone_by_hand()
    (finding,) = findings(theatre, "CB305")
    assert confirm(Director(Scene(theatre)), finding) is None


def in_shell(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(TARGETS), str(TARGETS.parent.parent)])
    return shell(*args, folder=folder, PYTHONPATH=path)


BROKEN = """
from tests.planted import no_unless
auction = no_unless()
"""


def test_check_tells_what_the_code_does_of_each_way(tmp_path: Path) -> None:
    (tmp_path / "sale.py").write_text(BROKEN)
    ran = in_shell("check", "sale.py", "--confirm", folder=tmp_path)
    assert ran.returncode == 1
    assert "CONFIRMED  your code goes this way, and then lot #lot-1 saw both LotSold and LotExpired" in ran.stdout
    ran = in_shell("check", "sale.py", "--confirm", "--json", folder=tmp_path)
    first = json.loads(ran.stdout)["findings"][0]
    assert first["confirmation"]["label"] == "confirmed"
    assert "way" not in first


def test_contract_files_have_no_code_to_be_confirmed(tmp_path: Path) -> None:
    (tmp_path / "sale.py").write_text(BROKEN)
    exported = in_shell("contract", "export", "sale.py", folder=tmp_path)
    (tmp_path / "sale.json").write_text(exported.stdout)
    ran = in_shell("check", "sale.json", "--confirm", folder=tmp_path)
    assert ran.returncode == 2
    assert "--confirm runs the code" in ran.stderr


# the model as a guide


def test_a_compensation_that_comes_too_early_is_found_on_one_of_the_first_ways_of_the_model() -> None:
    theatre = undone_by_hand(keeps="the check is not asked")
    assert findings(theatre, "CB203") == []
    found = guided(Scene(theatre), 10)
    (failure,) = found.failures
    assert found.seeds <= 10
    assert failure.violations[0].oracle == "invariant"
    assert failure.way == "stalls.release before stalls.hold"
    story = "\n".join(told(failure))
    assert "3. stalls release: Declined -> Released" in story


def test_a_way_of_the_model_is_kept_and_gone_again(tmp_path: Path) -> None:
    scene = Scene(undone_by_hand(keeps="the check is not asked"))
    (failure,) = guided(scene, 10).failures
    again = replay(read_kept(keep(failure, scene, tmp_path), scene), scene)
    assert [each.text for each in again.violations] == [each.text for each in failure.violations]
    assert again.script == failure.script


def test_the_whole_shop_goes_every_way_of_its_model() -> None:
    found = guided(Scene(planted.whole_shop()), 100)
    assert len(found.ways) >= 8
    assert [each for each in found.ways if each.why] == []
    assert [told(each) for each in found.failures] == []
    assert found.missing_ends == []
    assert foreign(planted.whole_shop(), found.seen) == []


# what the seeds have seen


def test_what_no_seed_has_reached_is_told() -> None:
    theatre = undone_by_hand(declines=False)
    found = hunt(Scene(theatre, faults=()), range(3))
    assert found.missing == ["money.charge -> Declined", "stalls.release -> Released"]
    assert found.missing_ends == ["booking fails by Released"]
    found = hunt(Scene(planted.no_compensation(), faults=(), flows=1), range(1), most=9)
    assert found.missing_undos == ["payments.refund", "shipping.call_off"]


@pytest.mark.parametrize("name", [*DESERVED, "shop:shop", "media:media", "trip:rides"])
@pytest.mark.slow
def test_no_flow_of_hundreds_ends_as_the_model_says_none_can(name: str) -> None:
    choreography = load_app(name, EXAMPLES if "/" in name else TARGETS)
    found = hunt(Scene(choreography), range(60), most=60)
    assert found.seen
    assert foreign(choreography, found.seen) == []


@pytest.mark.parametrize("name", ["shop:shop", "trip:rides"])
def test_no_flow_of_a_target_ends_as_the_model_says_none_can(name: str) -> None:
    choreography = load_app(name, TARGETS)
    found = hunt(Scene(choreography), range(10), most=10)
    assert len(found.seen) >= 4
    assert foreign(choreography, found.seen) == []


def test_a_flow_that_ends_as_the_model_says_none_can_is_told() -> None:
    seen = Seen("OrderCreated", frozenset({"OrderCreated", "OrderCompleted"}), frozenset({("checkout", "failed")}))
    (text,) = foreign(planted.whole_shop(), [seen])
    assert text == "checkout failed with OrderCompleted, OrderCreated"


def test_simulate_walks_the_model_and_tells_how_far(tmp_path: Path) -> None:
    ran = in_shell("simulate", "shop:shop", "--guided", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"of (\d+) orders of events tried the code followed \1", ran.stdout)
    ran = in_shell("simulate", "shop:shop", "--guided", "--seeds", "2", "--json", folder=tmp_path)
    document = json.loads(ran.stdout)
    assert [each["why"] for each in document["ways"]] == [None, None]
    assert document["foreign"] == []
    assert "checkout fails by OrderCancelled" not in document["missing_ends"]


# inputs


@port
class Scale(Protocol):
    async def weigh(self, *, key: str) -> list[int]: ...


@event
class Weighed:
    seat: str
    heavy: bool


def weighed(*, never: bool = False) -> Choreography:
    """What is said depends on a number, and on how many there are."""
    stalls = Service("stalls")

    @stalls.reaction(keeps="to weigh changes nothing")
    async def weigh(asked: Asked, scale: Scale) -> Weighed | Declined:
        found = await scale.weigh(key=asked.seat)
        if len(found) > 1 and found[1] > 250 and asked.row != "balcony" and not never:
            return Weighed(seat=asked.seat, heavy=True)
        return Declined(seat=asked.seat, row=asked.row)

    return a_theatre(stalls, succeeds=Weighed, fails=Declined)


def test_inputs_are_found_that_must_come_together() -> None:
    found = guided(Scene(weighed()), 10)
    assert [each.why for each in found.ways] == ["", ""]
    assert len(found.ways) == 2


def test_what_no_input_changes_is_said_to_be_ruled_out() -> None:
    found = guided(Scene(weighed(never=True)), 10)
    (why,) = [each.why for each in found.ways if each.why]
    assert why.startswith("data rules it out: stalls.weigh said Declined to Asked, not Weighed, in ")
    assert found.missing == ["stalls.weigh -> Weighed"]


def test_a_way_is_gone_again_with_the_inputs_that_it_needs() -> None:
    scene = Scene(weighed())
    way = next(each for each in goals_of(scene) if "Weighed" in each.name)
    steps = tuple(step_of(way.model.net.transitions[number].label) for number in way.path)
    told_ = Director(scene).follow(steps)
    assert told_.stage.given
    assert Stage(scene, steps, told_.stage.given).run().digest == told_.ending.digest
    without = Stage(scene, steps, {})
    without.run()
    assert not without.is_followed


def test_what_a_reaction_compares_with_is_known() -> None:
    assert {250, 251, "balcony"} <= set(constants_of(weighed()))


def test_a_finding_that_needs_a_crash_is_confirmed_by_a_seed() -> None:
    choreography = load_app("showcase/planted/lost_prerequisite.py:planted", EXAMPLES)
    (finding,) = findings(choreography, "CB301")
    said = confirm(Director(Scene(choreography)), finding)
    assert said is not None
    assert said.label == "confirmed"
    assert re.match(r"seed \d+ of `callboard simulate` ends so: parcel #\S+ has no verdict", said.why)


def test_reactions_that_answer_each_other_for_ever_are_given_up() -> None:
    choreography = load_app("showcase/timeout.py:shop", EXAMPLES)
    (finding,) = findings(choreography, "CB302")
    told_ = Director(Scene(choreography)).follow(finding.way)
    assert told_.stage.is_followed
    assert told_.ending.events < 1000
    assert "endless" in {each.oracle for each in told_.ending.violations}


@pytest.mark.parametrize("name", ["targets/media.py:media", "08_word_from_outside/invoice.py:invoices"])
def test_the_code_goes_the_ways_of_its_model_as_far_as_it_did(name: str) -> None:
    assert ways.wrong(name, ways.walked(name, seeds=0)) == []
