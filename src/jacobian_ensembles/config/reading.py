"""How files, ``--config`` and ``--set`` become one configuration: layers, later ones over earlier ones."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from jacobian_ensembles.config.schema import Config, ConfigError, load_config
from jacobian_ensembles.config.values import Spoken
from jacobian_ensembles.config.yaml_files import load_yaml, read_yaml
from jacobian_ensembles.extensions.references import short_name

log = logging.getLogger(__name__)
_AXES = {"datasets": "dataset", "ensembles": "ensemble", "members": "members", "lambdas": "lambda_jr"}
_KEY = re.compile(r"[a-z]\w*(\.[\w-]+)*")


@dataclass(frozen=True)
class Layer:
    """Some settings, and where they come from.

    Attributes:
        origin: What messages call it: a file, or an option of the command line.
        content: The settings, as nested mappings.
        way_out: How to do without it; empty where that is plain.
        defaults: Whether it is what everything lies over.
    """

    origin: str
    content: Mapping[str, Any]
    way_out: str = ""
    defaults: bool = False


def file_layer(path: str | Path, way_out: str = "", defaults: bool = False) -> Layer:
    """The settings of a YAML or JSON file.

    Raises:
        ConfigError: If it cannot be read; the message names it.
    """
    try:
        return Layer(str(path), read_yaml(path), way_out, defaults)
    except ValueError as error:
        raise ConfigError("\n".join(filter(None, (str(error), way_out)))) from error


def spoken(value: Any) -> Any:
    """Settings as Snakemake's ``--config`` hands them over, every scalar inside braces a text: marked as such."""
    if isinstance(value, Mapping):
        return {key: spoken(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spoken(item) for item in value]
    return Spoken(value) if isinstance(value, str) else value


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another, section by section, as Snakemake's ``--configfile`` does."""
    out = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def beyond(layers: Iterable[Layer], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration holds besides what layers say: the settings of a Snakefile that includes this workflow."""

    def rest(known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        out = {}
        for key, value in given.items():
            if isinstance(value, Mapping) and isinstance(known.get(key), Mapping):
                value = rest(known[key], value)
                if not value:
                    continue
            elif key in known and known[key] == value:
                continue
            out[key] = value
        return out

    known: dict[str, Any] = reduce(merge, (layer.content for layer in layers), {})
    return rest(known, given)


def load_layers(layers: Sequence[Layer]) -> Config:
    """Validate what layers, later ones over earlier ones, say together.

    Args:
        layers: The layers.

    Returns:
        The configuration.

    Raises:
        ConfigError: If it cannot be used, or a list of the grid holds a value that ``grid.cells`` of an earlier layer
            leaves out (within one layer, that is only a warning). Every problem names the layers it is in.
    """
    try:
        cfg = load_config(reduce(merge, (layer.content for layer in layers), {}))
        if problems := _left_out(cfg, layers):
            raise ConfigError.of(problems)
    except ConfigError as error:
        if not error.problems:
            raise
        ways_out = {
            f"{layer.origin}: {layer.way_out}"
            for problem in error.problems
            for layer in _named(problem, layers)
            if layer.way_out
        }
        raise ConfigError.of([_placed(problem, layers) for problem in error.problems], *sorted(ways_out)) from None
    return cfg


def read_config(paths: Sequence[str], settings: Sequence[str], grid: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a command.

    Args:
        paths: Files, later ones over earlier ones; ``config.yaml`` of this folder if none is named; ``none`` for none.
        settings: ``section.key=value`` each, over the files.
        grid: A single cell's dataset, ensemble, members and lambda, over the grid of the files.

    Returns:
        The validated configuration.

    Raises:
        ConfigError: If a file cannot be read, or the configuration cannot be used.
    """
    # a model that no command computes, for those that need settings only
    some = {"datasets": ["mnist"], "ensembles": ["voting"], "members": [1], "lambdas": [0]}
    single = {"run": {"name": "single"}, "grid": {**some, "eps": [0.15]}, "figures": {"eps": 0.15}}
    layers = [Layer("the defaults", single, defaults=True)]
    layers += [file_layer(path) for path in paths if path != "none"]
    if not paths and Path("config.yaml").is_file():
        layers.append(file_layer("config.yaml", "read because it is in this folder; --config none does without it."))
    layers += map(_setting, settings)
    if grid is not None:
        layers.append(Layer("the command line", {"grid": {**grid, "cells": None}}))
    return load_layers(layers)


def _setting(text: str) -> Layer:
    """One ``--set``."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: give section.key=value, such as training.epochs=2.")
    try:
        nested: Any = load_yaml(value)
    except ValueError as error:
        raise ConfigError(f"--set {text}: {error}.") from error
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return Layer(f"--set {text}", nested)


def _left_out(cfg: Config, layers: Sequence[Layer]) -> list[str]:
    """Values of the grid's lists that a later layer asks for, but ``cells`` of an earlier one keep from being used."""
    grids = [grid if isinstance(grid := layer.content.get("grid"), Mapping) else {} for layer in layers]
    chosen = [i for i, grid in enumerate(grids) if grid.get("cells")]
    problems = []
    for axis, field in _AXES.items() if cfg.grid.cells is not None and chosen else ():
        used = {getattr(cell, field) for cell in cfg.cells}
        values = getattr(cfg.grid, axis)
        left = [value for value in values if (short_name(value) if isinstance(value, str) else value) not in used]
        if not left:
            continue
        line = f"grid.{axis}: {', '.join(map(str, left))} is in no entry of grid.cells, so nothing is computed for it"
        if any(axis in grid for grid in grids[chosen[-1] + 1 :]):
            problems.append(f"{line}; add entries, or set grid.cells to null for the whole product")
        elif axis in grids[chosen[-1]]:
            log.warning(line)
    return problems


def _said(key: str, layers: Sequence[Layer]) -> list[Layer]:
    """The layers that say what a key is: the last that gives it, or all that give keys below it."""
    parts = key.split(".")
    for depth in range(len(parts), 0, -1):
        found = [(layer, value) for layer in layers for value in _at(layer.content, parts[:depth])]
        if found:
            last, value = found[-1]
            own = [layer for layer, _ in found if not layer.defaults]
            return own if isinstance(value, Mapping) and own else [last]
    return []


def _at(content: Any, parts: Sequence[str]) -> Iterable[Any]:
    """What nested mappings hold at a place: one value, or none."""
    for part in parts:
        if not isinstance(content, Mapping):
            return ()
        named = {str(key): value for key, value in content.items()}
        if part not in named:
            return ()
        content = named[part]
    return (content,)


def _keys(problem: str) -> list[str]:
    """The keys that a problem is about: the one it starts with, and others that it names in full."""
    start = problem.partition(": ")[0]
    named = [match.group() for match in _KEY.finditer(problem.removeprefix(start)) if "." in match.group()]
    return list(dict.fromkeys([start, *(key for key in named if key.partition(".")[0] in Config.model_fields)]))


def _named(problem: str, layers: Sequence[Layer]) -> list[Layer]:
    return [layer for key in _keys(problem) for layer in _said(key, layers)]


def _placed(problem: str, layers: Sequence[Layer]) -> str:
    """A problem with the layers that it is in."""
    origins = {key: " and ".join(layer.origin for layer in _said(key, layers)) for key in _keys(problem)}
    if len({*origins.values()}) > 1:
        where = ", ".join(f"{key} in {origin}" for key, origin in origins.items() if origin)
    else:
        where = "".join(f"in {origin}" for origin in {*origins.values()} if origin)
    return f"{problem} ({where})" if where else problem
