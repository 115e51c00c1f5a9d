"""`callboard check`: what it prints, for people and for programs, and how it exits."""

import json
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from callboard.checks.assumptions import ASSUMED
from callboard.checks.catalogue import CHECKS
from tests.postoffice import command

LINES = """
from callboard import Choreography, Flow, Service, event, failure, state

@event
class Ordered:
    order: str
    sku: str

@event
class Held:
    order: str

@event
class Paid:
    order: str

@failure
class Declined:
    order: str

@state(key="sku")
class Shelf:
    sku: str
    free: int = 3

stock, money = Service("stock"), Service("money")

@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@money.reaction
def charge(held: Held) -> Paid | Declined: ...

shop = Choreography("shop", stock, money, flows=[
    Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Declined)])
"""
AT = LINES.splitlines().index("def hold(ordered: Ordered, shelf: Shelf) -> Held: ...") + 1


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"shop_{abs(hash(request.node.name))}.py"
    file.write_text(LINES, "utf-8")
    return file


def changed(app: Path, old: str, new: str) -> None:
    text = app.read_text("utf-8")
    assert old in text
    app.write_text(text.replace(old, new), "utf-8")


def test_a_finding_tells_the_way_that_leads_to_it_where_it_is_and_what_mends_it(app: Path) -> None:
    result = command("check", app.name)
    assert result.exit_code == 1
    shown = result.stdout
    assert "error CB201" in shown
    assert f"{app.name}:{AT}  stock.hold" in shown
    way = [line.split()[:4] for line in shown.splitlines() if line.strip()[:1].isdigit()]
    assert way[:3] == [
        ["1", "(outside)", "Ordered"],
        ["2", "stock", "hold", "Ordered"],
        ["3", "money", "charge", "Held"],
    ]
    assert "=> the flow order failed; the effect of stock.hold stands (Shelf)" in shown
    assert "compensates=hold" in shown
    assert "1 error, 1 warning in " in shown


def test_what_is_right_has_no_findings_and_the_exit_code_0(app: Path) -> None:
    changed(app, "fails=Declined)", "fails=Declined, timeout=__import__('datetime').timedelta(hours=1))")
    changed(app, "@stock.reaction", '@stock.reaction(keeps="the shelf is a model")')
    result = command("check", app.name)
    assert result.exit_code == 0
    assert "error" not in result.stdout


def test_warnings_fail_only_under_strict(app: Path) -> None:
    assert command("check", app.name, "--select", "CB305").exit_code == 0
    assert command("check", app.name, "--select", "CB305", "--strict").exit_code == 1
    assert command("check", app.name, "--ignore", "CB2,CB3").exit_code == 0


def test_a_bound_is_told_and_never_silent(app: Path) -> None:
    assert "bounded: 3 states explored" in command("check", app.name, "--max-states", "2").stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@stock.reaction\n", "# callboard: allow CB201 (counted by hand)\n@stock.reaction\n"),
        ("@stock.reaction\n", "@stock.reaction  # callboard: allow CB201 (counted by hand)\n"),
        ("-> Held: ...", "-> Held: ...  # callboard: allow CB201 (counted by hand)"),
    ],
)
def test_what_is_allowed_in_place_with_a_reason_does_not_fail(app: Path, old: str, new: str) -> None:
    changed(app, old, new)
    result = command("check", app.name, "--verbose")
    assert result.exit_code == 0
    assert "1 allowed" in result.stdout
    assert "allowed CB201" in result.stdout


def test_what_is_allowed_without_a_reason_fails_and_is_told(app: Path) -> None:
    changed(app, "@stock.reaction\n", "@stock.reaction  # callboard: allow CB201\n")
    result = command("check", app.name)
    assert result.exit_code == 1
    assert "without a reason" in result.stderr


def test_what_is_allowed_for_nothing_is_told(app: Path) -> None:
    changed(app, "@money.reaction\n", "@money.reaction  # callboard: allow CB204 (never)\n")
    assert "allows CB204, which is not found there" in command("check", app.name).stderr


def test_a_baseline_keeps_what_is_known_from_failing_and_says_what_is_gone(app: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "known.json")
    assert command("check", app.name, "--baseline", file).exit_code == 4
    assert command("check", app.name, "--baseline", file, "--write-baseline").exit_code == 0
    again = command("check", app.name, "--baseline", file)
    assert again.exit_code == 0
    assert "2 findings are known" in again.stderr
    changed(app, "@stock.reaction", '@stock.reaction(keeps="the shelf is a model")')
    app.rename(tmp_path / "mended.py")
    assert "no longer found: CB201 stock.hold" in command("check", "mended.py", "--baseline", file).stderr
    (tmp_path / "known.json").write_text("{")
    assert command("check", "mended.py", "--baseline", file).exit_code == 2


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": "callboard.baseline/v2", "findings": []}'])
def test_what_is_no_baseline_of_this_version_is_refused(app: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "known.json").write_text(text, "utf-8")
    result = command("check", app.name, "--baseline", "known.json")
    assert result.exit_code == 2
    assert "known.json is no baseline" in result.stderr
    assert "--write-baseline" in result.stderr


def test_json_has_every_finding_with_its_way(app: Path) -> None:
    result = command("check", app.name, "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == "callboard.check/v1"
    assert document["bounded"] is False
    error = document["findings"][0]
    assert (error["code"], error["place"]["line"], error["place"]["name"]) == ("CB201", AT, "stock.hold")
    assert [each["emitted"] for each in error["steps"]] == [["Ordered"], ["Held"], ["Declined"]]


def test_sarif_names_the_rule_the_place_and_the_way(app: Path) -> None:
    changed(app, "-> Held: ...", "-> Held: ...  # callboard: allow CB201 (counted by hand)")
    run = json.loads(command("check", app.name, "--sarif").stdout)["runs"][0]
    assert [each["id"] for each in run["tool"]["driver"]["rules"]] == list(CHECKS)
    result = next(each for each in run["results"] if each["ruleId"] == "CB201")
    assert result["suppressions"] == [{"kind": "inSource"}]
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (app.name, AT)
    assert len(result["codeFlows"][0]["threadFlows"][0]["locations"]) == 2


def test_github_is_told_in_one_line_a_finding(app: Path) -> None:
    lines = command("check", app.name, "--output", "github").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"::error file={app.name},line={AT},title=CB201 effect left behind::")
    assert "%0A" in lines[0]


def test_junit_has_a_case_for_each_check(app: Path) -> None:
    suite = fromstring(command("check", app.name, "--output", "junit").stdout)
    cases = {each.get("name", "")[:5]: each for each in suite}
    assert list(cases) == list(CHECKS)
    assert [code for code, case in cases.items() if case.find("failure") is not None] == ["CB201", "CB305"]
    assert suite.get("failures") == "2"


@pytest.mark.parametrize("code", CHECKS)
def test_every_check_is_explained_with_an_example(code: str) -> None:
    result = command("check", "--explain", code.lower())
    assert result.exit_code == 0
    assert CHECKS[code].name in result.stdout
    assert "broken:" in result.stdout
    assert "mended:" in result.stdout


def test_verbose_says_what_is_taken_for_granted(app: Path) -> None:
    shown = command("check", app.name, "--verbose").stdout
    assert all(each in shown for each in ASSUMED)
    assert "Over " not in shown


@pytest.mark.parametrize(("broker", "said"), [("kafka", "arrives in that order"), ("sqs", "arrive in any order")])
def test_verbose_says_what_the_broker_is_believed_to_keep(app: Path, broker: str, said: str) -> None:
    shown = command("check", app.name, "--verbose", "--broker", broker).stdout
    assert f"Over {broker} " in shown
    assert said in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--select", "CB999"], 2, "there is no check CB999"),
        (["--explain", "CB999"], 2, "there is no check CB999"),
        (["--write-baseline"], 2, "--baseline FILE"),
        (["--broker", "pigeon"], 2, "pigeon"),
    ],
)
def test_what_cannot_be_done_is_said(app: Path, arguments: list[str], code: int, said: str) -> None:
    result = command("check", app.name, *arguments)
    assert result.exit_code == code
    assert said in result.stderr


def test_an_app_that_does_not_import_and_what_is_no_choreography_exit_with_2(app: Path) -> None:
    changed(app, "from callboard import", "from callbored import")
    assert command("check", app.name).exit_code == 2
    app.write_text("shop = 3\n")
    assert command("check", f"{app.name}:shop").exit_code == 2
