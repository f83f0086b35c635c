import re

import numpy as np
import pytest

from jacobian_ensembles.config.schema import Cell
from jacobian_ensembles.runs.layout import WILDCARDS, Layout, cell_wildcards, number_token, too_long


def cell(ensemble="bagging", members=3, lam=0.1, dataset="mnist"):
    return Cell(**{"dataset": dataset, "ensemble": ensemble, "members": members, "lambda": lam})


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
    three, nine = (layout.members(cell(ensemble, m), in_one_job=False) for m in (3, 9))
    assert nine[:3] == three
    assert len(set(nine)) == 9


def test_snapshots_of_different_m_share_nothing():
    layout = Layout("results", "test")
    assert layout.members(cell("snapshot", 3), in_one_job=True) != layout.members(cell("snapshot", 9), in_one_job=True)
    assert len(layout.members(cell("snapshot", 9), in_one_job=True)) == 1


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


TEMPLATES = ("dataset", "learner", "learners", "ensemble", "clean", "uaps", "worst", "worst_uap")


def test_every_path_is_read_back_as_exactly_what_it_was_made_from():
    layout = Layout("results", "test")
    pattern = {
        name: re.sub(r"\\{(\w+)\\}", lambda m: f"(?P<{m[1]}>{WILDCARDS[m[1]]})", re.escape(getattr(layout, name)))
        for name in TEMPLATES
    }
    for c in [cell(e, m, lam, d) for d in ("mnist", "fashion_mnist") for e in ("bagging", "snapshot", "voting")
              for m in (1, 11) for lam in (0, 0.1, 1, 10, 0.01)]:  # fmt: skip
        c = c.model_copy(update={"repetition": 2})
        values = {**cell_wildcards(c), "eps": number_token(0.25), "member": "0", "first": "0", "last": "49"}
        for name in TEMPLATES:
            path = getattr(layout, name).format(**values)
            found = {n: match for n in TEMPLATES if (match := re.fullmatch(pattern[n], path))}
            assert list(found) == [name], path
            used = found[name].groupdict()
            assert used == {key: values[key] for key in used}


def test_learners_of_a_smaller_ensemble_are_ensembles_of_their_own_dataset_method_and_lambda():
    layout = Layout("results", "test")
    groups = [cell(e, 3, lam, d) for e in ("bagging", "voting") for lam in (0, 0.1) for d in ("mnist", "fashion_mnist")]
    assert len({path for c in groups for path in layout.members(c, in_one_job=False)}) == 3 * len(groups)


@pytest.mark.parametrize("run", ["d", "da", "dat"])
def test_logs_of_datasets_are_found_whatever_the_run_is_called(run):
    layout = Layout("results", run)
    assert layout.log(layout.dataset) == f"results/{run}/logs/data/{{dataset}}.log"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_every_wildcard_its_result_depends_on(name):
    model = {"dataset", "ensemble", "members", "lambda_jr", "repetition"}
    wanted = {
        "dataset": {"dataset"},
        "learner": {"dataset", "ensemble", "lambda_jr", "repetition", "member"},
        "learners": {"dataset", "ensemble", "members", "lambda_jr", "repetition"},
        "ensemble": model,
        "clean": model,
        "uaps": model | {"eps", "first", "last"},
        "worst": model | {"eps"},
        "worst_uap": model | {"eps"},
    }
    assert set(re.findall(r"{(\w+)}", getattr(Layout("results", "test"), name))) == wanted[name]


def test_a_path_that_the_file_system_cannot_hold_is_found_before_any_job(tmp_path):
    fits, name = str(tmp_path / "a/b.json"), "x" * 240
    assert too_long([fits], str(tmp_path / "missing/so/far")) is None
    assert too_long([fits, f"{tmp_path}/{name}/b.json"], str(tmp_path)) == f"{tmp_path}/{name}/b.json"
    deep = "/".join(["d" * 100] * 41)
    assert too_long([fits, deep], str(tmp_path)) == deep
