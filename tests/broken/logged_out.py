"""Logged out, and where a token goes: P11 to P15, and P22."""

from __future__ import annotations

from typing import Final

from .variant import LOGGED_OUT, MANNERS, Edit, Variant

VARIANTS: Final = (
    Variant(
        "all waiters raise one and the same exception",
        (
            Edit(
                "machine",
                "                raise LoggedOutError(\n"
                '                    f"{REASONS[reason]}; {remedy}{more}", reason, '
                "at_unix=at_unix\n"
                "                ) from cause\n",
                "                error = LoggedOutError(REASONS[reason], reason, "
                "at_unix=at_unix)\n"
                "                raise _raised.setdefault(id(why), error) from cause\n",
            ),
            Edit(
                "machine",
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
                "machine",
                "        self.forget_cookies()\n"
                "        self.tell(\n"
                "            events.LoggedOut(\n"
                "                time=trio.current_time(), reason=outcome.reason, "
                "words=careful(outcome.cause)\n"
                "            )\n"
                "        )\n"
                "        self.ended_logins |= {login.id}\n"
                "        login.end(outcome)\n",
                "        self.ended_logins |= {login.id}\n"
                "        login.end(outcome)\n"
                "        self.forget_cookies()\n"
                "        event = events.LoggedOut(time=trio.current_time(), "
                "reason=outcome.reason)\n"
                "        trio.lowlevel.spawn_system_task(_later, self.tell, event)\n",
            ),
            Edit(
                "machine",
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
        "late cookies of an ended login are taken in",
        (
            Edit(
                "client",
                "        if login is None or not login.ended.is_set():\n",
                "        if True:\n",
            ),
        ),
        LOGGED_OUT + "test_p11_no_cookie_of_an_ended_login_is_taken_in_and_nothing_is_undone",
        unseen_because="the servers of a simulated world set no cookies",
    ),
    Variant(
        "logging in goes on with the old login",
        (
            Edit(
                "logins",
                "        login = Login(by_log_in=True",
                "        login = self.machine.login or Login(by_log_in=True",
            ),
        ),
        LOGGED_OUT + "test_p13_a_request_of_the_old_login_is_never_sent_with_the_new_ones_token",
    ),
    Variant(
        "a request that queues outlives its login, as with a limiter above the auth flow",
        (
            Edit(
                "limiter",
                "            self._check(request, belonging)\n            response = await",
                "            response = await",
            ),
            Edit(
                "limiter",
                "            ends.append(login.scopes)\n",
                "            pass\n",
            ),
        ),
        "tests/test_limiter.py::test_p13_a_slot_that_comes_free_as_the_login_ends_is_not_"
        "used_for_it",
        unseen_because="the request fails all the same, only as late as its slot comes free",
    ),
    Variant(
        "a network fault logs out",
        (
            Edit(
                "renewal",
                "            return _unwrap(exc)\n",
                '            return GrantRefusedError("invalid_grant")\n',
            ),
        ),
        LOGGED_OUT + "test_p14_unavailable_never_logs_out",
    ),
    Variant(
        "an origin is known by its host alone",
        (
            Edit(
                "origins",
                "(url.scheme, url.raw_host, url.port) in self._usual or",
                "any(url.raw_host == host for _, host, _ in self._usual) or",
            ),
        ),
        MANNERS + "test_p15_a_foreign_url_is_refused_before_anything_is_sent",
        unseen_because="no two servers of a simulated world share a host",
    ),
    Variant(
        "a foreign server's 401 counts",
        (
            Edit(
                "signing",
                "        return signed and self.origins.allows(request.url)\n",
                "        return True\n",
            ),
        ),
        MANNERS + "test_p15_a_redirects_foreign_target_gets_no_token_and_causes_no_refresh",
    ),
    Variant(
        "a session does not ask which thread or run of trio it is used from",
        (
            Edit(
                "here",
                "            if trio.lowlevel.current_trio_token() is self._run:\n",
                "            if True:\n",
            ),
        ),
        "tests/test_neighbours.py::"
        "test_p22_a_session_used_from_a_thread_with_its_own_run_of_trio_is_one_clear_error",
        unseen_because="a simulated world is one run of trio, in one thread",
    ),
)
