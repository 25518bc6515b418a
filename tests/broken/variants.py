"""Each mistake is one that somebody made, in a library of this kind or in a pasted class."""

from __future__ import annotations

from typing import Final

import attrs

CANCELLATION = "tests/test_promises_cancellation.py::"
LOGGED_OUT = "tests/test_promises_logged_out.py::"
MANNERS = "tests/test_promises_manners.py::"
REFRESH = "tests/test_promises_refresh.py::"
STATE = "tests/test_state.py::"
STORE = "tests/test_session_store.py::"


@attrs.frozen
class Edit:
    """A place in a file of the package, and what to put there instead."""

    file: str
    old: str
    new: str


@attrs.frozen
class Variant:
    """A plausible mistake."""

    name: str
    edits: tuple[Edit, ...]
    caught_by: str
    """The test whose name says what is broken."""
    seen_by_simulation: bool = True
    """Whether a simulated world can show it, within so many worlds as are tried."""


VARIANTS: Final = (
    Variant(
        "the refresh runs in the task of whoever asked first",
        (
            Edit(
                "_keeper.py",
                "        if not (self.observers or wants_waits()):\n",
                "        if False:\n",
            ),
            Edit(
                "_keeper.py",
                "        return self.launch(renew, flight)",
                "        self._flights.add(flight)\n"
                "        _waiting_to_fly[flight] = renew\n"
                "        return flight",
            ),
            Edit(
                "_keeper.py",
                "            landing = await flight.wait_landed()\n            cancelled = False",
                "            procedure = _waiting_to_fly.pop(flight, None)\n"
                "            if procedure is not None:\n"
                "                await self._fly(procedure, flight)\n"
                "            landing = await flight.wait_landed()\n"
                "            cancelled = False",
            ),
            Edit(
                "_keeper.py",
                "_SHORTEST_NAP = 0.5",
                "_SHORTEST_NAP = 0.5\n_waiting_to_fly: dict[Any, Any] = {}",
            ),
            Edit("_keeper.py", "        _flying.set(flight)\n", ""),
            Edit("_flight.py", "trio.CancelScope(shield=True)", "trio.CancelScope()"),
        ),
        CANCELLATION
        + "test_p06_the_task_that_started_the_refresh_leaves_at_once_and_the_refresh_lands",
    ),
    Variant(
        "nursery.start for the flight, which ties it to its caller",
        (
            Edit(
                "_keeper.py",
                "        if not (self.observers or wants_waits()):\n",
                "        if False:\n",
            ),
            Edit(
                "_keeper.py",
                "        return self.launch(renew, flight)",
                "        self._flights.add(flight)\n"
                "        _waiting_to_fly[flight] = renew\n"
                "        return flight",
            ),
            Edit(
                "_keeper.py",
                "            landing = await flight.wait_landed()\n            cancelled = False",
                "            procedure = _waiting_to_fly.pop(flight, None)\n"
                "            if procedure is not None:\n"
                "                async def job(*, task_status: Any) -> None:\n"
                "                    await self._fly(procedure, flight)\n"
                "                    task_status.started()\n"
                "                await self.nursery.start(job)\n"
                "            landing = await flight.wait_landed()\n"
                "            cancelled = False",
            ),
            Edit(
                "_keeper.py",
                "_SHORTEST_NAP = 0.5",
                "_SHORTEST_NAP = 0.5\n_waiting_to_fly: dict[Any, Any] = {}",
            ),
        ),
        CANCELLATION
        + "test_p06_the_task_that_started_the_refresh_leaves_at_once_and_the_refresh_lands",
    ),
    Variant(
        "a waiter that leaves takes the flight along",
        (
            Edit(
                "_keeper.py",
                "        if not (self.observers or wants_waits()):\n",
                "        if False:\n",
            ),
            Edit(
                "_keeper.py",
                "            now = trio.current_time()\n            self.tell(\n",
                "            if cancelled:\n"
                '                flight.ground("nobody waits")\n'
                "            now = trio.current_time()\n            self.tell(\n",
            ),
        ),
        CANCELLATION
        + "test_p06_the_task_that_started_the_refresh_leaves_at_once_and_the_refresh_lands",
    ),
    Variant(
        "the flight is not shielded from those who cancel the session",
        (Edit("_flight.py", "trio.CancelScope(shield=True)", "trio.CancelScope()"),),
        CANCELLATION
        + "test_p08_a_refresh_in_the_air_lands_and_is_stored_however_the_session_is_left",
    ),
    Variant(
        "no grace when the session is left",
        (
            Edit(
                "_keeper.py",
                "            with trio.move_on_after(self.policy.close_grace):",
                "            with trio.move_on_after(0):",
            ),
        ),
        CANCELLATION
        + "test_p08_a_refresh_in_the_air_lands_and_is_stored_however_the_session_is_left",
    ),
    Variant(
        "waiters wake before the tokens are saved",
        (
            Edit(
                "_renewal.py",
                "        flight.brought = generation\n"
                "        return await _secure(keeper, generation, generation)",
                "        flight.brought = generation\n"
                "        after = on_landing(keeper.state, flight, generation)\n"
                "        keeper.become(after, landing=generation)\n"
                "        return await _secure(keeper, generation, generation)",
            ),
            Edit("_renewal.py", "held, on_adoption", "held, on_adoption, on_landing"),
        ),
        CANCELLATION + "test_p07_rotated_tokens_are_stored_before_anybody_wakes_up_with_them",
    ),
    Variant(
        "a late 401 is taken for news",
        (
            Edit(
                "_state.py",
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
                "_auth.py",
                "reason = keeper.note_refused(generation)",
                "reason = keeper.note_refused(keeper.fresh() or generation)",
            ),
        ),
        REFRESH + "test_p02_a_late_401_is_sent_again_with_the_current_generation",
    ),
    Variant(
        "requests go on with a token that is known to be refused",
        (
            Edit(
                "_state.py",
                "            if not rejected and (good or generation.number >= landed > 0):",
                "            if good or generation.number >= landed > 0:",
            ),
        ),
        REFRESH
        + "test_p03_no_request_is_sent_with_a_rejected_generation_while_the_flight_is_in_the_air",
    ),
    Variant(
        "what is sent again after a redirect is the original request",
        (Edit("_auth.py", "refused = response.request", "refused = request"),),
        REFRESH + "test_p04_what_is_sent_again_after_a_redirect_is_the_request_that_was_refused",
    ),
    Variant(
        "every body is sent again, those too that are used up",
        (
            Edit(
                "_auth.py",
                "        isinstance(request.stream, library.SyncByteStream)",
                "        True or isinstance(request.stream, library.SyncByteStream)",
            ),
            Edit(
                "_auth.py",
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
                "_retry.py",
                "        if self._count < self._policy.max_futile:",
                "        if self._count < 10**9:",
            ),
        ),
        REFRESH + "test_p04_an_api_that_refuses_every_token_causes_a_bounded_number_of_refreshes",
    ),
    Variant(
        "a lost answer is asked for as often as any other",
        (
            Edit("_retry.py", "MOST_REPEATS = 2", "MOST_REPEATS = 10**9"),
            Edit("_retry.py", "REPEAT_WITHIN = 10.0", "REPEAT_WITHIN = 1e9"),
        ),
        REFRESH + "test_p05_after_a_lost_answer_it_is_presented_twice_more_within_ten_seconds",
    ),
    Variant(
        "the store is not looked into before the server is asked",
        (
            Edit(
                "_renewal.py",
                "            news = await _news(keeper, refusal, has_login=base is not None)\n"
                "            if isinstance(news, LoggedOut) or flight.landed:",
                "            news = None\n"
                "            if isinstance(news, LoggedOut) or flight.landed:",
            ),
        ),
        STORE + "test_two_sessions_that_share_a_store_share_one_refresh",
    ),
    Variant(
        "a scope is open across a yield",
        (
            Edit(
                "_auth.py",
                "    response = yield request  # noqa: ASYNC911\n",
                "    with trio.move_on_after(30):\n        response = yield request\n",
            ),
            Edit("_auth.py", "import sys\n", "import sys\nimport trio\n"),
        ),
        CANCELLATION + "test_p09_no_scope_and_no_nursery_is_open_while_a_request_is_out",
        seen_by_simulation=False,
    ),
    Variant(
        "a 401 is closed instead of read",
        (Edit("_auth.py", "await read_refusal(response, library)", "await response.aclose()"),),
        CANCELLATION + "test_p10_a_401_that_is_acted_on_is_read_before_its_request_waits",
    ),
    Variant(
        "a 401 is neither read nor closed while its request waits",
        (Edit("_auth.py", "    await read_refusal(response, library)\n", ""),),
        CANCELLATION + "test_p10_waiting_requests_do_not_starve_the_refresh_of_connections",
        seen_by_simulation=False,
    ),
    Variant(
        "all waiters raise one and the same exception",
        (
            Edit(
                "_keeper.py",
                '                raise LoggedOutError(f"{REASONS[reason]}; {remedy}{more}", '
                "reason) from cause",
                "                error = LoggedOutError(REASONS[reason], reason)\n"
                "                raise _raised.setdefault(id(why), error) from cause",
            ),
            Edit(
                "_keeper.py",
                "_SHORTEST_NAP = 0.5",
                "_SHORTEST_NAP = 0.5\n_raised: dict[int, LoggedOutError] = {}",
            ),
        ),
        LOGGED_OUT + "test_p11_each_waiter_gets_an_error_of_its_own_from_one_cause",
    ),
    Variant(
        "observers are told after the waiters were woken",
        (
            Edit(
                "_keeper.py",
                "            self.forget_cookies()\n"
                "            self.tell(\n"
                "                events.LoggedOut(\n"
                "                    time=trio.current_time(), reason=outcome.reason, "
                "words=careful(outcome.cause)\n"
                "                )\n"
                "            )\n"
                "            login.end(outcome)\n",
                "            login.end(outcome)\n"
                "            self.forget_cookies()\n"
                "            event = events.LoggedOut(time=0, reason=outcome.reason)\n"
                "            self.nursery.start_soon(_later, self.tell, event)\n",
            ),
            Edit(
                "_keeper.py",
                '_logger = logging.getLogger("trioauth")\n',
                '_logger = logging.getLogger("trioauth")\n\n\n'
                "async def _later(tell: Any, event: Any) -> None:\n"
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
                "_renewal.py",
                "    login = Login()\n    generation = flight.brought =",
                "    login = keeper.login or Login()\n    generation = flight.brought =",
            ),
        ),
        LOGGED_OUT + "test_p13_a_request_of_the_old_login_is_never_sent_with_the_new_ones_token",
    ),
    Variant(
        "a network fault logs out",
        (
            Edit(
                "_renewal.py",
                "        failure = _bare(exc)\n    except BaseException:",
                '        return GrantRefusedError("invalid_grant")\n    except BaseException:',
            ),
        ),
        LOGGED_OUT + "test_p14_unavailable_never_logs_out",
    ),
    Variant(
        "the cool-down is forgotten",
        (
            Edit(
                "_keeper.py",
                "        return Setback(cause, max(self.clock.now() + pause, flight.quiet_until))",
                "        return Setback(cause, self.clock.now())",
            ),
        ),
        REFRESH + "test_p05_a_flight_soon_after_does_not_start_to_count_anew",
    ),
    Variant(
        "each attempt has a deadline of its own, and the flight has none",
        (
            Edit(
                "_renewal.py",
                "    asked_at = keeper.clock.now()\n    try:",
                "    asked_at = keeper.clock.now()\n"
                "    flight.scope.deadline = trio.current_time() + keeper.policy.timeout\n"
                "    try:",
            ),
        ),
        MANNERS + "test_p20_the_deadline_bounds_the_retries_too",
    ),
    Variant(
        "the leeway is not capped, and a short-lived token is stale at birth",
        (Edit("_flight.py", "min(policy.leeway, lifetime / 10)", "policy.leeway"),),
        STATE + "test_the_windows_are_capped_at_a_share_of_the_lifetime",
    ),
    Variant(
        "the store is written without compare-and-swap",
        (
            Edit(
                "_vault.py",
                "            await self._store.save(record, expected=self.synced)",
                "            there = await self._store.load()\n"
                "            at = 0 if there is None else there.generation\n"
                "            await self._store.save(record, expected=at)",
            ),
        ),
        STORE + "test_a_loser_adopts_what_the_winner_saved_and_overwrites_nothing",
    ),
    Variant(
        "a store that fails takes the rotated tokens along",
        (
            Edit(
                "_renewal.py",
                "    except Exception as exc:  # noqa: BLE001  # told to the observers\n"
                "        _not_saved(keeper, generation, login, exc)",
                "    except Exception as exc:  # noqa: BLE001  # told to the observers\n"
                "        _not_saved(keeper, generation, login, exc)\n"
                "        raise",
            ),
            Edit("_renewal.py", "        flight.brought = generation\n", ""),
        ),
        STORE + "test_a_store_that_fails_after_the_rotation_leaves_it_in_memory_and_is_tried_again",
    ),
    Variant(
        "the refresh runs in the context of the first caller",
        (
            Edit(
                "_keeper.py",
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
                "_auth.py",
                "    return request.headers.get",
                "    return True or request.headers.get",
            ),
        ),
        MANNERS + "test_p15_a_redirects_foreign_target_gets_no_token_and_causes_no_refresh",
    ),
    Variant(
        "the token endpoint's client follows redirects",
        (Edit("_endpoint.py", "follow_redirects=False", "follow_redirects=True"),),
        MANNERS + "test_p16_a_redirect_of_the_token_endpoint_is_never_followed",
    ),
)
