"""A text out of Python source, found by an expression path and read from the syntax tree. No code is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from rewardbench.errors import InputError

MOST_STEPS = 50
"""Names that may stand for one another before the search is given up (a name that stands for itself)."""

Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class _Found:
    """An expression and the scopes around it, innermost last."""

    node: ast.expr
    scopes: tuple[Scope, ...]


def literal_text(source: str, path: str) -> str:
    """The text that ``path`` names in ``source``.

    ``NAME`` is what is assigned to that name, ``f.NAME`` what is assigned to it inside the function or class ``f``, and
    ``NAME['key']``, ``NAME[0]`` an entry of a dictionary, list or tuple, or a named argument of a call. A name that the
    module does not assign may be one that a single function assigns. Strings may be joined by ``+``, and in f-strings
    placeholders stay as they are written: ``f"a {b}"`` is the text ``a {b}``.

    Raises:
        InputError: the source or the path cannot be parsed, or it names nothing, several things, or no fixed text.
    """
    try:
        tree = ast.parse(source)
        wanted = ast.parse(path, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path!r} cannot be looked up: not Python ({' '.join(str(error).split())})") from None
    return _text(_follow(_find(wanted, (tree,), path), path), path)


def _find(wanted: ast.expr, scopes: tuple[Scope, ...], path: str) -> _Found:
    if isinstance(wanted, ast.Name):
        return _assigned(wanted.id, scopes, path)
    if isinstance(wanted, ast.Attribute):
        return _assigned(wanted.attr, (*scopes, _scope(wanted.value, scopes[0], path)), path, here_only=True)
    if isinstance(wanted, ast.Subscript):
        return _entry(_follow(_find(wanted.value, scopes, path), path), wanted.slice, path)
    raise InputError(f"{path!r} is not a path of names and entries, like NAME, f.NAME or NAME['key']")


def _scope(node: ast.expr, module: Scope, path: str) -> Scope:
    """The function or class that ``f`` or ``f.g`` names."""
    outer = _scope(node.value, module, path) if isinstance(node, ast.Attribute) else module
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [inner for inner in ast.walk(outer) if isinstance(inner, kinds) and inner.name == name]
    if len(found) != 1:
        raise InputError(f"{path!r}: the source has {len(found)} functions or classes named {name!r}")
    return found[0]


def _assigned(name: str, scopes: tuple[Scope, ...], path: str, *, here_only: bool = False) -> _Found:
    """What is assigned to ``name`` in the innermost scope that assigns it, else in the only function that does."""
    for depth in range(len(scopes), 0, -1):
        values = list(_values(name, scopes[depth - 1]))
        if len(values) == 1:
            return _Found(values[0], scopes[:depth])
        if values or here_only:
            raise InputError(f"{path!r}: {name!r} is assigned {len(values)} times there")
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    inner = [
        (scope, value) for scope in ast.walk(scopes[0]) if isinstance(scope, kinds) for value in _values(name, scope)
    ]
    if len(inner) != 1:
        raise InputError(f"{path!r}: the source assigns {name!r} {len(inner)} times")
    return _Found(inner[0][1], (scopes[0], inner[0][0]))


def _values(name: str, scope: Scope) -> Iterator[ast.expr]:
    """Expressions assigned to ``name`` in a scope, those of inner functions and classes left out."""
    todo: list[ast.AST] = list(scope.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = getattr(node, "value", None)
            if value is not None:
                yield value
        todo += ast.iter_child_nodes(node)


def _follow(found: _Found, path: str) -> _Found:
    """A name that stands for another expression is replaced by it."""
    for _ in range(MOST_STEPS):
        if isinstance(found.node, ast.Subscript):
            found = _find(found.node, found.scopes, path)
        elif isinstance(found.node, ast.Name):
            found = _assigned(found.node.id, found.scopes, path)
        else:
            return found
    raise InputError(f"{path!r} stands for itself")


def _entry(found: _Found, index: ast.expr, path: str) -> _Found:
    try:
        key = ast.literal_eval(index)
    except ValueError:
        raise InputError(f"{path!r}: {ast.unparse(index)} is not a fixed key") from None
    node = found.node
    if isinstance(node, ast.Dict):
        entries = [
            value
            for name, value in zip(node.keys, node.values, strict=True)
            if isinstance(name, ast.Constant) and name.value == key and type(name.value) is type(key)
        ]
        if len(entries) == 1:
            return _Found(entries[0], found.scopes)
    elif isinstance(node, ast.Call) and any(keyword.arg == key for keyword in node.keywords):
        return _Found(next(keyword.value for keyword in node.keywords if keyword.arg == key), found.scopes)
    elif isinstance(node, ast.List | ast.Tuple) and type(key) is int and -len(node.elts) <= key < len(node.elts):
        return _Found(node.elts[key], found.scopes)
    raise InputError(f"{path!r}: the source has no one entry {key!r} there")


def _text(found: _Found, path: str) -> str:
    node = found.node
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_piece(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = (_follow(_Found(side, found.scopes), path) for side in (node.left, node.right))
        return "".join(_text(side, path) for side in sides)
    raise InputError(f"{path!r} is not a fixed text in the source, but {type(node).__name__}")


def _piece(part: ast.expr) -> str:
    """Part of an f-string: its text, or its placeholder as it is written."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    conversion = "" if part.conversion < 0 else f"!{chr(part.conversion)}"
    inner = part.format_spec.values if isinstance(part.format_spec, ast.JoinedStr) else []
    form = "".join(_piece(one) for one in inner)
    return "{" + ast.unparse(part.value) + conversion + (f":{form}" if form else "") + "}"
