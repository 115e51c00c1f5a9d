"""The style as a test: what a reviewer would otherwise have to say twice, each with the way out."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("src", "tests", "examples", "benchmarks")
AS_GIVEN = ("tests/targets/",)  # kept as they were written

LONGEST_LINE = 120
LONGEST_FUNCTION = 50
LARGEST_SOURCE = 32_720

NAME_THE_CONCEPT = "name the concept it holds"
BANNED = {
    "manager": "say what it does (tracker, board, keeper)",
    "helper": NAME_THE_CONCEPT,
    "util": NAME_THE_CONCEPT,
    "common": NAME_THE_CONCEPT,
    "base": NAME_THE_CONCEPT,
    "core": NAME_THE_CONCEPT,
    "misc": NAME_THE_CONCEPT,
    "info": "name the fact",
    "obj": "say what it is (event, state, row, value)",
    "handler": "reaction",
    "message": "event or envelope; what an error says is its text",
    "process": "flow; of the operating system: worker or owner",
    "saga": "flow",
    "engine": "ledger",
    "driver": "ledger or broker",
    "backend": "ledger or broker",
}
# Names that somebody else's interface demands: (file, name) -> whose.
FOREIGN: dict[tuple[str, str], str] = {
    ("src/callboard/testing/plugin.py", "obj"): "pytest's Function.obj",
    ("src/callboard/simulation/loop.py", "call_exception_handler"): "asyncio's AbstractEventLoop",
    ("src/callboard/envelope.py", "data_base64"): "an attribute of CloudEvents",
    ("benchmarks/peers/with_sagaz.py", "saga_name"): "an attribute of sagaz",
}
# A broker's own words may be used in its adapter.
ADAPTERS = "src/callboard/brokers/"
ADAPTER_WORDS = {"message", "handler", "info"}

# Beside the standard library and msgspec: each library, and the only place that may import it.
LIBRARIES = {
    "aio_pika": "brokers/",
    "asyncpg": "ledgers/",
    "boto3": "brokers/",
    "botocore": "brokers/",
    "click": "cli/",
    "confluent_kafka": "brokers/",
    "fastavro": "codecs/",
    "google": "codecs/",
    "hypothesis": "testing/",
    "nats": "brokers/",
    "opentelemetry": "telemetry/",
    "prometheus_client": "telemetry/",
    "pytest": "testing/",
    "redis": "brokers/",
    "rich": "cli/",
    "starlette": "console/",
    "uvicorn": "console/",
}
UNSAFE = {"pickle", "marshal", "shelve", "dill"}

Finding = tuple[int, str]


@dataclass(frozen=True)
class Page:
    """One Python file: where it is, seen from the root of the repository, and what it says."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @property
    def in_source(self) -> bool:
        return self.path.startswith("src/")

    @property
    def place(self) -> str:
        return self.path.removeprefix("src/callboard/")


def words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d*", name)]


def banned_word(name: str) -> str | None:
    for word in words(name):
        for singular in (word, word.removesuffix("s"), word.removesuffix("es")):
            if singular in BANNED:
                return singular
    return None


def named_by(node: ast.AST) -> str | None:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return name
        case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            return name
        case _:
            return None


def names(page: Page) -> Iterator[tuple[int, str]]:
    yield from ((1, part) for part in page.path.removesuffix(".py").split("/"))
    for node in page.nodes:
        if name := named_by(node):
            yield getattr(node, "lineno", 1), name


def is_excused(page: Page, name: str, word: str) -> bool:
    in_sentence = name.startswith("test_") and word == "process"  # a sentence about several processes on one file
    in_adapter = page.path.startswith(ADAPTERS) and word in ADAPTER_WORDS
    return in_sentence or in_adapter or (page.path, name) in FOREIGN


def vocabulary(page: Page) -> Iterator[Finding]:
    for line, name in names(page):
        if name.startswith("data_") and (page.path, name) not in FOREIGN:
            yield line, f"`{name}`: everything is data; drop the prefix or say which"
        if (word := banned_word(name)) and not is_excused(page, name, word):
            yield line, f"`{name}`: instead of `{word}`, {BANNED[word]}"


def long_lines(page: Page) -> Iterator[Finding]:
    for line, text in enumerate(page.text.splitlines(), 1):
        if len(text) > LONGEST_LINE:
            yield line, f"{len(text)} characters; {LONGEST_LINE} fit"


def long_functions(page: Page) -> Iterator[Finding]:
    for node in page.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield node.lineno, f"`{node.name}` has {length} lines; split it where it changes its subject"


def bare_exemptions(page: Page) -> Iterator[Finding]:
    bare = re.compile(r"#\s*(type:\s*ignore(?!\[)|pyright:\s*ignore(?!\[)|noqa(?!:\s*[A-Z]))")
    for token in tokenize.generate_tokens(io.StringIO(page.text).readline):
        if token.type == tokenize.COMMENT and bare.search(token.string):
            yield token.start[0], "say which rule is set aside: `type: ignore[code]`, `noqa: CODE`"


def empty_todos(page: Page) -> Iterator[Finding]:
    for token in tokenize.generate_tokens(io.StringIO(page.text).readline):
        if token.type == tokenize.COMMENT and re.search(r"\b(TODO|FIXME|XXX)\W*$", token.string):
            yield token.start[0], "say what is to do, and when it hurts"


def imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=aliases):
            return [alias.name for alias in aliases]
        case ast.ImportFrom(module=str(module), level=0, names=aliases):
            return [f"{module}.{alias.name}" for alias in aliases]
        case _:
            return []


def called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def unsafe(page: Page) -> Iterator[Finding]:
    for node in page.nodes:
        if any(module.split(".")[0] in UNSAFE for module in imported(node)):
            yield getattr(node, "lineno", 1), "bytes from outside never become code: use a codec"
        if called(node) in {"eval", "exec"}:
            yield getattr(node, "lineno", 1), f"`{called(node)}`: no text becomes code"


def prints(page: Page) -> Iterator[Finding]:
    if page.in_source and not page.place.startswith("cli/"):
        for node in page.nodes:
            if called(node) == "print":
                yield getattr(node, "lineno", 1), "only cli prints; log it, or return it"


def sleeps(page: Page) -> Iterator[Finding]:
    for node in page.nodes:
        if called(node) == "time.sleep" or "time.sleep" in imported(node):
            yield getattr(node, "lineno", 1), "wait for what happens, or move the clock: asyncio, an event, a pipe"


def docstrings(page: Page) -> Iterator[Finding]:
    if page.in_source and ast.get_docstring(ast.parse(page.text)) is None:
        yield 1, "a module begins with a docstring: what it is for, in a sentence"


def libraries(page: Page) -> Iterator[Finding]:
    if not page.in_source:
        return
    for node in page.nodes:
        for library in {module.split(".")[0] for module in imported(node)}:
            if library in sys.stdlib_module_names or library in {"callboard", "msgspec"}:
                continue
            place = LIBRARIES.get(library)
            if place is None or not page.place.startswith(place):
                yield getattr(node, "lineno", 1), f"`{library}` may be imported in {place or 'no module'} only"


def front_door(page: Page) -> Iterator[Finding]:
    if not page.in_source or page.place == "__init__.py":
        return
    for node in page.nodes:
        through = imported(node) if isinstance(node, ast.Import) or is_from_front(node) else []
        for module in through:
            if module == "callboard" or (is_from_front(node) and not is_module(module.split(".")[1])):
                yield getattr(node, "lineno", 1), f"`{module}`: import it from its own module"


def is_from_front(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "callboard" and node.level == 0


def is_module(name: str) -> bool:
    place = ROOT / "src" / "callboard" / name
    return place.is_dir() or place.with_suffix(".py").is_file()


def deep_folders(page: Page) -> Iterator[Finding]:
    if page.in_source and page.place.count("/") > 1:
        yield 1, "folders are two deep, never three: src/callboard/<plural>/<keeper>.py"


def report(findings: list[str]) -> None:
    if findings:
        pytest.fail("\n".join(["", *findings]), pytrace=False)


# Each rule with a page that it must refuse: (where it would lie, what it would say).
RULES: dict[Callable[[Page], Iterator[Finding]], tuple[str, str]] = {
    vocabulary: ("src/callboard/run.py", "class FlowManager: ..."),
    long_lines: ("tests/test_x.py", "x = " + "1" * LONGEST_LINE),
    long_functions: ("tests/test_x.py", "def f():\n" + "    x = 1\n" * LONGEST_FUNCTION),
    bare_exemptions: ("tests/test_x.py", "x = 1  # type: " + "ignore"),
    empty_todos: ("tests/test_x.py", "x = 1  # TO" + "DO:"),
    unsafe: ("src/callboard/codec.py", "from pickle import loads"),
    prints: ("src/callboard/run.py", "print(1)"),
    sleeps: ("tests/test_x.py", "import time\ntime.sleep(1)"),
    docstrings: ("src/callboard/run.py", "x = 1"),
    libraries: ("src/callboard/hops/relay.py", "import asyncpg"),
    front_door: ("src/callboard/run.py", "from callboard import Flow"),
    deep_folders: ("src/callboard/ledgers/postgres/sql.py", ""),
}


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [Page(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths]
    return [page for page in found if not page.path.startswith(AS_GIVEN)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_page_keeps(rule: Callable[[Page], Iterator[Finding]], pages: list[Page]) -> None:
    findings = [f"{page.path}:{line}: {text}" for page in pages for line, text in rule(page)]
    report(findings)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_break_is_found(rule: Callable[[Page], Iterator[Finding]]) -> None:
    assert list(rule(Page(*RULES[rule])))


@pytest.mark.parametrize("name", ["EventHandlers", "base_url", "processes", "data_in", "HTTPBackend", "utils"])
def test_a_banned_word_is_found_wherever_it_stands(name: str) -> None:
    assert list(vocabulary(Page("src/callboard/run.py", f"{name} = 1")))


@pytest.mark.parametrize("name", ["database", "informed", "reprocessed", "metadata", "base32"])
def test_a_word_that_only_contains_a_banned_one_is_fine(name: str) -> None:
    assert not list(vocabulary(Page("src/callboard/run.py", f"{name} = 1")))


def test_the_source_stays_within_its_budget(pages: list[Page]) -> None:
    assert sum(len(page.text.splitlines()) for page in pages if page.in_source) <= LARGEST_SOURCE


def test_nothing_names_this_machine_or_a_registry() -> None:
    machine = r"(?:^|[^\w.:/-])/(?:work|farm|root|Users|home/\w+)/"
    registry = r"index-url|--find-links|registry\.npmjs\.org|pypi\.org/simple|files\.pythonhosted\.org"
    pattern = re.compile(f"{machine}|{registry}", re.MULTILINE)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    paths = [ROOT / name for name in listed.split("\0") if name and name != "tests/test_tidy.py"]
    findings = [
        f"{path.relative_to(ROOT)}: {match.group().strip()}"
        for path in paths
        if path.is_file() and b"\0" not in path.read_bytes()
        for match in pattern.finditer(path.read_text("utf-8"))
    ]
    report(findings)


def canonical(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def pins(file: str) -> set[str]:
    lines = [line for line in (ROOT / "requirements" / file).read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+(\[\w+])?==[\w.]+", line)] == []
    return {canonical(line) for line in lines}


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    developing = [*project["project"]["dependencies"], *extras["cli"], *project["dependency-groups"]["dev"]]
    adapters = [line for name, lines in extras.items() if name not in {"cli", "all"} for line in lines]
    assert {canonical(line) for line in developing} <= pins("dev.txt")
    assert {canonical(line) for line in adapters} <= pins("extras.txt")
    assert extras["all"] == [f"callboard[{','.join(name for name in extras if name != 'all')}]"]
