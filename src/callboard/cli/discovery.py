"""Finds the app: from `module:attr` or `path/to/file.py:attr` to the Choreography, and the keepers of its ports."""

import importlib.util
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from callboard.choreography import Choreography
from callboard.cli.command import Refusal, meant
from callboard.cli.settings import Setting, setting
from callboard.errors import PACKAGE, ContractError

USUAL_FILES = ("main.py", "app.py", "app/main.py", "app/app.py")


def find_app(given: str | None, by_position: str | None = None) -> Choreography:
    """The choreography that is meant. Exit 2, with the user's own line, where it cannot be had."""
    found = Setting(by_position, "the command line", Path.cwd()) if by_position else setting("app", given)
    if found.value:
        return load_app(found.value, found.folder)
    for name in USUAL_FILES:
        if (found.folder / name).is_file():
            module = _import(name, found.folder)
            if _choreographies(module):
                return _pick(module, name)
    raise Refusal(
        2,
        f"which app? None of {', '.join(USUAL_FILES)} in {found.folder} holds a Choreography. Name it with "
        "--app path/to/file.py:attr, with CALLBOARD_APP, or with `app` in [tool.callboard] of pyproject.toml",
    )


def find_app_if_any(given: str | None) -> Choreography | None:
    """As `find_app` for commands that can do without: None where no app was named and none lies there."""
    if setting("app", given).value is None and not any((Path.cwd() / name).is_file() for name in USUAL_FILES):
        return None
    try:
        return find_app(given)
    except Refusal:
        if setting("app", given).value is not None:
            raise
        return None


def load_app(spec: str, folder: Path) -> Choreography:
    """The choreography that `spec`, seen from `folder`, names."""
    target, attribute = _split(spec)
    module = _import(target, folder)
    if attribute is None:
        return _pick(module, target)
    found = _attribute(module, attribute, spec)
    if not isinstance(found, Choreography):
        inside = list(_choreographies(module).values())
        hint = (
            f"name one of its choreographies: {', '.join(f'{target}:{name}' for name in inside)}"
            if inside
            else ("an app is a Choreography(name, *services, flows=[...])")
        )
        raise Refusal(2, f"{spec} is {_what(found)}, no Choreography: {hint}")
    return found


def load_keepers(spec: str, folder: Path) -> Any:
    """What `--ports` names: a list of keepers, or what a function without arguments returns (it may be awaited)."""
    target, attribute = _split(spec)
    if attribute is None:
        raise Refusal(2, f"--ports {spec}: say which attribute, as in {spec}:keepers")
    found = _attribute(_import(target, folder), attribute, spec)
    if callable(found):
        try:
            return found()
        except Exception as error:  # noqa: BLE001 - whatever their function raises
            _refuse(f"--ports {spec} did not return its keepers", error)
    return found


def as_list(keepers: Any) -> list[Any]:
    """The keepers that were loaded. Exit 2 for anything but several."""
    if isinstance(keepers, list | tuple):
        return list(keepers)  # pyright: ignore[reportUnknownArgumentType]
    raise Refusal(2, f"--ports names {keepers!r}: it is a list of keepers, or a function that returns one")


def _split(spec: str) -> tuple[str, str | None]:
    target, colon, attribute = spec.rpartition(":")
    if not colon:
        return spec, None
    if not target or not all(part.isidentifier() for part in attribute.split(".")):
        raise Refusal(2, f"{spec!r} names no app: write module:attr or path/to/file.py:attr")
    return target, attribute


def _attribute(module: ModuleType, attribute: str, spec: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = list(_choreographies(module).values()) or [
                name for name in vars(module) if not name.startswith("_")
            ]
            raise Refusal(2, f"{spec}: {module.__name__} has no {attribute!r}{meant(attribute, names)}")
        found = getattr(found, part)
    return found


def _choreographies(module: ModuleType) -> dict[int, str]:
    """The names of the choreographies in a module, by identity: a second name of one is no second one."""
    found: dict[int, str] = {}
    for name, value in vars(module).items():
        if isinstance(value, Choreography):
            found.setdefault(id(value), name)
    return found


def _pick(module: ModuleType, target: str) -> Choreography:
    names = list(_choreographies(module).values())
    if not names:
        raise Refusal(2, f"{target} holds no Choreography: name the file that builds it, as in path/to/file.py:attr")
    if len(names) > 1:
        raise Refusal(
            2,
            f"{target} holds {len(names)} choreographies: name {' or '.join(f'{target}:{name}' for name in names)}",
        )
    found: Choreography = getattr(module, names[0])
    return found


def _import(target: str, folder: Path) -> ModuleType:
    """The module, imported as its own package would; from `folder` on."""
    is_path = target.endswith(".py") or "/" in target or not target.strip(".")
    try:
        return _import_file(folder / target, target) if is_path else _import_module(target, folder)
    except Refusal:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever their module raises
        _refuse(f"{target} cannot be imported", error)


def _import_module(name: str, folder: Path) -> ModuleType:
    _look_in(folder)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            near = sorted(each.stem for each in folder.glob("*.py"))
            raise Refusal(2, f"there is no module {name!r} in {folder}{meant(name, near)}") from error
        raise


def _import_file(path: Path, target: str) -> ModuleType:
    path = path / "__init__.py" if path.is_dir() else path
    if not path.is_file():
        near = sorted(each.name for each in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise Refusal(2, f"there is no file {target}{meant(path.name, near) if near else ''}")
    path = path.resolve()
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    _look_in(folder)
    name = ".".join(parts)
    if all(part.isidentifier() for part in parts):
        known = sys.modules.get(name)
        found = known or (import_module(name) if importlib.util.find_spec(name) else None)
        if found is not None and getattr(found, "__file__", None) == str(path):
            return found
    return _load(path, f"callboard_app_{path.stem}")  # its name is taken by another module


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Refusal(2, f"{path} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _refuse(what: str, error: BaseException) -> NoReturn:
    """Exit 2 with the last line of the user's own that led to the error."""
    if isinstance(error, ContractError):
        raise Refusal(2, f"{what}: {error}") from error
    cause = f"{type(error).__name__}: {error}"
    if isinstance(error, SystemExit):
        cause = f"it ends the program ({cause}): put what it runs under `if __name__ == '__main__':`"
    line = _own_line(error)
    raise Refusal(2, f"{what}: {cause}{line}") from error


def _own_line(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"\n  {error.filename}:{error.lineno}: {(error.text or '').strip()}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((PACKAGE, "<frozen", sys.base_prefix + "/lib", sys.prefix + "/lib"))
    ]
    if not frames:
        return ""
    return f"\n  {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}"


def _what(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "a function" if callable(value) else f"a {type(value).__name__}"
