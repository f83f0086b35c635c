"""Bringing a run that an earlier version shipped into today's form. For one release; nothing else needs this module."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.records import ATTACKED, COLUMNS, RATE, SHARED
from jacobian_ensembles.runs.run import NOT_RECOMPUTABLE
from jacobian_ensembles.runs.ship import replacing, seal
from jacobian_ensembles.storage.checksums import read_checksums, verify_checksum
from jacobian_ensembles.storage.files import ArtifactError, read_json, write_json, write_text
from jacobian_ensembles.storage.tables import write_table

_STAMPS = ["run", "seed", "config_sha256", "commit"]
_LINE = re.compile(r"\n*\*From run [^\n]*, seed \d+, config_sha256 [^\n]*\*\n$")
_COMMENT = re.compile(r"^% run [^\n]*, seed \d+, config_sha256 [^\n]*\n")


def _unstamped(path: Path, stamps: list[str]) -> str:
    """A table without its origin; the table of trials has a ``seed`` of its own."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if "config_sha256" in table:
        table = table.drop(columns=[name for name in stamps if name != "seed" or "trial" not in table])
    return table.to_csv(index=False)


def _records(shipped: Path) -> pd.DataFrame:
    """The records of the run's own attack, from the two tables that had them."""
    seeds = pd.read_csv(shipped / "attack_seeds.csv")
    metrics = pd.read_csv(shipped / "metrics" / "metrics.csv")
    shared = ["images", "clean_accuracy", *(name for name in (*SHARED, RATE) if name in metrics)]
    table = seeds[[*ATTACKED, "attack_seed", "accuracy"]].merge(
        metrics[[*ATTACKED, *shared]], on=ATTACKED, how="left", validate="many_to_one"
    )
    # printed with six digits: with this many images only one number of right answers fits
    for name in ("accuracy", "clean_accuracy", "per_image_worst_accuracy"):
        exact = np.round(table[name] * table["images"]) / table["images"]
        if not np.allclose(exact, table[name], atol=2e-6):
            raise ArtifactError(f"{shipped}: {name} is no share of the test images.")
        table[name] = exact
    return table[[*COLUMNS, *(name for name in (*SHARED, RATE) if name in table)]]


def _files(shipped: Path) -> Iterator[tuple[str, str | Path]]:
    """The files of the converted run, by name: their text, or the file to copy."""
    tables = sorted((shipped / "metrics").glob("*.csv"))
    for path in tables:
        yield f"metrics/{path.name}", _unstamped(path, _STAMPS)
    for path in sorted((shipped / "tables").iterdir()):
        name = f"tables/{path.name}"
        if path.suffix == ".csv":
            yield name, _unstamped(path, _STAMPS[1:])  # tables name their run themselves
        elif path.suffix == ".md":
            yield name, _LINE.sub("\n", path.read_text(encoding="utf-8"))
        else:
            yield name, _COMMENT.sub("", path.read_text(encoding="utf-8"))
    if (shipped / "tables" / "recipe.csv").is_file() and not tables:
        yield "metrics/trials.csv", _unstamped(shipped / "tables" / "recipe.csv", _STAMPS)
    for folder in ("figures", "bits", "perturbations", "models"):
        for path in sorted((shipped / folder).glob("*")):
            yield f"{folder}/{path.name}", path
    yield "config.yaml", shipped / "config.yaml"


def convert_run(shipped: str | Path) -> None:
    """Bring a shipped run into today's form, in its place: every number stays as it is.

    What was stamped into tables is taken out; figures keep theirs until they are redrawn. ``records.csv`` joins
    ``attack_seeds.csv`` with what ``metrics.csv`` alone held. Accuracies of single attack seeds of the variants were
    not shipped, so ``ablation.csv`` stays as it is, and ``provenance.json`` says that it cannot be recomputed.

    Args:
        shipped: The folder.

    Raises:
        ArtifactError: If it holds no shipped run of an earlier version, or a file of it is altered.
    """
    shipped = Path(shipped)
    if not (shipped / "provenance.json").is_file() or (shipped / "SHA256SUMS").exists():
        raise ArtifactError(f"{shipped}: no shipped run of an earlier version.")
    sums = shipped / "metrics" / "SHA256SUMS"
    for name in read_checksums(sums) if sums.is_file() else ():
        verify_checksum(shipped / "metrics" / name)
    with replacing(shipped) as new:
        for name, content in _files(shipped):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, new / name)
            else:
                write_text(new / name, content)
        made = read_json(shipped / "provenance.json")
        if (shipped / "attack_seeds.csv").is_file():
            write_table(new / "metrics" / "records.csv", _records(shipped), float_format=None)
        left = [name for name in ("metrics/ablation.csv",) if (new / name).is_file()]
        write_json(new / "provenance.json", made | {NOT_RECOMPUTABLE: left} if left else made)
        seal(new)
