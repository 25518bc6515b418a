"""The authorization server and the API: small, independent of `trioauth.testing`, and moody."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import attrs
import trio

from trioauth import Tokens

from .ledger import Issue, Ledger, Login, Presentation, Sent, Stay
from .wire import BrokenError, Reply

if TYPE_CHECKING:
    from .invariants import Judge
    from .weather import Weather
    from .world import Servers, Trouble

ID = "https://id.sim"
API = "https://api.sim"
FOREIGN = "https://foreign.sim"

_JSON = {"Content-Type": "application/json"}
_HTML = {"Content-Type": "text/html"}
_INVALID = {"WWW-Authenticate": 'Bearer realm="sim", error="invalid_token"'}


@attrs.define(eq=False)
class Server:
    """Both of them, with one ledger."""

    spec: Servers
    ledger: Ledger
    weather: Weather
    judge: Judge

    # --- logins ------------------------------------------------------------------------------

    def sign_in(self, stay: Stay | None) -> Tokens:
        """Let a human log in, elsewhere: the first tokens of a new login.

        Args:
          stay: For whose client; None: for any.
        """
        login = Login(f"L{len(self.ledger.logins) + 1}")
        if stay is not None:
            login.stranger = stay.program.stranger
            stay.given.add(login)
        self.ledger.logins.append(login)
        self.ledger.count("logins at the server")
        return Tokens(*self._members(self.issue(login, 1)))

    def issue(self, login: Login, number: int) -> Issue:
        """Make tokens."""
        name = f"canary-{login.name}-{number}"
        expires = self.weather.server_time() + self.spec.lifetime
        issue = Issue(login, number, f"at-{name}", f"rt-{name}", expires)
        issue.made_at = trio.current_time()
        self.ledger.issues.append(issue)
        self.ledger.by_access[issue.access] = self.ledger.by_refresh[issue.refresh] = issue
        return issue

    def _members(self, issue: Issue) -> tuple[str, str, float]:
        left = max(0.0, issue.expires - self.weather.server_time())
        return issue.access, issue.refresh, left

    def sudden(self, trouble: Trouble) -> None:
        """Revoke all logins, or kill all access tokens."""
        for issue in self.ledger.issues:
            issue.killed = True
            if trouble.what == "revoke":
                issue.login.alive = False

    # --- dispatch ----------------------------------------------------------------------------

    def receive(self, stay: Stay, request: Any) -> Sent | None:
        """Take in the headers of a request; return what is known of it, if it is for the API."""
        if request.url.host != "api.sim":
            return None
        values = request.headers.get_list("Authorization")
        token = values[0].removeprefix("Bearer ") if values else ""
        number = request.headers["x-sim-id"]
        sent = Sent(
            stay,
            number,
            request.url.path,
            self.ledger.by_access.get(token),
            trio.current_time(),
            born=self.judge.born.get(number),
            order=self.ledger.order(),
        )
        self.judge.request(sent, values)
        self.ledger.sent.append(sent)
        self.ledger.count("requests")
        return sent

    async def serve(self, stay: Stay, request: Any, body: bytes, sent: Sent | None) -> Reply:
        """Answer a request."""
        host = request.url.host
        if host == "id.sim":
            self.judge.token_request(stay, request)
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            if request.url.path == "/revoke":
                return await self._revoke(stay, form)
            return await self._token(stay, form)
        if sent is not None:
            return await self._api(sent, request, body)
        self.judge.foreign_request(stay, request, body)
        self.ledger.count("requests to foreign hosts")
        await trio.sleep(self.spec.api_latency)
        self.judge.foreign_answered(request)
        return Reply(401, _INVALID)

    # --- the token endpoint --------------------------------------------------------------------

    async def _revoke(self, stay: Stay, form: dict[str, str]) -> Reply:
        await trio.sleep(self.spec.latency)
        trouble = self.weather.strike("endpoint", ("503", "hang", "500", "connect"))
        match None if trouble is None else trouble.what:
            case "hang":
                await self.weather.cleared.wait()
            case "connect":
                raise BrokenError("connect")
            case "503" | "500":
                return Reply(503)
        issue = self.ledger.by_refresh.get(form["token"]) or self.ledger.by_access.get(
            form["token"]
        )
        if issue is not None:
            issue.login.alive = False
            issue.login.revoked_by.add(stay.name)
            self.ledger.count("revocations")
            self.ledger.note(stay.name, "revoked", issue.name)
        return Reply(200)

    async def _token(self, stay: Stay, form: dict[str, str]) -> Reply:
        issue = self.ledger.by_refresh[form["refresh_token"]]
        trouble = self.weather.strike("endpoint")
        what = "" if trouble is None else trouble.what
        shown = Presentation(stay, issue, trio.current_time(), what)
        self.ledger.note(stay.name, "presents", issue.name, what)
        self.judge.presented(shown)
        self.ledger.presentations.append(shown)
        self.ledger.count("presentations")
        if what:
            self.ledger.count(f"endpoint:{what}")
        try:
            await trio.sleep(self.spec.latency)
            reply = await self._treat(shown, trouble)
            await trio.lowlevel.checkpoint()
        except BrokenError as exc:
            self._end(shown, "safe" if str(exc) == "connect" else "lost")
            raise
        except trio.Cancelled:
            shown.cancelled = True
            self._end(shown, "lost")
            self.judge.presentation_cancelled(shown)
            raise
        finally:
            shown.over = True
        if shown.fate == "open":
            self._end(shown, "lost")
        return reply

    def _end(self, shown: Presentation, fate: str) -> None:
        known = shown.fate in ("lost", fate)
        shown.fate, shown.ended = fate, trio.current_time()
        if not known:
            self.judge.ended(shown)
        if fate == "lost":
            self.ledger.count("lost answers")
        self.ledger.note(shown.stay.name, "->", fate, shown.brought and shown.brought.name)

    async def _treat(self, shown: Presentation, trouble: Trouble | None) -> Reply:
        match None if trouble is None else trouble.what:
            case None:
                return self._grant(shown)
            case "delay":
                await trio.sleep(_amount(trouble, 15))
                return self._grant(shown)
            case "slow":
                reply = self._grant(shown)
                await trio.sleep(_amount(trouble, 15))
                return reply
            case "connect":
                raise BrokenError("connect")
            case "reset_unread" | "reset_read":
                raise BrokenError("reset")
            case "reset_rotated":
                self._grant(shown)
                raise BrokenError("reset")
            case "500":
                return Reply(500, _JSON, b'{"error": "server_error"}')
            case "500_rotated":
                self._grant(shown)
                self._end(shown, "lost")
                return Reply(500)
            case "502_html":
                return Reply(502, _HTML, b"<h1>Bad Gateway</h1>")
            case "503" | "429":
                return self._busy(shown, trouble)
            case "truncated" | "cut_json":
                reply = self._grant(shown)
                self._end(shown, "lost")
                if trouble is not None and trouble.what == "truncated":
                    return attrs.evolve(reply, cut=True, on_whole=None)
                return attrs.evolve(reply, body=reply.body[:-9], on_whole=None)
            case "portal":
                return Reply(200, _HTML, b"<html>Welcome to the airport. Please log in.</html>")
            case "garbage":
                return Reply(200, _JSON, b'{"access_token": ')
            case "odd":
                return self._grant(shown, odd=True)
            case "no_tokens":
                # The way some servers say no: the login is over for them, too.
                shown.issue.login.alive = False
                return self._refuse(shown, 200, b'{"error": "bad_refresh_token"}')
            case "no_sense":
                return Reply(200, _JSON, b'{"message": "down for maintenance"}')
            case "invalid_client":
                self._end(shown, "misconfigured")
                return Reply(401, _JSON, b'{"error": "invalid_client"}')
            case "temporarily_unavailable":
                self._end(shown, "safe")
                return Reply(400, _JSON, b'{"error": "temporarily_unavailable"}')
            case "empty_400":
                return Reply(400)
            case "redirect":
                return Reply(307, {"Location": f"{FOREIGN}/token"})
            case "hang":
                await self.weather.cleared.wait()
                raise BrokenError("reset")
            case "hang_rotated":
                self._grant(shown)
                await self.weather.cleared.wait()
                raise BrokenError("reset")
        raise AssertionError(f"no such trouble: {trouble}")

    def _busy(self, shown: Presentation, trouble: Trouble | None) -> Reply:
        assert trouble is not None
        self._end(shown, "safe")
        seconds = max(1, round(trouble.amount))
        now = self.weather.server_time()
        headers = {"Date": formatdate(now, usegmt=True)}
        not_before = 0.0
        match int(trouble.amount * 1000) % 4:
            case 0:
                pass
            case 1:
                headers["Retry-After"] = "soon, perhaps"
            case 2:
                headers["Retry-After"] = formatdate(now + seconds, usegmt=True)
                self.ledger.count("Retry-After: date")
                # A date has whole seconds.
                not_before = trio.current_time() + min(seconds, 300) - 1
            case _:
                headers["Retry-After"] = str(seconds)
                self.ledger.count("Retry-After: seconds")
                not_before = trio.current_time() + min(seconds, 300)

        def on_whole() -> None:
            # A client that left before the end, at its deadline say, can't know it.
            shown.not_before = not_before

        return Reply(int(trouble.what), headers, on_whole=on_whole)

    def _grant(self, shown: Presentation, *, odd: bool = False) -> Reply:
        """Rotate, and answer with the new tokens; or refuse."""
        issue, now = shown.issue, self.weather.server_time()
        if not issue.login.alive:
            return self._refuse(shown, 400, b'{"error": "invalid_grant"}')
        successor = issue.successor
        if successor is None:
            successor = issue.successor = self.issue(issue.login, issue.number + 1)
            issue.used_at = now
            issue.killed = issue.killed or self.spec.kills_old
            self.ledger.count("rotations")
        elif successor.successor is None and now - issue.used_at < self.spec.grace:
            self.ledger.count("repeats forgiven")
        else:
            self.judge.reused(shown)
            self.ledger.count("reuse")
            issue.login.alive = False
            return self._refuse(shown, 400, b'{"error": "invalid_grant"}')
        shown.brought = successor
        self._end(shown, "tokens")
        return Reply(
            200,
            _JSON,
            self._token_body(successor, odd=odd),
            on_whole=lambda: self._delivered(shown),
        )

    def _token_body(self, issue: Issue, *, odd: bool) -> bytes:
        access, refresh, expires_in = self._members(issue)
        # Forgiven late, it has no life left, and 0 says "unknown".
        issue.odd = issue.odd or expires_in == 0
        members: dict[str, object] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": expires_in,
            "refresh_token": refresh,
        }
        if odd:
            issue.odd = True
            members |= {
                "token_type": "bEARER",
                "expires_in": ("soon", None, str(int(expires_in)))[issue.number % 3],
                "scope": ["read", "write"],
                "id_token": {"not": "ours"},
            }
        return json.dumps(members).encode()

    def _delivered(self, shown: Presentation) -> None:
        shown.delivered = True
        self.judge.delivered(shown)

    def _refuse(self, shown: Presentation, status: int, body: bytes) -> Reply:
        self._end(shown, "refused")
        return Reply(status, _JSON, body, on_whole=lambda: self._delivered(shown))

    # --- the API -------------------------------------------------------------------------------

    async def _api(self, sent: Sent, request: Any, body: bytes) -> Reply:
        reply = await self._answer(sent, request, body)
        sent.status = reply.status
        sent.curable = reply.status == 401 and reply.headers.get("x-sim-curable") != "no"
        sent.told, sent.told_order = trio.current_time(), self.ledger.order()
        self.ledger.note(
            sent.stay.name, sent.id, sent.path, sent.issue and sent.issue.name, reply.status
        )
        self.judge.answered(sent)

        def exhausted() -> None:
            sent.exhausted = True

        return attrs.evolve(reply, on_whole=exhausted)

    async def _answer(self, sent: Sent, request: Any, body: bytes) -> Reply:
        trouble = self.weather.strike("api")
        what = "" if trouble is None else trouble.what
        if what:
            self.ledger.count(f"api:{what}")
        valid = self._valid(sent.issue)
        await trio.sleep(self.spec.api_latency)
        if what in ("slow", "401_late"):
            await trio.sleep(_amount(trouble, 5))
        if what != "401_late":
            valid = self._valid(sent.issue)
        match what:
            case "401":
                return Reply(401, _INVALID, b"no", tail=self.spec.api_latency)
            case "401_bare":
                return Reply(401)
            case "403":
                return Reply(403, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'})
            case "500":
                return Reply(500)
            case "reset":
                raise BrokenError("reset")
            case "step_up":
                challenge = 'Bearer error="insufficient_user_authentication", acr_values="gold"'
                return Reply(401, {"WWW-Authenticate": challenge, "x-sim-curable": "no"})
            case "basic":
                return Reply(401, {"WWW-Authenticate": 'Basic realm="x"'})
        if not valid or sent.path == "/denied" or sent.path.startswith("/item/"):
            return Reply(401, _INVALID, b"refused", tail=self.spec.api_latency)
        return self._page(sent, request, body)

    def _page(self, sent: Sent, request: Any, body: bytes) -> Reply:
        self.judge.accepted(sent, request, body)
        match sent.path:
            case "/form":
                return Reply(303, {"Location": "/landing"}, b"see there")
            case "/away":
                return Reply(302, {"Location": f"{FOREIGN}/landing"})
            case "/stream":
                return Reply(200, {}, b"x" * 2000, tail=0.3)
        return Reply(200, {}, b"hello")

    def _valid(self, issue: Issue | None) -> bool:
        return (
            issue is not None
            and issue.login.alive
            and not issue.killed
            and self.weather.server_time() < issue.expires
        )


def _amount(trouble: Trouble | None, most: float) -> float:
    return 0.0 if trouble is None else min(trouble.amount, most)
