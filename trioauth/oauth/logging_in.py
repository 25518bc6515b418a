"""The methods of `OAuthClient` by which a person logs in.

Each gives a log-in: a value that is called with the session's way to the server. What makes them
up is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .channel import BackChannel
    from .logins.browser import BrowserLogin
    from .logins.device import DeviceLogin
    from .logins.halves import Begun, FinishedLogin
    from .logins.interactive import InteractiveLogin, Way
    from .logins.prompt import Prompt
    from .logins.steps import LoginClient

_PATIENCE = 600.0


class LogsIn:
    """How a client lets a person log in; the base of `OAuthClient`."""

    __slots__ = ()

    def browser(
        self: LoginClient,
        *,
        prompt: Prompt | None = None,
        paste: bool = False,
        form_post: bool = False,
        parameters: Mapping[str, str] | None = None,
        program: str | None = None,
        patience: float = _PATIENCE,
    ) -> BrowserLogin:
        """Return the log-in with a browser on this machine (RFC 8252), for `Session.log_in`.

        Authorization code with PKCE. The browser comes back to a port of this machine; or the
        person pastes the address that it ended at.

        Args:
          prompt: How the person is asked; by default in the terminal or the notebook.
          paste: Whether the browser is expected to be on another machine.
          form_post: Have the answer sent by POST (``response_mode=form_post``), so that no code
              stands in an address.
          parameters: More, for this log-in: ``{"login_hint": "ann@example.com"}``.
          program: What the person knows the program by; by default the ``client_id``.
          patience: For so many seconds the person is waited for.

        Raises:
          ValueError: The client's ``redirect_uri`` is not on loopback; or a parameter is the
              protocol's own.
        """
        from .logins.browser import BrowserLogin

        return BrowserLogin(
            client=self,
            redirect=self.redirect,
            prompt=prompt,
            paste=paste,
            form_post=form_post,
            parameters=parameters or {},
            program=program,
            patience=patience,
        )

    def device(
        self: LoginClient,
        *,
        prompt: Prompt | None = None,
        parameters: Mapping[str, str] | None = None,
        program: str | None = None,
    ) -> DeviceLogin:
        """Return the log-in by a code that is typed on any device (RFC 8628).

        The second choice: a person can be talked into typing the code of a stranger.

        Args:
          prompt: How the person is asked; by default in the terminal or the notebook.
          parameters: More, for this log-in.
          program: What the person knows the program by; by default the ``client_id``.

        Raises:
          ValueError: A parameter is the protocol's own.
        """
        from .logins.device import DeviceLogin

        return DeviceLogin(client=self, prompt=prompt, parameters=parameters or {}, program=program)

    def interactive(
        self: LoginClient,
        *,
        way: Way | None = None,
        prompt: Prompt | None = None,
        parameters: Mapping[str, str] | None = None,
        program: str | None = None,
        patience: float = _PATIENCE,
    ) -> InteractiveLogin:
        """Return the log-in that fits where the program runs.

        With a browser if one can be opened here; else by device, if the server has that; else the
        person pastes the address that a browser elsewhere ended at.

        Args:
          way: ``"browser"``, ``"device"`` or ``"paste"``, if you know better.
          prompt: How the person is asked; by default in the terminal or the notebook.
          parameters: More, for this log-in.
          program: What the person knows the program by; by default the ``client_id``.
          patience: For so many seconds the person is waited for, if not by device.

        Raises:
          ValueError: As `browser`.
        """
        from .logins.browser import BrowserLogin
        from .logins.device import DeviceLogin
        from .logins.interactive import InteractiveLogin

        more = parameters or {}
        browser = BrowserLogin(
            client=self,
            redirect=self.redirect,
            prompt=prompt,
            parameters=more,
            program=program,
            patience=patience,
        )
        device = DeviceLogin(client=self, prompt=prompt, parameters=more, program=program)
        return InteractiveLogin(browser=browser, device=device, way=way)

    async def begin(
        self: LoginClient,
        endpoint: BackChannel,
        *,
        redirect_uri: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> Begun:
        """Begin a log-in whose callback comes to a web application of yours; `finish` ends it.

        ::

            begun = await client.begin(channel, redirect_uri="https://app.example.com/callback")
            web_session["login"] = begun.to_text()  # then redirect to begun.url
            ...
            begun = Begun.from_text(web_session.pop("login"))
            await session.log_in(client.finish(begun, str(request.url)))

        Args:
          endpoint: A way to the server.
          redirect_uri: Where the browser comes back to; by default the client's.
          parameters: More, for this log-in.

        Cancellation:
          Safe. The server may remember a request that is never used.

        Raises:
          ValueError: Of the parameters.
          GrantMisconfiguredError: The server does not accept this client, or what it asks for; or
              its metadata can't be used.
          RefreshUnavailableError: No usable answer.
        """
        from .logins.halves import FirstHalf

        uri = self.redirect_uri if redirect_uri is None else redirect_uri
        first = FirstHalf(client=self, redirect_uri=uri, parameters=parameters or {})
        return await first(endpoint)

    def finish(self: LoginClient, begun: Begun, callback_url: str) -> FinishedLogin:
        """Return the log-in that `begin` began, for `Session.log_in`.

        Args:
          begun: What `begin` returned. Each once.
          callback_url: The address that the browser came back to, or its path and query.

        Raises:
          ValueError: Another client has begun it.
        """
        from .logins.halves import FinishedLogin

        return FinishedLogin.read(self, begun, callback_url)
