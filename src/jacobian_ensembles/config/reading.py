"""Configurations read from files, later ones over earlier ones, and from settings on a command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jacobian_ensembles.config.schema import Config, ConfigError, load_config
from jacobian_ensembles.config.yaml_files import load_yaml, read_yaml


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another, section by section, as Snakemake's ``--configfile`` does."""
    out = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def read_config(paths: Sequence[str], settings: Sequence[str], grid: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a command.

    Args:
        paths: YAML files, later ones over earlier ones; ``config.yaml`` of this folder if none is named.
        settings: ``section.key=value`` each, over the files.
        grid: A single cell's dataset, ensemble, members and lambda, over the grid of the files.

    Returns:
        The validated configuration.

    Raises:
        ConfigError: If a file cannot be read, or the configuration cannot be used.
    """
    raw: dict[str, Any] = {"run": {"name": "single"}, "grid": {"eps": [0.15]}, "figures": {"eps": 0.15}}
    for path in paths or [p for p in ("config.yaml",) if Path(p).is_file()]:
        try:
            raw = merge(raw, read_yaml(path))
        except ValueError as error:
            raise ConfigError(str(error)) from error
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: give section.key=value, such as training.epochs=2.")
        try:
            nested: Any = load_yaml(value)
        except ValueError as error:
            raise ConfigError(f"--set {setting}: {error}.") from error
        for part in reversed(key.split(".")):
            nested = {part: nested}
        raw = merge(raw, nested)
    if grid is not None:
        raw = merge(raw, {"grid": {**grid, "cells": None}, "trials": {}, "ablation": {}})
    return load_config(raw)
