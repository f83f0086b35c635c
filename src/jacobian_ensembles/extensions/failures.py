"""Failures of users' code, reported in one line with the place where it broke."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_OURS = Path(__file__).parents[1].resolve()
_NOT_THEIRS = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def where_it_broke(error: BaseException) -> str | None:
    """The last line of a user's own file that was running, as ``file:line``; None if there was none.

    Of settings that matplotlib cannot read, their file and what to do.

    Args:
        error: What was raised, with its traceback.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    if isinstance(error, UnicodeDecodeError):  # it does not say of which file
        for inner, _ in traceback.walk_tb(error.__traceback__):
            if inner.f_globals.get("__name__") == "matplotlib" and "fname" in inner.f_locals:
                return f"in {Path(inner.f_locals['fname']).absolute()}; save it as UTF-8, or remove it"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if frame.filename.startswith("<") or _OURS in path.resolve().parents or ".snakemake" in path.parts:
            continue
        if not any(folder in path.resolve().parents for folder in _NOT_THEIRS):
            return f"{frame.filename}:{frame.lineno}"
    return None


def one_line(error: BaseException) -> str:
    """What was raised, in one line: its type, the first line of its message, and where the user's code broke.

    Args:
        error: What was raised, with its traceback.
    """
    lines = str(error).strip().splitlines()
    where = where_it_broke(error)
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ") + (f" ({where})" if where else "")
