"""Reads the notes of all workers beside the ledger of the server: what was lost, and had it to be?

A refresh token is spent within a *hold*: from ``locked`` to ``unlocked`` of its key, in one worker.
There are four ways in which one can end:

1. The server has answered, and new tokens or the end of the login were saved. Nothing is lost.
2. The worker was killed between ``spend`` and ``saved``. If the request had reached the server, and
   the new tokens had not reached the store, the next worker finds the spent token there and sends
   it again: that costs the login.
3. The lock is a lease, and the worker was stopped for longer. Another worker has got the lock, and
   sent the same token: that costs the login, too.
4. The machine was so slow that a deadline cut off the answer. Then the token is left alone for a
   while and sent once more (P5), as in case 2. On a machine that is not overloaded there are none.
5. Anything else is a defect of the package.

`Account.must_cost` computes cases 2 to 4 from the notes and from how often each token reached the
server, `Account.twice` what was presented twice. They have to be equal.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, final

import attrs

from .notes import Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .notes import Note


# A deadline of the fleet's policies leaves at least so many seconds for an answer.
_SHORTEST_WAIT = 1.0


@final
@attrs.frozen
class Life:
    """One worker, after its end."""

    number: int
    notes: Sequence[Note]
    killed: bool = False
    """By SIGKILL; otherwise it has ended itself."""
    stops: Sequence[tuple[float, float]] = ()
    """From when to when it was stopped, by SIGSTOP and SIGCONT."""


@final
@attrs.define(eq=False)
class Spending:
    """One refresh token that one worker was about to send."""

    token: Token
    worker: int
    since: float
    """When the lease was last renewed, at the earliest."""
    spent: float
    answered: bool = False
    settled: bool = False
    """What came of it is in the store."""
    ended: float | None = None
    """When the lock was given back; None if the worker was killed before."""

    @property
    def open(self) -> bool:
        """Whether nothing is known in the store or here of what came of it."""
        return not self.settled and (self.ended is None or not self.answered)

    @property
    def cut(self) -> bool:
        """Whether a deadline has cut off the answer; the worker lives."""
        return self.ended is not None and not self.answered

    @property
    def waited(self) -> float:
        """For how many seconds the lock was held after it was about to be sent."""
        return math.inf if self.ended is None else self.ended - self.spent

    def overtaken_by(self, other: Spending, lease: float) -> bool:
        """Say whether another worker had the lock when its lease had ended here, unnoticed."""
        return self.ended is not None and self.since + lease <= other.since <= self.ended


def spendings(life: Life, keys: Mapping[int, str]) -> Iterator[Spending]:
    """Return what a worker has spent, in order.

    Args:
      life: The worker.
      keys: The key of each login.
    """
    since: dict[str, float] = {}
    # A flight may ask more than once.
    in_hold: dict[str, list[Spending]] = {}
    for note in life.notes:
        key = (
            keys[note.token.login]
            if note.what in ("spend", "answered") and note.token
            else note.key
        )
        match note.what:
            case "locked":
                since[key], in_hold[key] = note.time, []
            case "probing":
                since[key] = note.time
            case "spend" if note.token:
                spending = Spending(note.token, life.number, since[key], note.time)
                in_hold[key].append(spending)
                yield spending
            case "answered":
                in_hold[key][-1].answered = True
            case "saved" | "ended":
                for each in in_hold.get(key, ()):
                    each.settled = True
            case "unlocked":
                for each in in_hold.pop(key):
                    each.ended = note.time
            case _:
                pass


@final
@attrs.frozen
class Check:
    """One thing that must be true."""

    promise: str
    sentence: str
    kept: bool


@final
@attrs.frozen(kw_only=True)
class Account:
    """What happened in the fleet, and whether it had to."""

    kind: str
    seconds: float
    seed: int
    lease: float
    """Seconds; infinite for a lock that dies with its holder."""
    keys: Mapping[int, str]
    """The key of each login that was begun."""
    lives: Sequence[Life]
    presented: Sequence[tuple[int, int, str]]
    """The ledger: login, number of the refresh token in the order of issue, outcome."""
    refreshes: int
    requests: int
    orders: Mapping[str, int]
    """What was done to the workers."""
    usable: Mapping[str, Token | None]
    """At the end each key was used: which token it has; None if it was logged out."""
    problems: Sequence[str] = ()

    # --- the ledger ------------------------------------------------------------------------

    @cached_property
    def presentations(self) -> Mapping[Token, Sequence[str]]:
        """The outcomes of each refresh token, by its generation.

        The server numbers them as it issues them. Each one of a login is issued when the one before
        is presented: so their order is that of the generations.
        """
        numbers: dict[int, set[int]] = {}
        for login, number, _ in self.presented:
            numbers.setdefault(login, set()).add(number)
        generations = {
            number: Token(login, generation)
            for login, found in numbers.items()
            for generation, number in enumerate(sorted(found), start=1)
        }
        outcomes: dict[Token, list[str]] = {}
        for _, number, outcome in self.presented:
            outcomes.setdefault(generations[number], []).append(outcome)
        return outcomes

    @cached_property
    def twice(self) -> frozenset[Token]:
        """The refresh tokens that were presented more than once."""
        return frozenset(t for t, outcomes in self.presentations.items() if len(outcomes) > 1)

    @cached_property
    def lost_logins(self) -> frozenset[int]:
        """The logins that the server has ended, because a refresh token came twice."""
        every = self.presentations.items()
        return frozenset(token.login for token, outcomes in every if "reused" in outcomes)

    # --- the notes -------------------------------------------------------------------------

    @cached_property
    def spent(self) -> Mapping[Token, Sequence[Spending]]:
        """What the workers have spent, by token, in order of time."""
        found: dict[Token, list[Spending]] = {}
        every = (each for life in self.lives for each in spendings(life, self.keys))
        for each in sorted(every, key=lambda each: each.spent):
            found.setdefault(each.token, []).append(each)
        return found

    def noted(self, *what: str) -> frozenset[Token]:
        """Return the tokens of all notes of these kinds."""
        notes = (note for life in self.lives for note in life.notes)
        return frozenset(note.token for note in notes if note.token and note.what in what)

    @cached_property
    def stored(self) -> frozenset[Token]:
        """What the store has had: saved by one that lived to say so, or read by another."""
        return self.noted("saved", "loaded")

    @cached_property
    def unanswered(self) -> Counter[Token]:
        """What has reached the server, and whose sender has not noted the answer."""
        count = Counter[Token]()
        for token, outcomes in self.presentations.items():
            answered = sum(each.answered for each in self.spent.get(token, ()))
            count[token] = len(outcomes) - answered
        return +count

    @cached_property
    def must_cost(self) -> Mapping[Token, str]:
        """The refresh tokens that had to be presented twice, and because of what."""
        cost: dict[Token, str] = {}
        saved = self.noted("saved")
        for token, found in self.spent.items():
            opened = [each for each in found if each.open]
            reached = self.unanswered[token] or any(each.answered for each in opened)
            # It may have been saved by the one that was killed before it could say so.
            silently = token.next in self.stored and token.next not in saved
            if opened and reached and not silently:
                cost[token] = "cut off" if all(each.cut for each in opened) else "killed"
            elif any(each.overtaken_by(other, self.lease) for each in found for other in found):
                cost[token] = "stopped"
        return cost

    @cached_property
    def foreign(self) -> frozenset[tuple[str, Token]]:
        """Tokens that were seen under another key than their own."""
        return frozenset(
            (note.key, note.token)
            for life in self.lives
            for note in life.notes
            if note.token and note.key and self.keys.get(note.token.login) != note.key
        )

    # --- the checks ------------------------------------------------------------------------

    def checks(self) -> Iterator[Check]:
        """Judge."""
        twice, cost = self.twice, frozenset(self.must_cost)
        yield Check("it ran", "workers were killed, and tokens rotated", self._ran())
        silent = {t for t, count in self.unanswered.items() if count > self._open(t)}
        yield Check(
            "P5",
            "each refresh token that reached the server was announced, and its answer lost only"
            f" with its process{_listed(silent)}",
            not silent,
        )
        hasty = {each.token for each in self._cut() if each.waited < _SHORTEST_WAIT}
        yield Check("P5", f"no answer was given up in a hurry{_listed(hasty)}", not hasty)
        yield Check(
            "P31",
            f"nothing was presented twice that did not have to be{_listed(twice - cost)}",
            twice <= cost,
        )
        yield Check(
            "P31", f"what had to be presented twice was{_listed(cost - twice)}", cost <= twice
        )
        generations = {token for token in self.stored if token.generation > 1}
        rotated = {t.next for t, found in self.presentations.items() if "rotated" in found}
        unsaved = rotated - generations
        yield Check(
            "P1",
            f"{self.refreshes} refreshes made {len(generations)} generations in the store and"
            f" {len(unsaved)} that were lost with their process",
            self.refreshes == len(rotated) == len(generations) + len(unsaved)
            and {token.previous for token in unsaved} <= cost,
        )
        yield Check(
            "P31",
            "a login ended if, and only if, one of its tokens had to be presented twice",
            self.lost_logins == {token.login for token in cost},
        )
        yield from self._checks_of_the_end()

    def _checks_of_the_end(self) -> Iterator[Check]:
        newest: dict[str, int] = {}
        for login, key in sorted(self.keys.items()):
            newest[key] = login
        replaced = set(self.keys) - set(newest.values())
        yield Check(
            "P14",
            f"no login was ended but those{_listed(replaced - self.lost_logins)}",
            replaced <= self.lost_logins,
        )
        dead = {
            key
            for key, token in self.usable.items()
            if newest[key] not in self.lost_logins and (token is None or token.login != newest[key])
        }
        yield Check("P31", f"every other login was usable at the end{_listed(dead)}", not dead)
        yield Check(
            "P30", f"no key had the token of another{_listed(self.foreign)}", not self.foreign
        )
        yield Check(
            "it ran", f"no worker ended by itself{_listed(self.problems)}", not self.problems
        )

    def _open(self, token: Token) -> int:
        return sum(each.open for each in self.spent.get(token, ()))

    def _cut(self) -> Iterator[Spending]:
        return (each for found in self.spent.values() for each in found if each.cut)

    def _ran(self) -> bool:
        return bool(self.refreshes and self.orders.get("SIGKILL") and self.requests)

    def story(self, token: Token) -> Iterator[str]:
        """Tell what the notes say of a refresh token, for a person who looks for a defect."""
        yield f"{token}: {', '.join(self.presentations.get(token, ()))}"
        for each in self.spent.get(token, ()):
            yield f"  {each}"
        key = self.keys[token.login]
        notes = [
            (note.time, life.number, note)
            for life in self.lives
            for note in life.notes
            if note.token in (token, token.next) or (note.key == key and note.token is None)
        ]
        spent = [each.spent for each in self.spent.get(token, ())]
        near = [
            n for n in sorted(notes, key=lambda n: n[:2]) if any(abs(n[0] - s) < 15 for s in spent)
        ]
        for then, number, note in near:
            if note.what not in ("lost", "unavailable"):
                yield f"  {then:.3f} worker {number}: {note.what} {note.token or ''}"

    @property
    def broken(self) -> list[str]:
        """What was not kept, by name."""
        return [check.promise for check in self.checks() if not check.kept]


def _listed(things: Iterable[object]) -> str:
    shown = ", ".join(sorted(map(str, things))[:10])
    return f": {shown}" if shown else ""
