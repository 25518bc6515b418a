"""Many logins in one program, and one login on many hosts: P30, P31 and P33."""

from __future__ import annotations

from typing import Final

from .variant import MANY, REDIS, Edit, Variant

VARIANTS: Final = (
    Variant(
        "the lock of the store is one for all keys",
        (
            Edit(
                "login",
                '(self._name, f"{self._name}:lock")',
                '(self._name, f"{self._terms.prefix}lock")',
            ),
        ),
        REDIS + "test_p30_keys_of_a_redis_store_are_isolated_however_odd",
        fleet=True,
    ),
    Variant(
        "a save goes by the generation alone, although another host has the lock by then",
        (
            Edit(
                "scripts",
                "{_LEASE_IS_OURS}\nredis.call('HSET', KEYS[1], 'record'",
                "redis.call('HSET', KEYS[1], 'record'",
            ),
        ),
        REDIS + "test_p31_former_holder_can_not_save_while_another_session_has_the_lock",
        fleet=True,
    ),
    Variant(
        "a session rests as soon as one of its tasks leaves it",
        (
            Edit(
                "members",
                "        if self.pins == 0:\n            self.members.rest(self)\n",
                "        self.members.rest(self)\n",
            ),
        ),
        MANY + "test_idle.py::test_a_session_in_use_is_never_dropped",
        fleet=True,
    ),
    Variant(
        "the sessions of all keys share one cookie jar",
        (
            Edit(
                "shared",
                "LoginCookies() if self._keeps_cookies else _NO_COOKIES",
                "self._jar if self._keeps_cookies else _NO_COOKIES",
            ),
            Edit(
                "shared",
                "        self._keeps_cookies = keeps_cookies\n",
                "        self._keeps_cookies = keeps_cookies\n        self._jar = LoginCookies()\n",
            ),
        ),
        MANY + "test_isolation.py::"
        "test_p30_cookies_that_are_asked_for_are_of_one_key_and_one_login",
        fleet=True,
    ),
)
