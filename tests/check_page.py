"""The part of docs/check.md that the checks write themselves. `python -m tests.check_page` writes it anew."""

from pathlib import Path

from callboard.checks.assumptions import ASSUMED
from callboard.checks.catalogue import CHECKS

PAGE = Path(__file__).parent.parent / "docs" / "check.md"
BEGIN = "<!-- what follows is written by `python -m tests.check_page` -->"


def catalogue() -> str:
    """Each check with its meaning, and its example broken and mended."""
    parts: list[str] = [BEGIN, ""]
    for check in CHECKS.values():
        parts += [f"### {check.code} {check.name}", "", f"*{check.severity}.* {check.meaning}", ""]
        for title, lines in (("Broken", check.broken), ("Mended", check.mended)):
            parts += [f"{title}:", "", "```text", lines.strip("\n"), "```", ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def assumptions() -> str:
    """What is taken for granted, as a list."""
    return "\n".join(f"- {each}" for each in ASSUMED)


def main() -> None:
    text = PAGE.read_text("utf-8")
    PAGE.write_text(text[: text.index(BEGIN)] + catalogue(), "utf-8")


if __name__ == "__main__":
    main()
