"""scripts/check_changelog.py, which `make check` runs, finds what is wrong with a changelog."""

from __future__ import annotations

import re

import pytest

import trioauth

from .scripts import ROOT, script

MISTAKES = script("check_changelog").mistakes

GOOD = """\
# Changelog

[A page](CONTRIBUTING.md#a-release), [a site](https://example.com).

## [Unreleased]

## [1.10.0] - 2026-02-28

### Added

- One thing, and
  another.

## [1.9.0] - 2026-01-31

The first.

### Added

- All of it.
"""


def test_the_changelog_of_this_version_is_well_formed() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert list(MISTAKES(text, trioauth.__version__)) == []


def test_a_well_formed_changelog_has_no_mistakes() -> None:
    assert list(MISTAKES(GOOD, "1.10.0")) == []


@pytest.mark.parametrize(
    ("before", "after", "mistake"),
    [
        ("# Changelog\n", "# News\n", "line 1: the title"),
        ("## [Unreleased]\n\n", "", r"'## \[Unreleased\]' does not come first"),
        ("## [1.9.0] - 2026-01-31", "## [Unreleased]", "comes more than once"),
        ("[1.9.0] - 2026-01-31", "[1.9.0]", r"line 14: '\[1.9.0\]' is not like"),
        ("[1.9.0]", "1.9.0", r"line 14: '1.9.0 - 2026-01-31' is not like"),
        ("2026-01-31", "2026-02-29", "line 14: 2026-02-29 is not a day"),
        ("2026-01-31", "2026-03-31", "the versions do not stand newest first"),
        ("[1.9.0]", "[1.11.0]", "the versions do not stand newest first"),
        ("[1.9.0]", "[1.10.0]", "the versions do not stand newest first"),
        ("[1.10.0]", "[1.11.0]", "the newest version is 1.11.0, but .* says 1.10.0"),
        ("### Added\n\n- One", "### New\n\n- One", "line 9: 'New' is none of Added, Changed"),
        ("## [1.9.0]", "### Added\n\n- More.\n\n## [1.9.0]", "has 'Added' more than once"),
        ("\n### Added\n\n- All of it.\n", "", r"line 14: \[1.9.0\] - 2026-01-31 says nothing"),
        ("- All of it.\n", "", r"line 18: 'Added' of \[1.9.0\] - 2026-01-31 says nothing"),
        ("  another", "another", "line 12: neither an entry"),
        ("CONTRIBUTING.md", "NO.md", "line 3: NO.md#a-release is neither a file here"),
        ("https:", "http:", "line 3: http://example.com is neither"),
    ],
)
def test_each_mistake_is_found_and_is_the_only_one(before: str, after: str, mistake: str) -> None:
    assert before in GOOD
    [found] = MISTAKES(GOOD.replace(before, after, 1), "1.10.0")
    assert re.search(mistake, found)
