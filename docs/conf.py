"""How Sphinx builds the documentation: ``make docs``. Nothing here needs the network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

import trioauth

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "trioauth"
release = version = trioauth.__version__
project_copyright = "the authors of trioauth"

extensions = ["myst_parser"]
# Programs that pages show, not pages.
exclude_patterns = ["examples"]

# --- pages --------------------------------------------------------------------------------------

# A method in the reference is a heading of this depth at most.
myst_heading_anchors = 4

# Files of the repository that are pages, too. The page's own file only marks the place; and a link
# to the file, which is the right one where the repository is read, leads to the page.
# A link to any other file of the repository, a test say, leads to a copy of it.
ROOT = Path(__file__).parent.parent
FROM_ROOT = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
}


def _read_from_root(_: Sphinx, page: str, source: list[str]) -> None:
    text = source[0]
    if page in FROM_ROOT:
        text = (ROOT / FROM_ROOT[page]).read_text(encoding="utf-8")
        text = re.sub(r"\]\(docs/", "](/", text)
        text = re.sub(r"\]\((?=[A-Z]+\.md)", "](../", text)
    for name, file in {**FROM_ROOT, "index": "README.md"}.items():
        text = re.sub(rf"\]\((\.\./)+{re.escape(file)}", f"](/{name}.md", text)
    source[0] = text


def setup(app: Sphinx) -> None:
    """Tell Sphinx about the function above."""
    app.connect("source-read", _read_from_root)
    # Forges draw a Mermaid diagram. Here it stays text: the reader's browser would have to load a
    # program from elsewhere to draw it.
    app.add_lexer("mermaid", TextLexer)


# --- looks --------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "trioauth"
html_static_path = ["_static"]
html_css_files = ["trioauth.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "default"
pygments_dark_style = "github-dark"
