"""The promises, checked as it happens and at the end, against the ledger alone.

Each check names the promise that it is about. What it excuses, it excuses for a
reason that the simulation knows to be true: a store that failed, a lock that
lapsed, a clock that jumped, an answer that was lost.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioauth import LoggedIn, LoggedOut, LoggedOutError, events

from .futility import Futility
from .ledger import FlightSeen, Issue, Ledger, Login, Presentation, Sent, Stay
from .quiet import Quiet
from .weather import EPOCH

if TYPE_CHECKING:
    from .store import Store
    from .weather import Weather

CANARY: Final = "t-canary-"
_TINY: Final = 1e-6
# P4: once, again after a refresh, and once more if that had only adopted.
_MOST_SENDINGS: Final = 3


@attrs.define(eq=False)
class Judge:
    """Watches everything, and remembers what should not have been."""

    ledger: Ledger
    weather: Weather
    lifetime: float
    stores: dict[str, Store] = attrs.field(factory=dict)
    """By the name of the stay."""
    born: dict[str, Login] = attrs.field(factory=dict)
    """The login that was current when a request was asked for."""
    last: dict[str, Sent] = attrs.field(factory=dict)
    """The last that was sent, by the name of the request."""
    reading: dict[str, Sent] = attrs.field(factory=dict)
    """The last that was sent, by the name of the task, in its present step."""
    _raised: list[BaseException] = attrs.field(factory=list)
    _waits: dict[tuple[Stay, int, str], list[tuple[float, int]]] = attrs.field(factory=dict)
    _failures: dict[Stay, tuple[float, float, int]] = attrs.field(factory=dict)
    _forward_at: dict[Presentation, float] = attrs.field(factory=dict)
    _outs: dict[Stay, tuple[float, int]] = attrs.field(factory=dict)
    futility: Futility = attrs.field(init=False)
    _quiet: Quiet = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.futility = Futility(self.ledger, self.weather)
        self._quiet = Quiet(self.ledger, self.weather)

    # --- the token endpoint --------------------------------------------------------------------

    def token_request(self, stay: Stay, request: Any) -> None:
        """Check what every request for the token endpoint must be like."""
        if request.headers.get("Accept-Encoding") != "identity":
            self.ledger.violate("P16", "the token endpoint is asked for compression")
        if stay.over:
            self.ledger.violate("P8", f"{stay.name} was left, and asks the token endpoint")

    def foreign_request(self, stay: Stay, request: Any, body: bytes) -> None:
        """Check that strangers get no secret."""
        if any(CANARY in value for value in request.headers.values()) or CANARY.encode() in body:
            self.ledger.violate("P15", f"{stay.name} sends a secret to {request.url.host}")
        if request.method == "POST":
            self.ledger.violate("P16", "the token endpoint's redirect was followed")

    def foreign_answered(self, request: Any) -> None:
        """Take in that a stranger answered, whatever it said: a redirect of the API ends there."""
        sent = self.last.get(request.headers["x-sim-id"])
        if sent is not None and sent.status == 302:
            self.futility.answered(sent)

    def presented(self, shown: Presentation) -> None:
        """Check everything about presenting a refresh token, at the moment it arrives."""
        self._forward_at[shown] = self.weather.forward
        store = self.stores[shown.stay.name]
        # Where there is no record and no lock can be had, there is nothing to share (P32).
        alone = store.troubled and store.record is None
        if store.owner is not shown.stay and not (store.lapsed or alone):
            self.ledger.violate("P5", f"{shown.stay.name} presents without the store's lock")
        before = [
            each for each in self.ledger.presentations if each.issue.login is shown.issue.login
        ]
        if any(not each.over for each in before) and not store.lapsed:
            self.ledger.violate("P1", f"two presentations of {shown.issue.login.name} at once")
        self._looked(shown, store)
        self._ours(shown.stay, shown.issue)
        again = [each for each in before if each.issue is shown.issue]
        self._honours_retry_after(shown, again)
        self._quiet.presented(shown, store)
        self._known_used(shown, again, store)
        if not self._has_reason(shown):
            self.ledger.violate(
                "P2", f"{shown.stay.name} refreshes {shown.issue.name} for no reason"
            )

    def _ours(self, stay: Stay, issue: Issue) -> None:
        """P15: what belongs to another client is never used."""
        if issue.login.stranger not in (None, stay.program.stranger):
            self.ledger.violate("P15", f"{stay.name} uses {issue.name}, of another client")

    def _looked(self, shown: Presentation, store: Store) -> None:
        record, stay, issue = store.record, shown.stay, shown.issue
        if record is None or store.lost or store.lapsed:
            return
        stored = (
            None if record.tokens is None else self.ledger.by_access[record.tokens.access_token]
        )
        if stored is not None and stored.login is issue.login:
            if stored.number > issue.number:
                self.ledger.violate("P5", f"presents {issue.name}; the store has {stored.name}")
        elif not stay.not_saved:
            has = "a log-out" if stored is None else stored.name
            self.ledger.violate("P5", f"{stay.name} presents {issue.name}; the store has {has}")

    def _honours_retry_after(self, shown: Presentation, again: list[Presentation]) -> None:
        now = trio.current_time()
        for each in again:
            early = each.not_before > now + self._forward_since(each) + _TINY
            if each.stay is shown.stay and early:
                self.ledger.violate("P20", f"{shown.stay.name} does not honour Retry-After")

    def ended(self, shown: Presentation) -> None:
        """Take in that a presentation has an end, as far as the server can tell."""
        if shown.fate == "lost":
            self._quiet.lost(shown, self.stores[shown.stay.name])

    def _forward_since(self, each: Presentation) -> float:
        return self.weather.forward - self._forward_at[each]

    def _known_used(self, shown: Presentation, again: list[Presentation], store: Store) -> None:
        for each in again:
            if not (each.delivered and each.fate == "tokens"):
                continue
            if each.stay is shown.stay:
                self.ledger.violate(
                    "P1", f"{shown.stay.name} has seen the successor of {shown.issue.name}"
                )
            elif not store.troubled and not each.stay.over and self._goes_on(each):
                self.ledger.violate(
                    "P7", f"the successor of {shown.issue.name} never got into the store"
                )

    def _goes_on(self, shown: Presentation) -> bool:
        """Say whether the login is still that of the session that has presented its token."""
        held = self.ledger.issue_held_by(shown.stay)
        return held is not None and held.login is shown.issue.login

    def _has_reason(self, shown: Presentation) -> bool:
        """P2: a 401 for this very generation, its age, or somebody's wish; no late 401."""
        stay, issue = shown.stay, shown.issue
        if self.weather.jumps or issue.name in stay.rejected:
            return True
        if any(
            each.issue is issue and each.stay is stay and each.curable for each in self.ledger.sent
        ):
            return True
        if any(called >= issue.made_at for called in stay.refresh_calls):
            return True
        policy = stay.program.policy
        window = max(
            min(policy.early, self.lifetime / 4),
            min(policy.leeway, self.lifetime / 10),
            stay.most_wanted,
        )
        return trio.current_time() + _TINY >= issue.expires - EPOCH - issue.slack - window

    def presentation_cancelled(self, shown: Presentation) -> None:
        """P6: only the deadline, a log-in, a log-out or leaving ends a refresh in the air."""
        now, stay, policy = trio.current_time(), shown.stay, shown.stay.program.policy
        due = any(
            not flight.over and now + _TINY >= self._deadline(flight, policy.timeout)
            for flight in stay.flights.values()
        )
        closed = stay.closing_at is not None and now + _TINY >= stay.closing_at + policy.close_grace
        # A log-in or a log-out goes on without its task, until its deadline. Where it was stopped,
        # a slice of the time is waited for once more.
        slices = self.weather.stops - stay.changed_stops
        changed = self.weather.awake() <= stay.changed_at + policy.timeout + slices + _TINY
        if not (due or closed or stay.changing or changed):
            self.ledger.violate("P6", f"a refresh of {stay.name} was cancelled with a task")
        self.ledger.count("refreshes cut short")

    def _deadline(self, flight: FlightSeen, timeout: float) -> float:
        """P20: deadlines count the time awake."""
        return flight.at + timeout + self.weather.stopped - flight.stopped

    def delivered(self, shown: Presentation) -> None:
        """Take in that an answer was read to its end."""
        if shown.brought is not None:
            took = (shown.ended or trio.current_time()) - shown.at
            # An odd answer may have left out the fraction of its last second.
            slack = took + shown.brought.odd
            shown.brought.slack = max(shown.brought.slack, slack)
            repeated = shown.at - shown.brought.made_at
            shown.brought.repeated = max(shown.brought.repeated, repeated)

    def reused(self, shown: Presentation) -> None:
        """P5: what the server takes for theft comes only of a lost answer or a failing store."""
        store = self.stores[shown.stay.name]
        lost = any(
            each.issue is shown.issue and each.fate in ("tokens", "lost") and not each.delivered
            for each in self.ledger.presentations
        )
        replaced = any(
            each.issue is shown.issue and each.delivered and not self._goes_on(each)
            for each in self.ledger.presentations
        )
        if not (lost or replaced or store.troubled):
            self.ledger.violate(
                "P5", f"{shown.stay.name} reuses {shown.issue.name}, spent and answered"
            )

    # --- the API -------------------------------------------------------------------------------

    def request(self, sent: Sent, authorizations: list[str]) -> None:
        """Check a request at the moment it arrives."""
        stay, issue, before = sent.stay, sent.issue, self.last.get(sent.id)
        sent.hop = before is not None and before.status == 303
        sent.again = sent.hop and before is not None and before.again
        if sent.hop and before is not None:
            sent.after = (*before.after, before.path)
        self.last[sent.id] = self.reading[sent.id.partition(".")[0]] = sent
        if len(authorizations) != 1 or issue is None:
            self.ledger.violate("P15", f"{stay.name} sends {len(authorizations)} tokens")
            return
        if before is not None and before.issue is not None:
            if before.issue.login is not issue.login:
                self.ledger.violate("P13", f"{sent.id} was {before.issue.name}, is {issue.name}")
            if before.curable and not sent.hop:
                before.kept = False
                sent.again = True
        self._ours(stay, issue)
        if sent.hop:
            return
        if sent.born is not None and sent.born is not issue.login:
            self.ledger.violate("P13", f"{sent.id} began in {sent.born.name}, sent as {issue.name}")
        self._not_too_often(sent)
        if not stay.logged_in:
            self.ledger.violate("P11", f"{sent.id} sent although {stay.name} is logged out")
        if stay.over or (stay.closing_at is not None and sent.at > stay.closing_at):
            self.ledger.violate("P8", f"{sent.id} sent although {stay.name} was left")
        self._usable(sent, issue)

    def _not_too_often(self, sent: Sent) -> None:
        """P4: twice; a third time only if the second token was adopted."""
        earlier = [each for each in self.ledger.sent if each.id == sent.id and not each.hop]
        if len(earlier) >= _MOST_SENDINGS:
            self.ledger.violate("P4", f"{sent.id} sent {len(earlier) + 1} times")
        if len(earlier) == _MOST_SENDINGS - 1:
            self.ledger.count("requests sent three times")
            second = earlier[1].issue
            if second is not None and second not in sent.stay.adopted:
                self.ledger.violate("P4", f"{sent.id} sent a third time")

    def _usable(self, sent: Sent, issue: Issue) -> None:
        stay = sent.stay
        if issue.access not in self.stores[stay.name].saved and not stay.not_saved:
            self.ledger.violate("P7", f"{sent.id} sent with {issue.name}, which was not stored")
        expired = self.weather.server_time() > issue.expires + issue.repeated + _TINY
        excused = self.weather.doubtful or issue.odd or stay.last_landed_at == sent.at
        if expired and not excused:
            self.ledger.violate("P3", f"{sent.id} sent with {issue.name}, known to be expired")

    def given(self, stay: Stay, token: str, valid_for: float) -> None:
        """Check a token that was handed to the program."""
        issue = self.ledger.by_access[token]
        if token not in self.stores[stay.name].saved and not stay.not_saved:
            self.ledger.violate("P7", f"{stay.name} hands out {issue.name}, which was not stored")
        if issue.name in stay.rejected:
            self.ledger.violate("P3", f"{stay.name} hands out {issue.name}, known to be bad")
        if self.weather.doubtful or issue.odd or stay.last_landed_at == trio.current_time():
            return
        left = issue.expires + issue.repeated - self.weather.server_time()
        if left + _TINY < (valid_for if valid_for <= self.lifetime / 2 else 0):
            self.ledger.violate(
                "P3", f"{stay.name} hands out {issue.name} with {left:.2f} s of life"
            )

    def ended_at(self, stay: Stay, order: int) -> float | None:
        """Return when the login ended, if that was after ``order``."""
        at, out_order = self._outs.get(stay, (0.0, 0))
        return at if out_order > order else None

    def quiet_until(self) -> float:
        """Return when all sessions may ask again."""
        return max((retry_at for retry_at, _, _ in self._failures.values()), default=0.0)

    def answered(self, sent: Sent) -> None:
        """Take in what the API said."""
        self.ledger.count(f"status {sent.status}")
        if sent.status not in (302, 303):  # Of a redirect, what counts is how it ends.
            self.futility.answered(sent)
        if sent.curable and sent.stay.session is not None:
            held = self.ledger.issue_held_by(sent.stay)
            if held is not None and held is not sent.issue:
                self.ledger.count("late 401s")

    def _caused_by(self, stay: Stay) -> Sent | None:
        """Return the request whose 401 has caused the flight that starts now, if that is clear."""
        sent = self.reading.get(trio.lowlevel.current_task().name)
        issue = self.ledger.issue_held_by(stay)
        if sent is None or issue is None or issue.name in stay.rejected:
            return None
        refused = [
            each
            for each in self.ledger.sent
            if each.stay is stay and each.issue is issue and each.curable
        ]
        clear = {each.path for each in refused} == {sent.path} and sent.issue is issue
        return sent if clear and sent.curable and sent.stay is stay else None

    def accepted(self, sent: Sent, request: Any, body: bytes) -> None:
        """P4: nothing is done twice, and no body arrives cut short."""
        expected = int(request.headers.get("x-sim-length", len(body)))
        if not sent.hop and sent.path != "/landing" and len(body) != expected:
            self.ledger.violate("P4", f"{sent.id}: {len(body)} bytes of {expected} arrived")
        done = [
            each
            for each in self.ledger.sent
            if each.id == sent.id and each.path == sent.path and each.status in (200, 302, 303)
        ]
        if done:
            self.ledger.violate("P4", f"{sent.id} was done twice: {sent.path}")

    # --- what observers are told -----------------------------------------------------------------

    def event(self, stay: Stay, event: events.Event) -> None:
        """Check an event against what is known and what is seen."""
        self.ledger.note(stay.name, event)
        if CANARY in repr(event):
            self.ledger.violate("P17", f"a secret in {type(event).__name__}")
        match event:
            case events.RefreshStarted():
                self._started(stay, event)
            case events.RefreshLanded():
                self._ended(stay, event.flight)
                stay.last_landed_at = event.time
                self._failures.pop(stay, None)
                self._newer(stay, event.generation)
                self.ledger.count("adoptions" if event.adopted else "landings")
                if event.adopted and (adopted := self.ledger.issue_held_by(stay)) is not None:
                    stay.adopted.add(adopted)
            case events.RefreshFailed():
                self._ended(stay, event.flight)
                self.ledger.count("failed flights")
                if not stay.flights[event.flight].superseded:
                    writes = self.stores[stay.name].writes
                    retry_at = max(event.retry_at, event.time + stay.program.policy.cooldown)
                    self._failures[stay] = (retry_at, self.weather.forward, writes)
            case events.WaitStarted(flight=flight, task=task):
                wait = trio.current_time(), self.ledger.order()
                self._waits.setdefault((stay, flight, task), []).append(wait)
                refused = self.reading.get(task)
                unread = refused is not None and refused.curable and not refused.exhausted
                # While the process was stopped, the patience for reading it ran out.
                if refused is not None and unread and self.weather.stops == 0:
                    self.ledger.violate("P10", f"{refused.id} waits with its 401 unread")
                self.ledger.count("waits")
            case events.WaitEnded():
                self._wait_ended(stay, event)
            case events.LoggedIn():
                if stay.logged_in:
                    self.ledger.violate(
                        "P13", f"{stay.name}: a login began before the last one ended"
                    )
                stay.logged_in, stay.refused_here = True, False
                stay.begun += 1
                self.ledger.note_held(stay)
                self._failures.pop(stay, None)
                self._newer(stay, event.generation)
                self.ledger.count("logins begun")
            case events.LoggedOut():
                self._logged_out(stay, event)
            case events.NotSaved():
                stay.not_saved += 1
                self.ledger.count("not saved")
                store = self.stores[stay.name]
                self._quiet.not_told(store)
                if event.error not in ("TooSlowError", "Interrupt") and not (
                    store.troubled or store.mixed
                ):
                    self.ledger.violate(
                        "P7", f"{stay.name}: not saved, {event.error}, for no reason"
                    )
            case events.RequestResent():
                self.ledger.count("requests resent")
            case _:
                pass

    def _started(self, stay: Stay, event: events.RefreshStarted) -> None:
        if any(not (flight.over or flight.superseded) for flight in stay.flights.values()):
            self.ledger.violate("P1", f"{stay.name}: two flights at once")
        if event.flight in stay.flights:
            self.ledger.violate("P1", f"{stay.name}: flight {event.flight} started twice")
        stay.flights[event.flight] = FlightSeen(
            event.flight,
            event.cause,
            event.generation,
            event.time,
            self.weather.stopped,
            self.weather.stops,
        )
        self.ledger.count("flights")
        self.ledger.count(f"flights: {event.cause}")
        # Where the last refresh has failed, a 401 that comes late tries once more what is due.
        first = stay not in self._failures
        if event.cause == "rejected" and first and (sent := self._caused_by(stay)) is not None:
            self.futility.refreshed(sent)
        retry_at, forward, writes = self._failures.pop(stay, (0.0, 0.0, -1))
        early = event.time + (self.weather.forward - forward) + _TINY < retry_at
        store = self.stores[stay.name]
        if early and writes == store.writes and not (store.mixed or store.lapsed):
            self.ledger.violate("P20", f"{stay.name} does not cool down until {retry_at:.2f}")

    def _ended(self, stay: Stay, number: int) -> None:
        flight = stay.flights[number]
        if flight.over and stay.program.stubborn and not stay.flights[number].superseded:
            # It was landed at its deadline, and has brought something all the same.
            self.ledger.count("late landings")
            return
        if flight.over:
            self.ledger.violate("P1", f"{stay.name}: flight {number} ended twice")
        flight.over = True
        self._quiet.landed(stay)
        # Where it was stopped, a slice of the time is waited for once more.
        end = self._deadline(flight, stay.program.policy.timeout)
        if trio.current_time() > end + self.weather.stops - flight.stops + _TINY:
            self.ledger.violate("P20", f"{stay.name}: flight {number} took too long")
        elif trio.current_time() >= end - _TINY:
            self.ledger.count("deadlines hit")

    def _newer(self, stay: Stay, generation: int) -> None:
        if generation < stay.generation:
            self.ledger.violate(
                "P1", f"{stay.name}: generation {generation} after {stay.generation}"
            )
        stay.generation = max(stay.generation, generation)
        session = stay.session
        if session is None or stay.closing_at is not None or not stay.logged_in:
            return
        if not isinstance(session.state, LoggedIn) or session.generation != generation:
            self.ledger.violate("P11", f"{stay.name}: told {generation}, is {session.state}")

    def _wait_ended(self, stay: Stay, event: events.WaitEnded) -> None:
        since, order = self._waits[stay, event.flight, event.task].pop()
        now = trio.current_time()
        stopped = self.weather.stopped + self.weather.stops
        if now > since + stay.program.policy.timeout + stopped + _TINY:
            self.ledger.violate("P20", f"{event.task} waited {now - since:.2f} s")
        out_at, out_order = self._outs.get(stay, (0.0, 0))
        if order < out_order and now > out_at and not self.weather.stopped_since(out_at):
            self.ledger.violate(
                "P11", f"{event.task} was told {now - out_at:.2f} s after the log-out"
            )
        flight = stay.flights[event.flight]
        told = flight.over or out_order > order or stay.closing_at is not None
        if not event.cancelled and not told:
            self.ledger.violate("P11", f"{event.task} woke before the observers were told")
        if event.cancelled:
            self.ledger.count("cancelled: waiting for a flight")

    def _logged_out(self, stay: Stay, event: events.LoggedOut) -> None:
        stay.logged_in, stay.refused_here = False, event.reason == "refused"
        stay.login = None
        self._quiet.logged_out(stay)
        for flight in stay.flights.values():
            flight.superseded = True
        self._outs[stay] = (event.time, self.ledger.order())
        self._failures.pop(stay, None)
        self.ledger.count(f"log-outs: {event.reason}")
        session = stay.session
        state = None if session is None else session.state
        if (
            stay.closing_at is None
            and isinstance(state, LoggedOut)
            and state.reason != event.reason
        ):
            self.ledger.violate("P11", f"{stay.name}: told {event.reason}, is {state.reason}")
        if event.reason != "replaced" and isinstance(state, LoggedIn):
            self.ledger.violate("P11", f"{stay.name}: told {event.reason}, is {state}")
        if not self._may_end(stay, event.reason):
            self.ledger.violate("P14", f"{stay.name} logged out, {event.reason}, for no reason")

    def _may_end(self, stay: Stay, reason: str) -> bool:
        others = [
            each
            for each in self.ledger.stays
            if each is not stay and self.stores[each.name] is self.stores[stay.name]
        ]
        match reason:
            case "refused":
                return any(
                    each.stay is stay and each.fate == "refused" and each.delivered
                    for each in self.ledger.presentations
                )
            case "asked":
                return stay.log_outs > 0
            case "unavailable":
                return stay.program.policy.when_unavailable == "log_out"
            case "replaced":
                began = stay.log_ins > 0 or any(each.log_ins for each in others)
                return began or bool(self.stores[stay.name].remade)
            case "elsewhere":
                return bool(self.stores[stay.name].ended_by - {stay.name})
        return False

    @staticmethod
    def without_interrupts(exc: BaseException) -> BaseException | None:
        """Return what is left of an exception besides what observers have raised."""
        if not isinstance(exc, BaseExceptionGroup):
            return None if type(exc).__name__ == "Interrupt" else exc
        left = [
            each
            for each in map(Judge.without_interrupts, exc.exceptions)
            if each is not None and not isinstance(each, LoggedOutError)
        ]
        return exc if len(left) > 1 else next(iter(left), None)

    # --- what tasks see -------------------------------------------------------------------------

    def raised(self, stay: Stay, what: str, exc: BaseException, allowed: tuple[type, ...]) -> None:
        """Check an exception that came out of the library."""
        name = type(exc).__name__
        self.ledger.count(f"raised: {name}")
        if type(exc) not in allowed:
            self.ledger.violate("P19", f"{what} of {stay.name} raised {exc!r}")
        if self.has_seen(exc):
            self.ledger.violate("P11", f"{what} of {stay.name} raised somebody else's {name}")
        self._raised.append(exc)
        each: BaseException | None = exc
        while each is not None:
            if CANARY in f"{each} {each!r} {each.args!r} {getattr(each, '__notes__', '')}":
                self.ledger.violate("P17", f"a secret in {type(each).__name__} of {what}")
            each = each.__cause__ or each.__context__
        if isinstance(exc, LoggedOutError) and stay.session is not None:
            state = stay.session.state
            same = isinstance(state, LoggedOut) and state.reason == exc.reason == "refused"
            if same and stay.refused_here and exc.__cause__ is None:
                self.ledger.violate("P11", f"{what}: a LoggedOutError without its cause")

    def has_seen(self, exc: BaseException | None) -> bool:
        """Say whether this very exception has come out of the library before."""
        return any(exc is each for each in self._raised)

    def unavailable_although_good(self, stay: Stay, what: str) -> None:
        """P14: while the token still works, requests go on."""
        issue = self.ledger.issue_held_by(stay)
        if issue is None or self.weather.jumps or issue.name in stay.rejected or issue.odd:
            return
        refused = any(
            each.issue is issue and each.stay is stay and each.curable for each in self.ledger.sent
        )
        good = self.weather.server_time() + _TINY < issue.expires - issue.slack
        if good and not refused:
            self.ledger.violate("P14", f"{what} of {stay.name} failed although {issue.name} works")

    # --- the end --------------------------------------------------------------------------------

    def at_end(self) -> None:
        """Check what can be seen only when everything is known."""
        by_token: dict[tuple[Stay, Issue], list[Sent]] = defaultdict(list)
        for sent in self.ledger.sent:
            if sent.issue is not None:
                by_token[sent.stay, sent.issue].append(sent)
        for (stay, issue), requests in by_token.items():
            known = [each.told_order for each in requests if each.curable and not each.kept]
            if issue.name in stay.rejected:
                known.append(stay.rejected[issue.name])
            if not known:
                continue
            for sent in requests:
                if sent.order > min(known) and not sent.hop:
                    self.ledger.violate("P3", f"{sent.id} sent with {issue.name}, known to be bad")
        for store in set(self.stores.values()):
            if store.owner is not None:
                self.ledger.violate("P8", f"{store.owner.name} still has the store's lock")
        for shown in self.ledger.presentations:
            if not shown.over:
                self.ledger.violate("P8", f"a refresh of {shown.stay.name} is still in the air")
