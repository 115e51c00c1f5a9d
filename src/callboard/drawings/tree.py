"""A tree as lines of text, and its words in plain ASCII for terminals that know nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, field

_PLAIN = {
    "├─": "|-", "└─": "`-", "│": "|", "─": "-", "╌": ".", "┄": "'", "═": "=", "·": ":", "▶": ">", "→": "->", "↑": "^",
    "✗": "x", "×": "x", "…": "...", "–": "-",
}  # fmt: skip


@dataclass
class Branch:
    """A line of text and what hangs below it; `tone` says how it may be coloured."""

    text: str
    below: list["Branch"] = field(default_factory=list["Branch"])
    tone: str = ""


def lines(roots: list[Branch]) -> Iterator[tuple[str, str]]:
    """Each line with its tone, the roots at the margin."""
    for root in roots:
        yield root.text, root.tone
        yield from _below(root, "")


def _below(branch: Branch, margin: str) -> Iterator[tuple[str, str]]:
    for number, each in enumerate(branch.below, 1):
        is_last = number == len(branch.below)
        yield f"{margin}{'└─' if is_last else '├─'} {each.text}", each.tone
        yield from _below(each, margin + ("   " if is_last else "│  "))


def plain(text: str) -> str:
    """The same in ASCII, for what has a stand-in."""
    for each, stand_in in _PLAIN.items():
        text = text.replace(each, stand_in)
    return text
