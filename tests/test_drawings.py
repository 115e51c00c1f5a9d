"""Every edge of the graph is in every drawing, and what is no plain event looks different."""

import json
import re
from collections.abc import Callable

import pytest

import media
import shop
import trip
from callboard import Choreography, Flow, Service, event, failure
from callboard.drawings import ascii as text
from callboard.drawings import dot, mermaid
from callboard.drawings import json as document
from callboard.drawings.names import identifiers, label
from callboard.drawings.tree import Branch, lines, plain
from tests import postoffice


@event(type='odd"#<name>|[x]')
class Odd:
    odd_id: str


@failure(type="end")
class End:
    odd_id: str


strange, graph = Service("end"), Service("graph")


@strange.reaction
def subgraph(odd: Odd) -> End:
    return End(odd_id=odd.odd_id)


@graph.reaction
def digraph(over: End) -> None: ...


odd = Choreography(
    'o"dd', strange, graph, flows=[Flow('the "flow"', key="odd_id", starts=Odd, succeeds=Odd, fails=End)]
)

ALL = {"shop": shop.shop, "rides": trip.rides, "media": media.media, "post": postoffice.post, "odd": odd}
KINDS = ("event", "failure", "compensation", "timer", "prerequisite")


@pytest.fixture(params=ALL)
def choreography(request: pytest.FixtureRequest) -> Choreography:
    return ALL[request.param]


def drawn_by_mermaid(drawing: str) -> list[tuple[str, str, str, str]]:
    """(event, source, target, stroke), with identifiers turned back into what they stand for."""
    names = dict(re.findall(r'^ *(n_\w+)(?:\[|\(\[|\(\()"(.*?)"', drawing, re.MULTILINE))
    edges = re.findall(r'^ *(n_\w+) (\S+?)\|"(.*)"\| (n_\w+)$', drawing, re.MULTILINE)
    return [(unquoted(what), names[source], names[target], stroke) for source, stroke, what, target in edges]


def unquoted(words: str) -> str:
    for entity, letter in (("quot", '"'), ("lt", "<"), ("gt", ">"), ("35", "#")):
        words = words.replace(f"#{entity};", letter)
    return words


def drawn_by_dot(drawing: str) -> list[tuple[str, str, str, str]]:
    names = {
        each: json.loads(name)
        for each, name in re.findall(r'^ *(n_\w+) \[label=("(?:[^"\\]|\\.)*")', drawing, re.MULTILINE)
    }
    edges = re.findall(r'(n_\w+) -> (n_\w+) \[label=("(?:[^"\\]|\\.)*")(.*)\];', drawing)
    return [(json.loads(what), names[source], names[target], look) for source, target, what, look in edges]


def drawn_by_text(drawing: str) -> list[tuple[str, str, str, str]]:
    found: list[tuple[str, str, str, str]] = []
    above: list[str] = []
    for line in drawing.rpartition("\n\n")[0].splitlines():
        depth = (len(line) - len(line.lstrip("│├└─ "))) // 3
        said = line.lstrip("│├└─ ")
        what, _, rest = said.partition(" ")
        stroke, _, target = rest.partition(" ")
        target = target.removesuffix(" ↑") if target else said
        del above[depth:]
        if target and stroke.endswith("▶"):
            found.append((what, above[-1], target, stroke))
        above.append(target)
    return found


def short(place: str) -> str:
    """What a box says: a reaction's own name, a flow's without its brackets."""
    return place.strip("()").replace('"', "#quot;") if place.startswith("(") else place.rpartition(".")[2]


def test_mermaid_has_every_edge_once(choreography: Choreography) -> None:
    drawn = drawn_by_mermaid(mermaid.draw(choreography))
    expected = [(label(e.event), short(e.source), short(e.target)) for e in choreography.edges()]
    assert sorted(edge[:3] for edge in drawn) == sorted(expected)


def test_dot_has_every_edge_once(choreography: Choreography) -> None:
    drawn = drawn_by_dot(dot.draw(choreography))
    expected = [(label(e.event), short(e.source), short(e.target)) for e in choreography.edges()]
    assert sorted(edge[:3] for edge in drawn) == sorted(
        (a, b.replace("#quot;", '"'), c.replace("#quot;", '"')) for a, b, c in expected
    )


def test_the_text_has_every_edge_once(choreography: Choreography) -> None:
    drawn = drawn_by_text(text.draw(choreography))
    assert sorted(edge[:3] for edge in drawn) == sorted(
        (label(e.event), e.source, e.target) for e in choreography.edges()
    )


def test_json_has_every_edge_and_every_reaction(choreography: Choreography) -> None:
    drawn = json.loads(document.draw(choreography))
    assert drawn["schema"] == "callboard.graph/v1"
    expected = [
        {"event": label(e.event), "source": e.source, "target": e.target, "kind": e.kind} for e in choreography.edges()
    ]
    assert drawn["edges"] == expected
    assert [each["path"] for each in drawn["reactions"]] == list(choreography.contracts)


@pytest.mark.parametrize(
    ("draw", "read"),
    [(mermaid.draw, drawn_by_mermaid), (dot.draw, drawn_by_dot), (text.draw, drawn_by_text)],
    ids=["mermaid", "dot", "text"],
)
def test_each_kind_of_edge_looks_different(
    draw: Callable[[Choreography], str], read: Callable[[str], list[tuple[str, str, str, str]]]
) -> None:
    looks: dict[str, set[str]] = {}
    for choreography in ALL.values():
        kinds = {(label(e.event), short(e.source), short(e.target)): e.kind for e in choreography.edges()}
        for what, source, target, look in read(draw(choreography)):
            looks.setdefault(kinds[what, short(source), short(target).replace('"', "#quot;")], set()).add(look)
    assert set(looks) == set(KINDS)
    assert all(len(each) == 1 for each in looks.values()), looks
    assert len({look for each in looks.values() for look in each}) == len(KINDS)


def test_mermaid_colours_the_edges_that_it_means() -> None:
    drawing = mermaid.draw(shop.shop)
    coloured = {int(n) for numbers in re.findall(r"linkStyle ([\d,]+)", drawing) for n in numbers.split(",")}
    assert coloured == {number for number, edge in enumerate(shop.shop.edges()) if edge.kind != "event"}


def test_the_shop_as_text() -> None:
    assert text.draw(shop.shop).splitlines()[:4] == [
        "(outside)",
        "├─ OrderCreated ──▶ inventory.reserve",
        "│  ├─ InventoryReservationFailed ╌╌▶ orders.cancel",
        "│  │  └─ OrderCancelled ──▶ (checkout)",
    ]


def test_a_drawing_is_the_same_every_time(choreography: Choreography) -> None:
    for draw in (mermaid.draw, dot.draw, text.draw, document.draw):
        assert draw(choreography) == draw(choreography)


def test_no_two_names_share_an_identifier_and_none_is_a_keyword() -> None:
    found = identifiers(["a.b", "a_b", "a-b", "end", "(end)", "ä", "ö"])
    assert len(set(found.values())) == 7
    assert all(re.fullmatch(r"n_\w*", each, re.ASCII) for each in found.values())


def test_a_terminal_that_knows_only_ascii_gets_a_tree_too() -> None:
    tree = [Branch("root", [Branch("A ──▶ b", [Branch("C ╌╌▶ d")]), Branch("E ══▶ f")])]
    assert [plain(line) for line, _ in lines(tree)] == ["root", "|- A --> b", "|  `- C ..> d", "`- E ==> f"]
