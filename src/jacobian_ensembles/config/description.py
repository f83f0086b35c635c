"""What each key means, as the classes' docstrings say it: the text of config.yaml, and a JSON schema for editors.

``python -m jacobian_ensembles.config.description``, at the top of the repository, writes both.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from jacobian_ensembles.config.schema import Config
from jacobian_ensembles.config.settings import Settings

#: Where Snakemake's workflow catalog looks.
SCHEMA = "workflow/schemas/config.schema.yaml"
_HEAD = f"""\
# yaml-language-server: $schema={SCHEMA}
# The paper's grid. Overlays in workflow/presets/ state only what differs:
#   snakemake --cores all --configfile workflow/presets/quick.yaml
# Unknown keys, duplicate values and combinations that cannot be trained are refused before anything runs.
# Made by `make config` from the classes in src/jacobian_ensembles/config/: change a meaning or a default there.
"""
_COLUMN, _WIDTH = 25, 120
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def meanings(section: type[BaseModel]) -> dict[str, str]:
    """What the keys of a section mean, from the ``Attributes`` of its class and of those that it inherits from.

    Args:
        section: The class.

    Returns:
        The meaning of every key, by its name in files; the keys that the class itself adds come first.

    Raises:
        KeyError: If one is described nowhere.
    """
    found: dict[str, str] = {}
    own: dict[str, None] = {}
    for kind in section.__mro__:
        if not issubclass(kind, BaseModel):
            continue
        own_doc = inspect.getdoc(kind) if vars(kind).get("__doc__") else None
        attributes = (own_doc or "").partition("Attributes:\n")[2]
        for entry in re.split(r"\n(?=    \w)", "\n" + attributes.partition("\n\n")[0])[1:]:
            name, _, text = entry.strip().partition(": ")
            found.setdefault(name, _plain(" ".join(text.split())))
        own |= dict.fromkeys(name for name in vars(kind).get("__annotations__", {}) if name in section.model_fields)
    return {section.model_fields[name].alias or name: found[name] for name in own}


def _plain(text: str) -> str:
    """A docstring's text without its markup."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", text).replace("``", "")
    return text.removesuffix(".")


def schema() -> dict[str, Any]:
    """A JSON schema of configuration files: an overlay states only what differs, so no section is required.

    Returns:
        The schema, without references: Snakemake's catalog follows inline ``properties`` only.
    """
    whole = Config.model_json_schema()
    found: dict[str, Any] = _inlined(whole, whole["$defs"])
    _describe(found, _kinds())
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**head, "title": "Jacobian Ensembles: configuration of a run", "type": found.pop("type"), **found}


def _kinds() -> dict[str, type[BaseModel]]:
    """The package's classes of settings, by name."""
    waiting: list[type[BaseModel]] = [Settings]
    for kind in waiting:
        waiting += kind.__subclasses__()
    return {kind.__name__: kind for kind in waiting if kind.__module__.startswith("jacobian_ensembles.")}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """A schema with what it refers to in place of the references, and one type for what may be null."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    reference = node.pop("$ref", "").rpartition("/")[2]
    node = definitions.get(reference, {}) | node
    either = [kind for kind in node.pop("anyOf", []) if kind != {"type": "null"}]
    if either:  # of one kind, or null
        node |= _inlined(either[0], definitions)
        node["type"] = [node["type"], "null"]
    return {_BOUNDS.get(key, key): _inlined(value, definitions) for key, value in node.items() if key != "$defs"}


def _describe(node: dict[str, Any], kinds: dict[str, type[BaseModel]]) -> None:
    """Give every key of a schema its meaning, in the order of config.yaml; the keys of an overlay are all optional."""
    title, _ = node.pop("title", ""), node.pop("description", "")
    if "properties" in node:
        said, properties = meanings(kinds[title]), node["properties"]
        node.pop("default", None)  # each of its keys has its own
        if title != "ListedCell":
            node.pop("required", None)
        for value in properties.values():
            _describe(value, kinds)
        node["properties"] = {key: {"description": said[key], **properties[key]} for key in said}
    elif node.get("type") == "object":
        node.setdefault("default", {})
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            _describe(node[key], kinds)
    for variant in node.get("patternProperties", {}).values():
        _describe(variant, kinds)
        _drop_defaults(variant)
        node["additionalProperties"] = False


def _drop_defaults(variant: dict[str, Any]) -> None:
    """What a trial or a variant leaves out is as in the run itself."""
    for value in variant.get("properties", {}).values():
        value.pop("default", None)
        _drop_defaults(value)


def config_yaml() -> str:
    """The text of config.yaml: every key of a run with its value for the paper's grid and what it means."""
    lines = [_HEAD]
    plain, values = meanings(Config), _values()
    for name, meaning in plain.items():
        section = Config.model_fields[name].annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines.append(_line(f"{name}:", meaning))
            lines += [_line(f"  {key}: {_flow(values[name][key])}", said) for key, said in meanings(section).items()]
            lines.append("")
        else:
            lines += [_line(f"{name}: {_flow(values[name])}", meaning), ""]
    return re.sub(r"(?m)^\n(?=(?:ablation|compare): )", "", "\n".join(lines)).rstrip() + "\n"


def _values() -> dict[str, Any]:
    """The value of every key in the paper's grid."""

    def of(node: dict[str, Any]) -> Any:
        return (
            {key: of(value) for key, value in node["properties"].items()} if "properties" in node else node["default"]
        )

    values: dict[str, Any] = of(schema())
    return values


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return text if text != "''" else '""'


def _line(start: str, meaning: str) -> str:
    """A key with its meaning beside it, as far as that goes: the first sentence."""
    column = max(_COLUMN, len(start) + 2)
    first, *more = textwrap.wrap(re.split(r"\.\s(?=[A-Z])", meaning)[0], _WIDTH - column - 2)
    return "\n".join([f"{start:<{column}}# {first}", *(f"{'':<{column}}# {line}" for line in more)])


def files() -> dict[str, str]:
    """What is made from the classes: the text of each file, by its path in the repository."""
    head = "# Made by `make config` from the classes in src/jacobian_ensembles/config/.\n"
    text = yaml.safe_dump(schema(), sort_keys=False, allow_unicode=True, width=_WIDTH)
    return {"config.yaml": config_yaml(), SCHEMA: head + text}


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
