"""Contracts as they were in a revision of git: its files are unpacked elsewhere, and read by a program of their own."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from callboard.cli.command import Refusal
from callboard.cli.discovery import find_app
from callboard.cli.settings import setting
from callboard.errors import PACKAGE

if TYPE_CHECKING:
    from callboard.contracts.file import ContractFile


def contracts(what: str | None, app: str | None) -> "ContractFile":
    """Those in this file, or of the app in this revision; of the app as it stands here where neither is named."""
    from callboard.contracts.file import load

    if what is None:
        from callboard.contracts.writing import write

        return write(find_app(app))
    return load(Path(what)) if Path(what).is_file() else _of_revision(what, app)


def _of_revision(revision: str, app: str | None) -> "ContractFile":
    """The contracts of the app in this revision. The checkout is neither touched nor imported."""
    found = setting("app", app)
    root = Path(_git(found.folder, "rev-parse", "--show-toplevel").decode().strip())
    commit = _git(found.folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    with _unpacked(_git(root, "archive", commit.decode().strip())) as tree:
        here = tree / found.folder.resolve().relative_to(root.resolve())
        if not here.is_dir():
            raise Refusal(4, f"{revision} has no folder {here.relative_to(tree)}")
        return _export(here, tree, root, found.value, revision)


def _git(folder: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise Refusal(2, "a revision wants git, and there is none on the path") from error
    if done.returncode:
        what = words[-1].removesuffix("^{commit}") if words[1] == "--verify" else ""
        why = done.stderr.decode(errors="replace").strip()
        raise Refusal(
            4 if what else 2, f"{what!r} is neither a file nor a revision of git here" if what else f"git: {why}"
        )
    return done.stdout


@contextmanager
def _unpacked(archive: bytes) -> Iterator[Path]:
    with TemporaryDirectory(prefix="callboard-") as folder:
        tree = Path(folder).resolve() / "tree"
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(tree, filter=_what_stays_inside)  # noqa: S202 - the filter refuses what leads out
        yield tree


def _what_stays_inside(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    try:
        return tarfile.data_filter(member, path)
    except tarfile.FilterError:  # a link that leads out of the tree
        return None


def _export(here: Path, tree: Path, root: Path, app: str | None, revision: str) -> "ContractFile":
    written = tree.with_name("contract.json")
    command = [sys.executable, "-m", "callboard", "contract", "export", *([app] if app else []), "-o", str(written)]
    paths = [str(here), *_paths(tree, root.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}
    env.update(PYTHONPATH=os.pathsep.join(paths), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refusal(2, f"in {revision}, {done.stderr.strip().removeprefix('error: ')}")
    from callboard.contracts.file import load

    file = load(written)
    strangers = [it.file for it in file.reactions.values() if Path(it.file).is_relative_to(root.resolve())]
    if strangers:
        raise Refusal(
            2, f"in {revision}, the app was read from {strangers[0]}, the checkout itself: name it by its path"
        )
    return _seen_from(here, file)


def _paths(tree: Path, root: Path) -> list[str]:
    """Where this program finds modules of the checkout, there it finds those of the revision; callboard is this one."""
    inside = [Path(each).resolve() for each in sys.path if each and Path(each).resolve().is_relative_to(root)]
    own = Path(PACKAGE).resolve().parent
    return [str(tree / each.relative_to(root)) for each in inside if each != own and "site-packages" not in each.parts]


def _seen_from(here: Path, file: "ContractFile") -> "ContractFile":
    """Files beside the working directory are told from it, as those inside are."""
    near = {
        path: msgspec.structs.replace(
            it, file=os.path.relpath(it.file, here) if Path(it.file).is_absolute() else it.file
        )
        for path, it in file.reactions.items()
    }
    return msgspec.structs.replace(file, reactions=near)
