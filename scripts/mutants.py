"""Make mutants of a source file: copies with one small mistake each."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
SWAPPED = {"min": "max", "max": "min", "all": "any", "any": "all"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
# What the program never evaluates, or what only says what a type checker should believe.
UNSEEN = {"annotation", "returns", "type_comment", "ctx", "bases", "decorator_list"}
TYPING = {"TypeVar", "ParamSpec", "ContextVar", "getLogger", "assert_never", "cast"}


@dataclass(frozen=True)
class Mutant:
    """A copy of a file with one mistake."""

    name: str
    """Where, what was there, and what is there now: unique in its file, without line numbers."""
    compile: Callable[[], CodeType]
    in_function: bool
    """Whether only what a function does is different."""
    lines: range
    """The lines of the statement that it is in."""


@dataclass(frozen=True)
class Place:
    """A node, and where it is."""

    parent: ast.AST
    field: str
    index: int | None
    names: tuple[str, ...] = ()
    in_function: bool = False
    statement: ast.stmt | None = None
    message: bool = False
    """Whether texts in it are for people (as are all of three words and more)."""

    def put(self, node: Any) -> None:
        """Replace the node."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def mutants(source: str, filename: str) -> Iterator[Mutant]:
    """Make all mutants of a file, in the order of the places they differ in."""
    tree = ast.parse(source, filename)
    seen: Counter[str] = Counter()
    for node, place in _walk(tree, Place(tree, "", None)):
        for new in _variants(node, place):
            ast.fix_missing_locations(ast.copy_location(new, node))
            name = f"{'.'.join(place.names) or 'module'}: {_shown(node)} -> {_shown(new)}"
            seen[name] += 1
            where: Any = place.statement or node
            yield Mutant(
                name if seen[name] == 1 else f"{name} (no. {seen[name]})",
                partial(_compile, filename, tree, node, new, place),
                place.in_function,
                range(where.lineno, _last_line(where) + 1),
            )


def _compile(
    filename: str, tree: ast.Module, node: ast.AST, new: ast.AST, place: Place
) -> CodeType:
    place.put(new)
    try:
        return compile(tree, filename, "exec")
    finally:
        place.put(node)


def _last_line(statement: Any) -> int:
    """Return the last line of a statement, or of its head if it has a body."""
    body = getattr(statement, "body", None) or getattr(statement, "cases", None)
    if isinstance(body, list) and body:
        first = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
        return max(statement.lineno, first.lineno - 1)
    return int(statement.end_lineno)


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) < 110 else f"{text[:70]} ... {text[-35:]}"


def _walk(node: ast.AST, place: Place) -> Iterator[tuple[ast.AST, Place]]:
    if _is_typing(node):
        return
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            place = replace(place, names=(*place.names, name), statement=node)
        case ast.Raise():
            place = replace(place, message=True, statement=node)
        case ast.JoinedStr() | ast.keyword(arg="reason"):
            place = replace(place, message=True)
        case ast.stmt():
            place = replace(place, statement=node)
    if place.field:
        yield node, place
    for field, value in ast.iter_fields(node):
        if field in UNSEEN or (isinstance(node, ast.Subscript) and field == "slice"):
            continue
        inside = place.in_function or (isinstance(node, FUNCTIONS) and field == "body")
        inner = replace(place, parent=node, field=field, in_function=inside)
        if isinstance(value, ast.AST):
            yield from _walk(value, replace(inner, index=None))
        for index, each in enumerate(value if isinstance(value, list) else ()):
            if isinstance(each, ast.AST):
                yield from _walk(each, replace(inner, index=index))


def _is_typing(node: ast.AST) -> bool:
    match node:
        case (
            ast.keyword(arg="init")
            | ast.Assign(value=ast.Call(func=ast.Name("TypeVar" | "ParamSpec")))
        ):
            return True
        case ast.If(test=ast.Name("TYPE_CHECKING")) | ast.Import() | ast.ImportFrom():
            return True
        case ast.ClassDef(bases=bases):
            return any("Protocol" in ast.unparse(base) for base in bases)
        case ast.AnnAssign(annotation=ast.Name("TypeAlias")):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in TYPING
        case ast.Expr(value=ast.Constant() | ast.Call(func=ast.Name("assert_never"))):
            return True
        case _:
            return False


def _variants(node: ast.AST, place: Place) -> Iterator[ast.AST]:
    match node:
        case ast.Constant() | ast.Name() | ast.UnaryOp() | ast.IfExp():
            yield from _of_values(node, place)
        case ast.Compare() | ast.BoolOp() | ast.BinOp() | ast.comprehension():
            yield from _of_operators(node)
        case ast.Call():
            yield from _of_calls(node)
        case ast.match_case() | ast.Match():
            yield from _of_matches(node)
        case ast.stmt():
            yield from _of_statements(node)


def _of_values(node: ast.AST, place: Place) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)) if not place.message and value.count(" ") < 2:
            yield ast.Constant(f"x{value}")
        case ast.Constant(value=bytes(value)):
            yield ast.Constant(b"x" + value)
        case ast.Name(id=name) if name in SWAPPED:
            yield ast.Name(SWAPPED[name], ast.Load())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.IfExp(body=body, orelse=orelse):
            yield from (body, orelse)


def _of_operators(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for index, op in enumerate(ops):
                new = [*ops[:index], COMPARISONS[type(op)](), *ops[index + 1 :]]
                yield ast.Compare(left, new, comparators)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = values[:index] + values[index + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            yield ast.BinOp(left, ARITHMETIC[type(op)](), right)
        case ast.comprehension(target=target, iter=found, ifs=ifs, is_async=is_async) if ifs:
            yield ast.comprehension(target, found, [], is_async)


def _of_calls(node: ast.Call) -> Iterator[ast.AST]:
    func, args, keywords = node.func, node.args, node.keywords
    for index, each in enumerate(keywords):
        # A flag is turned over instead.
        if each.arg != "reason" and not _is_flag(each.value):
            yield ast.Call(func, args, keywords[:index] + keywords[index + 1 :])
    if args:
        yield ast.Call(func, args[:-1], keywords)
    if len(args) > 1 and not (isinstance(func, ast.Name) and func.id in SWAPPED):
        yield ast.Call(func, [args[1], args[0], *args[2:]], keywords)


def _of_matches(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.match_case(pattern=pattern, guard=guard, body=body) if guard is not None:
            yield ast.match_case(pattern, None, body)
            yield ast.match_case(pattern, ast.Constant(value=False), body)
        case ast.Match(subject=subject, cases=cases):
            # The last may only say what happens anyway.
            says_nothing = ast.unparse(cases[-1]).split() == ["case", "_:", "return", "None"]
            for index in range(len(cases) - says_nothing):
                yield ast.Match(subject, cases[:index] + cases[index + 1 :])


def _of_statements(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.If(test=test, body=body, orelse=orelse) if not isinstance(test, ast.UnaryOp):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Return(value=value) if value is not None and not _is_nothing(value):
            yield ast.Return(ast.Constant(None))
        case ast.Raise(exc=exc, cause=cause):
            yield ast.Pass()
            if cause is not None:
                yield ast.Raise(exc)
        case ast.For(target=target, body=body, orelse=orelse):
            yield ast.For(target, ast.Tuple([], ast.Load()), body, orelse)
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
            yield from _less(node, items, body)
        case ast.Expr(value=value) if "checkpoint" not in ast.unparse(value) and not isinstance(
            value, ast.Yield
        ):
            yield ast.Pass()
        case ast.Assign() | ast.AugAssign() | ast.Delete():
            yield ast.Pass()


def _less(
    node: ast.With | ast.AsyncWith, items: list[ast.withitem], body: list[ast.stmt]
) -> Iterator[ast.AST]:
    """Take out one of the things around a block."""
    for index, item in enumerate(items):
        if item.optional_vars is None:
            rest = items[:index] + items[index + 1 :]
            yield type(node)(rest, body) if rest else ast.If(ast.Constant(value=True), body, [])


def _is_flag(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _is_nothing(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)
