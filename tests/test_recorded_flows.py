"""A flow that happened is exported, and fed through the code of today: what differs is told."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from callboard import Choreography
from callboard.simulation.recording import Replay, Told, read_recorded

from .postoffice import environment, shell

CAFE = """
from datetime import timedelta
from typing import Protocol
from callboard import Choreography, Context, Flow, Service, event, port, state

@event
class Ordered:
    order: str
    cups: int

@event
class Noted:
    order: str
    hour: int

@event
class Paid:
    order: str

@event
class Brewed:
    order: str
    cups: int

@state(key="order")
class Bill:
    order: str
    cups: int = 0

@state(key="bean")
class Beans:
    bean: str
    left: int = 9

@port
class Till(Protocol):
    async def take(self, *, key: str) -> str: ...

class Drawer(Till):
    async def take(self, *, key: str) -> str:
        return "coin"

counter, kitchen = Service("counter"), Service("kitchen")

@counter.reaction
def note(ordered: Ordered, bill: Bill, ctx: Context) -> Noted:
    bill.cups += ordered.cups
    return Noted(order=ordered.order, hour=ctx.now().hour)

@counter.reaction
async def pay(noted: Noted, till: Till) -> Paid:
    await till.take(key=noted.order)
    return Paid(order=noted.order)

@kitchen.reaction
def remind(noted: Noted, ctx: Context) -> Paid | None:
    return Paid(order=noted.order) if ctx.now().hour > 22 else None

@kitchen.reaction
def brew(paid: Paid) -> Brewed:
    return Brewed(order=paid.order, cups=1)

@kitchen.reaction
def grind(paid: Paid, beans: States[Beans]) -> None: ...

cafe = Choreography("cafe", counter, kitchen, flows=[Flow("coffee", key="order", starts=Ordered, succeeds=Brewed)])
""".replace("import Choreography, Context,", "import Choreography, Context, States,")


def in_shell(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return shell(*args, folder=folder, CALLBOARD_LEDGER="sqlite:///cafe.db", PYTHONPATH=os.fspath(folder))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a coffee that was made at nine, and its flow as flow.json."""
    folder = tmp_path_factory.mktemp("cafe")
    (folder / "cafe.py").write_text(CAFE)
    (folder / "open_once.py").write_text(
        "import asyncio\n"
        "from cafe import Drawer, Ordered, cafe\n"
        "from callboard import ManualClock\n"
        "from datetime import UTC, datetime\n"
        "async def main():\n"
        "    clock = ManualClock(datetime(2026, 3, 1, 9, tzinfo=UTC))\n"
        "    async with cafe.open('sqlite:///cafe.db', ports=[Drawer()], clock=clock) as board:\n"
        "        flow = await board.publish(Ordered(order='o-1', cups=2))\n"
        "        await flow.completion()\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "open_once.py"], cwd=folder, check=True)
    exported = in_shell("flows", "export", "coffee/o-1", "--app", "cafe.py", folder=folder)
    assert exported.returncode == 0, exported.stderr
    (folder / "flow.json").write_text(exported.stdout)
    return folder


def replayed(recorded: Path, *change: tuple[str, str]) -> dict[str, Told]:
    """What today's code makes of it, where these pieces of it are not what they were, by run."""
    text = CAFE
    for old, new in change:
        assert old in text
        text = text.replace(old, new)
    space = runpy.run_path(os.fspath(_written(recorded, text)))
    cafe: Choreography = space["cafe"]
    told = Replay(cafe, read_recorded((recorded / "flow.json").read_bytes(), cafe)).run()
    return {each.what: each for each in told}


def _written(folder: Path, text: str) -> Path:
    file = folder / f"cafe_{len(list(folder.iterdir()))}.py"
    file.write_text(text)
    return file


def test_a_flow_is_the_same_under_the_code_that_it_happened_with(recorded: Path) -> None:
    fates = {what: each.fate for what, each in replayed(recorded).items()}
    assert fates == {
        "counter.note on Ordered -> Noted": "same",
        "kitchen.remind on Noted -> nothing": "unknown",
        "counter.pay on Noted -> Paid": "given",
        "kitchen.grind on Paid -> nothing": "unknown",
        "kitchen.brew on Paid -> Brewed": "same",
        "state Bill": "same",
    }


def test_the_clock_of_a_run_is_the_recorded_one(recorded: Path) -> None:
    told = replayed(recorded, ("hour=ctx.now().hour", "hour=ctx.now().hour + 1"))["counter.note on Ordered -> Noted"]
    assert told.fate == "differs"
    assert told.why == 'then Noted {"order": "o-1", "hour": 9}, now Noted {"order": "o-1", "hour": 10}'


def test_a_row_that_holds_something_else_today_differs(recorded: Path) -> None:
    told = replayed(recorded, ("bill.cups += ordered.cups", "bill.cups += 1"))["state Bill"]
    assert told.fate == "differs"
    assert told.why == 'then {"order": "o-1", "cups": 2}, now {"order": "o-1", "cups": 1}'


def test_a_reaction_that_raises_differs(recorded: Path) -> None:
    change = ("return Brewed(order=paid.order, cups=1)", "raise RuntimeError('no water')")
    told = replayed(recorded, change)["kitchen.brew on Paid -> Brewed"]
    assert (told.fate, told.why) == ("differs", "now it raises RuntimeError: no water")


def test_a_reaction_that_is_gone_differs(recorded: Path) -> None:
    told = replayed(recorded, ("def note(", "def write_down("))["counter.note on Ordered -> Noted"]
    assert (told.fate, told.why) == ("differs", "there is no such reaction any more")


def test_a_run_that_said_nothing_and_would_say_something_now_differs(recorded: Path) -> None:
    told = replayed(recorded, ("if ctx.now().hour > 22 else None", "if noted.hour < 22 else None"))
    assert told["kitchen.remind on Noted -> nothing"].fate == "differs"


def test_a_reaction_with_a_port_is_given_its_recorded_outcome(recorded: Path) -> None:
    change = ("await till.take(key=noted.order)", "raise RuntimeError('nobody may call this')")
    told = replayed(recorded, change)["counter.pay on Noted -> Paid"]
    assert (told.fate, told.why) == ("given", "it takes Till: what it said is taken from the record")


def test_where_a_run_that_said_nothing_read_the_clock_the_report_says_that_it_is_not_known(recorded: Path) -> None:
    told = replayed(recorded)["kitchen.remind on Noted -> nothing"]
    assert told.fate == "unknown"
    assert told.why.startswith("it read the clock, and when it ran is not recorded")


def test_what_rows_of_other_flows_held_is_not_known(recorded: Path) -> None:
    told = replayed(recorded)["kitchen.grind on Paid -> nothing"]
    assert told.why == "it looks at Beans, which other flows share: what it held then is not recorded"


def test_a_replay_is_told_to_people_and_to_programs(recorded: Path) -> None:
    ran = in_shell("simulate", "replay", "flow.json", "cafe.py", folder=recorded)
    assert ran.returncode == 0, ran.stderr
    assert "coffee/o-1: of 6 runs and rows 3 the same, 1 as recorded, 2 not known" in ran.stdout
    changed = _written(recorded, CAFE.replace("cups=1)", "cups=2)"))
    ran = in_shell("simulate", "replay", "flow.json", changed.name, "--json", folder=recorded)
    assert ran.returncode == 1
    document = json.loads(ran.stdout)
    assert document["differs"] is True
    assert [each["what"] for each in document["runs"] if each["fate"] == "differs"] == [
        "kitchen.brew on Paid -> Brewed"
    ]


def test_the_debugger_stops_in_the_reactions_of_a_replay(recorded: Path) -> None:
    line = [sys.executable, "-m", "callboard", "simulate", "replay", "flow.json", "cafe.py", "--pdb"]
    ran = subprocess.run(
        line, cwd=recorded, input="c\n" * 9, env=environment(), capture_output=True, text=True, check=True
    )
    assert ")note()" in ran.stdout
    assert ")brew()" in ran.stdout


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"choreography": "cafe"', '"choreography": "bar"', "the file is a flow of 'bar', not of 'cafe'"),
        ("callboard.flow/v1", "callboard.flow/v9", "exported as callboard.flow/v9, this callboard reads"),
        ('"events"', '"even"', "the file is no whole flow"),
        ("{", "", "holds no failure that can be replayed"),
    ],
)
def test_a_file_that_is_no_flow_of_this_choreography_is_refused(recorded: Path, old: str, new: str, told: str) -> None:
    text = (recorded / "flow.json").read_text()
    (recorded / "bad.json").write_text(text.replace(old, new, 1))
    ran = in_shell("simulate", "replay", "bad.json", "cafe.py", folder=recorded)
    assert ran.returncode == 2, ran.stdout
    assert told in ran.stderr


def test_a_flow_that_is_not_there_cannot_be_exported(recorded: Path) -> None:
    ran = in_shell("flows", "export", "coffee/none", "--app", "cafe.py", folder=recorded)
    assert ran.returncode == 4
    assert "no such flow" in ran.stderr
