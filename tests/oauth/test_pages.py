"""The pages at the end of a log-in: escaped, and alone in the world."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from trioauth.oauth.logins import pages

if TYPE_CHECKING:
    from trioauth.oauth.logins.pages import Page

PAGES = [pages.SUCCEEDED, pages.RECEIVED, pages.NOT_FOUND, pages.failed("a", "b")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_a_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    html = page.render("notes").decode()
    assert "<script" not in html
    assert "http" not in html
    assert re.findall(r'(?:src|href)="([^"]*)"', html) == ["data:,"]
    assert "notes" in html
    assert "color-scheme" in html


def test_the_policy_allows_the_style_that_is_there_and_no_other() -> None:
    style = re.findall("<style>(.*)</style>", pages.SUCCEEDED.render("notes").decode())[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = dict(pages.HEADERS)["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy


def test_the_code_in_the_address_goes_nowhere_else() -> None:
    headers = dict(pages.HEADERS)
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_each_value_is_escaped_and_kept_to_printable_characters() -> None:
    evil = "<img src=x onerror=alert(1)>\x1b[0m&\"'"
    for page in (pages.failed(evil, evil), pages.not_accepted(evil), pages.refused(400, evil)):
        html = page.render(evil).decode()
        assert "<img" not in html
        assert "\x1b" not in html
        assert "&lt;img src=x onerror=alert(1)&gt; [0m&amp;&quot;&#x27;" in html


def test_a_failure_without_a_description_says_only_what() -> None:
    assert pages.failed("access_denied").lines[0] == "access_denied"
    assert pages.failed("access_denied", "no").lines[0] == "access_denied: no"
