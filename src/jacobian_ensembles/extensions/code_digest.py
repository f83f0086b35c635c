"""Digests of the package's own source, so that a workflow can tell which results an edit makes stale."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from jacobian_ensembles import PUBLIC
from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.extensions.neighbours import definitions, named_files, parse
from jacobian_ensembles.extensions.references import files_behind
from jacobian_ensembles.models.names import ARCHITECTURES
from jacobian_ensembles.training.objectives.registry import OBJECTIVES

_PACKAGE = Path(__file__).parents[1]
_BUILT_IN = {**ATTACKS, **ARCHITECTURES, **OBJECTIVES}
# the configuration reaches a job as params, which the workflow tracks by value; the code that a name leads to counts
_IGNORED = {
    "config.schema", "config.grid", "config.settings", "training.recipe", "attacks.registry", "paper.catalogue",
    "training.objectives.registry", "config.training",
}  # fmt: skip
#: A module whose callers name what is built in: it may lead to any.
_BY_NAME = {"attacks.crafting": ATTACKS}
_LARGE = 64 * 2**20


def _strip_prose(tree: ast.Module, nodes: Iterable[ast.AST]) -> ast.Module:
    """Take out docstrings, and the descriptions of settings, of a module with these nodes."""
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _is_module(name: str) -> bool:
    return bool(name) and (_PACKAGE / f"{name.replace('.', '/')}.py").is_file()


def _imports(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules of this package that a module may use, however it imports them, by their names below the package."""
    names, bound = set(), {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            package, _, base = node.module.partition(".")
            for alias in node.names if package == _PACKAGE.name else ():
                inner = f"{base}.{alias.name}".lstrip(".")
                if _is_module(inner) or (_PACKAGE / inner.replace(".", "/")).is_dir():
                    bound[alias.asname or alias.name] = inner
                elif base or alias.name == "*":
                    names |= {base} if base else {*PUBLIC.values()}
                else:
                    names |= {PUBLIC[alias.name]} if alias.name in PUBLIC else set()
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, _, inner = alias.name.partition(".")
                if package == _PACKAGE.name:
                    names |= {inner} if _is_module(inner) else set()
                    bound[alias.asname or package] = inner if alias.asname else ""
    names |= {module for module in bound.values() if _is_module(module)}
    return (names | _reached(nodes, bound)) - _IGNORED


def _reached(nodes: Iterable[ast.AST], bound: Mapping[str, str]) -> set[str]:
    """The modules that a module reaches by attributes of the package or a room of it, such as ``je.craft_uaps``."""
    rooms = {name: inner for name, inner in bound.items() if not _is_module(inner)}
    names, bare = set(), 0
    for node in nodes if rooms else ():
        if isinstance(node, ast.Name) and node.id in rooms:
            bare += 1
        if not isinstance(node, ast.Attribute):
            continue
        at: ast.expr = node
        chain: list[str] = []
        while isinstance(at, ast.Attribute):
            chain.insert(0, at.attr)
            at = at.value
        if isinstance(at, ast.Name) and at.id in rooms:
            inner = ".".join(filter(None, [rooms[at.id], *chain]))
            names |= {inner} if _is_module(inner) else set()
            names |= {PUBLIC[inner]} if inner in PUBLIC else set()
            bare -= len(chain) == 1
    return names | ({*PUBLIC.values()} if bare else set())  # passed on, or asked for a computed name: any


def _path(module: str) -> Path:
    return _PACKAGE / f"{module.replace('.', '/')}.py"


@cache
def _read(module: str) -> tuple[str, str, frozenset[str], bool]:
    """A module's source without comments, formatting and docstrings; the content of the files it names; its imports.

    Last, whether it shows docstrings.
    """
    if not _path(module).is_file():
        raise ValueError(f"{_PACKAGE.name} has no module '{module}'.")
    tree = parse(_path(module))
    nodes = [*ast.walk(tree)]  # once: a walk is most of the time that all digests take when a workflow is planned
    named = {_module_of(reference) for reference in _BY_NAME.get(module, {}).values()}
    imports = frozenset(_imports(nodes) | named)
    tells = any(isinstance(node, ast.Attribute) and node.attr == "__doc__" for node in nodes)
    files = "".join(map(_content, named_files(nodes, _path(module).parent)))
    return ast.unparse(_strip_prose(tree, nodes)), files, imports, tells


def _content(path: Path) -> str:
    """What tells one content of a file from others; of a large file, its size and time."""
    facts = path.stat()
    large = facts.st_size > _LARGE
    told = f"{facts.st_size} {facts.st_mtime_ns}" if large else hashlib.sha256(path.read_bytes()).hexdigest()
    return f"\n{path.name} {told}"


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
            waiting.extend(_read(module)[2])
    return sorted(found)


def code_digest(*modules: str) -> str:
    """A digest of what the named modules, and all they import, do.

    Comments, docstrings that nothing shows, descriptions of settings and formatting do not count; templates and tables
    that a module names do.

    Args:
        *modules: Dotted names of modules below this package; those that only define settings do not count.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: If the package has no such module.
    """
    digest, behind = hashlib.sha256(), modules_behind(*modules)
    shown = {name for module in behind if _read(module)[3] for name in (module, *_read(module)[2])}
    for module in behind:
        told, files, *_ = _read(module)
        if module in shown:
            told = ast.unparse(parse(_path(module)))  # with docstrings
        digest.update(f"{module}\n{told}{files}\n".encode())
    return digest.hexdigest()[:16]


def script_digest(path: str | Path) -> str:
    """A digest of what a file, the modules that it imports from this package and the files that it names do.

    A file is named by a text in the code: its path from the folder of the code, or from where Snakemake runs.

    Args:
        path: Python; see :func:`code_digest` for what does not count.
    """
    tree = parse(path)
    nodes = [*ast.walk(tree)]
    behind = code_digest(*_imports(nodes))
    files = "".join(map(_content, named_files(nodes, Path(path).resolve().parent, Path.cwd())))
    return hashlib.sha256(f"{ast.unparse(_strip_prose(tree, nodes))}\n{behind}\n{files}".encode()).hexdigest()[:16]


def source_digest(*folders: str | Path) -> str:
    """A digest of every file of the package, and of other folders, as it is: much faster than what tells edits apart.

    While it is the same, so are the digests of all modules and of the scripts in these folders.
    """
    digest = hashlib.sha256()
    for folder in (_PACKAGE, *map(Path, folders)):
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"):
            digest.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def adapter_digest(path: str | Path) -> str:
    """The digest of a script of the workflow, with what it uses of the module that all scripts share.

    Args:
        path: A script that imports the module ``_job`` beside it.
    """
    used = {n.attr for n in ast.walk(parse(path)) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "_job"}
    tree = parse(Path(path).with_name("_job.py"))
    shared = _strip_prose(tree, [*ast.walk(tree)])
    own = "\n".join(map(ast.unparse, definitions(shared, used)))
    return hashlib.sha256(f"{script_digest(path)}\n{own}".encode()).hexdigest()[:16]


def extension_digest(reference: str) -> str:
    """The digest of what a reference leads to: a user's file with the neighbours it imports, or a built-in module.

    Args:
        reference: See :mod:`~jacobian_ensembles.extensions.references`.

    Returns:
        See :func:`script_digest`; empty for other built-in names, which the jobs' own modules define.
    """
    found = _BUILT_IN.get(reference, reference)
    if module := _module_of(found):
        return code_digest(module)
    digests = [script_digest(path) for path in files_behind(reference)]
    if len(digests) < 2:
        return "".join(digests)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def project_digests(scripts: str | Path, kept: str | Path) -> tuple[str, dict[str, dict[str, str]]]:
    """The digests of the project's own code, which take seconds to work out: kept until any of its files differs.

    Args:
        scripts: The folder of the workflow's scripts.
        kept: The file that keeps them; one that cannot be read or written costs these seconds.

    Returns:
        The :func:`source_digest`; and ``scripts``, the :func:`adapter_digest` of each without its .py, and ``names``,
        the :func:`extension_digest` of all that is built in.
    """
    source, path = source_digest(scripts), Path(kept)
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(path.read_bytes())
        if found["checksum"] == _checksum(source, found["digests"]):
            return source, found["digests"]
    digests = {
        "scripts": {path.stem: adapter_digest(path) for path in Path(scripts).glob("[!_]*.py")},
        "names": {name: extension_digest(name) for name in _BUILT_IN},
    }
    if source_digest(scripts) == source:  # else a file was edited meanwhile
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = path.with_suffix(f".{os.getpid()}")
            whole.write_text(json.dumps({"checksum": _checksum(source, digests), "digests": digests}), encoding="utf-8")
            whole.replace(path)
    return source, digests


def _checksum(source: str, digests: object) -> str:
    """Of digests, of the source that they are of, and of the Python that worked them out."""
    return hashlib.sha256(f"{sys.version}\n{source}\n{json.dumps(digests, sort_keys=True)}".encode()).hexdigest()
