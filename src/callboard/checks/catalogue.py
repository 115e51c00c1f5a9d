"""All checks, by code; and how a choreography is checked."""

from collections.abc import Collection

from callboard.check import SEVERITIES, Check, Report
from callboard.checks import (
    assumed_order,
    both_outcomes,
    dead_reactions,
    early_completions,
    effects_left_behind,
    endless_cycles,
    failures_after_pivot,
    hollow_successes,
    orphan_events,
    parked_for_ever,
    repeated_effects,
    repeated_events,
    stalling_losses,
    two_owners,
    unbounded_cycles,
    uncancelled_timers,
    undeclared_undos,
    unfinished_flows,
    unheard_failures,
    uninformed_reactions,
    unreachable_completions,
    unsaid_events,
)
from callboard.checks.subject import Subject
from callboard.choreography import Choreography

FILES = (
    assumed_order,
    both_outcomes,
    dead_reactions,
    early_completions,
    effects_left_behind,
    endless_cycles,
    failures_after_pivot,
    hollow_successes,
    orphan_events,
    parked_for_ever,
    repeated_effects,
    repeated_events,
    stalling_losses,
    two_owners,
    unbounded_cycles,
    uncancelled_timers,
    undeclared_undos,
    unfinished_flows,
    unheard_failures,
    uninformed_reactions,
    unreachable_completions,
    unsaid_events,
)
CHECKS: dict[str, Check] = {each.code: each for each in sorted((file.CHECK for file in FILES), key=lambda it: it.code)}


def check(
    choreography: Choreography,
    *,
    select: Collection[str] = (),
    broker: str | None = None,
    limit: int = 200_000,
) -> Report:
    """What is wrong with it, by severity, then code, then place. `select` holds codes or their beginnings."""
    subject = Subject(choreography, broker=broker, limit=limit)
    asked = [each for code, each in CHECKS.items() if not select or code.startswith(tuple(select))]
    found = [finding for each in asked for finding in each.find(subject)]
    found.sort(key=lambda it: (SEVERITIES.index(it.severity), it.code, it.place.file, it.place.line, it.about))
    return Report(choreography, found, subject.extents)
