"""The rules as switches. True keeps the rule; each saboteur is the proposed set with one plausible shortcut taken."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rules:
    """What the react group promises. Of a pair, *r* is the compensated reaction, an *ask* a delivery of the other."""

    # the pair: a reaction and its compensations in one flow
    compensation_waits: bool = True  # for an r that runs, or that was logged earlier and can run now
    parked_may_run: bool = True  # an r that is parked as running is waited for like any other that runs
    reaction_waits: bool = True  # r does not start beside a running ask, nor beside one that was logged before it
    parked_waits: bool = True  # a parked r (retry, replay, behind) does not start while any ask is not settled
    closes: bool = True  # an answered ask closes r in this flow
    attempted_ask_closes: bool = True  # an ask that was attempted and parked has closed r already
    unknown_is_settled: bool = (
        True  # an attempted r that committed nothing is settled with the outside, not "never ran"
    )
    unknown_is_kept: bool = True  # that an outcome is unknown survives the parked row that said so
    tried_is_kept: bool = True  # a replay forgives attempts, it does not forget that there were some
    # rows, lines, once
    row_order: bool = True  # reactions on one state row never overlap
    versions: bool = True  # every row that was loaded is checked in the commit
    refusals_are_checked: bool = True  # also by a run that changed nothing
    line_stops: bool = True  # what is parked stops its line
    once_at_commit: bool = True  # `once` is taken by what commits, not by what starts
    # the log, its readers, and what a crash leaves
    reads_foreign_rows: bool = True  # new events are handed on in memory only if nothing unread stands before them
    outside_sees_committed: bool = True  # what can reach outside runs on committed rows only
    writes_open: bool = True  # a position never passes an open delivery without writing it down
    keeps_finished: bool = True  # what was finished above an open delivery survives a crash
    position_never_back: bool = True  # a position is not lowered by reading again after a crash
    reads_up_to_it: bool = True  # nothing starts before the log was read up to its number, after a crash too
    counts_kills: bool = True  # after an unclean stop an attempt is written down before it starts
    drops_duplicates: bool = True  # an id from outside is taken in once
    stable_keys: bool = True  # an outside call carries one key through all its attempts
    # timers and verdicts
    reads_before_firing: bool = True  # a timer or deadline is decided by the log, not by what was read of it so far
    verdict_waits: bool = True  # a failed verdict waits for every asked compensation


PROPOSED = Rules()

SABOTEURS: dict[str, Rules] = {
    "promise 7 taken literally: closed while r runs, r skipped at its commit": replace(
        PROPOSED, compensation_waits=False
    ),
    "an r parked as running is not waited for": replace(PROPOSED, parked_may_run=False),
    "a retrying r counts as never ran": replace(PROPOSED, unknown_is_settled=False),
    "r may start beside a running or earlier-logged ask": replace(PROPOSED, reaction_waits=False),
    "no tombstone": replace(PROPOSED, closes=False),
    "a parked r may start beside a later ask (retry, replay)": replace(PROPOSED, parked_waits=False),
    "an attempted ask does not close r": replace(PROPOSED, attempted_ask_closes=False),
    "an unknown outcome is forgotten with its row": replace(PROPOSED, unknown_is_kept=False),
    "a replay forgets that it was tried": replace(PROPOSED, tried_is_kept=False),
    "no row order and no version check": replace(PROPOSED, row_order=False, versions=False),
    "a refusal is not checked against the row it read": replace(PROPOSED, refusals_are_checked=False),
    "a parked delivery does not stop its line": replace(PROPOSED, line_stops=False),
    "once is claimed at start": replace(PROPOSED, once_at_commit=False),
    "hand-off from the head skips foreign rows": replace(PROPOSED, reads_foreign_rows=False),
    "code that reaches outside sees uncommitted results": replace(PROPOSED, outside_sees_committed=False),
    "a position passes open deliveries": replace(PROPOSED, writes_open=False),
    "a position moves back after a crash": replace(PROPOSED, position_never_back=False),
    "after a crash a delivery starts before the rows below it are read": replace(PROPOSED, reads_up_to_it=False),
    "marks are lost at a crash": replace(PROPOSED, keeps_finished=False),
    "what kills the process is not counted": replace(PROPOSED, counts_kills=False),
    "duplicates are taken in": replace(PROPOSED, drops_duplicates=False),
    "each attempt has its own key": replace(PROPOSED, stable_keys=False),
    "a timer fires before what was in the log was read": replace(PROPOSED, reads_before_firing=False),
    "a failed verdict does not wait for compensations": replace(PROPOSED, verdict_waits=False),
}
