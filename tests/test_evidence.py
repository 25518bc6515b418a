"""What 401s prove: the accounts alone, and any history of them that Hypothesis can think of."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from trioauth import RefreshPolicy
from trioauth._core.retry import LONGEST_PAUSE
from trioauth._http.evidence import (
    MOST_PLACES,
    PROBATION,
    SHORTEST_PAUSE,
    Account,
    Evidence,
    Place,
    place_of,
)


def place(path: str = "/a") -> Place:
    return place_of(httpx.URL(f"https://api.test{path}"))


def evidence(max_futile: int = 2, cooldown: float = 5) -> Evidence:
    return Evidence(RefreshPolicy(max_futile=max_futile, cooldown=cooldown))


def charged(accounts: Evidence, generation: int, now: float, path: str = "/a") -> Account:
    account = accounts.charge(place(path), generation, now=now)
    assert account is not None
    return account


def test_a_place_is_an_origin_and_a_path_whatever_the_query() -> None:
    assert place("/a?b=c") == place("/a")
    assert place("/a") != place("/b")
    assert place_of(httpx.URL("https://api.test:443/a")) == place("/a")
    assert place_of(httpx.URL("https://other.test/a")) != place("/a")


def test_after_max_futile_refreshes_pauses_double_and_are_capped() -> None:
    accounts, now, pauses = evidence(), 0.0, list[float]()
    charged(accounts, 1, now)
    for generation in range(2, 2000):
        charged(accounts, generation, now)
        assert accounts.forbids(now)
        pause = next(iter(accounts.accounts.values())).pause
        assert accounts.charge(place(), generation + 1, now=now + pause * 0.999) is None
        now += pause
        pauses.append(pause)
    assert pauses[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert set(pauses[8:]) == {LONGEST_PAUSE}


@pytest.mark.parametrize(("cooldown", "first"), [(0, SHORTEST_PAUSE), (7, 7), (1e300, 300)])
def test_the_first_pause_is_the_cool_down_within_bounds(cooldown: float, first: float) -> None:
    accounts = evidence(max_futile=1, cooldown=cooldown)
    charged(accounts, 1, 0)
    assert accounts.charge(place(), 2, now=first - 0.01) is None
    charged(accounts, 2, first)


def test_one_place_is_no_evidence_against_another() -> None:
    accounts = evidence(max_futile=1)
    charged(accounts, 1, 0, "/a")
    assert accounts.charge(place("/a"), 2, now=1) is None
    charged(accounts, 2, 1, "/b")


def test_the_refused_request_that_is_answered_clears_its_place_at_once() -> None:
    accounts = evidence(max_futile=1)
    account = charged(accounts, 1, 0)
    accounts.acquit(account)
    assert accounts.accounts == {}
    assert not accounts.forbids(0)
    # What was cleared once says nothing about an account that was opened since.
    charged(accounts, 2, 0)
    accounts.acquit(account)
    assert len(accounts.accounts) == 1


def test_another_request_there_clears_it_if_a_token_that_was_never_refused_lasts_a_minute() -> None:
    accounts = evidence(max_futile=1)
    charged(accounts, 1, 0)
    accounts.note_answered(place(), 2, now=PROBATION - 1)
    accounts.note_answered(place("/b"), 2, now=PROBATION)
    accounts.note_answered(place(), 1, now=PROBATION)
    assert len(accounts.accounts) == 1
    accounts.note_answered(place(), 2, now=PROBATION)
    assert accounts.accounts == {}


@pytest.mark.parametrize("noted", ["second sending", "handed back"])
def test_a_token_that_was_refused_there_never_clears_it(noted: str) -> None:
    accounts = evidence(max_futile=1)
    charged(accounts, 1, 0)
    if noted == "second sending":
        accounts.note_refused(place(), 2)
    else:
        assert accounts.charge(place(), 2, now=1) is None
    accounts.note_answered(place(), 2, now=PROBATION)
    assert len(accounts.accounts) == 1
    accounts.note_refused(place("/b"), 3)
    accounts.note_answered(place(), 3, now=PROBATION)
    assert accounts.accounts == {}


def test_places_beyond_the_bounded_number_share_one_account() -> None:
    accounts = evidence(max_futile=1)
    for number in range(MOST_PLACES):
        charged(accounts, 1, 0, f"/{number}")
    shared = charged(accounts, 1, 0, "/x")
    assert accounts.charge(place("/y"), 1, now=1) is None
    assert len(accounts.accounts) == MOST_PLACES
    # An answer to another request is no news of the one that was refused.
    accounts.note_answered(place("/x"), 2, now=PROBATION + 1)
    assert accounts.shared is shared
    accounts.acquit(shared)
    charged(accounts, 1, 1, "/y")


def test_a_report_has_helped_if_nothing_is_heard_of_the_new_token_for_a_minute() -> None:
    accounts = evidence(max_futile=1)
    for generation in range(1, 20):
        assert accounts.charge_report(generation, now=generation * PROBATION)
    assert not accounts.charge_report(20, now=20 * PROBATION - 56)
    # It was heard of: the minute that followed proves nothing.
    assert accounts.charge_report(20, now=20 * PROBATION)
    assert not accounts.charge_report(21, now=20 * PROBATION + 9)
    assert accounts.charge_report(22, now=20 * PROBATION + 10)


PATHS = [f"/{number}" for number in range(MOST_PLACES + 4)]


class Histories(RuleBasedStateMachine):
    """401s, 200s, reports and time in any order; the refreshes that they cause stay bounded."""

    @initialize(max_futile=st.integers(1, 3), cooldown=st.sampled_from([0, 1, 5, 1000]))
    def begin(self, max_futile: int, cooldown: float) -> None:
        self.max_futile, self.cooldown = max_futile, cooldown
        self.accounts = evidence(max_futile, cooldown)
        self.now, self.generation = 0.0, 1
        self.caused: dict[int, list[float]] = {}
        self.charges: list[Account] = []

    def _cause(self, account: Account) -> None:
        self.caused.setdefault(id(account), []).append(self.now)
        self.generation += 1

    @rule(path=st.sampled_from(PATHS))
    def refuse(self, path: str) -> None:
        account = self.accounts.charge(place(path), self.generation, now=self.now)
        if account is not None:
            self.charges.append(account)  # Kept, so that no id is used twice.
            self._cause(account)

    @rule()
    def report(self) -> None:
        before = self.accounts.reports
        if self.accounts.charge_report(self.generation, now=self.now):
            self.charges += [before, self.accounts.reports]
            self._cause(self.accounts.reports)

    @rule(path=st.sampled_from(PATHS))
    def refuse_again(self, path: str) -> None:
        self.accounts.note_refused(place(path), self.generation)

    @rule(path=st.sampled_from(PATHS))
    def answer(self, path: str) -> None:
        self.accounts.note_answered(place(path), self.generation, now=self.now)

    @precondition(lambda self: self.charges)
    @rule(data=st.data())
    def answer_again(self, data: st.DataObject) -> None:
        self.accounts.acquit(data.draw(st.sampled_from(self.charges)))

    @rule(seconds=st.sampled_from([0.1, 1, 5, 59, 60, 61, 299, 300, 3600]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def as_many_as_max_futile_and_then_one_a_pause(self) -> None:
        shortest = min(max(self.cooldown, SHORTEST_PAUSE), LONGEST_PAUSE)
        for times in self.caused.values():
            late = times[self.max_futile - 1 :]
            gaps = [after - before for before, after in zip(late, late[1:], strict=False)]
            for number, gap in enumerate(gaps):
                assert gap >= min(shortest * 2 ** min(number, 20), LONGEST_PAUSE) - 1e-6

    @invariant()
    def no_more_accounts_than_there_may_be(self) -> None:
        assert len(self.accounts.accounts) <= MOST_PLACES

    @invariant()
    def one_capped_pause_later_every_place_is_refreshed_for_again(self) -> None:
        assert not self.accounts.forbids(self.now + LONGEST_PAUSE)


TestHistories = Histories.TestCase
