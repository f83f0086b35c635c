"""Digests of the package's own source, so that a workflow can tell which results an edit makes stale."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from jacobian_ensembles import PUBLIC
from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.extensions.neighbours import parse
from jacobian_ensembles.extensions.references import files_behind
from jacobian_ensembles.models.names import ARCHITECTURES
from jacobian_ensembles.training.objectives.registry import OBJECTIVES

_PACKAGE = Path(__file__).parents[1]
# the configuration reaches a job as params, which the workflow tracks by value; the code that a name leads to counts
_IGNORED = {
    "config.schema", "config.grid", "config.settings", "training.recipe", "attacks.registry", "paper.catalogue",
    "training.objectives.registry", "config.training",
}  # fmt: skip
#: A module whose callers name what is built in: it may lead to any.
_BY_NAME = {"attacks.crafting": ATTACKS}


def _strip_prose(tree: ast.Module) -> ast.Module:
    """Take out docstrings, and the descriptions of settings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _imports(tree: ast.Module) -> set[str]:
    """The modules of this package that a module imports, anywhere in it, by their dotted names below the package."""
    names = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module == _PACKAGE.name:
            names |= {PUBLIC[alias.name] for alias in node.names if alias.name in PUBLIC}
        elif node.module.startswith(f"{_PACKAGE.name}."):
            names.add(node.module.partition(".")[2])
    return names - _IGNORED


@cache
def _read(module: str) -> tuple[str, frozenset[str]]:
    """A module's normalised source, without comments, docstrings and formatting, and its imports."""
    path = _PACKAGE / f"{module.replace('.', '/')}.py"
    if not path.is_file():
        raise ValueError(f"{_PACKAGE.name} has no module '{module}'.")
    tree = parse(path)
    named = {_module_of(reference) for reference in _BY_NAME.get(module, {}).values()}
    imports = frozenset(_imports(tree) | named)
    return ast.unparse(_strip_prose(tree)), imports


def _module_of(reference: str) -> str:
    """The module below this package that a built-in name leads to; empty for a reference elsewhere."""
    package, _, module = reference.rpartition(":")[0].partition(".")
    return module if package == _PACKAGE.name else ""


def modules_behind(*modules: str) -> list[str]:
    """The named modules and all modules of the package they import, directly or not, sorted."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(_read(module)[1])
    return sorted(found)


def code_digest(*modules: str) -> str:
    """A digest of what the named modules, and all they import, do.

    Comments, docstrings, descriptions of settings and formatting do not count.

    Args:
        *modules: Dotted names of modules below this package; those that only define settings do not count.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: If the package has no such module.
    """
    digest = hashlib.sha256()
    for module in modules_behind(*modules):
        digest.update(f"{module}\n{_read(module)[0]}\n".encode())
    return digest.hexdigest()[:16]


def script_digest(path: str | Path) -> str:
    """A digest of what a script, and the modules it imports from this package, do: see :func:`code_digest`."""
    tree = parse(path)
    behind = code_digest(*_imports(tree))
    return hashlib.sha256(f"{ast.unparse(_strip_prose(tree))}\n{behind}\n".encode()).hexdigest()[:16]


def extension_digest(reference: str) -> str:
    """The digest of what a reference leads to: a user's file with the neighbours it imports, or a built-in module.

    Args:
        reference: See :mod:`~jacobian_ensembles.extensions.references`.

    Returns:
        See :func:`script_digest`; empty for other built-in names, which the jobs' own modules define.
    """
    found = {**ATTACKS, **ARCHITECTURES, **OBJECTIVES}.get(reference, reference)
    if module := _module_of(found):
        return code_digest(module)
    digests = [script_digest(path) for path in files_behind(reference)]
    if len(digests) < 2:
        return "".join(digests)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
