"""Each mistake is one that somebody made, in a library of this kind or in a pasted class."""

from __future__ import annotations

from typing import Final

from .amended import AMENDED
from .variant import CANCELLATION, LOGGED_OUT, MANNERS, REFRESH, STATE, STORE, Edit, Variant

__all__ = ["VARIANTS", "Edit", "Variant"]

VARIANTS: Final = (
    Variant(
        "the refresh runs in the task of whoever asked first",
        (
            Edit(
                "_core/source.py",
                "        if not (self.machine.observers or wants_waits()):\n",
                "        if False:\n",
            ),
            Edit(
                "_core/flights.py",
                "        self.launch(self.renewal.renew, flight)\n",
                "        flight.began = trio.current_time()\n"
                "        flight.deadline = flight.began + self.machine.policy.timeout\n"
                "        self.aloft.add(flight)\n"
                "        waiting_to_fly[flight] = self.renewal.renew\n",
            ),
            Edit(
                "_core/flight.py",
                "NO_LOSS = Loss()\n",
                "NO_LOSS = Loss()\nwaiting_to_fly: dict = {}\n",
            ),
            Edit(
                "_core/flights.py",
                "from .flight import Flight, Generation\n",
                "from .flight import Flight, Generation, waiting_to_fly\n",
            ),
            Edit(
                "_core/source.py",
                "from .flight import Flight\n",
                "from .flight import Flight, waiting_to_fly\n",
            ),
            Edit(
                "_core/source.py",
                "            landing = await self._wait(flight)\n            cancelled = False\n",
                "            procedure = waiting_to_fly.pop(flight, None)\n"
                "            if procedure is not None:\n"
                "                await self.flights._fly(procedure, flight)\n"
                "            landing = await self._wait(flight)\n"
                "            cancelled = False\n",
            ),
            Edit(
                "_core/flights.py",
                "        flying.set(flight)\n",
                "",
            ),
            Edit(
                "_core/flight.py",
                "trio.CancelScope(shield=True)",
                "trio.CancelScope()",
            ),
        ),
        CANCELLATION
        + "test_p06_the_task_that_started_the_refresh_leaves_at_once_and_the_refresh_lands",
    ),
    Variant(
        "nursery.start for the flight, which ties it to its caller",
        (
            Edit(
                "_core/source.py",
                "        if not (self.machine.observers or wants_waits()):\n",
                "        if False:\n",
            ),
            Edit(
                "_core/flights.py",
                "        self.launch(self.renewal.renew, flight)\n",
                "        flight.began = trio.current_time()\n"
                "        flight.deadline = flight.began + self.machine.policy.timeout\n"
                "        self.aloft.add(flight)\n"
                "        waiting_to_fly[flight] = self.renewal.renew\n",
            ),
            Edit(
                "_core/flight.py",
                "NO_LOSS = Loss()\n",
                "NO_LOSS = Loss()\nwaiting_to_fly: dict = {}\n",
            ),
            Edit(
                "_core/flights.py",
                "from .flight import Flight, Generation\n",
                "from .flight import Flight, Generation, waiting_to_fly\n",
            ),
            Edit(
                "_core/source.py",
                "from .flight import Flight\n",
                "from .flight import Flight, waiting_to_fly\n",
            ),
            Edit(
                "_core/source.py",
                "            landing = await self._wait(flight)\n            cancelled = False\n",
                "            procedure = waiting_to_fly.pop(flight, None)\n"
                "            if procedure is not None:\n"
                "                async def job(*, task_status):\n"
                "                    await self.flights._fly(procedure, flight)\n"
                "                    task_status.started()\n"
                "                await self.flights.nursery.start(job)\n"
                "            landing = await self._wait(flight)\n"
                "            cancelled = False\n",
            ),
        ),
        CANCELLATION
        + "test_p06_the_task_that_started_the_refresh_leaves_at_once_and_the_refresh_lands",
    ),
    Variant(
        "a waiter that leaves takes the flight along",
        (
            Edit(
                "_core/source.py",
                "        if not (self.machine.observers or wants_waits()):\n",
                "        if False:\n",
            ),
            Edit(
                "_core/source.py",
                "            tell(events.WaitEnded(",
                "            if cancelled:\n"
                '                flight.ground("nobody waits")\n'
                "            tell(events.WaitEnded(",
            ),
        ),
        CANCELLATION
        + "test_p06_the_task_that_started_the_refresh_leaves_at_once_and_the_refresh_lands",
    ),
    Variant(
        "the flight is not shielded from those who cancel the session",
        (
            Edit(
                "_core/flight.py",
                "trio.CancelScope(shield=True)",
                "trio.CancelScope()",
            ),
        ),
        CANCELLATION
        + "test_p08_a_refresh_in_the_air_lands_and_is_stored_however_the_session_is_left",
    ),
    Variant(
        "no grace when the session is left",
        (
            Edit(
                "_core/flights.py",
                "        grace = self.machine.policy.close_grace\n",
                "        grace = 0\n",
            ),
        ),
        CANCELLATION
        + "test_p08_a_refresh_in_the_air_lands_and_is_stored_however_the_session_is_left",
    ),
    Variant(
        "waiters wake before the tokens are saved",
        (
            Edit(
                "_core/renewal.py",
                "            flight.brought, last_word = generation, "
                "trio.current_time() + _LAST_WORD\n",
                "            flight.brought, last_word = generation, "
                "trio.current_time() + _LAST_WORD\n"
                "            after = on_landing(self.machine.state, flight, generation)\n"
                "            self.machine.become(after, landing=generation)\n",
            ),
            Edit(
                "_core/renewal.py",
                "held, on_adoption, on_rotation",
                "held, on_adoption, on_landing, on_rotation",
            ),
        ),
        CANCELLATION + "test_p07_rotated_tokens_are_stored_before_anybody_wakes_up_with_them",
    ),
    Variant(
        "a late 401 is taken for news",
        (
            Edit(
                "_core/state.py",
                "case Current(generation, setback) if generation.number == number:",
                "case Current(generation, setback):",
            ),
        ),
        REFRESH + "test_p02_a_late_401_is_sent_again_with_the_current_generation",
    ),
    Variant(
        "the counter is read when the 401 arrives, apart from the token that was sent",
        (
            Edit(
                "_http/signing.py",
                "        news = self._is_news(generation.number)\n",
                "        read = tokens.fresh() or generation\n"
                "        news = self._is_news(read.number)\n",
            ),
            Edit(
                "_http/signing.py",
                "            tokens.reject(generation.number)\n",
                "            tokens.reject(read.number)\n",
            ),
        ),
        REFRESH + "test_p02_a_late_401_is_sent_again_with_the_current_generation",
    ),
    Variant(
        "requests go on with a token that is known to be refused",
        (
            Edit(
                "_core/state.py",
                "            if not rejected and (good or generation.number >= landed > 0):",
                "            if good or generation.number >= landed > 0:",
            ),
        ),
        REFRESH
        + "test_p03_no_request_is_sent_with_a_rejected_generation_while_the_flight_is_in_the_air",
    ),
    Variant(
        "what is sent again after a redirect is the original request",
        (
            Edit(
                "_http/auth.py",
                "        self._sent = answered\n",
                "        self._sent = self._request\n",
            ),
        ),
        REFRESH + "test_p04_what_is_sent_again_after_a_redirect_is_the_request_that_was_refused",
    ),
    Variant(
        "every body is sent again, those too that are used up",
        (
            Edit(
                "_http/auth.py",
                "        isinstance(request.stream, library.SyncByteStream)",
                "        True or isinstance(request.stream, library.SyncByteStream)",
            ),
            Edit(
                "_http/auth.py",
                '        and "Transfer-Encoding" not in request.headers',
                '        or "Transfer-Encoding" not in request.headers',
            ),
        ),
        REFRESH + "test_p04_a_body_that_cannot_be_sent_again_gets_its_401_back_untouched",
    ),
    Variant(
        "a refused token is refreshed however often that was of no use",
        (
            Edit(
                "_http/evidence.py",
                "        return now < self.counted_at + self.pause\n",
                "        return False\n",
            ),
        ),
        REFRESH + "test_p04_an_api_that_refuses_every_token_causes_a_bounded_number_of_refreshes",
    ),
    Variant(
        "a lost answer is asked for as often as any other",
        (
            Edit(
                "_core/retry.py",
                "MOST_REPEATS = 2",
                "MOST_REPEATS = 10**9",
            ),
            Edit(
                "_core/retry.py",
                "REPEAT_WITHIN = 10.0",
                "REPEAT_WITHIN = 1e9",
            ),
        ),
        REFRESH + "test_p05_after_a_lost_answer_it_is_presented_twice_more_within_ten_seconds",
    ),
    Variant(
        "the store is not looked into before the server is asked",
        (
            Edit(
                "_core/renewal.py",
                "            news = await self._news(refusal, has_login=base is not None)\n",
                "            news = None\n",
            ),
        ),
        STORE + "test_two_sessions_that_share_a_store_share_one_refresh",
    ),
    Variant(
        "a scope is open while a request is out",
        (
            Edit(
                "_http/auth.py", '        "_course",\n', '        "_course",\n        "_scope",\n'
            ),
            Edit(
                "_http/auth.py",
                "        return request  # noqa: ASYNC910\n",
                "        self._scope = trio.move_on_after(30)\n"
                "        self._scope.__enter__()\n"
                "        return request\n",
            ),
            Edit(
                "_http/auth.py",
                "        self._response = response\n        try:\n",
                "        self._scope.__exit__(None, None, None)\n"
                "        self._response = response\n"
                "        try:\n",
            ),
            Edit(
                "_http/auth.py",
                "        return self._sent\n",
                "        self._scope = trio.move_on_after(30)\n"
                "        self._scope.__enter__()\n"
                "        return self._sent\n",
            ),
        ),
        CANCELLATION + "test_p09_no_scope_and_no_nursery_is_open_while_a_request_is_out",
        seen_by_simulation=False,
    ),
    Variant(
        "a 401 is closed instead of read",
        (
            Edit(
                "_http/auth.py",
                "await read_refusal(response, self._library)",
                "await response.aclose()",
            ),
        ),
        CANCELLATION + "test_p10_a_401_that_is_acted_on_is_read_before_its_request_waits",
    ),
    Variant(
        "a 401 is neither read nor closed while its request waits",
        (
            Edit(
                "_http/auth.py",
                "            await read_refusal(response, self._library)\n",
                "",
            ),
        ),
        CANCELLATION + "test_p10_waiting_requests_do_not_starve_the_refresh_of_connections",
        seen_by_simulation=False,
    ),
    Variant(
        "all waiters raise one and the same exception",
        (
            Edit(
                "_core/machine.py",
                "                raise LoggedOutError(\n"
                '                    f"{REASONS[reason]}; {remedy}{more}", reason, '
                "at_unix=at_unix\n"
                "                ) from cause\n",
                "                error = LoggedOutError(REASONS[reason], reason, "
                "at_unix=at_unix)\n"
                "                raise _raised.setdefault(id(why), error) from cause\n",
            ),
            Edit(
                "_core/machine.py",
                '_logger = logging.getLogger("trioauth")\n',
                '_logger = logging.getLogger("trioauth")\n_raised: dict = {}\n',
            ),
        ),
        LOGGED_OUT + "test_p11_each_waiter_gets_an_error_of_its_own_from_one_cause",
    ),
    Variant(
        "observers are told after the waiters were woken",
        (
            Edit(
                "_core/machine.py",
                "        self.forget_cookies()\n"
                "        self.tell(\n"
                "            events.LoggedOut(\n"
                "                time=trio.current_time(), reason=outcome.reason, "
                "words=careful(outcome.cause)\n"
                "            )\n"
                "        )\n"
                "        self.over.add(login.id)\n"
                "        login.end(outcome)\n",
                "        self.over.add(login.id)\n"
                "        login.end(outcome)\n"
                "        self.forget_cookies()\n"
                "        event = events.LoggedOut(time=trio.current_time(), "
                "reason=outcome.reason)\n"
                "        trio.lowlevel.spawn_system_task(_later, self.tell, event)\n",
            ),
            Edit(
                "_core/machine.py",
                '_logger = logging.getLogger("trioauth")\n',
                '_logger = logging.getLogger("trioauth")\n'
                "\n"
                "\n"
                "async def _later(tell, event):\n"
                "    await trio.lowlevel.checkpoint()\n"
                "    tell(event)\n",
            ),
        ),
        LOGGED_OUT + "test_p11_observers_are_told_before_any_waiter_wakes_and_see_the_new_state",
    ),
    Variant(
        "logging in goes on with the old login",
        (
            Edit(
                "_core/logins.py",
                "        login = Login(wished=True, replaces",
                "        login = self.machine.login or Login(wished=True, replaces",
            ),
        ),
        LOGGED_OUT + "test_p13_a_request_of_the_old_login_is_never_sent_with_the_new_ones_token",
    ),
    Variant(
        "a network fault logs out",
        (
            Edit(
                "_core/renewal.py",
                "            failure = _bare(exc)\n",
                '            return GrantRefusedError("invalid_grant")\n',
            ),
        ),
        LOGGED_OUT + "test_p14_unavailable_never_logs_out",
    ),
    Variant(
        "the cool-down is forgotten",
        (
            Edit(
                "_core/machine.py",
                "        return Setback(cause, max(self.clock.now() + pause, quiet_until))\n",
                "        return Setback(cause, self.clock.now())\n",
            ),
        ),
        "tests/test_session_api.py::test_a_cool_down_remembers_the_failure",
    ),
    Variant(
        "each attempt has a deadline of its own, and the flight has none",
        (
            Edit(
                "_core/renewal.py",
                "        asked_at = self.machine.clock.now()\n"
                '        flight.doing = "waiting for the authorization server"\n',
                "        asked_at = self.machine.clock.now()\n"
                "        flight.deadline = trio.current_time() + "
                "self.machine.policy.timeout\n"
                '        flight.doing = "waiting for the authorization server"\n',
            ),
        ),
        MANNERS + "test_p20_the_deadline_bounds_the_retries_too",
    ),
    Variant(
        "the leeway is not capped, and a short-lived token is stale at birth",
        (
            Edit(
                "_core/flight.py",
                "min(policy.leeway, lifetime / 10)",
                "policy.leeway",
            ),
        ),
        STATE + "test_the_windows_are_capped_at_a_share_of_the_lifetime",
    ),
    Variant(
        "the store is written without compare-and-swap",
        (
            Edit(
                "_core/vault.py",
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
                "_core/records.py",
                "            self._not_saved(generation, login, outcome, exc)\n"
                "        except BaseException:\n",
                "            self._not_saved(generation, login, outcome, exc)\n"
                "            raise\n"
                "        except BaseException:\n",
            ),
            Edit(
                "_core/renewal.py",
                "            flight.brought, last_word = generation, "
                "trio.current_time() + _LAST_WORD\n",
                "            last_word = trio.current_time()\n",
            ),
        ),
        STORE + "test_a_store_that_fails_after_the_rotation_leaves_it_in_memory_and_is_tried_again",
    ),
    Variant(
        "the refresh runs in the context of the first caller",
        (
            Edit(
                "_core/flights.py",
                "self._context.run(self.nursery.start_soon, self._fly, procedure, flight)",
                "self.nursery.start_soon(self._fly, procedure, flight)",
            ),
        ),
        CANCELLATION + "test_the_grant_runs_in_the_context_of_the_opener",
        seen_by_simulation=False,
    ),
    Variant(
        "an origin is known by its host alone",
        (
            Edit(
                "_origins.py",
                "(url.scheme, url.raw_host, url.port) in self._usual or",
                "any(url.raw_host == host for _, host, _ in self._usual) or",
            ),
        ),
        MANNERS + "test_p15_a_foreign_url_is_refused_before_anything_is_sent",
        seen_by_simulation=False,
    ),
    Variant(
        "a foreign server's 401 counts",
        (
            Edit(
                "_http/signing.py",
                "        return signed and self.origins.allows(request.url)\n",
                "        return True\n",
            ),
        ),
        MANNERS + "test_p15_a_redirects_foreign_target_gets_no_token_and_causes_no_refresh",
    ),
    Variant(
        "the token endpoint's client follows redirects",
        (
            Edit(
                "oauth/_endpoint.py",
                "follow_redirects=False",
                "follow_redirects=True",
            ),
        ),
        MANNERS + "test_p16_a_redirect_of_the_token_endpoint_is_never_followed",
    ),
    *AMENDED,
)
