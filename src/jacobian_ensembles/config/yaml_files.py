"""YAML and JSON read strictly: what the formats would silently drop or change is refused."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as Loader  # ten times as fast
except ImportError:
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

_AMBIGUOUS = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-5]?[0-9])+(\.[0-9_]*)?)")
#: Scalars and containers of a document whose aliases are written out.
_MOST = 1_000_000


class _Strict(Loader):
    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _written_out(node, {})
        return node

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


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How long a document is with its aliases written out: a few lines of anchors can stand for billions."""
    if id(node) not in known:
        known[id(node)] = _MOST  # until it is known: too long for whatever is inside it
        pairs = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in pairs for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
    if known[id(node)] > _MOST:
        raise yaml.constructor.ConstructorError(
            None, None, "its anchors stand for too much; write it without them", node.start_mark
        )
    return known[id(node)]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise yaml.YAMLError(f"the key {key!r} is there twice, and one would be dropped")
        out[key] = value
    return out


for _kind in ("int", "float"):
    _Strict.add_constructor(f"tag:yaml.org,2002:{_kind}", _Strict.number)


def load_yaml(content: str | bytes) -> Any:
    """Read YAML, or JSON, some of which is no YAML: it may be indented by tabs.

    Args:
        content: Text, or bytes of UTF-8 or UTF-16.

    Returns:
        What it says.

    Raises:
        ValueError: If it is not YAML, gives a key twice or a number that would be read as another; the message
            says where.
    """
    try:
        start = content if isinstance(content, str) else content.removeprefix(codecs.BOM_UTF8)
        if start.lstrip()[:1] in ("{", b"{"):
            try:
                return json.loads(content, object_pairs_hook=_once)
            except ValueError:
                pass  # a flow mapping of YAML
        return yaml.load(content, _Strict)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or str(error).partition(chr(10))[0]}") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file, YAML or JSON; an empty one is an empty mapping.

    Raises:
        ValueError: If the file cannot be read, is not a mapping, or :func:`load_yaml` refuses it; the message names it.
    """
    try:
        content = load_yaml(Path(path).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path}: there is no such file in {Path.cwd()}.") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: it is a folder; name a file in it.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as YAML ({error}).") from error
    if not isinstance(content, dict | None):
        raise ValueError(f"{path}: a configuration is a mapping of sections, got a {type(content).__name__}.")
    return content or {}
