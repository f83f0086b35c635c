"""What a user adds: a dataset, architecture, ensemble method or attack, found by a name or a reference.

Each kind has a plain dictionary of what is built in. A *reference* names an object that is not:
``path/to/file.py:object``, or ``package.module:object`` for an installed module. Its short name, the part after the
colon, is what result paths, tables and figures call it. Only :func:`resolve` runs the user's code.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

from jacobian_ensembles.extensions.neighbours import neighbours, parse, shadowed, top_level


class ExtensionError(ValueError):
    """A reference does not lead to an object of the kind wanted; the message says where it failed."""


def short_name(reference: str) -> str:
    """The name that paths, tables and figures use: what follows the colon, or the whole name of a built-in.

    Letters that can be spelled in several ways, such as ü, are spelled as Python spells names.
    """
    return unicodedata.normalize("NFKC", reference.rpartition(":")[2])


def source_file(reference: str) -> Path | None:
    """The file a reference leads into; None for a name without a colon, which is built in.

    Raises:
        ExtensionError: If there is no such file or module.
    """
    where, colon, _ = reference.rpartition(":")
    if not colon:
        return None
    if where.endswith(".py"):
        path = Path(where).expanduser()
        if not path.is_file():
            raise ExtensionError(f"no file {where} in {Path.cwd()}")
        return path
    try:
        spec = importlib.util.find_spec(where)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ExtensionError(f"no module {where} is installed; a file's reference is path/to/file.py:object")
    return Path(spec.origin)


def _defined(tree: ast.Module) -> set[str]:
    """The names a module may define when it is run, also under ``try`` and ``if``; ``*`` if it could be any."""
    names = set()
    for node in top_level(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return names


def check_reference(reference: str, builtin: Iterable[str]) -> str:
    """Check a name or reference without running the file it leads to.

    Args:
        reference: A name of ``builtin``, or a reference.
        builtin: The names that are built in.

    Returns:
        ``reference``.

    Raises:
        ExtensionError: If it is neither; the message says what is allowed.
    """
    known = ", ".join(builtin)
    name = short_name(reference)
    try:
        path = source_file(reference)
        if path is None:
            if name not in builtin:
                raise ExtensionError(f"give one of {known}, or path/to/file.py:object for one of your own")
            return reference
        if name in builtin or not (name.isidentifier() and re.fullmatch(r"[^\W\d]\w*", name)):
            raise ExtensionError(
                f"the part after the colon must be a Python name other than {known}, of letters, digits and _"
            )
        try:
            defined = _defined(parse(path))
        except SyntaxError as error:
            raise ExtensionError(f"{path} is not valid Python: {error}") from error
        except OSError as error:
            raise ExtensionError(f"{path} cannot be read: {error.strerror}") from error
        if not defined & {name, "*"}:
            raise ExtensionError(f"{path} defines no {name}")
    except ExtensionError as error:
        raise ExtensionError(f"got {reference!r}; {error}") from None
    return reference


def files_behind(reference: str) -> list[Path]:
    """The files that a reference's object may depend on: its own, and the neighbours it imports.

    Args:
        reference: A name or a reference that :func:`check_reference` accepted.

    Returns:
        The files, its own first; none for what is built in.

    Raises:
        ExtensionError: If there is no such file, or one of them is not valid Python.
    """
    path = source_file(reference)
    if path is None:
        return []
    where = reference.rpartition(":")[0]
    package = () if where.endswith(".py") else tuple(where.split("."))
    if package and path.name != "__init__.py":
        package = package[:-1]
    try:
        return [path, *neighbours(path, package)]
    except SyntaxError as error:
        raise ExtensionError(f"got {reference!r}; {error.filename} is not valid Python: {error}") from error


@cache
def _module(path: Path) -> ModuleType:
    """Run a file, once per process, as a module of its own that can import its neighbours.

    Raises:
        ExtensionError: If another module would be taken for a neighbour.
    """
    if problem := shadowed(path):
        raise ExtensionError(problem)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last: a neighbour never hides an installed module from anyone else
    name = f"{__package__}_extension_{path.stem}_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # half a module is of no use to anyone
        raise
    return module


def resolve(reference: str, builtin: Mapping[str, Any], kind: type | None = None) -> Any:
    """The object behind a name or a reference. A reference's file is run.

    Args:
        reference: A key of ``builtin``, or a reference.
        builtin: What is built in, by name: the objects, or ``package.module:object``, where to find each.
        kind: The type the object must have; None for anything callable.

    Returns:
        The object.

    Raises:
        ExtensionError: If there is no such object, or it is of another kind.
    """
    check_reference(reference, builtin)
    if reference in builtin:
        found: Any = builtin[reference]
        return resolve_name(found) if isinstance(found, str) else found
    where, name = reference.rpartition(":")[0], short_name(reference)
    module = _module(Path(where).expanduser().resolve()) if where.endswith(".py") else importlib.import_module(where)
    found = getattr(module, name, None)
    if not (callable(found) if kind is None else isinstance(found, kind)):
        wanted = "something to call" if kind is None else f"a {kind.__name__}"
        raise ExtensionError(f"{reference} is {found!r}, where {wanted} is needed")
    return found
