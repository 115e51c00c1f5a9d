"""The command line, `callboard`. What a command needs is imported when that command runs."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Runs the command that the arguments name, and ends the program with its exit code."""
    if find_spec("click") is None or find_spec("rich") is None:
        print("error: the command line needs click and rich: pip install 'callboard[cli]'", file=sys.stderr)
        sys.exit(2)
    from callboard.cli.front import cli

    cli(prog_name="callboard")
