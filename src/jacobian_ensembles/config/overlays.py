"""Configuration files over one another: what a later one asks for but an earlier one keeps from being computed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jacobian_ensembles.config.schema import Config, load_config
from jacobian_ensembles.config.yaml_files import read_yaml
from jacobian_ensembles.extensions.references import short_name

log = logging.getLogger(__name__)
_AXES = {"datasets": "dataset", "ensembles": "ensemble", "members": "members", "lambdas": "lambda_jr"}


def load_overlays(
    merged: Mapping[str, Any], files: Sequence[str | Path], last: Mapping[str, Any] | None = None
) -> Config:
    """Validate a configuration, and check the files it was merged from for what merging silently drops.

    Args:
        merged: The configuration.
        files: The files, later ones over earlier ones.
        last: Settings from the command line, over all files.

    Returns:
        The validated configuration.

    Raises:
        ValueError: If a file gives a key twice, the configuration cannot be used, or a list of the grid holds a value
            that ``grid.cells`` of an earlier file leaves out. Within one file, that is only a warning.
    """
    contents: list[Mapping[str, Any]] = [*map(read_yaml, files), last or {}]
    cfg = load_config(merged)
    grids = [grid if isinstance(grid := content.get("grid"), Mapping) else {} for content in contents]
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
    if problems:
        raise ValueError("The configuration cannot be used:\n  " + "\n  ".join(problems))
    return cfg
