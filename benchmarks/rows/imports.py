"""How long it takes before the first line of a program, or the first line of help."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import Figures, Side, spread
from benchmarks.rows import Answer, Options, Row

_HELP = str(Path(sys.executable).with_name("callboard"))


def import_it(_: Path) -> Figures:
    """Of `import callboard` in a Python that has imported nothing of it."""
    assert not {"callboard", "msgspec"} & sys.modules.keys()
    began, cpu = time.perf_counter(), time.process_time()
    import callboard

    assert callboard.__all__
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


def ask_for_help(_: Path) -> Figures:
    """Of the whole program `callboard --help`, as the shell sees it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([_HELP, "--help"], check=True, capture_output=True)
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": took, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def _times(options: Options, name: str) -> Answer:
    side = Side(name, f"benchmarks.rows.imports:{name}")
    side.run()  # compiled and in the page cache
    found: list[Figures] = []
    for number in range(options.count):
        found.append(side.run())
        options.tell(f"{number + 1}/{options.count}")
    return Answer(
        [each["seconds"] for each in found],
        [each["cpu"] for each in found],
        [f"{spread([each['cpu'] for each in found]):.3f} s of it are CPU"],
    )


def measure_import(options: Options) -> Answer:
    """`import callboard`."""
    return _times(options, "import_it")


def measure_help(options: Options) -> Answer:
    """`callboard --help`."""
    return _times(options, "ask_for_help")


ROW = Row("import", "import callboard", 0.15, None, measure_import, at_least=False, form=".3f", unit="s")
HELP = Row("help", "callboard --help", 0.25, None, measure_help, at_least=False, form=".3f", unit="s")
