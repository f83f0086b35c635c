"""The paper's own numbers: Table 1 as printed."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

# rounding moves a printed percentage by at most 0.05; the mean of two may differ from a printed mean by twice that
_ROUNDING = 0.1


def paper_table1() -> pd.DataFrame:
    """The paper's Table 1, marking the rows whose printed numbers do not add up.

    Returns:
        Columns dataset, group, ensemble, learners, lambda_jr, clean, avg_uap, weighted (in %), ``mean`` of
        clean and average UAP accuracy, and ``adds_up``.
    """
    with files("jacobian_ensembles.paper").joinpath("table1.csv").open(encoding="utf-8") as file:
        paper = pd.read_csv(file)
    paper["mean"] = (paper["clean"] + paper["avg_uap"]) / 2
    paper["adds_up"] = (paper["mean"] - paper["weighted"]).abs() <= _ROUNDING + 1e-9
    return paper


def paper_models() -> pd.DataFrame:
    """The paper's Table 1 under our names: a network without an ensemble is M = 1 soft voting.

    Returns:
        :func:`paper_table1` with columns dataset, ensemble, members and lambda that name models as a run does.
    """
    paper = paper_table1()
    keys = {"ensemble": paper["ensemble"].replace("none", "voting"), "members": paper["learners"]}
    return paper.assign(**keys).rename(columns={"lambda_jr": "lambda"})


#: The radii of the paper's perturbations.
PAPER_EPS = {0.10, 0.15, 0.20, 0.25}
