import re

import pytest

from conftest import ROOT

PAPER = {
    "download_dataset": 2,
    # 2 datasets x 8 lambdas x 9 nested learners x (bagging, voting)
    "train_learner": 288,
    # 2 datasets x 8 lambdas x 4 values of M
    "train_together": 64,
    "assemble_ensemble": 192,
    "evaluate_ensemble": 192,
    "craft_uaps": 768,
    "select_worst_uap": 768,
    # the records of the attack, and the bits behind them for each dataset
    "gather_records": 1,
    "keep_arrays": 2,
    "aggregate_metrics": 1,
    "aggregate_jacobian": 1,
    "measure_image_error": 1,
    "tabulate_worst_of_k": 1,
    # Figures 1-3, the theory, the claims, the worst of K
    "plot_figure": 6,
    # the comparison with the paper, its claims, their effects, and its theorem; Table 1, which is LaTeX, too
    "write_table": 4,
    "write_latex_table": 1,
    "predict_examples": 1,
    # its settings, and what made it
    "describe_run": 1,
    "write_report": 1,
    "all": 1,
}
QUICK = PAPER | {
    "train_learner": 36,
    "train_together": 12,
    "assemble_ensemble": 36,
    "evaluate_ensemble": 36,
    "craft_uaps": 72,
    "select_worst_uap": 72,
}
TABLE1 = PAPER | {
    # voting: 2 single learners on each dataset; bagging: 6 on MNIST, 9 with and 9 without lambda on Fashion-MNIST
    "train_learner": 4 + 6 + 18,
    "train_together": 4,
    "assemble_ensemble": 12,
    "evaluate_ensemble": 12,
    "craft_uaps": 48,
    "select_worst_uap": 48,
    # it also keeps perturbations and models
    "keep_arrays": 4,
    "keep_model": 12,
}
SMOKE = PAPER | {
    "train_learner": 2 + 2 + 1 + 1,
    "train_together": 1,
    "assemble_ensemble": 6,
    "evaluate_ensemble": 6,
    # two blocks of seeds each
    "craft_uaps": 12,
    "select_worst_uap": 6,
}

UP_TO_METRICS = {"download_dataset", "train_learner", "train_together", "assemble_ensemble", "evaluate_ensemble"}
UP_TO_METRICS |= {"craft_uaps", "select_worst_uap", "gather_records", "aggregate_metrics"}

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data={local_dir: nowhere}", "nowhere: no such folder. Give the folder that holds the IDX files of mnist."),
        ("grid={datasets: [my/leaves]}", "my/leaves: no folder train/<class>/ and test/<class>/ in it."),
    ],
)
def test_what_no_job_could_read_is_refused_before_there_are_jobs(repository, override, said):
    (repository.path / "my/leaves").mkdir(parents=True)
    assert said in repository.snakemake("--dry-run", "--config", override, check=False)


def test_without_a_gpu_a_run_on_cuda_ends_before_its_first_job(repository):
    output = repository.snakemake("data", "--config", "compute={device: cuda}", check=False)
    assert "there is no GPU on this machine. Set it to cpu or auto." in output
    assert not (repository.path / "results").exists()


def test_the_default_configuration_plans_the_papers_whole_grid(repository):
    assert repository.planned("--resources", "gpu=1") == PAPER


def test_members_are_attacked_by_one_job_per_training(repository):
    # 2 datasets, bagging and voting, 8 lambdas; the table on reliability besides
    members = {"attack_members": 32, "gather_members": 1, "write_table": 5}
    assert repository.planned("--resources", "gpu=1", "--config", "attack={members: 5}") == PAPER | members


@pytest.mark.parametrize(("preset", "jobs"), [("quick", QUICK), ("table1", TABLE1), ("smoke", SMOKE)])
def test_a_preset_plans_its_cells_and_no_more(repository, preset, jobs):
    assert repository.planned("--configfile", f"workflow/presets/{preset}.yaml") == jobs


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("data", {"download_dataset", "data"}),
        ("learners", {"download_dataset", "train_learner", "train_together", "assemble_ensemble", "learners"}),
        ("metrics", UP_TO_METRICS | {"metrics"}),
        ("figures", UP_TO_METRICS | {"plot_figure", "figures"}),
        ("tables", UP_TO_METRICS | {"write_table", "write_latex_table", "tables"}),
        (
            "worst_of_k",
            UP_TO_METRICS - {"aggregate_metrics"} | {"tabulate_worst_of_k", "plot_figure", "worst_of_k"},
        ),
        ("spread", UP_TO_METRICS | {"write_table", "spread"}),
        (
            "claims",
            UP_TO_METRICS | {"aggregate_jacobian", "measure_image_error", "write_table", "plot_figure", "claims"},
        ),
    ],
)
def test_a_named_target_needs_just_its_stages(repository, target, rules):
    assert set(repository.planned(target, "--configfile", "workflow/presets/smoke.yaml")) == rules


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grid={lamdas: [0]}", "grid.lamdas: unknown key; did you mean 'lambdas'?"),
        ("grid={lambdas: [0, 0.1, 1e-1]}", "duplicate values 0.1"),
        ("grid={members: [0]}", "grid.members.0: got '0'"),
        ("grid={eps: [0]}", "grid.eps.0: got '0'"),
        ("grid={eps: [0.15, 1.5]}", "grid.eps.1: got '1.5'"),
        ("grid={lambdas: []}", "the list is empty"),
        ("training={snapshot_epochs: 10}", "training.snapshot_epochs: got 10"),
    ],
)
def test_bad_configuration_is_one_clear_message_before_any_job(repository, override, message):
    output = repository.snakemake("--dry-run", "--config", override, check=False)
    assert message in output
    assert "Traceback" not in output
    assert "Job stats" not in output


def test_the_ablation_attacks_the_same_models_by_every_variant(repository):
    planned = repository.planned("ablation", "--configfile", "workflow/presets/attacks.yaml")
    # twelve models, two eps; the default attack is the run's own, not made again
    assert planned["evaluate_ensemble"] == 12
    assert planned["craft_uaps"] == 12 * 2
    assert planned["craft_variant"] == planned["select_variant"] == 12 * 2 * 12
    # learners nest: 1 + 1 + 6 of MNIST, 9 + 1 + 9 + 1 of Fashion-MNIST; snapshots do not
    assert (planned["train_learner"], planned["train_together"]) == (28, 4)


def test_the_stress_test_attacks_table_1_with_the_learners_of_its_own_preset(repository):
    planned = repository.planned("stress", "--configfile", "workflow/presets/stress.yaml")
    table1 = repository.planned("--configfile", "workflow/presets/table1.yaml")
    for rule in ("train_learner", "train_together", "assemble_ensemble", "evaluate_ensemble"):
        assert planned[rule] == table1[rule]
    # four eps by the attack, sixteen more by its variants; each dataset at two eps, each model at one
    assert (planned["craft_uaps"], planned["craft_variant"]) == (12 * 4, 12 * 16)
    assert (planned["measure_transfer"], planned["attack_images"]) == (2 * 2, 12)


@pytest.mark.parametrize(
    ("defence", "jobs"),
    [
        ("noise", {"train_learner": 2 * 4 * 3 * 3, "assemble_ensemble": 2 * 4 * 2 * 3}),
        ("decorrelated", {"train_together": 2 * 4 * 3, "assemble_ensemble": 2 * 4 * 3}),
    ],
)
def test_learners_that_an_objective_joins_are_trained_in_one_job(repository, defence, jobs):
    presets = [f"workflow/presets/{name}.yaml" for name in ("defences", f"defences/{defence}")]
    assert repository.planned("learners", "--configfile", *presets) == {"download_dataset": 2, "learners": 1} | jobs


def test_the_recipe_trials_read_no_test_image_and_attack_nothing(repository):
    planned = repository.planned("recipe", "--configfile", "workflow/presets/recipe.yaml")
    assert planned == {"download_dataset": 2, "train_trial": 78, "compare_trials": 1, "write_table": 1, "recipe": 1}


def rule_edges(dot):
    """The edges of a rule graph, by the names of the rules."""
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', dot))
    return {(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", dot)}


def test_the_picture_of_the_workflow_is_current(repository):
    images = ROOT / "docs" / "images"
    drawn = (images / "rulegraph.dot").read_text()
    output = repository.snakemake("--rulegraph", "--configfile", "workflow/presets/smoke.yaml")
    edges = rule_edges(output[output.index("digraph") :])
    assert len(edges) > 20
    assert rule_edges(drawn) == edges, "the rules changed: run 'make rulegraph'"
    shown = set(re.findall(r"<title>(\d+)</title>", (images / "rulegraph.svg").read_text()))
    assert shown == set(re.findall(r"(\d+)\[label", drawn))
