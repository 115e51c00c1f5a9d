"""The tutorial as it is played: its diffs are applied, its commands typed. `python -m tests.tutorial_page` writes anew
what they print, and draws its pictures.
"""

import re
import tempfile
from pathlib import Path

from tests.support.pages import ROOT, play_line, python, wrap

PAGES = [ROOT / "docs" / "tutorial" / name for name in ("1-check.md", "2-simulate.md")]
PICTURES = {name: ROOT / "docs" / "pictures" / f"{name}.svg" for name in ("textbook", "timeout", "mended")}
BLOCK = re.compile(r"^```(python|diff|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def played(text: str, folder: Path) -> str:
    """The page, with what its commands print in this folder."""
    wrap(folder)
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")

    def play(found: re.Match[str]) -> str:
        kind, code = found.groups()
        if kind == "python":
            (folder / code.removeprefix("# ").partition("\n")[0]).write_text(code)
        elif kind == "diff":
            (folder / "next.diff").write_text(code)
            done = play_line("patch --quiet shop.py next.diff", folder)
            assert not done, done
        else:
            lines = [line for line in code.splitlines() if line.startswith("$ ")]
            code = "".join(f"{line}\n{printed(line.removeprefix('$ '), folder)}" for line in lines)
        return f"```{kind}\n{code}```"

    return BLOCK.sub(play, text)


def printed(line: str, folder: Path) -> str:
    """What a command prints, errors too, without the folder and the speed of this machine."""
    text = play_line(line, folder).replace(f"{folder}/", "").replace(f"{ROOT}/", "")
    text = re.sub(r" in [0-9.]+( s \(\d+ seeds/s\)|s)", "", text)
    return "".join(f"{each.rstrip()}\n" for each in text.splitlines())


def picture(name: str) -> str:
    """One of the choreographies, drawn."""
    graph = ("-m", "callboard", "graph", f"examples/showcase/{name}.py", "--format", "svg")
    return python(*graph, cwd=ROOT).stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for page in PAGES:
            page.write_text(played(page.read_text("utf-8"), Path(folder).resolve()), "utf-8")
    for name, file in PICTURES.items():
        file.write_text(picture(name), "utf-8")


if __name__ == "__main__":
    main()
