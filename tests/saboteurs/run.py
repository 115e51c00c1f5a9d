"""Break every promise on purpose, one break at a time, and see the tests fail.

Each saboteur replaces a piece of the source in a copy of it; the tests it names run against that copy. One that
survives is a promise that nobody keeps watch over: this program ends with 1 then, and with 2 if one does not fit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "targets")]

from tests.saboteurs.plans import SABOTEURS, Saboteur  # noqa: E402  # found only once the root is on the path
from tests.saboteurs.scenes import OUT_OF_REACH, SAMPLE, SCENES, SCENES_OF, UNSEEN  # noqa: E402

_BEGIN, _END = "<!-- written by make saboteurs-simulated -->", "<!-- to here -->"
_LONGEST = 120  # seconds; a broken ledger may wait for ever, and waiting for ever is noticed too


class Found(NamedTuple):
    """What became of one saboteur."""

    saboteur: Saboteur
    fate: str  # caught | survived | does not fit
    by: str
    took: float


def planted(saboteur: Saboteur, folder: Path) -> str | None:
    """A copy of the source with the break in it; what does not fit, if it does not."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for change in saboteur.changes:
        page = folder / "src" / "callboard" / change.file
        text = page.read_text()
        if text.count(change.old) != 1:
            return f"{change.file} holds {text.count(change.old)} times: {change.old.strip().splitlines()[0]}"
        page.write_text(text.replace(change.old, change.new))
    return None


def tried(saboteur: Saboteur) -> Found:
    """Run the tests of the promise against the broken copy."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="callboard-saboteur-") as name:
        folder = Path(name)
        if (misfit := planted(saboteur, folder)) is not None:
            return Found(saboteur, "does not fit", misfit, 0)
        environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            *saboteur.tests,
        ]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_LONGEST, check=False
            )
        except subprocess.TimeoutExpired:
            return Found(saboteur, "caught", f"nothing came to an end in {_LONGEST} s", time.monotonic() - began)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    took = time.monotonic() - began
    if done.returncode == 0:
        return Found(saboteur, "survived", "", took)
    if done.returncode != 1 or not failed:
        return Found(saboteur, "does not fit", (done.stdout + done.stderr)[-400:], took)
    return Found(saboteur, "caught", failed[0].split(" - ")[0].removeprefix("FAILED ").removeprefix("ERROR "), took)


def lived(saboteur: Saboteur, seeds: int) -> Found:
    """Run some whole choreographies under seeded faults on the broken copy."""
    if (why := OUT_OF_REACH.get(saboteur.name)) is not None:
        return Found(saboteur, "survived", why, 0)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="callboard-saboteur-") as name:
        folder = Path(name)
        if (misfit := planted(saboteur, folder)) is not None:
            return Found(saboteur, "does not fit", misfit, 0)
        environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, str(HERE / "simulated.py"), str(seeds), *SCENES_OF[saboteur.promise]]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=5 * _LONGEST, check=False
            )
        except subprocess.TimeoutExpired:
            return Found(saboteur, "caught", "it never came to rest", time.monotonic() - began)
    took = time.monotonic() - began
    if done.returncode == 0:
        return Found(saboteur, "survived", UNSEEN.get(saboteur.name, "not within these seeds"), took)
    by = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]
    return Found(saboteur, "caught", by, took)


def unbroken(seeds: int) -> str:
    """What is wrong in the worlds of a build in which nothing is broken: there it would say nothing of a break."""
    command = [sys.executable, str(HERE / "simulated.py"), str(seeds), *SCENES]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def write_table(found: list[Found], seeds: int) -> None:
    """Which suite catches which, between the marks of docs/simulate.md."""
    page = ROOT / "docs" / "simulate.md"
    before, rest = page.read_text("utf-8").split(_BEGIN)
    after = rest.split(_END)[1]
    caught = sum(one.fate == "caught" for one in found)
    beyond = sum(one.saboteur.name in OUT_OF_REACH for one in found)
    reached = f"{beyond} are beyond what a world can be; of the other {len(found) - beyond}, {caught} are caught"
    lines = [
        f"Of {len(found)} breaks {reached} within {seeds} seeds of the two or three",
        "choreographies that use what is broken.",
        "",
    ]
    lines += ["| | break | tests | simulation |", "|---|---|---|---|"]
    for one in found:
        tests = ", ".join(Path(test).stem.removeprefix("test_") for test in one.saboteur.tests)
        by = one.by.replace("|", "\\|") if one.fate == "caught" else f"no: {one.by}"
        lines.append(f"| {one.saboteur.promise} | {one.saboteur.name.replace('_', ' ')} | {tests} | {by} |")
    page.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n" + _END + after, "utf-8")


def main() -> int:
    """Try them all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", action="store_true", help="under simulation instead; writes docs/simulate.md")
    parser.add_argument("--seeds", type=int, default=60, help="of each choreography, under simulation")
    parser.add_argument("--sample", action="store_true", help="a few under simulation, each of which must be caught")
    parser.add_argument("names", nargs="*", help="only these saboteurs")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    options = parser.parse_args()
    simulated, names = options.simulated or options.sample, SAMPLE if options.sample else options.names
    chosen = [each for each in SABOTEURS if not names or each.name in names]
    if simulated and (wrong := unbroken(options.seeds)):
        print(f"wrong without any break: {wrong}; so nothing is said of what a break changes")
        return 2
    found: list[Found] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for one in pool.map(partial(lived, seeds=options.seeds) if simulated else tried, chosen):
            found.append(one)
            mark = {"caught": "caught  ", "survived": "SURVIVED", "does not fit": "MISFIT  "}[one.fate]
            print(f"{mark} {one.saboteur.promise:>2}  {one.saboteur.name:<42} {one.took:5.1f} s  {one.by}", flush=True)
    caught = Counter(one.saboteur.promise for one in found if one.fate == "caught")
    for promise, many in sorted(Counter(each.promise for each in chosen).items()):
        print(f"promise {promise:>2}: {caught[promise]} of {many} caught")
    print(f"{caught.total()} of {len(found)} saboteurs were caught")
    if any(one.fate == "does not fit" for one in found):
        return 2
    if options.simulated:
        if not names:
            write_table(found, options.seeds)
        return 0
    return 0 if caught.total() == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
