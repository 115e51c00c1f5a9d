"""The choreographies that are lived on a broken build, which of them first, and what no world reaches by its design."""

from __future__ import annotations

from collections.abc import Callable

from callboard.simulation.world import Scene
from tests import archive, glutton, workshop, yard
from tests.planted import whole_auction, whole_shop
from trip import rides

_LETTERS = frozenset({"dead-letter"})

SCENES: dict[str, Callable[[], Scene]] = {
    "workshop": lambda: Scene(workshop.workshop, ledgers="shared"),
    "yard": lambda: Scene(yard.carts, yard.keepers, ledgers="shared"),
    "archive": lambda: Scene(archive.archive, archive.keepers, ignored=_LETTERS),  # what comes too late is one
    "glutton": lambda: Scene(glutton.glutton, ignored=_LETTERS | {"endless"}),  # so is what is refused
    "shop": lambda: Scene(whole_shop()),
    "auction": lambda: Scene(whole_auction()),
    "rides": lambda: Scene(rides),
    "workshop apart": lambda: Scene(workshop.workshop, ledgers="separate"),
}
SAME_EACH_TIME = {"glutton"}  # two seeds are enough
SCENES_OF: dict[int, tuple[str, ...]] = {  # by promise: where it is at stake
    1: ("workshop", "shop", "rides"),
    2: ("glutton", "yard", "workshop"),
    3: ("archive", "shop", "workshop"),
    4: ("workshop",),
    5: ("yard", "workshop"),
    6: ("workshop", "auction", "workshop apart"),
    7: ("workshop", "shop"),
    8: ("yard", "workshop"),
    9: ("yard", "workshop"),
    10: ("workshop", "workshop apart", "rides"),
    11: ("yard",),
    12: ("glutton", "workshop"),
    13: ("yard", "archive"),
}
_ALONE = "not in a world: one worker a ledger"
_ONE_BUILD = "not in a world: one build of the code"
OUT_OF_REACH = {
    "what_others_committed_before_is_overtaken": _ALONE,
    "what_joins_a_pruned_flow_begins_it_again": f"{_ALONE}, so nobody else prunes",
    "nobody_stands_by": _ALONE,
    "a_fork_commits": f"{_ALONE}, and no fork",
    "an_owner_does_not_notice_that_others_committed": _ALONE,
    "a_rename_changes_the_keys_of_calls": _ONE_BUILD,
    "an_unknown_type_is_passed_over": _ONE_BUILD,
    "a_newer_layout_is_not_noticed": _ONE_BUILD,
    "what_a_removed_reaction_has_left_is_forgotten": _ONE_BUILD,
    "a_row_of_a_newer_shape_is_overwritten": _ONE_BUILD,
    "a_verdict_ends_the_wait_for_a_newer_build": _ONE_BUILD,
    "an_old_copy_is_taken_for_the_ledger": "not in a world: its disk is no file that could be copied",
    "nobody_watches_a_plain_function": "not in a world: no thread and no real time",
    "a_line_with_many_behind_its_first_run_takes_every_place": "nothing breaks: other lines are only late",
}
_TWO = "no choreography here has two compensations of one reaction"
UNSEEN = {  # within reach, and not seen by these worlds
    "a_compensation_starts_before_the_log_is_read": "no seed comes by it: a reaction must lag far behind",
    "a_group_built_again_forgets_what_it_has_undone": "no seed comes by it: a commit fails between two compensations",
    "what_one_compensation_tries_again_another_takes_too": _TWO,
    "a_replayed_compensation_undoes_what_another_has_undone": _TWO,
    "an_attempt_that_gave_way_is_closed_with_the_verdict": "no seed comes by it",
    "what_comes_later_changes_the_key_of_an_undo": "no seed comes by it",
    "a_deadline_is_told_before_the_log_is_read": "no seed comes by it: an end that is unread at the deadline",
    "a_verdict_does_not_wait_for_other_ledgers": "no oracle holds a verdict against another ledger's compensations",
    "what_was_begun_before_a_switch_is_written_after_it": "no seed comes by it: a switch must fall into a fold",
    "nobody_elsewhere_is_told_of_the_end": "nobody in a world waits for a flow that another ledger keeps",
}
# Of each kind one that a world shows at once: these are tried with each change, and each must be caught.
SAMPLE = (
    "publish_answers_before_the_commit",
    "versions_are_not_compared",
    "positions_are_not_committed",
    "ids_differ_from_run_to_run",
    "a_line_is_not_stopped_by_what_is_parked",
    "unless_is_not_asked",
    "nobody_hears_of_a_dead_letter",
    "an_edit_may_leave_its_line",
    "a_failed_verdict_does_not_wait",
    "a_stop_begins_what_waits",
    "a_fan_out_may_be_of_any_size",
    "the_place_of_a_projection_is_not_committed",
)
