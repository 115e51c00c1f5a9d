"""Which app is meant: every way to name one, and what is told when it cannot be had."""

import sys
from pathlib import Path

import pytest
from click.testing import Result

from tests.postoffice import FILE, command

APP = """\
from callboard import Choreography, Flow, Service, event

@event
class {event}:
    key: str

service = Service("service")

@service.reaction
def answer(asked: {event}) -> None: ...

{attr} = Choreography("{attr}", service, flows=[Flow("flow", key="key", starts={event}, succeeds={event})])
"""


def app(event: str = "Asked", attr: str = "it") -> str:
    return APP.format(event=event, attr=attr)


def shell(*typed: str, folder: Path, **env: str) -> Result:
    """`callboard` in that folder, in this process, which imports nothing of it for good."""
    path, modules = list(sys.path), set(sys.modules)
    ours = next(each for each in (folder, *folder.parents) if each.name.startswith("test_"))  # pytest's tmp_path
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("APP", "LEDGER"):
            patch.delenv(f"CALLBOARD_{name}", raising=False)
        try:
            return command(*typed, env=env)
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - modules:
                if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(ours):
                    del sys.modules[name]


def drawn(folder: Path, *typed: str, **env: str) -> str:
    result = shell("graph", *typed, folder=folder, **env)
    assert result.exit_code == 0, result.stderr
    return result.stdout.partition("─ ")[2].partition(" ")[0]


def refused(folder: Path, *typed: str, code: int = 2, **env: str) -> str:
    result = shell("graph", *typed, folder=folder, **env)
    assert result.exit_code == code, result.stdout
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize(
    "typed",
    [
        ("bazaar.py:it",),
        ("bazaar.py",),
        ("bazaar:it",),
        ("bazaar",),
        ("./bazaar.py:it",),
        ("--app", "bazaar.py:it"),
        ("--app", "bazaar"),
    ],
    ids=" ".join,
)
def test_a_file_and_a_module_can_be_named(typed: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bazaar.py").write_text(app())
    assert drawn(tmp_path, *typed) == "Asked"


@pytest.mark.parametrize("typed", ["pkg/shop/__init__.py:it", "pkg/shop:it", "pkg/shop", "pkg.shop:it", "pkg.shop"])
def test_a_package_is_imported_under_its_own_name(typed: str, tmp_path: Path) -> None:
    folder = tmp_path / "pkg" / "shop"
    folder.mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").touch()
    (folder / "__init__.py").write_text("from .inside import it\nfrom .. import shop as myself\n")
    (folder / "inside.py").write_text(app())
    assert drawn(tmp_path, typed) == "Asked"


def test_a_file_is_found_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "bazaar.py").write_text("from beside import it\n")
    (tmp_path / "beside.py").write_text(app())
    (tmp_path / "else").mkdir()
    assert drawn(tmp_path / "else", "../bazaar.py:it") == "Asked"
    assert drawn(tmp_path / "else", str(tmp_path / "bazaar.py")) == "Asked"


@pytest.mark.parametrize("name", ["json.py", "click.py", "types.py", "my-bazaar.py", "callboard.py"])
def test_a_file_may_have_the_name_of_another_module(name: str, tmp_path: Path) -> None:
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / name).write_text(app())
    assert drawn(tmp_path, f"apps/{name}:it") == "Asked"


@pytest.mark.parametrize("name", ["main.py", "app.py", "app/main.py", "app/app.py"])
def test_the_usual_files_are_looked_at(name: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / name).write_text(app())
    assert drawn(tmp_path) == "Asked"


def test_a_usual_file_without_a_choreography_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print\n")
    (tmp_path / "app.py").write_text(app())
    assert drawn(tmp_path) == "Asked"


def test_the_argument_comes_first_then_the_environment_then_the_project_then_what_lies_there(tmp_path: Path) -> None:
    for name, event in (("main", "A"), ("project", "B"), ("environment", "C"), ("argument", "D")):
        (tmp_path / f"{name}.py").write_text(app(event))
    assert drawn(tmp_path) == "A"
    (tmp_path / "pyproject.toml").write_text('[tool.callboard]\napp = "project:it"\n')
    assert drawn(tmp_path) == "B"
    assert drawn(tmp_path, CALLBOARD_APP="environment.py:it") == "C"
    assert drawn(tmp_path, "argument.py", CALLBOARD_APP="environment.py:it") == "D"


def test_the_project_is_found_from_below_and_its_paths_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "bazaar.py").write_text(app())
    (tmp_path / "pyproject.toml").write_text('[tool.callboard]\napp = "bazaar.py:it"\nledger = "sqlite:///shop.db"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert drawn(below) == "Asked"
    shell("publish", "Asked", '{"key": "1"}', folder=below)
    assert (tmp_path / "shop.db").exists()


def test_two_names_of_one_choreography_are_one(tmp_path: Path) -> None:
    (tmp_path / "bazaar.py").write_text(app() + "also = it\n")
    assert drawn(tmp_path, "bazaar.py") == "Asked"


def test_of_several_one_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "bazaar.py").write_text(app() + "\nother = Choreography('other', service)\n")
    said = refused(tmp_path, "bazaar.py")
    assert "bazaar.py:it or bazaar.py:other" in said
    assert drawn(tmp_path, "bazaar.py:it") == "Asked"


def test_no_app_at_all_is_told_with_every_way_to_name_one(tmp_path: Path) -> None:
    said = refused(tmp_path)
    for way in ("main.py", "--app", "CALLBOARD_APP", "[tool.callboard]"):
        assert way in said


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("bazar.py:it", "did you mean 'bazaar.py'?"),
        ("bazar:it", "did you mean 'bazaar'?"),
        ("bazaar.py:iti", "did you mean 'it'?"),
        ("bazaar.py:service", "a Service, no Choreography: name one of its choreographies: bazaar.py:it"),
        ("bazaar.py:Asked", "the class Asked, no Choreography"),
        ("bazaar.py:answer", "a function, no Choreography"),
        ("bazaar.py:", "names no app"),
        (":it", "names no app"),
        ("bazaar.py:it()", "names no app"),
        ("empty.py", "empty.py holds no Choreography"),
        ("absent/bazaar.py", "there is no file absent/bazaar.py"),
    ],
)
def test_what_is_no_app_is_told_with_the_fix(typed: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bazaar.py").write_text(app())
    (tmp_path / "empty.py").touch()
    assert said in refused(tmp_path, typed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nosuchlibrary\n", ["ModuleNotFoundError", "nosuchlibrary", "broken.py:1: import nosuchlibrary"]),
        ("def f(:\n", ["SyntaxError", "broken.py:1: def f(:"]),
        ("x = 1\n\nx.upper()\n", ["AttributeError", "broken.py:3: x.upper()"]),
        ("raise SystemExit(3)\n", ["it ends the program", "if __name__ == '__main__':", "broken.py:1"]),
        ("import beside\n", ["KeyError", "beside.py:2: {}['x']"]),
        (
            "import json\njson.loads('{')\n",
            ["JSONDecodeError", "broken.py:2: json.loads('{')"],
        ),
        (
            app().replace("-> None", ""),
            ["broken.py", "service.answer", "annotate the return with the events it emits, or None"],
        ),
    ],
    ids=["import", "syntax", "error", "exit", "inner", "library", "contract"],
)
def test_an_app_that_cannot_be_imported_is_told_with_the_users_own_last_line(
    text: str, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(text)
    (tmp_path / "beside.py").write_text("x = 1\n{}['x']\n")
    for typed in ("broken.py", "broken:it"):
        told = refused(tmp_path, typed)
        for each in said:
            assert each in told


def test_under_debug_the_whole_traceback_is_there(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    result = shell("graph", "broken.py", "--debug", folder=tmp_path)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_a_project_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.callboard\n")
    assert "pyproject.toml cannot be read" in refused(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.callboard]\napp = 3\n")
    assert "[tool.callboard] app is a text, not 3" in refused(tmp_path)


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        (f"{FILE}", "say which attribute"),
        (f"{FILE}:nothing", "has no 'nothing'"),
        (f"{FILE}:QUICK", "it is a list of keepers"),
        (f"{FILE}:post", "it is a list of keepers"),
        ("raises.py:keepers", "KeyError"),
        (None, "--ports module:attr, a list of keepers"),
    ],
)
def test_keepers_that_cannot_be_had_are_told(ports: str | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text("def keepers():\n    return {}['x']\n")
    typed = ["run", f"{FILE}:post", "--ledger", "sqlite:///post.db", *(["--ports", ports] if ports else [])]
    result = shell(*typed, folder=tmp_path)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
