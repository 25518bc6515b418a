"""Cancellation, deadlines and interrupts: P6 to P10, P20 and P21."""

from __future__ import annotations

from typing import Final

from .variant import AMENDED_TESTS, CANCELLATION, INTERRUPTS, MANNERS, Edit, Variant

VARIANTS: Final = (
    Variant(
        "the refresh runs in the task that asked first",
        (
            Edit(
                "source",
                "        if not (self.machine.observers or wants_waits()):\n",
                "        if False:\n",
            ),
            Edit(
                "flights",
                "        self.launch(self.renewal.renew, flight)\n",
                "        flight.began = trio.current_time()\n"
                "        flight.deadline = flight.began + self.machine.policy.timeout\n"
                "        self.running.add(flight)\n"
                "        self.waiting_to_fly[flight] = self.renewal.renew\n",
            ),
            Edit(
                "flights",
                "    _saved_last: bool = attrs.field(",
                "    waiting_to_fly: dict = attrs.field(factory=dict, init=False)\n"
                "    _saved_last: bool = attrs.field(",
            ),
            Edit(
                "source",
                "            landing = await self._wait(flight)\n            cancelled = False\n",
                "            procedure = self.flights.waiting_to_fly.pop(flight, None)\n"
                "            if procedure is not None:\n"
                "                await self.flights._fly(procedure, flight)\n"
                "            landing = await self._wait(flight)\n"
                "            cancelled = False\n",
            ),
            Edit(
                "flights",
                "        current_flight.set(flight)\n",
                "",
            ),
            Edit(
                "flight",
                "trio.CancelScope(shield=True)",
                "trio.CancelScope()",
            ),
        ),
        CANCELLATION
        + "test_p06_the_task_that_started_the_refresh_leaves_at_once_and_the_refresh_lands",
    ),
    Variant(
        "a waiter that leaves takes the flight along",
        (
            Edit(
                "source",
                "        if not (self.machine.observers or wants_waits()):\n",
                "        if False:\n",
            ),
            Edit(
                "source",
                "            tell(events.WaitEnded(",
                "            if cancelled:\n"
                '                flight.cancel("a waiter left")\n'
                "            tell(events.WaitEnded(",
            ),
        ),
        CANCELLATION
        + "test_p06_the_task_that_started_the_refresh_leaves_at_once_and_the_refresh_lands",
    ),
    Variant(
        "the refresh runs in the context of the first caller",
        (
            Edit(
                "flights",
                "self._context.run(self.nursery.start_soon, self._fly, procedure, flight)",
                "self.nursery.start_soon(self._fly, procedure, flight)",
            ),
        ),
        CANCELLATION + "test_the_grant_runs_in_the_context_of_the_opener",
        unseen_because="no actor sets a context variable",
    ),
    Variant(
        "waiters wake before the tokens are saved",
        (
            Edit(
                "renewal",
                "            flight.brought, last_word = generation, "
                "trio.current_time() + _LAST_WORD\n",
                "            flight.brought, last_word = generation, "
                "trio.current_time() + _LAST_WORD\n"
                "            after = on_landing(self.machine.state, flight, generation)\n"
                "            self.machine.become(after, landing=generation)\n",
            ),
            Edit(
                "renewal",
                "generation_of, on_adoption, on_rotation",
                "generation_of, on_adoption, on_landing, on_rotation",
            ),
        ),
        CANCELLATION + "test_p07_rotated_tokens_are_stored_before_anybody_wakes_up_with_them",
    ),
    Variant(
        "the refresh is a task of the nursery like any other, and leaving the session cancels it",
        (
            Edit("flight", "trio.CancelScope(shield=True)", "trio.CancelScope()"),
            Edit(
                "opening",
                "                await session._flights.close()  "
                "# noqa: ASYNC102  # shielded, and bounded, inside\n"
                '                nursery.cancel_scope.cancel(reason="trioauth: '
                'the session is closed")\n',
                "                nursery.cancel_scope.cancel()\n"
                "                await session._flights.close()\n",
            ),
        ),
        CANCELLATION
        + "test_p08_a_refresh_in_the_air_lands_and_is_stored_however_the_session_is_left",
    ),
    Variant(
        "a scope is open while a request is out",
        (
            Edit(
                "auth",
                '        "_progress",\n',
                '        "_progress",\n        "_scope",\n',
            ),
            Edit(
                "auth",
                "        return request  # noqa: ASYNC910\n",
                "        self._scope = trio.move_on_after(30)\n"
                "        self._scope.__enter__()\n"
                "        return request\n",
            ),
            Edit(
                "auth",
                "        self._response = response\n        try:\n",
                "        self._scope.__exit__(None, None, None)\n"
                "        self._response = response\n"
                "        try:\n",
            ),
            Edit(
                "auth",
                "        return self._sent\n",
                "        self._scope = trio.move_on_after(30)\n"
                "        self._scope.__enter__()\n"
                "        return self._sent\n",
            ),
        ),
        CANCELLATION + "test_p09_no_scope_and_no_nursery_is_open_while_a_request_is_out",
    ),
    Variant(
        "a 401 is neither read nor closed while its request waits",
        (
            Edit(
                "auth",
                "            await read_refusal(response, self._library)\n",
                "",
            ),
        ),
        CANCELLATION + "test_p10_waiting_requests_do_not_starve_the_refresh_of_connections",
    ),
    Variant(
        "each attempt has a deadline of its own, and the flight has none",
        (
            Edit(
                "renewal",
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
        "only its own task lands a flight",
        (
            Edit(
                "flights",
                "        flight.late = True\n"
                "        self.land(flight, self._result_so_far(flight, None))\n",
                "        await flight.done.wait()\n",
            ),
        ),
        AMENDED_TESTS
        + "test_p20_who_waits_for_a_grant_that_cant_be_cancelled_is_told_at_the_deadline",
    ),
    Variant(
        "a deadline counts the time for which the process was stopped",
        (
            Edit(
                "clock",
                "        if now - slice_end > _LATE and stops < _MOST_STOPS:\n",
                "        if False:\n",
            ),
        ),
        AMENDED_TESTS + "test_p20_a_process_that_was_stopped_takes_the_answer_that_arrived",
    ),
    Variant(
        "what an observer raises breaks into the bookkeeping",
        (
            Edit(
                "machine",
                "            self._interrupt = self._interrupt or exc\n\n    def _log_raised",
                "            raise\n\n    def _log_raised",
            ),
        ),
        AMENDED_TESTS + "test_p21_what_an_observer_raises_leaves_no_waiter_asleep",
    ),
    Variant(
        "Control-C breaks into the bookkeeping",
        (
            Edit(
                "machine",
                "    @trio.lowlevel.enable_ki_protection\n    def whole(",
                "    def whole(",
            ),
        ),
        INTERRUPTS
        + "test_p21_control_c_on_any_line_leaves_no_flight_without_owner_and_no_waiter_asleep"
        "[renew-books]",
        unseen_because="no signal is sent in a simulated world",
    ),
    Variant(
        "each block that waits for SIGTERM puts back the handler that it found",
        (
            Edit(
                "signals",
                "    _before: _Handler = signal.SIG_DFL\n",
                "    _before: _Handler = signal.SIG_DFL\n"
                "    _found: dict = attrs.field(factory=dict)\n",
            ),
            Edit(
                "signals",
                "        if len(self._scopes) == 1:\n"
                "            # signal() returns None for a handler of C code, which Python "
                "can't install again.\n"
                "            self._before = signal.signal(signal.SIGTERM, self._handle) "
                "or signal.SIG_DFL\n",
                "        found = signal.signal(signal.SIGTERM, self._handle) or signal.SIG_DFL\n"
                "        self._before = self._found[scope] = found\n",
            ),
            Edit(
                "signals",
                "        if len(self._scopes) == 1:\n"
                "            signal.signal(signal.SIGTERM, self._before)\n",
                "        signal.signal(signal.SIGTERM, self._found.pop(scope))\n",
            ),
        ),
        "tests/test_signals.py::test_blocks_of_two_tasks_may_be_left_in_any_order",
        unseen_because="no signal is sent in a simulated world",
    ),
)
