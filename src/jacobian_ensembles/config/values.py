"""Values as people write them: numbers that arrive as text or with rounding errors, paths with ~ and variables."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import Any

import yaml

#: Texts that mean none in YAML.
NULLS = ("", "~", "null", "Null", "NULL")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


class Spoken(str):
    """A text from Snakemake's ``--config``, which may have been a number, a truth value or null."""

    __slots__ = ()


def tidy(value: float) -> float:
    """A number without what rounding left at its end: 0.30000000000000004 becomes 0.3."""
    return float(f"{value:.12g}")


def numbers_in_text(value: Any) -> Any:
    """Turn what YAML 1.1 takes for text, such as 1e-2 (it wants 1.0e-2), into numbers, in lists and mappings, too.

    What Snakemake's ``--config`` turned into text becomes what YAML would have read.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, Spoken):
        try:
            meant = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):
            return str(value)
        return meant if isinstance(meant, bool | int | float | None) else str(value)
    if isinstance(value, dict):
        return {key: numbers_in_text(item) for key, item in value.items()}
    return [numbers_in_text(item) for item in value] if isinstance(value, list) else value


def expanded(path: str) -> str:
    """A path with ~ and environment variables replaced, without needless dots and slashes: ./a//b/ is a/b.

    Raises:
        ValueError: If there is no such user or variable.
    """
    out = os.path.expanduser(os.path.expandvars(path))
    unknown = _VARIABLE.search(out)
    if unknown or out.startswith("~"):
        what = unknown.group() if unknown else out.partition("/")[0]
        raise ValueError(f"got {path!r}, where {what} stands for nothing; write the path in full")
    return str(PurePosixPath(out))
