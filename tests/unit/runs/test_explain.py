import pytest

from jacobian_ensembles.runs.explain import chosen, explain
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.runs.zoo import reference_folder


@pytest.fixture
def run():
    return Run.open(reference_folder() / "table1")


@pytest.mark.parametrize(
    ("words", "strengths"),
    [(["mnist", "snapshot", "M3"], [0.2, 0.5]), (["M3", "lambda0.5"], [0.5]), (["M6", "lambda0"], [0.0])],
)
def test_words_choose_models(run, words, strengths):
    assert [cell.lambda_jr for cell in chosen(run, words)] == strengths


def test_words_that_choose_nothing_are_refused_with_what_there_is(run):
    with pytest.raises(
        ValueError, match=r"no such model in table1\. There are: fashion_mnist bagging M6 lambda0\.05, "
    ):
        chosen(run, ["mnist", "M4"])


def test_it_is_said_how_numbers_were_made(run):
    (cell,) = chosen(run, ["mnist", "snapshot", "M3", "lambda0.50"])
    said = explain(run, cell)
    assert said[0] == "MNIST snapshot M=3 λ=0.50, training 0 of run table1"
    row = run.table("metrics").query("dataset == 'mnist' and members == 3 and `lambda` == 0.5 and eps == 0.1").iloc[0]
    assert f"{100 * row.worst_accuracy:.1f} % at eps 0.10 (attack seed {row.worst_seed})" in said[2]
    assert said[3] == "  seeds: base seed 0, training 0, attack seeds 0 to 49"
    files = [line.removeprefix("  file: ").split(" (")[0] for line in said if line.startswith("  file: ")]
    assert [name.removeprefix(str(run.folder)) for name in files] == [
        "/metrics/metrics.csv", "/metrics/summary.csv", "/models/mnist_snapshot_M3_lambda0.50_rep0.safetensors",
        "/perturbations/mnist.safetensors", "/bits/mnist.safetensors",
    ]  # fmt: skip
    assert f"commit {run.made['commit'][0]}, finished" in said[-2]
    assert said[-1].startswith(
        "  made again by: snakemake results/table1/worst/mnist/snapshot/M3/lambda0.50/rep0/eps0.10/worst.json "
    )
    assert said[-1].endswith(f" --cores all --configfile {run.folder}/config.yaml")
