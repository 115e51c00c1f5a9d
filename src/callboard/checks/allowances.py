"""What the code allows on purpose: `# callboard: allow CB305 (reason)` on a reaction or a flow, or right above it."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from callboard.check import Finding, Place, place_of_choreography, place_of_contract, place_of_flow
from callboard.choreography import Choreography

COMMENT = re.compile(r"#\s*callboard:\s*allow\s+(?P<codes>CB\d{3}(?:[\s,]+CB\d{3})*)\s*(?:\((?P<reason>.+)\))?")


class Allowance(Struct, frozen=True):
    """One such comment, and the lines of the declaration that it speaks of."""

    file: str
    line: int
    codes: tuple[str, ...]
    reason: str
    first: int
    last: int

    def covers(self, place: Place) -> bool:
        """Whether that is declared here."""
        return place.file == self.file and self.first <= place.line <= self.last

    def allows(self, finding: Finding) -> bool:
        """Whether this finding is meant. Without a reason nothing is allowed."""
        return bool(self.reason) and finding.code in self.codes and self.covers(finding.place)


def read(choreography: Choreography) -> list[Allowance]:
    """The comments on what this choreography declares."""
    places = [place_of_contract(each) for each in choreography.contracts.values()]
    places += [place_of_flow(each) for each in choreography.flows.values()] + [place_of_choreography(choreography)]
    found = [each for file in dict.fromkeys(place.file for place in places) for each in _in_file(file)]
    return [each for each in found if any(each.covers(place) for place in places)]


def unused(allowances: Sequence[Allowance], allowed: Sequence[Finding], codes: Iterable[str]) -> Iterator[str]:
    """What is wrong with the comments themselves, of the codes that were looked for."""
    looked = set(codes)
    for each in allowances:
        where = f"{each.file}:{each.line}"
        if not each.reason:
            yield f"{where} allows {', '.join(each.codes)} without a reason: write `allow {each.codes[0]} (why)`"
            continue
        needless = [
            code
            for code in each.codes
            if code in looked and not any(it.code == code and each.covers(it.place) for it in allowed)
        ]
        if needless:
            yield f"{where} allows {', '.join(needless)}, which is not found there: take it out"


def _in_file(file: str) -> Iterator[Allowance]:
    try:
        text = Path(file).read_text("utf-8")
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return
    if "callboard:" not in text:
        return
    lines, spans = text.splitlines(), list(_spans(tree))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        said = COMMENT.search(token.string) if token.type == tokenize.COMMENT else None
        if said is not None:
            line = token.start[0]
            target = _spoken_of(lines, line)
            first, last = min(
                (span for span in spans if span[0] <= target <= span[1]),
                key=lambda span: span[1] - span[0],
                default=(target, target),
            )
            codes = tuple(re.findall(r"CB\d{3}", said["codes"]))
            yield Allowance(file, line, codes, (said["reason"] or "").strip(), first, last)


def _spans(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """The heads of functions, decorators included, and calls of Flow and Choreography."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.body[0].lineno
        elif isinstance(node, ast.Call) and _called(node) in ("Flow", "Choreography"):
            yield node.lineno, node.end_lineno or node.lineno


def _called(node: ast.Call) -> str:
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


def _spoken_of(lines: list[str], line: int) -> int:
    """The line that a comment speaks of: its own, or where nothing else stands there the next with code."""
    while line <= len(lines) and (not lines[line - 1].strip() or lines[line - 1].lstrip().startswith("#")):
        line += 1
    return line
