"""Every path template, wildcard pattern and number token of the results tree, in one place.

A result's path spells its cell: ``<run>/<stage>/<dataset>/<ensemble>/M<members>/lambda<l>/rep<r>/eps<e>/...``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from jacobian_ensembles.config.cells import Cell

_NAME = r"[^\W\d]\w*"  # a built-in, or the name of a user's object
_NUMBER = r"\d+\.\d\d+"  # no braces: Snakemake reads them as wildcards
_VARIANT = r"[a-z0-9][a-z0-9_.-]*"
#: The pattern of each wildcard, for Snakemake's ``wildcard_constraints``.
WILDCARDS = {
    "dataset": _NAME,
    "ensemble": _NAME,
    "members": r"[1-9]\d*",
    "repetition": r"\d+",
    "member": r"\d+",
    "lambda_jr": _NUMBER,
    "eps": _NUMBER,
    "first": r"\d+",
    "last": r"\d+",
    "reference": r"[A-Za-z][A-Za-z0-9_-]*",
    "trial": _VARIANT,
    "variant": _VARIANT,
    "what": "bits|perturbations",
}
_CELL = "{dataset}/{ensemble}/M{members}/lambda{lambda_jr}/rep{repetition}"


def number_token(value: float) -> str:
    """Spell a number for a path, with two or more decimals and no exponent: 0.1 -> ``0.10``.

    Args:
        value: A finite number >= 0.

    Returns:
        The token; ``float(token) == value`` for every float.

    Raises:
        ValueError: If ``value`` is negative or not finite.
    """
    exact = Decimal(repr(float(value) + 0.0))  # + 0.0 turns -0.0 into 0.0
    if not exact.is_finite() or exact < 0:
        raise ValueError(f"A path can only spell a finite number >= 0. Got {value!r}.")
    whole, _, fraction = format(exact, "f").partition(".")
    return f"{whole}.{fraction.rstrip('0'):0<2}"


def cell_wildcards(cell: Cell) -> dict[str, str]:
    """The wildcard values that spell a cell in a path."""
    return {
        "dataset": cell.dataset,
        "ensemble": cell.ensemble,
        "members": str(cell.members),
        "lambda_jr": number_token(cell.lambda_jr),
        "repetition": str(cell.repetition),
    }


def too_long(paths: Iterable[str], folder: str) -> str | None:
    """The first path that the file system of a folder cannot hold, with room for what is written beside it meanwhile.

    Args:
        paths: Files below the folder.
        folder: The results folder; it may be missing so far.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    try:
        name, whole = (os.pathconf(place, limit) for limit in ("PC_NAME_MAX", "PC_PATH_MAX"))
    except (OSError, ValueError):  # it knows no limits
        return None
    beside = len(".provenance.json") + len("..12345678")
    here = len(os.fsencode(Path.cwd())) + 1
    for path in paths:
        parts = os.fsencode(path).split(b"/")
        if max(map(len, parts)) + beside > name or len(os.fsencode(path)) + here + beside > whole:
            return path
    return None


class Layout:
    """The path templates of one run; braces hold wildcards.

    Args:
        results: The results folder.
        run: The run's name.
    """

    def __init__(self, results: str, run: str) -> None:
        root = f"{results}/{run}"
        self.root = root
        self.dataset = f"{results}/data/{{dataset}}.safetensors"
        self.own_dataset = f"{root}/data/{{dataset}}.safetensors"  # a user's belongs to this run: no other changes it
        single = f"{root}/learners/{{dataset}}/{{ensemble}}/lambda{{lambda_jr}}/rep{{repetition}}"
        self.learner = f"{single}/learner{{member}}.safetensors"
        of_one_job = f"{root}/learners/{{dataset}}/{{ensemble}}/M{{members}}/lambda{{lambda_jr}}/rep{{repetition}}"
        self.learners = f"{of_one_job}/learners.safetensors"
        self.ensemble = f"{root}/ensembles/{_CELL}/ensemble.safetensors"
        self.clean = f"{root}/clean/{_CELL}/clean.safetensors"
        self.uaps = f"{root}/uaps/{_CELL}/eps{{eps}}/seeds{{first}}-{{last}}.safetensors"
        self.worst = f"{root}/worst/{_CELL}/eps{{eps}}/worst.json"
        self.worst_uap = f"{root}/worst/{_CELL}/eps{{eps}}/worst_uap.safetensors"
        self.certified = f"{root}/certified/{_CELL}/certified.json"
        self.members_alone = (
            f"{root}/members/{{dataset}}/{{ensemble}}/lambda{{lambda_jr}}/rep{{repetition}}/members.json"
        )
        self.jacobian = f"{root}/clean/{_CELL}/jacobian.safetensors"  # beside what the same job writes
        self.variant_uaps = f"{root}/ablation/{{variant}}/{_CELL}/eps{{eps}}/seeds{{first}}-{{last}}.safetensors"
        self.variant_worst = f"{root}/ablation/{{variant}}/{_CELL}/eps{{eps}}/worst.json"
        self.variant_worst_uap = f"{root}/ablation/{{variant}}/{_CELL}/eps{{eps}}/worst_uap.safetensors"
        self.transfer = f"{root}/stress/transfer/{{dataset}}/eps{{eps}}/transfer.json"
        self.single = f"{root}/stress/single/{_CELL}/eps{{eps}}/single.json"
        self.config = f"{root}/config.yaml"
        self.made = f"{root}/provenance.json"
        self.records = f"{root}/metrics/records.csv"
        self.variant_records = f"{root}/metrics/records_{{variant}}.csv"
        self.metrics = f"{root}/metrics/metrics.csv"
        self.summary = f"{root}/metrics/summary.csv"
        self.jacobian_table = f"{root}/metrics/jacobian.csv"
        self.worst_of_k = f"{root}/metrics/worst_of_k.csv"
        self.ablation = f"{root}/metrics/ablation.csv"
        self.image_error = f"{root}/metrics/image_error.csv"
        self.members_table = f"{root}/metrics/members.csv"
        self.stress = f"{root}/metrics/stress.csv"
        self.transfer_table = f"{root}/metrics/transfer.csv"
        self.checksums = f"{root}/metrics/SHA256SUMS"
        self.trials = f"{root}/metrics/trials.csv"
        self.arrays = f"{root}/{{what}}/{{dataset}}.safetensors"  # bits and perturbations
        spelled = _CELL.replace("/", "_")
        self.model = f"{root}/models/{spelled}.safetensors"
        self.trial = f"{root}/trials/{{trial}}/{{dataset}}/lambda{{lambda_jr}}/trial.json"
        self.figures = f"{root}/figures"
        self.tables = f"{root}/tables"
        self.report = f"{root}/report.html"
        self.comparison = f"{root}/comparison"
        self.examples = f"{root}/examples.json"
        #: The tables that figures and tables are made from, by the names that their catalogue uses.
        self.sources = {
            "metrics": self.metrics,
            "summary": self.summary,
            "jacobian": self.jacobian_table,
            "worst_of_k": self.worst_of_k,
            "ablation": self.ablation,
            "stress": self.stress,
            "transfer": self.transfer_table,
            "trials": self.trials,
            "images": self.image_error,
            "members": self.members_table,
            "claims": f"{self.tables}/claims.csv",
            "effects": f"{self.tables}/effects.csv",
        }

    @staticmethod
    def provenance(path: str) -> str:
        """The provenance record beside a result."""
        return f"{path.rpartition('.')[0]}.provenance.json"

    def log(self, path: str) -> str:
        """The log of the job that makes ``path``."""
        return self._mirror("logs", path, "log")

    def benchmark(self, path: str) -> str:
        """The benchmark file of the job that makes ``path``."""
        return self._mirror("benchmarks", path, "tsv")

    def _mirror(self, stage: str, path: str, suffix: str) -> str:
        folder, _, name = path.rpartition("/")
        inside = folder.removeprefix(self.root) if f"{folder}/".startswith(f"{self.root}/") else "/data"
        return f"{self.root}/{stage}{inside}/{name.rpartition('.')[0]}.{suffix}"

    def members(self, cell: Cell, in_one_job: bool) -> list[str]:
        """The learner files an ensemble is assembled from.

        Learners trained one by one nest: the ensemble of M is the first M of the largest. A cyclic run depends on M
        through the length of its cycles, and learners trained side by side depend on each other, so these come M at a
        time.
        """
        at = cell_wildcards(cell)
        if in_one_job:
            return [self.learners.format(**at)]
        return [self.learner.format(**at, member=i) for i in range(cell.members)]
