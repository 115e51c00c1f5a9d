"""Run every example and compare what it prints with what it should print.

Beside each example lies `expected_output`, a transcript: a line `$ program.py --option` runs a program of that
folder, the lines below it are its output. A line that begins with `~ ` is a regular expression for the whole line.

    python run_all.py                 all of them
    python run_all.py 04 trip         those whose folder's name contains one of these
"""

import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LONGEST = 120  # seconds


class Step(NamedTuple):
    """One command of a transcript, and the lines that it should print."""

    command: str
    lines: list[str]


class Result(NamedTuple):
    """What came of one example: what is wrong, or nothing, and how long it took."""

    name: str
    seconds: float
    trouble: list[str]


def transcripts(wanted: Sequence[str] = ()) -> list[Path]:
    """The transcripts of all examples, in the order of their names, or of those that are wanted."""
    found = sorted(HERE.glob("*/expected_output"))
    return [path for path in found if not wanted or any(part in path.parent.name for part in wanted)]


def steps(text: str) -> list[Step]:
    """The commands of a transcript."""
    found: list[Step] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Step(line.removeprefix("$ "), []))
        elif not found:
            raise ValueError(f"a transcript begins with `$ program.py`, not with {line!r}")
        else:
            found[-1].lines.append(line)
    return found


def differences(expected: Sequence[str], printed: Sequence[str]) -> list[str]:
    """Where the two part, line by line; nothing if they agree."""
    found: list[str] = []
    for number, (wanted, line) in enumerate(zip_longest(expected, printed), 1):
        if wanted is None:
            found.append(f"line {number}: nothing was expected, printed was {line!r}")
        elif line is None:
            found.append(f"line {number}: {wanted!r} was expected, and the output had ended")
        elif wanted.startswith("~ "):
            if re.fullmatch(wanted.removeprefix("~ "), line) is None:
                found.append(f"line {number}: {line!r} does not match {wanted.removeprefix('~ ')!r}")
        elif wanted != line:
            found.append(f"line {number}: {wanted!r} was expected, printed was {line!r}")
    return found


def run(transcript: Path) -> Result:
    """Run the commands of one transcript, in an empty folder of its own."""
    began, trouble = time.monotonic(), list[str]()
    with tempfile.TemporaryDirectory(prefix="callboard-example-") as folder:
        for step in steps(transcript.read_text("utf-8")):
            program, *options = shlex.split(step.command)
            command = [sys.executable, str(transcript.with_name(program)), *options]
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LONGEST, check=False)
            except subprocess.TimeoutExpired:
                trouble.append(f"$ {step.command}: no end after {LONGEST} s")
                continue
            found = differences(step.lines, done.stdout.splitlines())
            if done.returncode:
                found.append(f"exit code {done.returncode}")
            if found:
                trouble += [f"$ {step.command}", *found, *done.stderr.splitlines()[-20:]]
    return Result(transcript.parent.name, time.monotonic() - began, trouble)


def main(wanted: Sequence[str]) -> int:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, transcripts(wanted)))
    for result in results:
        print(f"{'FAILED' if result.trouble else 'ok':<8}{result.name:<24}{result.seconds:5.1f} s")
        for line in result.trouble:
            print(f"        {line}")
    failed = sum(bool(result.trouble) for result in results)
    print(f"{len(results) - failed} examples as expected, {failed} not")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
