"""All checks, by code; and how a choreography is checked."""

from collections.abc import Collection, Sequence

from callboard.check import SEVERITIES, Check, Finding, Report
from callboard.checks import allowances as allowances_of
from callboard.checks import (
    assumed_order,
    both_outcomes,
    dead_reactions,
    early_completions,
    effects_left_behind,
    endless_cycles,
    failures_after_pivot,
    hollow_successes,
    keyless_completions,
    orphan_events,
    parked_for_ever,
    repeated_effects,
    repeated_events,
    stalling_losses,
    two_owners,
    unbounded_cycles,
    uncancelled_timers,
    undeclared_returns,
    undeclared_undos,
    unfinished_flows,
    unheard_failures,
    uninformed_reactions,
    unreachable_completions,
    unreadable_versions,
    unsafe_upgrades,
    unsaid_events,
)
from callboard.checks.subject import LIMIT, Subject
from callboard.choreography import Choreography
from callboard.contracts.file import ContractFile

FILES = (
    assumed_order, both_outcomes, dead_reactions, early_completions, effects_left_behind, endless_cycles,
    failures_after_pivot, hollow_successes, keyless_completions, orphan_events, parked_for_ever, repeated_effects,
    repeated_events, stalling_losses, two_owners, unbounded_cycles, uncancelled_timers, undeclared_returns,
    undeclared_undos, unfinished_flows, unheard_failures, uninformed_reactions, unreachable_completions,
    unreadable_versions, unsafe_upgrades, unsaid_events,
)  # fmt: skip
CHECKS: dict[str, Check] = {each.code: each for each in sorted((file.CHECK for file in FILES), key=lambda it: it.code)}


def check(
    choreography: Choreography,
    *,
    select: Collection[str] = (),
    ignore: Collection[str] = (),
    broker: str | None = None,
    limit: int = LIMIT,
    files: Sequence[ContractFile] = (),
    against: ContractFile | None = None,
) -> Report:
    """What is wrong with it, the most severe first, then causes, then by code and place.

    `select` and `ignore` hold codes or their beginnings.

    `files` are those that it was made of, if it was; `against` is the version before it.
    """
    subject = Subject(choreography, broker=broker, limit=limit, files=files, against=against)
    codes = [code for code in CHECKS if _begins(code, select or ("CB",)) and not _begins(code, ignore)]
    found = [finding for code in codes for finding in CHECKS[code].find(subject)]
    found.sort(key=_rank)
    allowances = allowances_of.read(choreography)
    allowed = [each for each in found if any(it.allows(each) for it in allowances)]
    notes = list(allowances_of.unused(allowances, allowed, codes))
    if subject.cut_short:
        notes.append("the search for dead letters that stall a flow was bounded: CB305 may name too few reactions")
    left = [each for each in found if each not in allowed]
    return Report(choreography, left, subject.extents, allowed, notes, broker)


def _rank(finding: Finding) -> tuple[int, bool, str, str, int, str]:
    """By severity, then what makes others come up: a wrong annotation, an undo that is not declared; then by code."""
    place = finding.place
    is_cause = finding.code in ("CB203", "CB306", "CB501")
    return SEVERITIES.index(finding.severity), not is_cause, finding.code, place.file, place.line, finding.about


def _begins(code: str, beginnings: Collection[str]) -> bool:
    return code.startswith(tuple(beginnings)) if beginnings else False
