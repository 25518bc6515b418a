"""A JWT as a grant (RFC 7523 2.1), without I/O. The answer: see `read_obtained`."""

from __future__ import annotations

from trioauth.oauth.form import Form, Parameters


def jwt_bearer_form(assertion: str, *, scope: str = "", more: Parameters | None = None) -> Form:
    """Build the form.

    Args:
      assertion: The JWT, which says in whose name tokens are asked for.
      scope: What is asked for; "" for what the server gives by default.
      more: Parameters that are added.
    """
    form = Form(
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion,
        }
    )
    if scope:
        form["scope"] = scope
    form.update(more or {})
    return form
