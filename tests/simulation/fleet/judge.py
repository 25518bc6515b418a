"""P30 to P34, checked as it happens against the ledger alone.

What is excused, is excused for a reason that is known to be true: a lease that ended while its
refresh was in the air, a store that lost what was saved, a record that could not be saved and was
reported, a host that was left meanwhile.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import trio

from tests.simulation.invariants import CANARY
from trioauth import LoggedOut, events

from .world import name_of

if TYPE_CHECKING:
    from tests.simulation.ledger import Issue, Ledger, Login, Presentation, Sent, Stay
    from tests.simulation.weather import Weather
    from trioauth import Record, Session, Sessions

    from .link import Link
    from .redis import Lease, Redis

Seat: TypeAlias = "tuple[Stay, str]"
"""A login of a host: the host, and the key."""
_TINY: Final = 1e-6


@attrs.define
class Seen:
    """What is known of one login of a host."""

    used: bool = False
    log_ins: int = 0
    log_outs: int = 0
    held: set[Login] = attrs.field(factory=set)
    ended: set[Login] = attrs.field(factory=set)
    """What its program has ended with `log_out`, those included that had not quite begun."""
    not_saved: list[float] = attrs.field(factory=list)
    """When it was reported that a record could not be saved."""
    rejected: set[Issue] = attrs.field(factory=set)
    flights: set[int] = attrs.field(factory=set)
    refused: list[tuple[float, Issue]] = attrs.field(factory=list)
    """The refusals that it was told, and when."""


@attrs.define(eq=False)
class FleetJudge:
    """Watches a fleet, and remembers what should not have been."""

    ledger: Ledger
    weather: Weather
    redis: Redis = attrs.field(init=False)
    links: dict[Stay, Link] = attrs.field(factory=dict)
    sessions: dict[Stay, Sessions] = attrs.field(factory=dict)
    born: dict[str, Login] = attrs.field(factory=dict)
    seen: defaultdict[Seat, Seen] = attrs.field(factory=lambda: defaultdict(Seen))
    saved: dict[str, float] = attrs.field(factory=dict)
    """When each access token was saved last."""
    _leases: dict[Presentation, Lease | None] = attrs.field(factory=dict)
    refused: Counter[Login] = attrs.field(factory=Counter)

    # --- the store -----------------------------------------------------------------------------

    def asked(self, stay: Stay, key: str) -> None:
        """P34: what is asked for one key is about that key."""
        if not self.seen[stay, key].used:
            self.ledger.violate("P34", f"{stay.name} asks the store for {key}, never used there")

    def locked_out(self, stay: Stay, key: str, found: Lease) -> None:
        """P30: no key waits for the lock of another."""
        self.ledger.count("waits for a lease")
        if found.key != key:
            self.ledger.violate("P30", f"{stay.name}: {key} waits for the lock of {found.key}")

    def saves(
        self, stay: Stay, key: str, before: Record | None, record: Record, *, unlocked: bool
    ) -> None:
        """P31: only the holder of the lock saves, and nothing older replaces what is newer."""
        if not unlocked:
            self.ledger.violate("P31", f"{stay.name} saves {key}, which another host has locked")
        issue = None
        if record.tokens is not None:
            issue = self.ledger.by_access[record.tokens.access_token]
            self.saved[issue.access] = trio.current_time()
            if issue.login.key != key:
                self.ledger.violate("P30", f"{stay.name} saves {issue.name} under {key}")
        self.ledger.note(stay.name, key, "saved", record.generation, issue and issue.name)
        if before is None:
            return
        if record.generation <= before.generation:
            self.ledger.violate("P31", f"{stay.name} saves {record.generation} on a newer one")
        if before.tokens is not None:
            winner = self.ledger.by_access[before.tokens.access_token]
            self._replaces(stay, key, winner, issue)

    def _replaces(self, stay: Stay, key: str, winner: Issue, issue: Issue | None) -> None:
        seen = self.seen[stay, key]
        what = f"{stay.name} replaces {winner.name} with {issue.name if issue else 'a log-out'}"
        if issue is None:
            refused = {issue.login for _, issue in seen.refused}
            if winner.login not in seen.ended | seen.held | refused:
                self.ledger.violate("P31", what)
        elif issue.login is winner.login:
            if issue.number < winner.number:
                self.ledger.violate("P31", what)
        elif issue.number > 1 and not seen.not_saved and not self._was_lost(issue):
            # A new login always wins: it begins with the first tokens.
            self.ledger.violate("P31", what)

    def _was_lost(self, issue: Issue) -> bool:
        """Say whether the store had an earlier save of this login, and may have lost it since."""
        return any(
            loss >= at
            for access, at in self.saved.items()
            if access != issue.access and self.ledger.by_access[access].login is issue.login
            for loss in self.redis.losses
        )

    # --- the token endpoint --------------------------------------------------------------------

    def token_request(self, stay: Stay, request: Any) -> None:
        if stay.over:
            self.ledger.violate("P8", f"{stay.name} was left, and asks the token endpoint")

    def foreign_request(self, stay: Stay, request: Any, body: bytes) -> None:
        if any(CANARY in value for value in request.headers.values()) or CANARY.encode() in body:
            self.ledger.violate("P15", f"{stay.name} sends a secret to {request.url.host}")

    def foreign_answered(self, request: Any) -> None:
        pass

    def presented(self, shown: Presentation) -> None:
        """P31, P32: with the lock, and once for each generation in the whole fleet."""
        stay, login = shown.stay, shown.issue.login
        lease = self._leases[shown] = self.redis.latest.get((stay, login.key))
        # Where there is no record and no lock can be had, there is nothing to share (P32).
        alone = self.redis.record_of(login.key) is None and self.links[stay].failed_at >= 0
        if (lease is None or lease.released <= trio.current_time()) and not alone:
            self.ledger.violate("P32", f"{stay.name} refreshes {shown.issue.name} without a lock")
        elif lease is not None and lease.lapsed:
            self.ledger.count("presented when the lease had just ended")
        if not self.seen[stay, login.key].used:
            self.ledger.violate(
                "P30", f"{stay.name} uses {shown.issue.name}, of a key unused there"
            )
        for each in self.ledger.presentations:
            if each.issue.login is login and not each.over:
                self._at_once(each, shown, alone=alone)
            elif each.issue is shown.issue and each.fate == "tokens" and each.delivered:
                why = "alone" if alone else self._excuse(each, shown)
                if not why:
                    self.ledger.violate(
                        "P31", f"{stay.name} refreshes {shown.issue.name} like {each.stay.name}"
                    )
                self.ledger.count(f"refreshed again: {why}")

    def _at_once(self, each: Presentation, shown: Presentation, *, alone: bool) -> None:
        leases = self._leases[each], self._leases[shown]
        if alone or any(lease is None or lease.lapsed for lease in leases):
            self.ledger.count("two refreshes at once: a lease ended in mid-refresh")
        else:
            self.ledger.violate("P31", f"two refreshes of {shown.issue.login.name} at once")

    def _excuse(self, each: Presentation, shown: Presentation) -> str:
        """Say why a host could not know that another one has refreshed, or "" if it could."""
        assert each.brought is not None
        first, second = self._leases[each], self._leases[shown]
        saved = self.saved.get(each.brought.access)
        if any(at >= each.at for at in self.redis.losses):
            return "the store lost it"
        if saved is not None and (second is None or saved <= second.granted):
            return ""
        if any(lease is None or lease.lapsed for lease in (first, second)):
            return "a lease ended in mid-refresh"
        seen = self.seen[each.stay, each.issue.login.key]
        if any(at >= each.at for at in seen.not_saved):
            return "it could not be saved"
        if each.stay.over or each.stay.closing_at is not None:
            return "its host was left"
        return "its login was ended" if each.issue.login in seen.ended or seen.log_ins else ""

    def presentation_cancelled(self, shown: Presentation) -> None:
        self.ledger.count("refreshes cut short")

    def ended(self, shown: Presentation) -> None:
        lease = self._leases[shown]
        if lease is not None and lease.lapsed:
            self.ledger.count("leases that ended in mid-refresh")

    def delivered(self, shown: Presentation) -> None:
        """P31: a login that is over is refused to each host once, and no more.

        Of a token that another host has spent, with a lease that had ended, the refusal comes
        first; then the newer one, which is in the store, is refused if the server ended the login.
        """
        if shown.fate != "refused":
            return
        issue, now = shown.issue, trio.current_time()
        login = issue.login
        seen = self.seen[shown.stay, login.key]
        before = [
            at for at, each in seen.refused if each.login is login and each.number >= issue.number
        ]
        lost = [*self.redis.losses, *seen.not_saved]
        if before and not any(at >= before[-1] for at in lost):
            self.ledger.violate("P31", f"{shown.stay.name} was refused {login.name} again")
        seen.refused.append((now, issue))

    def reused(self, shown: Presentation) -> None:
        """Count it: whether it may be, `presented` has checked."""
        self.ledger.count("logins that ended by reuse")

    # --- the API -------------------------------------------------------------------------------

    def request(self, sent: Sent, authorizations: list[str]) -> None:
        """P30: no request of one key carries the token or the cookie of another."""
        stay, issue, key = sent.stay, sent.issue, sent.id.partition("/")[0]
        if len(authorizations) != 1 or issue is None:
            self.ledger.violate("P15", f"{stay.name} sends {len(authorizations)} tokens")
            return
        if issue.login.key != key:
            self.ledger.violate("P30", f"{sent.id} sent with {issue.name}, of {issue.login.key}")
        if sent.cookie and sent.cookie != f"login={issue.login.name}":
            self.ledger.violate("P30", f"{sent.id} sent as {issue.name} with {sent.cookie}")
        self.ledger.count("requests with a cookie", bool(sent.cookie))
        if sent.born is not None and sent.born is not issue.login:
            self.ledger.violate("P13", f"{sent.id} began in {sent.born.name}, sent as {issue.name}")
        if issue.access not in self.saved and not self.seen[stay, key].not_saved:
            self.ledger.violate("P7", f"{sent.id} sent with {issue.name}, which was not stored")
        if stay.over:
            self.ledger.violate("P8", f"{sent.id} sent although {stay.name} was left")

    def accepted(self, sent: Sent, request: Any, body: bytes) -> None:
        pass

    def answered(self, sent: Sent) -> None:
        self.ledger.count(f"status {sent.status}")

    # --- what observers are told -----------------------------------------------------------------

    def event(self, stay: Stay, event: events.Event) -> None:
        """Check an event against what is known."""
        self.ledger.note(stay.name, event.key, event)
        if CANARY in repr(event) or event.key in f"{event!r}{event}":
            self.ledger.violate("P17", f"a secret or a key in {type(event).__name__}")
        seen = self.seen[stay, event.key]
        if not seen.used:
            self.ledger.violate("P30", f"{stay.name} tells of {event.key}, never used there")
        match event:
            case events.RefreshStarted(flight=flight):
                if seen.flights:
                    self.ledger.violate("P1", f"{stay.name}: two flights of {event.key} at once")
                seen.flights.add(flight)
                self.ledger.count("flights")
            case events.RefreshLanded() | events.RefreshFailed():
                seen.flights.discard(event.flight)
                self.note_held(stay, event.key)
                self.ledger.count(type(event).__name__)
            case events.LoggedIn():
                seen.flights.clear()
                self.note_held(stay, event.key)
            case events.LoggedOut(reason=reason):
                seen.flights.clear()
                self._logged_out(stay, event.key, reason)
            case events.NotSaved():
                seen.not_saved.append(trio.current_time())
                self.ledger.count("not saved")
            case _:
                pass

    def note_held(self, stay: Stay, key: str) -> None:
        """Remember what a session is logged in with."""
        session = self.session_of(stay, key)
        issue = session and self.ledger.issue_of(session)
        if issue:
            self.seen[stay, key].held.add(issue.login)
            if issue.login.key != key:
                self.ledger.violate("P30", f"{stay.name}: {key} has {issue.name}")

    def session_of(self, stay: Stay, key: str) -> Session | None:
        """Return the session of a key, if it is in memory."""
        sessions = self.sessions.get(stay)
        member = sessions and sessions._members.table.get(key)
        return member.session if member and member.parts else None

    def _logged_out(self, stay: Stay, key: str, reason: str) -> None:
        seen = self.seen[stay, key]
        self.ledger.count(f"log-outs: {reason}")
        others = [each for (_, name), each in self.seen.items() if name == key and each is not seen]
        match reason:
            case "refused":
                may = bool(seen.refused)
            case "asked":
                may = seen.log_outs > 0
            case "replaced":
                may = seen.log_ins > 0 or any(each.log_ins for each in others)
            case _:
                may = any(each.log_outs or each.refused for each in others)
        if not may:
            self.ledger.violate("P31", f"{stay.name}: {key} logged out, {reason}, for no reason")

    # --- what tasks see --------------------------------------------------------------------------

    def raised(self, stay: Stay, what: str, exc: Exception, allowed: tuple[type, ...]) -> None:
        """Check an exception that came out of the library."""
        self.ledger.count(f"raised: {type(exc).__name__}")
        if not isinstance(exc, allowed):
            self.ledger.violate("P32", f"{what} at {stay.name} raised {exc!r}")
        each: BaseException | None = exc
        while each is not None:
            said = f"{each} {each!r} {each.args!r} {getattr(each, '__notes__', '')}"
            if CANARY in said or any(name_of(number) in said for number in range(9)):
                self.ledger.violate("P17", f"a secret or a key in {type(each).__name__} of {what}")
            each = each.__cause__ or each.__context__

    def unavailable(self, stay: Stay, key: str, what: str) -> None:
        """P32: while the token works, requests go on, whatever became of the store."""
        session = self.session_of(stay, key)
        issue = session and self.ledger.issue_of(session)
        if not session or not issue or self.weather.stops or issue in self.seen[stay, key].rejected:
            return
        refused = any(each.issue is issue and each.curable for each in self.ledger.sent)
        good = self.weather.server_time() + _TINY < issue.expires - issue.slack - 1
        if good and not refused and not issue.odd and not isinstance(session.state, LoggedOut):
            self.ledger.violate("P32", f"{what} failed although {issue.name} works")
