"""YAML read strictly: what the format would silently drop or change is refused."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

_AMBIGUOUS = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-5]?[0-9])+(\.[0-9_]*)?)")


class _Strict(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            merges = key_node.tag == "tag:yaml.org,2002:merge"
            key = "<<" if merges else self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice, and one would be dropped", key_node.start_mark
                )
            seen.add(key if isinstance(key, Hashable) else id(key_node))
        return super().construct_mapping(node, deep=deep)

    def number(self, node: yaml.ScalarNode) -> Any:
        if _AMBIGUOUS.fullmatch(node.value):
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value} would be read as another number (octal, or of base 60)", node.start_mark
            )
        integer = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if integer else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Strict.add_constructor(f"tag:yaml.org,2002:{_kind}", _Strict.number)


def load_yaml(content: str | bytes) -> Any:
    """Read YAML.

    Args:
        content: Text, or bytes of UTF-8 or UTF-16.

    Returns:
        What it says.

    Raises:
        ValueError: If it is not YAML, gives a key twice or a number that would be read as another; the message
            says where.
    """
    try:
        return yaml.load(content, _Strict)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or str(error).partition(chr(10))[0]}") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file; an empty one is an empty mapping.

    Raises:
        ValueError: If the file cannot be read, is not a mapping, or :func:`load_yaml` refuses it; the message names it.
    """
    try:
        content = load_yaml(Path(path).read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path}: cannot be read as YAML: there is no such file in {Path.cwd()}.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as YAML ({error}).") from error
    if not isinstance(content, dict | None):
        raise ValueError(f"{path}: a configuration is a mapping of sections, got a {type(content).__name__}.")
    return content or {}
