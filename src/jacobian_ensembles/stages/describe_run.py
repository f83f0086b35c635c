"""Stage describe_run: a run's settings, and what made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from jacobian_ensembles.runs.provenance import made_by
from jacobian_ensembles.storage.checksums import read_provenance
from jacobian_ensembles.storage.files import write_json, write_text


def describe_run(
    config: Mapping[str, Any], provenance: Sequence[str | Path], config_path: str | Path, made_path: str | Path
) -> None:
    """Write the two files by which a run's folder is known: see :class:`~jacobian_ensembles.runs.run.Run`.

    Args:
        config: The resolved configuration.
        provenance: The provenance records of the run's jobs.
        config_path: YAML to write.
        made_path: JSON to write: see :func:`~jacobian_ensembles.runs.provenance.made_by`.
    """
    write_json(made_path, made_by([read_provenance(path) for path in provenance]))
    write_text(config_path, yaml.safe_dump(dict(config), sort_keys=False))
