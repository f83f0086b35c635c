"""Which of the user's files a user's file imports. They are read, never run."""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_PYTHONS = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
_CALLS = ("import_module", "__import__")


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


def definitions(tree: ast.Module, names: Collection[str]) -> list[ast.stmt]:
    """The statements of a module that some of its names lead to, however far, and those that define nothing."""
    defined = {name: node for node in tree.body for name in _defined_by(node)}
    found: set[ast.stmt] = {node for node in tree.body if not _defined_by(node)}
    waiting = [defined[name] for name in names if name in defined] + [*found]
    while waiting:
        node = waiting.pop()
        found.add(node)
        used = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
        waiting += [defined[name] for name in used if name in defined and defined[name] not in found]
    return [node for node in tree.body if node in found]


def _defined_by(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def named_files(nodes: Iterable[ast.AST], *folders: Path) -> list[Path]:
    """The files that a module names in its text: ``"net.npy"``, ``here / "weights" / "net.npy"``, an absolute path.

    Args:
        nodes: The module's syntax tree, node by node.
        *folders: Where paths may start.

    Returns:
        Those that exist, sorted.
    """
    texts = {text.strip("/") if i else text for node in nodes for text in _texts(node) for i in (0, 1)}
    found = set()
    for text in texts:
        for folder in folders if 0 < len(text) < 1024 and not {"\0", "\n"} & {*text} else ():
            with suppress(OSError):  # no name that a file could have
                if (path := folder / text).is_file():
                    found.add(path.resolve())
    return sorted(found)


def _texts(node: ast.AST) -> list[str]:
    """What a node of a syntax tree may name: a text, or texts that are joined to a path."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    parts: list[ast.expr] = []
    if isinstance(node, ast.Call):
        parts = node.args
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        parts.insert(0, node.right)
        node = node.left
        if not isinstance(node, ast.BinOp):
            parts.insert(0, node)
    texts = [part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else None for part in parts]
    known = [text for text in texts if text is not None]
    return ["/".join(known)] if len(known) > 1 and texts[-len(known) :] == known else []


def _modules(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The dotted names, split into parts, of all that a file of ``package`` may import, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            yield from (base, *((*base, alias.name) for alias in node.names))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            yield from (tuple(text.split(".")) for arg in node.args[:1] for text in _texts(arg))


def _home(name: str) -> Path | None:
    """The folder of a module that is neither installed nor Python's: on PYTHONPATH, or installed to be edited."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    places = [spec.origin, *(spec.submodule_search_locations or [])] if spec else []
    place = next((Path(at).resolve() for at in places if at and at not in ("built-in", "frozen")), None)
    if place is None or name == __name__.partition(".")[0] or _PYTHONS & {*place.parents}:
        return None
    if {"site-packages", "dist-packages"} & {*place.parts}:
        return None
    return place.parents[1] if place.name == "__init__.py" else place.parent


def neighbours(path: Path, package: tuple[str, ...] = ()) -> list[Path]:
    """The user's files that a file imports, directly or not, without itself: beside it, or on Python's path.

    Args:
        path: The file.
        package: The package it belongs to, split into parts; if any, only files of its outermost package count.

    Returns:
        The files, sorted.
    """
    root = path.resolve().parents[len(package)]
    found: set[Path] = set()
    waiting = [(path.resolve(), root)]
    while waiting:
        at, home = waiting.pop()
        if at in found:
            continue
        found.add(at)
        for parts in _modules(parse(at), at.relative_to(home).parts[:-1]):
            if not parts or parts[0] in sys.stdlib_module_names:
                continue
            lies = _files(home, parts) if home != root or not package or parts[0] == package[0] else []
            if not lies and (elsewhere := _home(parts[0])):
                lies = _files(elsewhere, parts)
            waiting += lies
    return sorted(found - {path.resolve()})


def _files(home: Path, parts: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """The files of a dotted name below a folder, packages first, each with that folder."""
    found = []
    for i in range(1, len(parts) + 1):
        stem = home.joinpath(*parts[:i])
        files = (stem / "__init__.py", stem.with_name(f"{stem.name}.py"))
        found += [(f.resolve(), home) for f in files if f.is_file() and home in f.resolve().parents]
    return found


def shadowed(path: Path) -> str | None:
    """The first neighbour that a file imports but would not get, because another module has its name.

    Args:
        path: The file.

    Returns:
        What is wrong, or None.
    """
    folder = path.resolve().parent
    beside = [file for file in neighbours(path) if folder in file.parents]
    for name in sorted({file.relative_to(folder).parts[0].removesuffix(".py") for file in beside}):
        loaded = sys.modules.get(name)
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        for origin in (getattr(loaded, "__file__", None), getattr(spec, "origin", None)):
            if origin is not None and folder not in Path(origin).resolve().parents:
                return f"{path} imports {name}, which lies beside it and is also {origin}; rename yours"
    return None
