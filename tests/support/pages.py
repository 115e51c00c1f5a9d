"""What a page shows is played: its files are written, its commands typed, and what they print is compared."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def python(*command: object, cwd: Path, patience: float = 100) -> subprocess.CompletedProcess[str]:
    """Run a program with the callboard of this checkout."""
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )


def shell(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    call = "import subprocess, sys; sys.exit(subprocess.call(['sh', '-c', sys.argv[1]]))"
    return python("-c", call, script, cwd=cwd, patience=250)


def smoothed(text: str) -> str:
    """Without what differs from run to run: ids, moments, durations, and the columns that they widen."""
    for pattern, word in (
        (r"[0-9a-z]{26}", "ID"),
        (r"\brp-[0-9a-f]{6}\b", "RP"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "MOMENT"),
        (r"\d+ min( \d+ s)?", "TIME"),
        (r"\d+(\.\d+)? m?s\b", "TIME"),
        (r"(?<=\S) {2,}", "  "),
    ):
        text = re.sub(pattern, word, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def write_files(text: str, folder: Path) -> None:
    """Each Python block names its file in its first line; blocks of one name are one file, in order."""
    for code in blocks(text, "python"):
        name, _, _ = code.removeprefix("# ").partition("\n")
        with (folder / name).open("a") as file:
            file.write(code)


def wrap(folder: Path) -> None:
    """In this folder `callboard` and `python` are those of the tests."""
    for name, arguments in (("callboard", " -m callboard"), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        (folder / name).chmod(0o755)


def surroundings(folder: Path) -> str:
    return f"PATH={shlex.quote(str(folder))}:$PATH; export PYTHONIOENCODING=utf-8 NO_COLOR=1"


def play_line(line: str, folder: Path) -> str:
    """Type one line; give what it prints, errors too."""
    done = shell(f"{surroundings(folder)}; {{ {line}; }} 2>&1", cwd=folder)
    return done.stdout + done.stderr


def play(consoles: list[str], folder: Path) -> tuple[str, str]:
    """Type what the pages show; give what they say it prints, and what it printed. What ends in `&` is stopped."""
    wrap(folder)
    expected = "".join(consoles)
    commands = re.findall(r"^\$ (.*)$", expected, re.MULTILINE)
    lines = [surroundings(folder)]
    for each in commands:
        begun = re.sub(r" &$", ' 2>>worker.log & begun="$begun $!"', each)
        lines += [f"echo {shlex.quote('$ ' + each)}", begun]
    lines += ["for one in $begun; do kill $one; done 2>/dev/null", "wait"]
    done = shell("\n".join(lines), cwd=folder)
    print(done.stderr)
    return smoothed(expected), smoothed(done.stdout)
