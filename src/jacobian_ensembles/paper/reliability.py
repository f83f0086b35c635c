"""Whether ensembles are more reliable than single networks: how far trainings differ, and the worst of them.

The rule was fixed on 30 November 2026, before there was any training after number 2; that ensembles look more reliable
had been seen in trainings 0 to 2. Only later trainings count. An ensemble's members, attacked one by one, are single
networks: they differ by seed (bagging: by bootstrap, too), as trainings of M = 1 do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.statistics import holm
from jacobian_ensembles.paper.effects import FIRST_NEW, is_cyclic, members_of, trainings_of
from jacobian_ensembles.paper.labels import DATASET_TITLES, RenderedTable, in_order, markdown_note, to_markdown

#: What is said about a dataset, by whether the rule holds.
SENTENCES = {
    True: "On {dataset} an ensemble of {members} is more reliable than a single network: its trainings differ less in "
    "accuracy under attack ({ensemble:.1f} points against {single:.1f}).",
    False: "On {dataset} it is not shown that an ensemble of {members} is more reliable than a single network: the "
    "deviations over trainings are {ensemble:.1f} and {single:.1f} points.",
}
_DRAWS = 100_000


def _p_smaller(ratios: np.ndarray, freedoms: list[tuple[int, int]]) -> float:
    """The p value of a mean ratio of variances being this small if all are one; each setting has its own spread.

    The mean of independent F variables has no closed form: it is drawn, always with the same seed.
    """
    rng = np.random.default_rng(0)
    drawn = np.zeros(_DRAWS)
    for above, below in freedoms:
        drawn += rng.f(above, below, _DRAWS)
    return float((1 + np.sum(drawn <= ratios.sum())) / (1 + _DRAWS))


def reliability_of(trainings: pd.DataFrame, members: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Set the spread over new trainings of the largest ensembles beside that of single networks.

    Args:
        trainings: See :func:`~jacobian_ensembles.paper.effects.trainings_of`.
        members: See :func:`~jacobian_ensembles.paper.effects.members_of`.
        confidence: Level of the verdict, over all datasets together (Holm).

    Returns:
        One row per dataset: ``members``, the largest M; the ``settings`` (method, lambda) and ``trainings`` behind it;
        the root mean variance over trainings of ensembles and of single networks, ``ensemble_sd`` and ``single_sd``,
        in points of mean accuracy under attack; ``worst_gain``, the worst training of an ensemble less the expected
        worst of as many single networks, a mean over settings; the corrected one-sided ``p`` of the mean ratio of
        variances being one; and whether it ``holds``. Without two new trainings with members there is no row.
    """
    largest = int(trainings["members"].max())
    cyclic = trainings["ensemble"].map(is_cyclic)
    new = trainings[(trainings["repetition"] >= FIRST_NEW) & (trainings["members"] == largest) & ~cyclic]
    rows = []
    for dataset in in_order(set(new["dataset"]), DATASET_TITLES):
        ratios, freedoms, own, alone, gains, counts = [], [], [], [], [], []
        for (method, lam), group in new[new["dataset"] == dataset].groupby(["ensemble", "lambda"]):
            here = members[
                (members["dataset"] == dataset) & (members["ensemble"] == method) & (members["lambda"] == lam)
            ]
            singles = [here.loc[here["repetition"] == r, "uap"].to_numpy() for r in group["repetition"]]
            if len(group) < 2 or min(map(len, singles)) < 2:
                continue
            freedom = sum(len(values) - 1 for values in singles)
            own.append(float(group["uap"].var(ddof=1)))
            alone.append(sum(float(values.var()) * len(values) for values in singles) / freedom)
            ratios.append(own[-1] / alone[-1])
            freedoms.append((len(group) - 1, freedom))
            gains.append(float(group["uap"].min()) - _expected_worst(np.concatenate(singles), len(group)))
            counts.append(len(group))
        if ratios:
            rows.append(
                {
                    "dataset": dataset,
                    "members": largest,
                    "settings": len(ratios),
                    "trainings": min(counts),
                    "ensemble_sd": math.sqrt(np.mean(own)),
                    "single_sd": math.sqrt(np.mean(alone)),
                    "worst_gain": float(np.mean(gains)),
                    "p": _p_smaller(np.array(ratios), freedoms),
                }
            )
    columns = ["dataset", "members", "settings", "trainings", "ensemble_sd", "single_sd", "worst_gain", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table["p"] = holm(table["p"].tolist())
    return table.assign(holds=table["p"] < 1 - confidence)


def _expected_worst(values: np.ndarray, count: int) -> float:
    """The expected smallest of ``count`` different ones of these values."""
    n = len(values)
    # the k-th smallest is the smallest of those drawn where the others are among the larger ones
    weights = [math.comb(n - k - 1, count - 1) / math.comb(n, count) for k in range(n)]
    return float(np.sort(values) @ weights)


def sentence(row: Mapping[Any, Any]) -> str:
    """What the rule lets one say about a dataset; ``row`` is of :func:`reliability_of`."""
    said = SENTENCES[bool(row["holds"])]
    numbers = {"ensemble": row["ensemble_sd"], "single": row["single_sd"], "members": row["members"]}
    return said.format(dataset=DATASET_TITLES[row["dataset"]], **numbers)


def reliability(
    tables: Mapping[str, pd.DataFrame], run: str, banner: str, clean_weight: float, confidence: float
) -> RenderedTable:
    """:func:`reliability_of` a run, for readers.

    Args:
        tables: ``metrics``, ``members`` and ``summary``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the verdicts.
    """
    trainings = trainings_of(tables["metrics"], None, clean_weight)
    members = members_of(tables["members"], clean_weight)
    assert members is not None
    table = reliability_of(trainings, members, confidence)
    shown = pd.DataFrame(
        {
            "Dataset": table["dataset"].map(DATASET_TITLES),
            "SD of ensembles": table["ensemble_sd"].map("{:.1f}".format),
            "SD of single networks": table["single_sd"].map("{:.1f}".format),
            "Worst training: gain": table["worst_gain"].map("{:+.1f}".format),
            "P": table["p"].map("{:.2g}".format),
        }
    )
    said = " ".join(sentence(row) for row in table.to_dict("records"))
    note = markdown_note(tables["summary"], run, banner)
    text = f"The spread over new trainings of accuracy under attack, in points. {note}"
    return RenderedTable(table, f"{text}\n\n{to_markdown(shown)}\n{said or 'There are no two new trainings yet.'}\n")
