"""The saboteurs: which line of which promise is taken away, and which tests watch over it."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """One piece of the source, and what stands there instead. It must stand there exactly once."""

    file: str
    old: str
    new: str


class Saboteur(NamedTuple):
    """One break of one promise of docs/guarantees.md."""

    promise: int
    name: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]


def _plan(promise: int, name: str, file: str, old: str, new: str, *tests: str) -> Saboteur:
    return Saboteur(promise, name, (Change(file, old, new),), tuple(f"tests/test_promises_{test}.py" for test in tests))


def _road(promise: int, name: str, test: str, *changes: Change) -> Saboteur:
    """A break between ledgers."""
    return Saboteur(promise, name, changes, (f"tests/test_{test}.py",))


_REACT, _GATE, _SETTLE = "hops/react.py", "hops/gate.py", "hops/settle.py"

SABOTEURS = (
    # 1. Durable first
    _plan(
        1,
        "publish_answers_before_the_commit",
        _REACT,
        "        work.publications.popleft()\n",
        "        work.publications.popleft()\n        publication.answer()\n",
        "durable",
    ),
    _plan(
        1,
        "a_group_that_failed_is_dropped",
        _REACT,
        "    except Moved:\n        unwind(work, group)\n",
        "    except Exception:\n        work.group = None\n        work.rows.drop()\n",
        "durable",
        "atomic",
    ),
    _plan(
        1,
        "what_runs_is_not_written_down",
        _SETTLE,
        "    unfinished = [each for each in reader.open if each <= pos]\n",
        "    unfinished = []\n",
        "durable",
        "drain",
    ),
    # 2. Atomic reactions
    _plan(
        2,
        "versions_are_not_compared",
        "hops/running.py",
        "work.rows.current(key).version != seen for key, seen in loads.items()",
        "work.rows.current(key).version < 0 for key, seen in loads.items()",
        "atomic",
    ),
    _plan(
        2,
        "rows_are_not_held",
        "hops/applying.py",
        '        if key is not None:\n            yield ("row"',
        '        if False:\n            yield ("row"',
        "atomic",
    ),
    _plan(
        2,
        "code_that_reaches_outside_sees_uncommitted_rows",
        "hops/applying.py",
        "    return any(key in group.keys or",
        "    return False and any(key in group.keys or",
        "atomic",
    ),
    _plan(
        2,
        "a_refusal_saves_shared_state",
        "hops/outcomes.py",
        "work.private if only_failures else None",
        "None",
        "atomic",
    ),
    # 3. Exactly-once effects
    _plan(
        3,
        "positions_are_not_committed",
        _SETTLE,
        "            await tx.advance(positions)\n",
        "",
        "identity",
        "durable",
        "atomic",
    ),
    _plan(
        3,
        "what_is_finished_ahead_is_forgotten",
        "hops/applying.py",
        "        reader.done.add(delivery.entry.pos)\n",
        "",
        "several_processes",
        "random",
        "atomic",
    ),
    _plan(
        3,
        "an_idempotency_key_is_not_remembered",
        "hops/publish.py",
        "    supplied = await work.ledger.supplied(asked) if asked else {}\n",
        "    supplied = {}\n",
        "durable",
    ),
    _plan(
        3,
        "what_somebody_has_not_come_to_is_pruned",
        "hops/retention.py",
        "    for reader in readers:\n        if any(",
        "    for reader in ():\n        if any(",
        "retention",
    ),
    _plan(
        3,
        "an_idempotency_key_is_forgotten_with_its_flow",
        "ledgers/sqlite_transaction.py",
        "DELETE FROM supplied WHERE digest = x'' AND {of_them}",
        "DELETE FROM supplied WHERE {of_them}",
        "retention",
    ),
    _plan(
        3,
        "numbers_are_given_again_when_nothing_is_left",
        "ledgers/sqlite.py",
        '"SELECT head, edits, prunes, pruned_to FROM ledger"',
        '"SELECT (SELECT coalesce(max(pos), 0) FROM log), edits, prunes, pruned_to FROM ledger"',
        "retention",
    ),
    _plan(
        3,
        "a_rename_changes_the_keys_of_calls",
        "reaction.py",
        "self._known_as = known_as or str",
        "self._known_as = str",
        "change",
    ),
    _plan(
        3,
        "what_joins_a_pruned_flow_begins_it_again",
        _SETTLE,
        "    if joined and joined - {",
        "    if False and joined - {",
        "retention",
    ),
    _road(
        3,
        "what_may_have_been_pruned_is_taken_in_again",
        "intake",
        Change("hops/arrivals.py", "        return 0 < began <= self._pruned_to\n", "        return False\n"),
    ),
    # 4. Stable identity
    _plan(4, "two_outputs_have_one_id", "ids.py", "    if ordinal:\n", "    if False:\n", "identity"),
    _plan(
        4,
        "ids_differ_from_run_to_run",
        "ids.py",
        '    path = f"{cause}.{reaction_tag}"\n',
        '    import os\n    path = f"{cause}.{reaction_tag}{os.urandom(4).hex()}"\n',
        "identity",
    ),
    _plan(
        4,
        "the_key_of_a_call_changes_with_the_attempt",
        "reaction.py",
        "        return ids.idempotency_key(self.flow_id, self.inputs, self._known_as(self.reaction), label)\n",
        '        return ids.idempotency_key(self.flow_id, self.inputs, self.reaction, f"{label}{self.attempt}")\n',
        "identity",
    ),
    # 5. Order per line
    _plan(
        5,
        "a_line_is_not_stopped_by_what_is_parked",
        "hops/turns.py",
        "    if not line or line[0][0] >= pos:\n        return False\n",
        "    if True:\n        return False\n",
        "lines",
    ),
    _plan(
        5,
        "holders_of_a_key_do_not_wait",
        "hops/deliveries.py",
        "        return all(self.lists[key][0] is delivery for key in delivery.keys)",
        "        return True",
        "lines",
        "atomic",
    ),
    _plan(
        5,
        "what_others_committed_before_is_overtaken",
        _SETTLE,
        "    if not foreign and handed >= group.head and len",
        "    if len",
        "several_processes",
        "random",
    ),
    _plan(
        5,
        "a_line_with_many_behind_its_first_run_takes_every_place",
        "hops/turns.py",
        "    scarce = len(reader.open) * 2 > reader.most and",
        "    scarce = False and",
        "lines",
    ),
    # 6. Prerequisites, joins, gathers, timers
    _plan(
        6,
        "a_late_part_of_a_join_runs_again",
        _GATE,
        '    if firsts[mine.name].pos != trigger.pos:\n        return Skip("late part")\n',
        "",
        "waiting",
    ),
    _plan(
        6,
        "unless_is_not_asked",
        _GATE,
        '        if first is not None:\n            return Skip(f"unless',
        '        if False:\n            return Skip(f"unless',
        "waiting",
    ),
    _plan(
        6,
        "what_waits_is_never_woken",
        "hops/work.py",
        '        if parked.why == "waiting" and not parked.for_newer_build:\n            self.wants',
        "        if False:\n            self.wants",
        "waiting",
    ),
    _road(
        6,
        "a_wait_does_not_ask_whether_its_flow_has_ended_elsewhere",
        "separate_ledgers",
        Change("hops/turns.py", "        if any(entry.id not in known for entry in asked):\n", "        if False:\n"),
    ),
    # 7. Compensation is a barrier
    _plan(
        7,
        "a_closed_reaction_runs",
        _GATE,
        '    if options.compensates is None and any(True for _ in closed):\n        return Skip("closed")\n',
        "",
        "compensation",
    ),
    _plan(
        7,
        "a_reaction_and_its_compensation_run_side_by_side",
        "hops/turns.py",
        "    if reader.pair is not None:\n        keys.append",
        "    if False:\n        keys.append",
        "compensation",
    ),
    _plan(
        7,
        "an_unknown_outcome_counts_as_none",
        _GATE,
        "    unknown = unsettled(done, delivery, seen.view, seen.world)\n",
        "    unknown = False\n",
        "compensation",
    ),
    _plan(
        7,
        "a_compensation_answers_twice",
        _GATE,
        "        if any(memory.pos != delivery.trigger.pos for memory in answered):\n",
        "        if False:\n",
        "compensation",
    ),
    _plan(
        7,
        "a_compensation_starts_before_the_log_is_read",
        "hops/turns.py",
        "    return all(place >= pos for place in places)\n",
        "    return True\n",
        "recovery",
    ),
    _plan(
        7,
        "a_group_built_again_forgets_what_it_has_undone",
        "hops/turns.py",
        "                work.views[memory.flow].memories.append(memory)\n",
        "                pass\n",
        "recovery",
    ),
    _plan(
        7,
        "what_one_compensation_tries_again_another_takes_too",
        _GATE,
        '            if reader is delivery.reader or reader.rows[row].why != "dead":\n',
        "            if reader is delivery.reader:\n",
        "recovery",
    ),
    _plan(
        7,
        "a_replayed_compensation_undoes_what_another_has_undone",
        _GATE,
        " for effect in effects if effect not in settled]\n",
        " for effect in effects]\n",
        "recovery",
    ),
    _plan(
        7,
        "an_attempt_that_gave_way_is_closed_with_the_verdict",
        "tracker.py",
        " and parked.attempts == 0  # or else it may have acted",
        "",
        "flows",
    ),
    # 8. Failures have a path
    _plan(
        8,
        "what_kills_the_worker_is_not_counted",
        "hops/running.py",
        "    if (delivery.attempts or delivery.suspect or delivery.parked is not None) and not delivery.announced:\n",
        "    if False:\n",
        "failures",
    ),
    _plan(
        8,
        "nobody_hears_of_a_dead_letter",
        "hops/outcomes.py",
        "    outcome.entries.append(entry)\n    return outcome\n",
        "    return outcome\n",
        "failures",
    ),
    _plan(
        8,
        "jitter_shortens_a_wait",
        "retry.py",
        "* (1 + self.jitter * draw)",
        "* (1 - self.jitter * draw)",
        "failures",
    ),
    _plan(
        8,
        "an_unknown_type_is_passed_over",
        "hops/reading.py",
        "    await _learn_hearers(work, entries)\n",
        "",
        "failures",
    ),
    _plan(
        8,
        "an_open_breaker_keeps_nobody_back",
        "hops/guards.py",
        "        return self.until is not None and (now < self.until or self.trying)\n",
        "        return False\n",
        "failures",
    ),
    _plan(
        8,
        "what_ran_before_is_blamed_for_the_death_of_a_worker",
        "hops/running.py",
        "    group.fused = group.fused and not delivery.announced\n",
        "",
        "recovery",
    ),
    _plan(
        8,
        "what_a_timer_ends_its_worker_with_is_not_counted",
        "hops/applying.py",
        "    group.fused = group.fused and (outcome.attempt is not None or not outcome.entries)\n",
        "",
        "recovery",
    ),
    Saboteur(
        8,
        "nobody_watches_a_plain_function",
        (
            Change(
                "watchdog.py",
                "        if before < contract.options.timeout.total_seconds() <= self._seen:\n",
                "        if False:\n",
            ),
        ),
        (
            (
                "tests/test_promises_failures.py::test_a_plain_function_that_does_not_return_"
                "is_named_with_its_stack_after_its_time"
            ),
        ),
    ),
    # 9. Replay is safe
    _plan(
        9,
        "a_wish_is_not_noticed",
        _REACT,
        "        await _notice_wishes(work)\n",
        "        pass\n",
        "failures",
    ),
    _plan(
        9,
        "a_dead_letter_has_two_replays",
        "ledgers/sqlite.py",
        "AND why = 'dead' AND asked IS NULL",
        "AND why = 'dead'",
        "replay",
    ),
    _plan(
        9,
        "the_owner_looks_for_no_verdict",
        "hops/due.py",
        "row.flow in over and not row.asked.late",
        "row.flow in ()",
        "replay",
    ),
    _plan(
        9,
        "others_are_told_of_the_edit",
        "hops/outcomes.py",
        "work.value(delivery.logged or trigger)",
        "work.value(trigger)",
        "replay",
    ),
    _plan(
        9,
        "an_edit_may_leave_its_line",
        "letters.py",
        "for name, value in known.items():",
        "for name, value in ():",
        "replay",
    ),
    _plan(
        9,
        "a_replay_that_fails_stops_nobody",
        "hops/turns.py",
        "    if wish is None or delivery.announced or not work.is_stopped(delivery, wish):\n",
        "    if True:\n",
        "replay",
    ),
    _plan(
        9,
        "what_was_stopped_is_forgotten_with_its_owner",
        "hops/applying.py",
        '        outcome.memories.append(Memory(0, "stopped", wish.batch, place, delivery.entry.pos))\n',
        "",
        "replay",
    ),
    # 10. Flows end or are named
    _plan(
        10,
        "a_failed_verdict_does_not_wait",
        "tracker.py",
        "            if await self._pending(work, row.number, entries):\n                continue\n",
        "",
        "flows",
        "compensation",
    ),
    _plan(
        10,
        "a_deadline_is_told_again_and_again",
        "tracker.py",
        "            row.timed_out = True\n",
        "",
        "flows",
    ),
    _plan(
        10,
        "what_leaks_late_is_not_told",
        "tracker.py",
        "        return bool(self._late(group))\n",
        "        return False\n",
        "flows",
    ),
    # 11. Stop means drained
    _plan(
        11,
        "a_stop_cuts_what_runs",
        "run.py",
        "            if not (work.running or work.finished or work.publications or work.group or work.unsaved):\n",
        "            if True:\n",
        "drain",
    ),
    _plan(
        11,
        "a_stop_begins_what_waits",
        _REACT,
        "    if work.draining:\n        work.later += opened\n",
        "    if False:\n        work.later += opened\n",
        "drain",
    ),
    _plan(
        11,
        "a_stop_that_has_cut_something_is_called_clean",
        "run.py",
        "clean=not (running or work.finished or self.board.failure))",
        "clean=True)",
        "drain",
    ),
    _plan(
        6,
        "one_that_lost_once_runs",
        _GATE,
        '            return Skip("lost once")\n',
        "            pass\n",
        "waiting",
    ),
    _plan(
        10,
        "a_deadline_is_told_before_the_log_is_read",
        _REACT,
        "    all_read = work.caught_up and work.read >= group.head + len(group.entries)\n",
        "    all_read = True\n",
        "flows",
    ),
    _plan(
        11,
        "nobody_stands_by",
        "run.py",
        "        await self._take_over()\n",
        "",
        "recovery",
    ),
    # 12. Bad input is told
    _plan(
        12,
        "a_payload_may_be_of_any_size",
        "hops/limits.py",
        "    if len(data) > PAYLOAD:\n",
        "    if False:\n",
        "failures",
    ),
    _plan(
        12, "a_fan_out_may_be_of_any_size", "hops/limits.py", "    if count > FAN_OUT:\n", "    if False:\n", "failures"
    ),
    # SQL of a reaction's own
    _road(
        2,
        "sql_of_a_failed_run_stays",
        "transaction",
        Change("ledgers/sqlite_lent.py", '            db.execute("ROLLBACK TO lent")\n', "            pass\n"),
    ),
    _road(
        2,
        "sql_is_committed_before_its_events",
        "transaction",
        Change(
            "ledgers/sqlite_lent.py",
            '        db.execute("RELEASE lent")\n',
            '        db.execute("COMMIT")\n        db.execute("BEGIN IMMEDIATE")\n',
        ),
    ),
    _road(
        2,
        "sql_may_write_the_log",
        "transaction",
        Change("ledgers/sqlite_lent.py", "set_authorizer(self._authorize)", "set_authorizer(None)"),
    ),
    _road(
        2,
        "a_run_with_sql_sees_what_is_not_committed",
        "transaction",
        Change("hops/deliveries.py", "return self.outside or self.raw", "return self.outside"),
    ),
    _plan(
        4,
        "what_comes_later_changes_the_key_of_an_undo",
        "hops/work.py",
        "for each in asked if each.pos < delivery.entry.pos]",
        "for each in asked]",
        "compensation",
    ),
    _plan(
        12,
        "an_owner_does_not_notice_that_others_committed",
        "ledgers/sqlite.py",
        "        if version == self._checked and tokens",
        "        if self._checked != -1 and tokens",
        "several_processes",
    ),
    _plan(
        12,
        "a_newer_layout_is_not_noticed",
        "ledgers/sqlite.py",
        "        if layout != LAYOUT:\n",
        "        if False:\n",
        "change",
    ),
    _plan(
        12,
        "what_a_removed_reaction_has_left_is_forgotten",
        "run.py",
        "    if left:\n",
        "    if False:\n",
        "change",
    ),
    _plan(
        12,
        "a_row_of_a_newer_shape_is_overwritten",
        "hops/rows.py",
        "            if shape > copy.state.shape:\n",
        "            if False:\n",
        "change",
    ),
    _plan(
        12,
        "a_verdict_ends_the_wait_for_a_newer_build",
        "tracker.py",
        " and not parked.for_newer_build:\n",
        ":\n",
        "change",
    ),
    _plan(
        12,
        "a_loop_has_no_end",
        "hops/limits.py",
        "    if depth_of(cause) >= DEPTH:\n",
        "    if False:\n",
        "limits",
    ),
    _plan(
        12,
        "a_fork_commits",
        "ledgers/sqlite_locks.py",
        "    if _FORKS[0] != opened:\n",
        "    if False:\n",
        "limits",
    ),
    _plan(
        12,
        "an_old_copy_is_taken_for_the_ledger",
        "ledgers/sqlite_locks.py",
        "        if int(noted[1]) > token or int(noted[2]) > head:\n",
        "        if False:\n",
        "limits",
    ),
    # Between ledgers
    _road(
        1,
        "what_came_is_acknowledged_before_it_is_written_down",
        "intake",
        Change(
            "hops/intake.py",
            "        await _write(work, abroad, service, fresh, ())\n",
            "        await abroad.broker.ack(subscription, deliveries)\n"
            "        await _write(work, abroad, service, fresh, ())\n",
        ),
    ),
    _road(
        1,
        "the_relay_moves_before_it_has_sent",
        "relay",
        Change(
            "hops/relay.py",
            "    why = await _send(work, abroad, going)\n",
            "    abroad.sent = entries[-1].pos\n    await _save(work, abroad)\n"
            "    why = await _send(work, abroad, going)\n",
        ),
    ),
    _road(
        3,
        "what_comes_twice_is_taken_twice",
        "intake",
        Change("hops/arrivals.py", "(before := self._marks.get(mark)) is not None:", "(before := None) is not None:"),
    ),
    _road(
        3,
        "what_comes_back_is_taken_in",
        "intake",
        Change("hops/arrivals.py", "envelope.id in self._logged:", "False:"),
        Change("hops/abroad.py", "envelope.id in self.own\n", "False\n"),
    ),
    _road(
        3,
        "what_a_broker_brought_is_sent_on",
        "relay",
        Change("hops/abroad.py", "        if entry.source is not None:\n            return False\n", ""),
    ),
    _road(
        10,
        "a_verdict_does_not_wait_for_other_ledgers",
        "separate_ledgers",
        Change("tracker.py", "            return _owes(contract, asks, entries)", "            return False"),
    ),
    # 13. A projection says what the log says
    _plan(
        13,
        "the_place_of_a_projection_is_not_committed",
        "hops/project.py",
        "        await tx.advance([Position(one.path, 0, upto, (), paused=due, by=error)])\n",
        "",
        "projections",
    ),
    _plan(
        13,
        "what_was_begun_before_a_switch_is_written_after_it",
        "hops/project.py",
        " or tx.edits != one.edits:",
        ":",
        "projections",
    ),
    _plan(
        13,
        "half_of_an_event_is_folded",
        "hops/project.py",
        "    for write in session.changes(None, work.stamp):\n        one.rows.put(write)\n",
        "        for write in session.changes(None, work.stamp):\n            one.rows.put(write)\n",
        "projections",
    ),
    _plan(
        13,
        "a_rebuild_is_switched_before_it_is_ready",
        "rebuild.py",
        "        if left:\n",
        "        if False:\n",
        "projections",
    ),
    _plan(
        13,
        "what_was_pruned_is_not_counted",
        "ledgers/sqlite_transaction.py",
        "            self._count(going, (*numbers, *spared))\n",
        "",
        "projections",
    ),
    _road(
        10,
        "nobody_elsewhere_is_told_of_the_end",
        "intake",
        Change("hops/settle.py", "                await tell_endings(work, group)\n", "                pass\n"),
    ),
)
