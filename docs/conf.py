"""How Sphinx builds the documentation: ``make docs``. Nothing here needs the network."""

from __future__ import annotations

import builtins
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

import trioauth

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "trioauth"
release = version = trioauth.__version__
project_copyright = "the authors of trioauth"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# Programs that pages show, not pages.
exclude_patterns = ["examples"]

# --- pages --------------------------------------------------------------------------------------

myst_heading_anchors = 3

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


# --- reference ----------------------------------------------------------------------------------

nitpicky = True
default_role = "py:obj"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Cancellation", "Checkpoints"]

# Names in annotations and docstrings are short: they are looked for here.
PLACES = [
    "trioauth",
    *(f"trioauth.{found.name}" for found in pkgutil.iter_modules(trioauth.__path__)),
]
# What other libraries have is shown, but there is nothing here to link to, and no network to look
# it up. Nor is there for the types in annotations that are nobody's to name.
FOREIGN = re.compile(r"(trio|httpx2?|contextlib|pathlib|opentelemetry|IPython|pytest)\b")


def _find(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: Element) -> Element | None:
    """Find what a name means that is none in the place where it stands."""
    target = node.get("reftarget", "")
    python = env.domains.python_domain
    name = re.sub(r"^trioauth\.([a-z]\w*\.)*_\w+(\.[a-z]\w*)?\.", "", target)
    for place in PLACES:
        if f"{place}.{name}" in python.objects:
            assert app.builder is not None
            return python.resolve_xref(
                env, node["refdoc"], app.builder, "obj", f"{place}.{name}", node, shown
            )
    foreign = FOREIGN.match(target) or hasattr(builtins, name) or node["reftype"] == "class"
    # Several things have a method of that name: no link is better than one to the wrong one.
    ambiguous = any(known.endswith(f".{name}") for known in python.objects)
    return shown if foreign or ambiguous else None


def _keep_colons(
    _: Sphinx, what: str, __: str, ___: object, ____: object, lines: list[str]
) -> None:
    # Napoleon takes what stands before a colon in an attribute's docstring for its type: here it
    # is a sentence like any other, and this says that there is no type.
    if what in {"attribute", "data", "property"} and lines:
        lines[0] = f": {lines[0]}"


# Defaults that would be shown as the value they have, or as the attrs' word for a factory.
DEFAULTS = {r"RefreshPolicy\(.*?\)": "RefreshPolicy()", r"<function .*?>|NOTHING": "..."}
# Only open_session() makes the first two; the others are what a program writes itself.
NOT_CALLED = {"trioauth.Session", "trioauth.BackChannel", "trioauth.Grant", "trioauth.TokenStore"}


def _shorten_signature(
    _: Sphinx, what: str, name: str, __: object, ___: object, signature: str | None, returns: str
) -> tuple[str, str | None] | None:
    if signature is None:
        return None
    if what == "class" and name in NOT_CALLED:
        return "", None
    for value, shown in DEFAULTS.items():
        signature = re.sub(value, shown, signature)
    return signature, returns


def setup(app: Sphinx) -> None:
    """Tell Sphinx about the functions above."""
    app.connect("source-read", _read_from_root)
    app.connect("missing-reference", _find)
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)
    app.connect("autodoc-process-signature", _shorten_signature)
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
