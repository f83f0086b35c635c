"""What is made from the classes: config.yaml, and the JSON schema that editors and Snakemake's catalog read."""

import os
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import Field

from jacobian_ensembles.config.attack import Attack
from jacobian_ensembles.config.cells import ListedCell
from jacobian_ensembles.config.description import SCHEMA, config_yaml, files, meanings, schema
from jacobian_ensembles.config.schema import Config, load_config
from jacobian_ensembles.config.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
CONFIGURATIONS = [
    ROOT / "config.yaml",
    ROOT / "config/config.yaml",
    *sorted((ROOT / "workflow/presets").rglob("*.yaml")),
]


@pytest.mark.parametrize("path", ["config.yaml", SCHEMA])
def test_the_files_are_what_the_classes_say(path):
    assert (ROOT / path).read_text(encoding="utf-8") == files()[path], "make config"


def test_the_values_are_the_papers_grid_and_the_defaults():
    raw = yaml.safe_load(config_yaml())
    assert raw["grid"]["lambdas"] == [0, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2]
    assert load_config(raw) == load_config({"run": {"name": "paper"}, "grid": raw["grid"]})
    assert list(raw) == list(Config.model_fields)
    assert max(map(len, config_yaml().splitlines())) <= 126


class Base(Settings):
    """A base.

    Attributes:
        one: Of the base, as ``x``: see :class:`~a.b.Other`.
        two: A first
            and a second line. More of it.
    """

    one: int = 1
    two: int = 2


class Derived(Base):
    """Derived.

    Attributes:
        two: Said anew.
        three_: Another name.

    Raises:
        ValueError: Never.
    """

    three_: int = Field(3, alias="three")


class Silent(Base):
    four: int = 4


def test_meanings_are_those_of_the_docstrings_own_keys_first():
    assert meanings(Base) == {"one": "Of the base, as x: see Other", "two": "A first and a second line. More of it"}
    assert list(meanings(Derived).items()) == [
        ("three", "Another name"), ("one", "Of the base, as x: see Other"), ("two", "Said anew"),
    ]  # fmt: skip
    with pytest.raises(KeyError, match="four"):
        meanings(Silent)
    assert meanings(Attack)["method"].startswith("sgd (gradient steps)")
    assert list(meanings(ListedCell)) == ["repetitions", "dataset", "ensemble", "members", "lambda"]


def properties(node, path=""):
    for name, value in node.get("properties", {}).items():
        yield f"{path}{name}", value
        yield from properties(value, f"{path}{name}.")


def test_snakemakes_catalog_finds_every_key_with_a_type_a_default_and_a_meaning():
    # it follows inline properties, takes the cells of its table from these, and draws the table with bars
    found = dict(properties(schema()))
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    assert {path for path in found if "." not in path} == set(sections)
    for name, section in sections.items():
        if hasattr(section, "model_fields"):
            assert {path for path in found if path.startswith(f"{name}.")} == {
                f"{name}.{key}" for key in meanings(section)
            }
    for path, value in found.items():
        assert value["type"], path
        assert value["description"], path
        assert "|" not in value["description"], path
        assert "`" not in value["description"], path
        assert "properties" in value or "default" in value, path
    text = (ROOT / SCHEMA).read_text(encoding="utf-8")
    assert "$ref" not in text
    assert not re.search(r"(?m)[:-] [&*]id\d", text)


def test_the_schema_is_one_that_snakemake_validates_with():
    from snakemake.utils import validate

    jsonschema.Draft202012Validator.check_schema(schema())
    raw = {"run": {"name": "mine"}, "seed": 3}
    validate(raw, str(ROOT / SCHEMA), set_default=False)
    assert raw == {"run": {"name": "mine"}, "seed": 3}
    with pytest.raises(Exception, match="epoch"):
        validate({"training": {"epoch": 3}}, str(ROOT / SCHEMA))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_shipped_configuration_names_the_schema_and_follows_it(path):
    text = path.read_text(encoding="utf-8")
    modeline = f"# yaml-language-server: $schema={os.path.relpath(ROOT / SCHEMA, path.parent)}"
    assert text.splitlines()[0] == modeline
    jsonschema.validate(yaml.safe_load(text), schema(), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "raw",
    [
        {"lr": 0.1},
        {"training": {"epoch": 3}},
        {"grid": {"eps": [0]}},
        {"grid": {"cells": [{"dataset": "mnist"}]}},
        {"trials": {"a": {"model": {"width": 3}}}},
        {"ablation": {"A B": {}}},
        {"attack": {"init": "ones"}},
        {"data": {"validation_images": 40_000}},
        {"run": {"name": None}},
        {"attack": {"loss_cap": 0}},
    ],
    ids=str,
)
def test_editors_mark_what_the_workflow_refuses(raw):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, schema(), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"grid": {"cells": None}},
        {"grid": {"cells": [{"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0}]}},
        {"attack": {"loss_cap": None, "options": {"anything": [1]}}},
        {"ablation": {"a": {"eps": [0.1]}, "b": {}}},
        {"trials": {"a": {}, "b": {"training": {"epochs": 3}}}},
    ],
    ids=str,
)
def test_editors_take_what_an_overlay_may_say(raw):
    jsonschema.validate(raw, schema(), jsonschema.Draft202012Validator)
