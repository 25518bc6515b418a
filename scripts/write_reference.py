"""Write docs/reference: signatures and docstrings as Markdown, between the marks of each page.

A page says what it describes, and the script writes the description below it::

    <!-- reference: trioauth.Tokens -->
    <!-- end -->

The rest of a page is written by hand. ``<!-- by hand: trioauth.__version__ -->`` says that such
text describes that name. A name in single backquotes becomes a link to its description; a name
that does not exist is an error. ``--check`` changes nothing, and fails if a page is stale.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import importlib
import inspect
import re
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))

_MARK = re.compile(r"(<!-- reference: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_BY_HAND = re.compile(r"<!-- by hand: ([\w. ]+) -->")
_SECTION = re.compile(r"(Args|Returns|Yields|Cancellation|Checkpoints|Raises):$")
# Names that other libraries describe.
_FOREIGN = re.compile(r"(trio|httpx2?|contextlib|pathlib|opentelemetry|IPython|pytest|attrs)\b")
# open_session() and open_sessions() make the first three; programs write the others.
_NOT_CALLED = {
    *("Session", "Sessions", "BackChannel"),
    *("Grant", "TokenStore", "Prompt", "ClientAuthentication"),
}
_WIDTH = 88
# Described once for all events, by the page.
_SAID_ONCE = {"_Event"}
# Described by hand, because its methods are those of httpx.
_BY_HAND_ONLY = {"ClientMethods"}


@attrs.frozen
class Member:
    """A field, a property or a method of a class."""

    name: str
    signature: str
    doc: str
    is_field: bool


# --- what there is ------------------------------------------------------------------------------


def found_at(name: str) -> Any:
    """Return what a full name stands for."""
    module, _, last = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), last)


@cache
def tree_of(file: str) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(Path(file).read_text(encoding="utf-8"))


def documented_names(body: list[ast.stmt]) -> dict[str, tuple[str, str]]:
    """Return the assigned names of a body: annotation, and the docstring below it or ""."""
    found = {}
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        doc = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            doc = inspect.cleandoc(str(after.value.value))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = (ast.unparse(node.annotation), doc)
    return found


def data_description(name: str) -> tuple[str, str]:
    """Return what a module's name is assigned, as code, and the docstring below it or ""."""
    for module in [each for key, each in sorted(sys.modules.items()) if key.startswith("trioauth")]:
        tree = tree_of(str(module.__file__))
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
                value = ast.unparse(node.value)
                if len(value) > _WIDTH - len(name):
                    parts = parts_of(value.removesuffix("]"))
                    value = parts[0].replace("[", "[\n    ", 1) + "".join(
                        f"\n    {each}" for each in parts[1:]
                    )
                    value = f"{value},\n]" if "[" in value else f"(\n    {value}\n)"
                return quoted(f"{name} = {value}"), documented_names(tree.body)[name][1]
    raise SystemExit(f"{name} is not assigned anywhere")


def parts_of(value: str) -> list[str]:
    """Split a type after commas and before bars, but not within the brackets of its parts."""
    parts, start, depth = [], 0, 0
    for at, letter in enumerate(value):
        depth += (letter in "[(") - (letter in "])")
        if letter == " " and depth <= 1 and (value[at - 1] == "," or value[at + 1] == "|"):
            parts.append(value[start:at])
            start = at + 1
    return [*parts, value[start:]]


def class_body(cls: type) -> list[ast.stmt]:
    """Return the statements of a class."""
    file = inspect.getsourcefile(cls) or ""
    # The errors say that they are from `trioauth`, for tracebacks: their source is elsewhere.
    package = ROOT / "trioauth"
    for each in [file, str(package / "_errors.py"), str(package / "_profiles" / "errors.py")]:
        for node in ast.walk(tree_of(each)):
            if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                return node.body
    raise SystemExit(f"{cls.__name__} is not in {file}")


@cache
def described_classes() -> frozenset[type]:
    """Return the classes that the pages describe."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    things = [found_at(found[2]) for text in texts for found in _MARK.finditer(text)]
    return frozenset(thing for thing in things if inspect.isclass(thing))


def members_of(cls: type) -> Iterator[Member]:
    """Return what a class has, and what it has from classes that no page describes."""
    explained = "Args:\n" in (cls.__doc__ or "")
    for base in reversed(cls.__mro__):
        ours = base.__module__.startswith("trioauth")
        apart = base in described_classes() or base.__name__ in _SAID_ONCE | _BY_HAND_ONLY
        if base is not cls and (apart or not ours):
            continue
        body = class_body(base)
        fields = documented_names(body)
        for node in body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                annotation, doc = fields[name]
                hidden = annotation.startswith("ClassVar") or issubclass(cls, Exception)
                if not name.startswith("_") and (doc or not (explained or hidden)):
                    yield Member(name, f"{name}: {annotation}", doc, is_field=True)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = ast.get_docstring(node) or ""
                if doc and (not node.name.startswith("_") or node.name == "__call__"):
                    yield method_of(cls, node, doc)


def method_of(cls: type, node: ast.FunctionDef | ast.AsyncFunctionDef, doc: str) -> Member:
    """Return a method or a property."""
    if "property" in [ast.unparse(each) for each in node.decorator_list]:
        returns = ast.unparse(node.returns) if node.returns else "Any"
        return Member(node.name, f"{node.name}: {returns}", doc, is_field="\n\n" not in doc)
    function = inspect.getattr_static(cls, node.name)
    if isinstance(function, staticmethod | classmethod):
        function = getattr(cls, node.name)
        return Member(node.name, signature_of(node.name, function), doc, is_field=False)
    return Member(node.name, signature_of(node.name, function, skip=1), doc, is_field=False)


def signature_of(name: str, function: Any, *, skip: int = 0) -> str:
    """Return a signature as one writes it, on several lines if it is long."""
    # What pytest makes of a fixture has no signature: the function in it has.
    fixture = getattr(function, "_fixture_function", None)
    function = function if fixture is None else fixture
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[skip:]
    parts = [str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters]
    text = [
        shown_parameter(parameter, part) for parameter, part in zip(parameters, parts, strict=True)
    ]
    at = next((n for n, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), None)
    if at is not None and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        text.insert(at, "*")
    only = [n for n, p in enumerate(parameters) if p.kind is p.POSITIONAL_ONLY]
    if only:
        text.insert(only[-1] + 1, "/")
    inner_function = inspect.unwrap(function) if inspect.isroutine(function) else function
    manager = "@asynccontextmanager\n" if inspect.isasyncgenfunction(inner_function) else ""
    manager = "@contextmanager\n" if inspect.isgeneratorfunction(inner_function) else manager
    manager = "" if fixture is not None else manager
    start = "async def " if inspect.iscoroutinefunction(function) else ""
    start += "def " if not start and not inspect.isclass(function) else ""
    start += "class " if inspect.isclass(function) else ""
    end = "" if inspect.isclass(function) else f" -> {shown_type(signature.return_annotation)}"
    end = "" if end.endswith("_empty'>") or "_empty" in end else end
    line = f"{start}{name}({', '.join(text)}){end}"
    if len(line) <= _WIDTH:
        return manager + line
    inner = "".join(f"    {each},\n" for each in text)
    return f"{manager}{start}{name}(\n{inner}){end}"


def shown_parameter(parameter: inspect.Parameter, bare: str) -> str:
    """Return a parameter with its annotation and default."""
    text = bare.partition("=")[0]
    empty = inspect.Parameter.empty
    if parameter.annotation is not empty:
        text += f": {shown_type(parameter.annotation)}"
    if parameter.default is empty:
        return text
    default = quoted(repr(parameter.default))
    if re.match(r"<|NOTHING", default):
        default = "..."
    # A value with all its defaults is shown as it is made.
    if attrs.has(type(parameter.default)) and parameter.default == type(parameter.default)():
        default = f"{type(parameter.default).__name__}()"
    return f"{text} = {default}" if ":" in text else f"{text}={default}"


def shown_type(annotation: object) -> str:
    """Return an annotation as it is written in the source, without its modules."""
    annotation = getattr(annotation, "__forward_arg__", annotation)
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:trioauth|collections|typing|contextlib)\.(?:\w+\.)*", "", text)
    return quoted(text) if "Literal" in text else text.replace("'", "")


def quoted(text: str) -> str:
    """Return code with the quotes that ruff would give it."""
    return text if '"' in text else text.replace("'", '"')


# --- where it is described ----------------------------------------------------------------------


def slug(heading: str) -> str:
    """Return the anchor that forges and MyST give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


class Index:
    """Where each name is described."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[Path, str]] = {}
        self.unknown: set[str] = set()
        self.methods: set[str] = set()
        for page in PAGES:
            seen: dict[str, int] = {}
            for heading, names in self._headings(page):
                anchor = slug(heading)
                times = seen.get(anchor, 0)
                seen[anchor] = times + 1
                for full in names:
                    self.places[full] = (page, f"{anchor}-{times}" if times else anchor)
                    self.methods.add(full.rpartition(".")[2])

    def _headings(self, page: Path) -> Iterator[tuple[str, list[str]]]:
        """The headings of a page, in order, each with the names that it describes."""
        text = _MARK.sub(r"\1\3", page.read_text(encoding="utf-8"))
        by_hand: list[str] = []
        for line in text.splitlines():
            if line.startswith("#"):
                yield line.lstrip("# "), by_hand
                by_hand = []
            elif found := _BY_HAND.match(line):
                by_hand = found[1].split()
            elif found := re.match(r"<!-- reference: ([\w.]+) -->", line):
                yield from self._described(found[1])

    def _described(self, name: str) -> Iterator[tuple[str, list[str]]]:
        last = name.rpartition(".")[2]
        thing = found_at(name)
        if inspect.ismodule(thing):
            return
        members = list(members_of(thing)) if inspect.isclass(thing) else []
        yield last, [name, *(f"{name}.{each.name}" for each in members if each.is_field)]
        for member in members:
            if not member.is_field:
                yield f"{last}.{member.name}", [f"{name}.{member.name}"]

    def link(self, name: str, page: Path, within: str) -> str:
        """Return a name as a link to where it is described, if it is described here."""
        name = name.strip()
        short = name.lstrip("~").rpartition(".")[2] if name.startswith("~") else name
        name = name.lstrip("~").removesuffix("()")
        if name == within.rpartition(".")[2]:
            return f"`{short}`"
        module = within.rpartition(".")[0]
        for full in (f"{within}.{name}", f"{module}.{name}", f"trioauth.{name}", name):
            if full in self.places:
                return self._to(full, short, page)
        ours = [full for full in self.places if full.endswith(f".{name}")]
        if len(ours) == 1:
            return self._to(ours[0], short, page)
        if not (ours or self._exists(name)):
            self.unknown.add(f"{page.name}: `{name}`, in {within}")
        return f"`{short}`"

    def _to(self, full: str, short: str, page: Path) -> str:
        file, anchor = self.places[full]
        return f"[`{short}`]({'' if file == page else file.name}#{anchor})"

    def _exists(self, name: str) -> bool:
        last = name.rpartition(".")[2]
        if _FOREIGN.match(name) or hasattr(builtins, name) or last in self.methods:
            return True
        try:
            found_at(name)
        except (ImportError, AttributeError, ValueError):
            return False
        return True


# --- the text -----------------------------------------------------------------------------------


def inline(text: str, index: Index, page: Path, within: str) -> str:
    """Turn the backquotes of a docstring into code and links."""

    def one(found: re.Match[str]) -> str:
        if found[1] is not None:
            return f"`{found[1]}`"
        return index.link(found[2], page, within)

    return re.sub(r"``(.+?)``|`([^`]+)`", one, text, flags=re.DOTALL)


def prose(lines: list[str], index: Index, page: Path, within: str) -> Iterator[str]:
    """Write paragraphs, lists, and examples, which ``::`` begins."""
    blocks = re.split(r"\n(?:[ \t]*\n)+", textwrap.dedent("\n".join(lines)).strip("\n"))
    example: list[str] = []
    expects = False

    def flush() -> Iterator[str]:
        if example:
            yield "```python\n" + textwrap.dedent("\n\n".join(example)) + "\n```"
            example.clear()

    for block in blocks:
        if expects and block.startswith("    "):
            example.append(block)
            continue
        yield from flush()
        expects = block.endswith("::")
        if block:
            yield inline(listed(block[:-1] if expects else block), index, page, within)
    yield from flush()


def listed(block: str) -> str:
    """Turn a table, a list of terms, or two columns into what Markdown has for it."""
    lines = block.splitlines()
    if lines[0].startswith("=="):
        starts = [found.start() for found in re.finditer("=+", lines[0])]
        rows = [
            [
                line[start:end].strip()
                for start, end in zip(starts, [*starts[1:], None], strict=True)
            ]
            for line in lines[1:-1]
        ]
        head = ["|" + " |" * len(starts), "|" + " --- |" * len(starts)]
        return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)])
    if all(re.match(r"\S+ {2,}\S", line) for line in lines):
        return "\n".join("- " + re.sub(r" {2,}", ": ", line, count=1) for line in lines)
    if len(lines) > 1 and re.match(r"``.*``$", lines[0]) and lines[1].startswith("    "):
        terms = re.split(r"\n(?=\S)", block)
        pairs = [term.split("\n", 1) for term in terms]
        return "\n".join(f"- {term}: {' '.join(words.split())}" for term, words in pairs)
    return block


def items(lines: list[str], index: Index, page: Path, within: str) -> Iterator[str]:
    """Write a list of parameters or of exceptions."""
    text = textwrap.dedent("\n".join(lines)).strip("\n")
    for item in re.split(r"\n(?=\S)", text):
        name, _, rest = item.partition(":")
        words = inline(" ".join(rest.split()), index, page, within)
        shown = inline(f"`{name}`", index, page, within) if name[:1].isupper() else f"`{name}`"
        yield f"- {shown}: {words}"


def docstring(doc: str, index: Index, page: Path, within: str) -> str:
    """Write a docstring as Markdown."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for line in doc.splitlines():
        if found := _SECTION.match(line):
            parts.append((found[1], []))
        else:
            parts[-1][1].append(line)
    written = []
    for section, lines in parts:
        if section in {"Args", "Raises"}:
            written.append(f"**{section}**\n\n" + "\n".join(items(lines, index, page, within)))
        elif section:
            first, *others = prose(lines, index, page, within)
            written += [f"**{section}:** {first}", *others]
        else:
            written += prose(lines, index, page, within)
    return "\n\n".join(written)


def description(name: str, index: Index, page: Path) -> str:
    """Write what there is to say about a name."""
    thing, last = found_at(name), name.rpartition(".")[2]
    if inspect.ismodule(thing):
        # Where what is in the folder is for those who read the code.
        doc = re.split(r"\n\n(?:A map|Imports from)\b", inspect.getdoc(thing) or "")[0]
        return docstring(doc, index, page, f"{name}.")
    if inspect.isclass(thing):
        return class_description(name, thing, index, page)
    if inspect.isroutine(thing) or hasattr(thing, "_fixture_function"):
        signature = signature_of(last, thing)
        doc = inspect.getdoc(getattr(thing, "_fixture_function", thing)) or ""
        return f"## `{last}`\n\n```python\n{signature}\n```\n\n{docstring(doc, index, page, name)}"
    code, doc = data_description(last)
    return f"## `{last}`\n\n```python\n{code}\n```\n\n{docstring(doc, index, page, name)}".rstrip()


def class_description(name: str, cls: type, index: Index, page: Path) -> str:
    """Write what a class is, its fields, and its methods."""
    last = cls.__name__
    shown = f"class {last}"
    if issubclass(cls, Exception):
        shown += f"({cls.__bases__[0].__name__})"
    elif last not in _NOT_CALLED:
        shown = signature_of(last, cls)
    parts = [f"## `{last}`", f"```python\n{shown}\n```"]
    parts.append(docstring(inspect.getdoc(cls) or "", index, page, name))
    members = list(members_of(cls))
    fields = [each for each in members if each.is_field]
    if fields:
        lines = []
        for field in fields:
            words = inline(" ".join(field.doc.split()), index, page, name)
            lines.append(f"- `{field.signature}`" + (f": {words}" if words else ""))
        parts.append("**Attributes**\n\n" + "\n".join(lines))
    for method in members:
        if not method.is_field:
            parts.append(f"### `{last}.{method.name}`")
            parts.append(f"```python\n{method.signature}\n```")
            parts.append(docstring(method.doc, index, page, name))
    return "\n\n".join(parts)


def written(page: Path, index: Index) -> str:
    """Return a page with its descriptions made anew."""
    text = page.read_text(encoding="utf-8")
    by_hand = _MARK.sub(lambda found: " " * len(found[0]), text)

    def anew(found: re.Match[str]) -> str:
        words = description(found[2], index, page)
        if re.search(r"^## [^`]", by_hand[: found.start()], re.MULTILINE):
            words = re.sub(r"^(?=##+ )", "#", words, flags=re.MULTILINE)
        return f"{found[1]}\n{words}\n\n{found[3]}"

    return _MARK.sub(anew, text)


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description="Write the reference.")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a page is stale")
    check = parser.parse_args().check
    index = Index()
    pages = {page: written(page, index) for page in PAGES}
    stale = [page for page, text in pages.items() if page.read_text(encoding="utf-8") != text]
    for name in sorted(index.unknown):
        sys.stderr.write(f"there is no such name: {name}\n")
    if not check:
        for page in stale:
            page.write_text(pages[page], encoding="utf-8")
    elif stale:
        names = ", ".join(page.name for page in stale)
        sys.stderr.write(f"stale: {names}; run: python scripts/write_reference.py\n")
    return int(bool(index.unknown) or (check and bool(stale)))


if __name__ == "__main__":
    sys.exit(main())
