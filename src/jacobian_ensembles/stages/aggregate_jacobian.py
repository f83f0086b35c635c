"""Stage aggregate_jacobian: measured Jacobian norms beside the theorem's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.evaluation.records import once
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.evaluation.theorem import measured_moments
from jacobian_ensembles.storage.files import load_tensors
from jacobian_ensembles.storage.tables import write_table


def aggregate_jacobian(paths: Sequence[str | Path], csv_path: str | Path) -> None:
    """Gather :func:`~jacobian_ensembles.evaluation.theorem.measured_moments` of every model.

    Args:
        paths: What stage evaluate_ensemble wrote, one per model.
        csv_path: CSV to write, one row per model.
    """
    loaded = (load_tensors(path, kind="jacobian") for path in paths)
    rows = [{**spec, **measured_moments(tensors)} for tensors, spec in loaded]
    table = pd.DataFrame(rows).sort_values(CELL_KEYS)
    once(table, CELL_KEYS)
    write_table(csv_path, table)
