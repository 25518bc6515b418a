"""Logging in with a human.

In reading order:

``authorization``  the authorization code flow (pure): PKCE, the URL, reading the callback
``pages``          the HTML pages that the browser gets at the end (pure)
``ports``          the redirect URI on loopback, and binding its port
``listener``       serves that port, and takes one callback (P25)
``connection``     one connection of the listener: a bounded request, one answer
``opening``        opening a browser in a process of its own
``schedule``       when the device flow asks again (pure)
``prompt``         `Invitation`, `Prompt`: what a person is shown, in a terminal or a notebook
``lines``          reading the line that a person pastes, without holding on to the terminal
``qr``             QR codes, if segno is installed

And what is made of these:

``steps``        what all log-ins have in common: bounded requests, a prompt beside the waiting
``obtained``     the tokens that a log-in has brought, and whether they can be renewed
``halves``       the browser's way in two halves, with `Begun` in between
``browser``      `BrowserLogin`; ``device``, ``interactive``: `DeviceLogin`, `InteractiveLogin`

Imports from: the base, ``oauth``.
"""

__all__: list[str] = []
