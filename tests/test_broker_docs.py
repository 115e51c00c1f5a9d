"""What docs/brokers.md shows runs, and prints what it says."""

import re
import subprocess
import sys
from pathlib import Path

from callboard.broker import Broker
from callboard.hops import abroad

PAGE = (Path(__file__).parent.parent / "docs" / "brokers.md").read_text("utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_runs(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(BLOCKS[0])
    ran = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.returncode) == ("True LetterDelivered(letter_id='l-1')\n", 0), ran.stderr
    assert ran.stderr == ""


def test_the_promise_is_shown_as_it_is() -> None:
    shown = set(re.findall(r"async def (\w+)", BLOCKS[2]))
    assert shown == {name for name in vars(Broker) if not name.startswith("_")}


def test_the_limits_are_the_real_ones() -> None:
    assert f"until {abroad._MOST:,} entries wait" in PAGE
