"""Which of the user's files a user's file imports. They are read, never run."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path


def parse(path: str | Path) -> ast.Module:
    """The syntax tree of a Python file, in whatever encoding its first lines declare.

    Raises:
        SyntaxError: If it is not valid Python.
    """
    try:
        return ast.parse(Path(path).read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:  # of null bytes it does not say the file, or what they are
        at = error.lineno if isinstance(error, SyntaxError) else None
        raise SyntaxError(getattr(error, "msg", str(error)), (str(path), at, None, None)) from None


def top_level(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes at a module's top level: not those inside functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from top_level(child)


def _modules(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The dotted names, split into parts, of all that a file of ``package`` may import, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            yield from (base, *((*base, alias.name) for alias in node.names))


def neighbours(path: Path, package: tuple[str, ...] = ()) -> list[Path]:
    """The neighbouring files that a file imports, directly or not, without itself.

    Args:
        path: The file.
        package: The package it belongs to, split into parts; if any, only files of its outermost package count.

    Returns:
        The files, sorted.
    """
    root = path.resolve().parents[len(package)]
    found: set[Path] = set()
    waiting = [path.resolve()]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        found.add(at)
        for parts in _modules(parse(at), at.relative_to(root).parts[:-1]):
            if not parts or parts[0] in sys.stdlib_module_names or (package and parts[0] != package[0]):
                continue
            for i in range(1, len(parts) + 1):
                stem = root.joinpath(*parts[:i])
                files = (stem / "__init__.py", stem.with_name(f"{stem.name}.py"))
                waiting += [file.resolve() for file in files if file.is_file() and root in file.resolve().parents]
    return sorted(found - {path.resolve()})


def shadowed(path: Path) -> str | None:
    """The first neighbour that a file imports but would not get, because another module has its name.

    Args:
        path: The file.

    Returns:
        What is wrong, or None.
    """
    folder = path.resolve().parent
    for name in sorted({file.relative_to(folder).parts[0].removesuffix(".py") for file in neighbours(path)}):
        loaded = sys.modules.get(name)
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        for origin in (getattr(loaded, "__file__", None), getattr(spec, "origin", None)):
            if origin is not None and folder not in Path(origin).resolve().parents:
                return f"{path} imports {name}, which lies beside it and is also {origin}; rename yours"
    return None
