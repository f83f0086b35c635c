import re

import numpy as np
import pytest

from jacobian_ensembles.config import Cell
from jacobian_ensembles.layout import WILDCARDS, Layout, cell_wildcards, number_token


def cell(ensemble="bagging", members=3, lam=0.1, dataset="mnist"):
    return Cell(dataset=dataset, ensemble=ensemble, members=members, lambda_jr=lam)


@pytest.mark.parametrize(
    ("value", "token"),
    [(0, "0.00"), (0.1, "0.10"), (0.05, "0.05"), (2, "2.00"), (0.001, "0.001"), (1e-5, "0.00001"), (0.125, "0.125"),
     (10, "10.00"), (1e16, "10000000000000000.00"), (-0.0, "0.00")],
)  # fmt: skip
def test_numbers_have_one_spelling(value, token):
    assert number_token(value) == token


def test_every_float_comes_back_from_its_token():
    rng = np.random.default_rng(0)
    for value in np.exp(rng.uniform(-30, 10, 2000)):
        token = number_token(value)
        assert float(token) == value
        assert re.fullmatch(WILDCARDS["eps"], token)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_what_a_path_cannot_spell_is_refused(value):
    with pytest.raises(ValueError, match="finite number >= 0"):
        number_token(value)


@pytest.mark.parametrize("ensemble", ["bagging", "voting"])
def test_bagging_and_voting_nest(ensemble):
    layout = Layout("results", "test")
    three, nine = (layout.members(cell(ensemble, m)) for m in (3, 9))
    assert nine[:3] == three
    assert len(set(nine)) == 9


def test_snapshots_of_different_m_share_nothing():
    layout = Layout("results", "test")
    assert layout.members(cell("snapshot", 3)) != layout.members(cell("snapshot", 9))
    assert len(layout.members(cell("snapshot", 9))) == 1


def test_no_two_cells_share_a_path():
    layout = Layout("results", "test")
    cells = [cell(e, m, lam, d) for e in ("bagging", "voting") for m in (1, 3) for lam in (0.1, 1, 10)
             for d in ("mnist", "fashion_mnist")]  # fmt: skip
    assert len({layout.ensemble.format(**cell_wildcards(c)) for c in cells}) == len(cells)


def test_logs_and_benchmarks_mirror_the_results():
    layout = Layout("out", "test")
    assert layout.log(layout.metrics) == "out/test/logs/metrics/metrics.log"
    assert layout.benchmark("out/test/worst/mnist/worst.json") == "out/test/benchmarks/worst/mnist/worst.tsv"
    assert layout.log(layout.dataset) == "out/test/logs/data/{dataset}.log"
    assert layout.provenance(layout.metrics) == "out/test/metrics/metrics.provenance.json"
