"""Mistakes that break what the promises say since they were amended."""

from __future__ import annotations

from typing import Final

from .variant import AMENDED_TESTS, FINDS, LOGGED_OUT, PROVE, REFRESH, Edit, Variant

AMENDED: Final = (
    Variant(
        "a request that has queued for a connection is sent as it was signed",
        (
            Edit(
                "_http/limiter.py",
                "            if signed_with is None or self._belonging.is_good(signed_with):\n",
                "            if True:\n",
            ),
        ),
        REFRESH + "test_p03_a_request_that_queued_in_the_limiter_never_carries_a_refused_token",
    ),
    Variant(
        "a request that queues outlives its login, as with a limiter above the auth flow",
        (
            Edit(
                "_http/limiter.py",
                "            self._check(request)\n            response = await",
                "            response = await",
            ),
            Edit(
                "_http/limiter.py",
                "            ends.append(login.scopes)\n",
                "            pass\n",
            ),
        ),
        "tests/test_limiter.py::test_p13_a_slot_that_comes_free_as_the_login_ends_is_not_"
        "used_for_it",
        seen_by_simulation=False,
    ),
    Variant(
        "late cookies of an ended login are taken in",
        (
            Edit(
                "_http/client.py",
                "        if login is None or not login.over.is_set():\n",
                "        if True:\n",
            ),
        ),
        LOGGED_OUT + "test_p11_no_cookie_of_an_ended_login_is_taken_in_and_nothing_is_undone",
        seen_by_simulation=False,
    ),
    Variant(
        "a refresh counts as futile only when the second sending is refused",
        (
            Edit(
                "_http/signing.py",
                "            course.charged = self.evidence.charge(place, "
                "generation.number, now=now)\n"
                "            if course.charged is None:\n",
                "            account = self.evidence.accounts.get(place)\n"
                "            if account is not None and account.forbids(now):\n",
            ),
            Edit(
                "_http/signing.py",
                '        if renewed:\n            return "again"\n',
                "        if renewed:\n"
                "            self.evidence.charge(place, generation.number, now=now)\n"
                '            return "again"\n',
            ),
        ),
        PROVE + "test_p04_a_hundred_one_shot_bodies_that_are_refused_cause_few_refreshes",
    ),
    Variant(
        "the evidence is that of the whole session",
        (
            Edit(
                "_http/evidence.py",
                "    return origin_of(url), url.path\n",
                '    return origin_of(url), "/"\n',
            ),
        ),
        "tests/test_evidence.py::test_a_place_is_an_origin_and_a_path_whatever_the_query",
    ),
    Variant(
        "a lost answer is not marked in the store",
        (
            Edit(
                "_core/renewal.py",
                "            await self.records.mark_loss(base)\n",
                "            await trio.lowlevel.checkpoint()\n",
            ),
        ),
        AMENDED_TESTS + "test_p05_a_lost_answer_is_marked_in_the_store_for_all_who_share_it",
    ),
    Variant(
        "whose record it is is not looked at",
        (
            Edit(
                "_core/vault.py",
                '        if record is not None and self.owner and record.owner not in ("", '
                "self.owner):\n",
                '        if record is not None and record.owner == "nobody":\n',
            ),
        ),
        AMENDED_TESTS + "test_p15_the_record_of_another_client_is_used_for_nothing",
    ),
    Variant(
        "only its own task lands a flight",
        (
            Edit(
                "_core/flights.py",
                "        flight.late = True\n"
                "        self.land(flight, self._best_of(flight, None))\n",
                "        await flight.over.wait()\n",
            ),
        ),
        AMENDED_TESTS
        + "test_p20_who_waits_for_a_grant_that_cant_be_cancelled_is_told_at_the_deadline",
    ),
    Variant(
        "a deadline counts the time for which the process was stopped",
        (
            Edit(
                "_core/clock.py",
                "        if now - slice_end > _LATE and stops < _MOST_STOPS:\n",
                "        if False:\n",
            ),
        ),
        AMENDED_TESTS + "test_p20_a_process_that_was_stopped_takes_the_answer_that_arrived",
        seen_by_simulation=False,
    ),
    Variant(
        "what an observer raises breaks into the bookkeeping",
        (
            Edit(
                "_core/machine.py",
                "            self._interrupt = self._interrupt or exc\n\n    def _log_raised",
                "            raise\n\n    def _log_raised",
            ),
        ),
        AMENDED_TESTS + "test_p21_what_an_observer_raises_leaves_no_waiter_asleep",
        seen_by_simulation=False,
    ),
    Variant(
        "a flight does not carry what it was started for",
        (
            Edit(
                "_core/flights.py",
                '"renewal", machine.refreshes, cause, base=base)',
                '"renewal", machine.refreshes, cause)',
            ),
        ),
        AMENDED_TESTS + "test_p08_a_flight_has_what_it_was_started_for_when_the_session_is_left",
        seen_by_simulation=False,
    ),
    Variant(
        "the record of a log-out does not say why",
        (
            Edit(
                "_core/records.py",
                "                ended=None if outcome is None else outcome.reason,\n",
                "                ended=None,\n",
            ),
        ),
        AMENDED_TESTS + "test_the_record_of_a_log_out_says_why_and_the_next_run_says_it",
        seen_by_simulation=False,
    ),
    Variant(
        "a file that was made anew is no news if its number is lower",
        (
            Edit(
                "_core/vault.py",
                "            and (record.generation > self.synced "
                "or record.login not in self._seen)\n",
                "            and record.generation > self.synced\n",
            ),
        ),
        AMENDED_TESTS + "test_a_file_that_was_deleted_and_made_anew_is_news_whatever_its_number",
    ),
    Variant(
        "proving that a login can be saved takes the news away",
        (
            Edit(
                "_core/logins.py",
                "                        await self.vault.peek()\n",
                "                        await self.vault.look()\n",
            ),
        ),
        FINDS + "test_proving_that_a_login_can_be_saved_does_not_hide_what_others_have_saved",
    ),
    Variant(
        "a mark on older tokens replaces newer ones in memory",
        (
            Edit(
                "_core/vault.py",
                "            newer = newer and not _same_tokens(record, before)\n",
                "            pass\n",
            ),
        ),
        FINDS + "test_a_mark_on_the_old_tokens_does_not_replace_newer_ones_that_could_not_be_saved",
        seen_by_simulation=False,
    ),
    Variant(
        "a log-out goes by numbers alone, and overwrites the login that others have begun",
        (
            Edit(
                "_core/records.py",
                "            if stored.login != login.id and (newer or not ours):\n",
                "            if stored.login != login.id and newer:\n",
            ),
        ),
        FINDS + "test_a_log_out_spares_a_login_that_others_began_while_several_log_ins_waited",
        seen_by_simulation=False,
    ),
)
