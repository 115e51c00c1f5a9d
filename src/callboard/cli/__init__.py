"""The command line, `callboard`. What a command needs is imported when that command runs."""

import sys


def main() -> None:
    """Runs the command that the arguments name, and ends the program with its exit code."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError:
        print("error: the command line needs click and rich: pip install 'callboard[cli]'", file=sys.stderr)
        sys.exit(2)
    from callboard.cli.front import cli

    cli(prog_name="callboard")
