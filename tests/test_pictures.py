"""SVG, the life of a flow, the sequence of a path, AsyncAPI: nothing of the graph is lost, and all can be read."""

import itertools
import json
import re
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree as ET

import msgspec
import pydantic
import pytest
from click.testing import CliRunner, Result

import media
import shop
import trip
from callboard import Choreography, Flow, Service, event, failure
from callboard.cli.front import cli
from callboard.contract import types_in
from callboard.contracts.paths import steps_to
from callboard.drawings import asyncapi, sequence, states, svg
from callboard.drawings.names import identifiers, label
from callboard.graph import OUTSIDE
from tests import postoffice
from tests.test_drawings import odd, unquoted

SVG = "{http://www.w3.org/2000/svg}"


@event
class Ping:
    game: str


@event
class Pong:
    game: str


table = Service("table")


@table.reaction
def forth(ping: Ping | Pong) -> Pong:
    return Pong(game=ping.game)


@table.reaction
def back(pong: Pong) -> Ping:
    return Ping(game=pong.game)


circle = Choreography("circle", table, flows=[Flow("game", key="game", starts=Ping, succeeds=Pong)])
ALL = {
    "shop": shop.shop,
    "rides": trip.rides,
    "media": media.media,
    "post": postoffice.post,
    "odd": odd,
    "circle": circle,
}


@pytest.fixture(params=ALL)
def choreography(request: pytest.FixtureRequest) -> Choreography:
    return ALL[request.param]


def edges(choreography: Choreography) -> list[tuple[str, str, str, str]]:
    return sorted((label(each.event), each.source, each.target, each.kind) for each in choreography.edges())


def test_the_svg_has_every_edge_once_and_its_label(choreography: Choreography) -> None:
    root = ET.fromstring(svg.draw(choreography))
    ways = [each.attrib for each in root.iter(f"{SVG}path") if "data-event" in each.attrib]
    drawn = sorted((each["data-event"], each["data-source"], each["data-target"], each["class"]) for each in ways)
    assert drawn == edges(choreography)
    labels = [each.text for each in root.iter(f"{SVG}text") if each.get("class") == "label"]
    assert sorted(map(str, labels)) == sorted(each[0] for each in drawn)


def rect(text: ET.Element) -> tuple[float, float, float, float]:
    half = len(text.text or "") * 11 * 0.55 / 2
    x, y = float(text.get("x", "")), float(text.get("y", ""))
    return x - half, y - 9, x + half, y + 3


def boxes(root: ET.Element) -> list[tuple[float, float, float, float]]:
    sizes = [[float(each.get(name, "")) for name in ("x", "y", "width", "height")] for each in root.iter(f"{SVG}rect")]
    return [(x, y, x + width, y + height) for x, y, width, height in sizes if height == 36]


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_no_two_names_and_no_two_boxes_of_the_svg_overlap(choreography: Choreography) -> None:
    root = ET.fromstring(svg.draw(choreography))
    labels = [rect(each) for each in root.iter(f"{SVG}text") if each.get("class") == "label"]
    things = labels + boxes(root)
    assert len(boxes(root)) >= len(choreography.nodes())
    assert [pair for pair in itertools.combinations(things, 2) if overlap(*pair)] == []


def test_everything_is_inside_the_svg(choreography: Choreography) -> None:
    root = ET.fromstring(svg.draw(choreography))
    left, top, width, height = map(float, root.get("viewBox", "").split())
    labels = [rect(each) for each in root.iter(f"{SVG}text") if each.get("class") == "label"]
    for x1, y1, x2, y2 in labels + boxes(root):
        assert left <= x1 <= x2 <= left + width
        assert top <= y1 <= y2 <= top + height


def test_the_svg_asks_nothing_of_the_network(choreography: Choreography) -> None:
    addresses = re.findall(r"\w+://[^\"']+", svg.draw(choreography))
    assert addresses == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<(script|image|link|use|style)|href|@import", svg.draw(choreography))


def test_each_kind_of_edge_looks_different_in_the_svg() -> None:
    looks: dict[str, set[tuple[str | None, ...]]] = {}
    for choreography in ALL.values():
        for each in ET.fromstring(svg.draw(choreography)).iter(f"{SVG}path"):
            if "data-event" in each.attrib:
                look = tuple(each.get(name) for name in ("stroke", "stroke-dasharray", "stroke-width"))
                looks.setdefault(each.get("class", ""), set()).add(look)
    assert set(looks) == {"event", "failure", "compensation", "timer", "prerequisite"}
    assert len({look for each in looks.values() for look in each}) == 5
    assert len({look[1:] for each in looks.values() for look in each}) == 5  # also without colours


@pytest.mark.parametrize("name", [name for name in ALL if name != "odd"])
def test_the_sequence_follows_edges_of_the_graph_from_outside_to_the_end(name: str) -> None:
    choreography = ALL[name]
    for flow in choreography.flows.values():
        path = sequence.edges_of_path(choreography, flow)
        assert path[0].source == OUTSIDE
        assert path[-1].target == f"({flow.name})"
        reached = {OUTSIDE}
        for edge in path:
            assert edge in choreography.edges()
            assert edge.source in reached
            reached.add(edge.target)


def drawn_by_sequence(drawing: str) -> list[tuple[str, str, str, str]]:
    names = {each: unquoted(name) for each, name in re.findall(r"participant (n_\w+) as (.*)", drawing)}
    found = re.findall(r"^ +(n_\w+?)(-->>|->>|--x|--\)|-\))(n_\w+): (.*)$", drawing, re.MULTILINE)
    return [(unquoted(what), names[source], names[target], arrow) for source, arrow, target, what in found]


def test_every_edge_of_the_path_is_in_the_sequence(choreography: Choreography) -> None:
    arrows: dict[str, set[str]] = {}
    for flow in choreography.flows.values():
        for target in steps_to(choreography, flow):
            path = sequence.edges_of_path(choreography, flow, target)
            drawn = drawn_by_sequence(sequence.draw(choreography, flow, target))
            assert [each[0] for each in drawn] == [label(edge.event) for edge in path]
            for edge, (_, source, to, arrow) in zip(path, drawn, strict=True):
                assert source in (edge.source.partition(".")[0], edge.source.strip("()"))
                assert to in (edge.target.partition(".")[0], edge.target.strip("()"))
                arrows.setdefault(edge.kind, set()).add(arrow)
    assert all(len(each) == 1 for each in arrows.values())
    assert len({arrow for each in arrows.values() for arrow in each}) == len(arrows)


def test_a_path_that_does_not_exist_is_an_error() -> None:
    nowhere = Choreography("nowhere", table, flows=[Flow("game", key="game", starts=Ping, succeeds=Lost)])
    with pytest.raises(LookupError, match="leads to Lost"):
        sequence.draw(nowhere, nowhere.flows["game"])


def test_a_reaction_whose_prerequisite_nobody_says_is_on_no_path() -> None:
    late = Service("late")

    @late.reaction(needs=Lost)
    def answer(ping: Ping) -> Pong:
        return Pong(game=ping.game)

    waiting = Choreography("waiting", late, flows=[Flow("game", key="game", starts=Ping, succeeds=Pong)])
    with pytest.raises(LookupError, match="leads to Pong"):
        sequence.draw(waiting, waiting.flows["game"])


@failure
class Lost:
    game: str


def test_every_edge_of_a_life_is_in_the_state_diagram(choreography: Choreography) -> None:
    for flow in choreography.flows.values():
        drawing = states.draw(choreography, flow)
        names = {each: unquoted(name) for name, each in re.findall(r'state "(.*)" as (n_\w+)', drawing)}
        moves = re.findall(r"^ +(n_\w+) --> (n_\w+)(?:: (.*))?$", drawing, re.MULTILINE)
        drawn = {(names[one], names[other], said.partition(" ")[0].rstrip(",")) for one, other, said in moves}
        known = steps_to(choreography, flow)
        for edge in choreography.edges():
            if edge.event in known and edge.kind != "prerequisite" and edge.target in choreography.contracts:
                assert (label(edge.event), edge.target) in {(one, by) for one, _, by in drawn}
        for contract in choreography.contracts.values():
            for heard, said in itertools.product(contract.hears, contract.emits):
                assert heard not in known or (label(heard), label(said), contract.path) in drawn
        for shape, verdict in ((flow.succeeds, "succeeded"), (flow.fails, "failed")):
            for each in types_in(shape) if shape is not None else ():
                assert each not in known or (label(each), f"{flow.name} {verdict}") in {pair[:2] for pair in drawn}


def test_failures_compensations_and_deadlines_look_different_in_the_state_diagram() -> None:
    drawing = states.draw(shop.shop, shop.shop.flows["checkout"])
    classes = {
        kind: set(names.split(",")) for names, kind in re.findall(r"^ +class (\S+) (\w+)$", drawing, re.MULTILINE)
    }
    ids = identifiers([label(each) for each in shop.shop.events.values()])
    assert ids["PaymentFailed"] in classes["failure"]
    assert ids["PaymentRefunded"] in classes["compensation"]
    assert ids["FlowTimedOut[OrderCreated]"] in classes["timer"]
    assert not any(ids["OrderShipped"] in each for each in classes.values())


def references(document: Any) -> list[str]:
    match document:
        case [*parts]:
            return [found for each in parts for found in references(each)]
        case dict():
            said = cast("dict[str, Any]", document)
            mine = [said["$ref"]] if isinstance(said.get("$ref"), str) else []
            return mine + [found for each in said.values() for found in references(each)]
        case _:
            return []


def follow(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def documents(choreography: Choreography) -> list[dict[str, Any]]:
    found = [json.loads(asyncapi.draw(choreography, each)) for each in (None, *choreography.services)]
    assert [each.get("x-callboard-merged", False) for each in found] == [True, *(False for _ in choreography.services)]
    return found


def test_every_reference_of_asyncapi_leads_somewhere_and_every_key_is_allowed(choreography: Choreography) -> None:
    for document in documents(choreography):
        for reference in references(document):
            assert follow(document, reference) is not None
        keys = [key for part in document["components"].values() for key in part]
        assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", key) for key in (*keys, *document["channels"]))
        for operation in document["operations"].values():
            channel = operation["channel"]["$ref"]
            assert [each["$ref"].startswith(f"{channel}/messages/") for each in operation["messages"]] == [True]


def test_every_edge_is_in_the_merged_asyncapi_and_in_those_of_its_services(choreography: Choreography) -> None:
    merged, *single = documents(choreography)
    by_service = dict(zip(choreography.services, single, strict=True))
    for edge in choreography.edges():
        address = edge.event.name
        for end, action in ((edge.source, "send"), (edge.target, "receive")):
            if end == OUTSIDE:
                continue
            flow = choreography.flows.get(end.strip("()"))
            home = choreography.home_of(flow).name if flow else end.partition(".")[0]
            for document in (merged, by_service[home]):
                operation = operation_of(document, end, action, address)
                if action == "receive":
                    assert operation.get("x-callboard-prerequisite", False) == (edge.kind == "prerequisite")
                    undoes = end in choreography.contracts and choreography.contracts[end].options.compensates
                    assert ("x-callboard-compensates" in operation) == (bool(undoes) and edge.kind != "prerequisite")
        emits = [
            follow(merged, follow(merged, each["$ref"])["channel"]["$ref"])["address"]
            for receive in merged["operations"].values()
            for each in receive.get("x-callboard-emits", [])
        ]
        assert address in emits or edge.source.startswith("(")


def operation_of(document: dict[str, Any], path: str, action: str, address: str) -> dict[str, Any]:
    found = [
        operation
        for name, operation in document["operations"].items()
        if operation["action"] == action and follow(document, operation["channel"]["$ref"])["address"] == address
        if name.startswith(re.sub(r"\W", lambda each: f"_{ord(each[0]):x}", path.strip("()")).replace("_2e", "."))
    ]
    assert len(found) == 1, (path, action, address)
    return cast("dict[str, Any]", found[0])


class Inner(pydantic.BaseModel):
    pair: tuple[int, str]


class Price(msgspec.Struct, frozen=True):
    cents: int


@event
class Rich:
    rich_id: str
    inner: Inner
    price: Price
    pair: tuple[int, str]


rich = Service("rich")


@rich.reaction
def spend(it: Rich) -> None: ...


def test_schemas_are_draft_7_and_hold_what_the_fields_are_made_of() -> None:
    choreography = Choreography("rich", rich, incoming=Rich)
    schemas = asyncapi.document(choreography)["components"]["schemas"]
    assert schemas["Price"]["properties"] == {"cents": {"type": "integer"}}
    assert schemas["Rich"]["required"] == ["rich_id", "inner", "price", "pair"]
    assert schemas["Rich"]["properties"]["pair"]["items"] == [{"type": "integer"}, {"type": "string"}]
    inner = schemas["Rich"]["properties"]["inner"]["properties"]
    assert inner["pair"]["items"] == [{"type": "integer"}, {"type": "string"}]
    assert "prefixItems" not in json.dumps(schemas)
    assert "$defs" not in json.dumps(schemas)


def graph(*typed: str) -> Result:
    return CliRunner().invoke(cli, ["graph", f"{Path(postoffice.__file__)}:post", *typed])


@pytest.mark.parametrize(
    ("typed", "begins"),
    [
        (("-f", "svg"), "<svg "),
        (("-f", "states"), "stateDiagram-v2"),
        (("-f", "sequence", "--to", "LetterStamped"), "sequenceDiagram"),
        (("-f", "asyncapi", "--service", "van"), "{"),
    ],
)
def test_each_form_is_drawn_to_stdout_and_into_a_file(typed: tuple[str, ...], begins: str, tmp_path: Path) -> None:
    said = graph(*typed)
    assert (said.exit_code, said.stdout[: len(begins)]) == (0, begins)
    assert graph(*typed, "-o", str(tmp_path / "drawing")).exit_code == 0
    assert (tmp_path / "drawing").read_text("utf-8") == said.stdout


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (("-o", "svg"), 2, "write --format svg"),
        (("--to", "LetterStamped"), 2, "--to goes with --format sequence, not with ascii"),
        (("-f", "svg", "--service", "van"), 2, "--service goes with --format asyncapi"),
        (("-f", "asyncapi", "--service", "vam"), 4, "did you mean 'van'"),
        (("-f", "sequence", "--to", "LetterStampt"), 4, "did you mean 'LetterStamped'"),
        (("-f", "states", "--flow", "later"), 4, "did you mean 'letter'"),
        (("-f", "svg", "-o", "/no/such/folder/x.svg"), 2, "cannot be written"),
        (("-f", "png"), 2, "png"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_fix(typed: tuple[str, ...], code: int, said: str) -> None:
    result = graph(*typed)
    assert result.exit_code == code
    assert said in result.stderr


def test_the_pictures_in_the_docs_are_those_of_the_order_example() -> None:
    root = Path(__file__).parent.parent
    app = str(root / "examples" / "order_fulfilment" / "shop.py")
    page = (root / "docs" / "drawings.md").read_text("utf-8")

    def drawn(*typed: str) -> str:
        return CliRunner().invoke(cli, ["graph", app, *typed]).stdout

    assert drawn("-f", "svg") == (root / "docs" / "pictures" / "shop.svg").read_text("utf-8")
    assert f"```mermaid\n{drawn('-f', 'states')}```" in page
    assert f"```mermaid\n{drawn('-f', 'sequence', '--to', 'PaymentRefunded')}```" in page
