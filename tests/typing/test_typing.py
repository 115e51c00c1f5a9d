"""Both checkers, strict and without a plugin: what they must accept, infer, and refuse (an unneeded ignore fails)."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKED = ("tests/typing", "tests/targets")


@pytest.mark.typing
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_users_code_is_understood(checker: str) -> None:
    command = [sys.executable, "-m", checker, *CHECKED]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_refused_line_is_refused_by_both() -> None:
    refused = Path(__file__).with_name("refused.py").read_text("utf-8")
    marked = [line for line in refused.splitlines() if "# type: ignore[" in line or "# pyright: ignore[" in line]
    assert len(marked) > 50
    assert [line for line in marked if not re.search(r"# type: ignore\[.+\]  # pyright: ignore\[.+\]$", line)] == []


def test_what_is_accepted_also_runs() -> None:
    runpy.run_path(str(Path(__file__).with_name("accepted.py")))
