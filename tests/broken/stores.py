"""What sessions that share a store owe each other."""

from __future__ import annotations

from typing import Final

from .variant import AMENDED_TESTS, FINDS, STORE, Edit, Variant

VARIANTS: Final = (
    Variant(
        "the store is not looked into before the server is asked",
        (
            Edit(
                "renewal",
                "            news = await self._news(refusal, has_login=base is not None)\n",
                "            news = None\n",
            ),
        ),
        STORE + "test_two_sessions_that_share_a_store_share_one_refresh",
    ),
    Variant(
        "the store is written without compare-and-swap",
        (
            Edit(
                "vault",
                "            await ask(self._store.save, record, expected=self.synced)\n",
                "            there = await self._store.load()\n"
                "            at = 0 if there is None else there.generation\n"
                "            await ask(self._store.save, record, expected=at)\n",
            ),
        ),
        STORE + "test_a_loser_adopts_what_the_winner_saved_and_overwrites_nothing",
    ),
    Variant(
        "a store that fails takes the rotated tokens along",
        (
            Edit(
                "records",
                "            self._not_saved(generation, login, outcome, exc)\n"
                "        except BaseException:\n",
                "            self._not_saved(generation, login, outcome, exc)\n"
                "            raise\n"
                "        except BaseException:\n",
            ),
            Edit(
                "renewal",
                "            flight.brought = generation\n",
                "",
            ),
        ),
        STORE + "test_a_store_that_fails_after_the_rotation_leaves_it_in_memory_and_is_tried_again",
    ),
    Variant(
        "whose record it is is not looked at",
        (
            Edit(
                "vault",
                '        if record is not None and self.owner and record.owner not in ("", '
                "self.owner):\n",
                '        if record is not None and record.owner == "nobody":\n',
            ),
        ),
        AMENDED_TESTS + "test_p15_the_record_of_another_client_is_used_for_nothing",
    ),
    Variant(
        "proving that a login can be saved takes the news away",
        (
            Edit(
                "logins",
                "                        await self.vault.peek()\n",
                "                        await self.vault.look()\n",
            ),
        ),
        FINDS + "test_proving_that_a_login_can_be_saved_does_not_hide_what_others_have_saved",
    ),
    Variant(
        "a log-out goes by numbers alone, and overwrites the login that others have begun",
        (
            Edit(
                "records",
                "            if stored.login != login.id and (newer or not ours):\n",
                "            if stored.login != login.id and newer:\n",
            ),
        ),
        FINDS + "test_a_log_out_spares_a_login_that_others_began_while_several_log_ins_waited",
        unseen_because="its worlds are too rare: one of thousands",
    ),
)
