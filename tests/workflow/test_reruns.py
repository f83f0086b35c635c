"""What an edit makes Snakemake plan, after a complete smoke run: what depends on the edit, and nothing else."""

import pytest
import yaml

pytestmark = pytest.mark.workflow

# Figures 1-3, the claims and the worst of K; the comparison, the claims, their effects and the theorem; Table 1
GATHER = {
    "gather_records": 1,
    "keep_arrays": 2,
    "describe_run": 1,
    "aggregate_metrics": 1,
    "plot_figure": 5,
    "write_table": 4,
    "write_latex_table": 1,
}
GATHER |= {"tabulate_worst_of_k": 1, "predict_examples": 1, "write_report": 1, "all": 1}
# the figure on the theory besides, and what other test images would change
MEASURE = {"aggregate_jacobian": 1, "plot_figure": 6, "measure_image_error": 1}
ATTACK = {"craft_uaps": 12, "select_worst_uap": 6}
TRAIN = {"train_learner": 6, "train_together": 1, "assemble_ensemble": 6, "evaluate_ensemble": 6}
# of one more model, with one learner that is not there
ONE_MODEL = {
    "train_learner": 1, "assemble_ensemble": 1, "evaluate_ensemble": 1, "craft_uaps": 2, "select_worst_uap": 1,
    "keep_arrays": 1,
}  # fmt: skip


def plan(repo, tmp_path, **sections):
    """Plan the smoke preset with some sections overlaid."""
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(sections))
    return repo.planned("--configfile", "workflow/presets/smoke.yaml", str(overlay))


@pytest.fixture
def edit(smoke):
    """Replace text in a file of the smoke repository until the end of the test."""
    originals = {}

    def replace(file, old, new):
        path = smoke.path / file
        originals.setdefault(path, path.read_text())
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    yield replace
    for path, text in originals.items():
        path.write_text(text)


def test_a_new_eps_is_crafted_on_the_same_models(smoke, tmp_path):
    assert plan(smoke, tmp_path, grid={"eps": [0.15, 0.3]}) == ATTACK | GATHER


def test_a_second_repetition_trains_and_attacks_every_model_again(smoke, tmp_path):
    spread = {"write_table": 5}  # of two trainings there is a spread
    assert plan(smoke, tmp_path, grid={"repetitions": 2}) == TRAIN | ATTACK | GATHER | MEASURE | spread


def test_a_new_model_trains_only_what_it_lacks(smoke, tmp_path):
    cells = yaml.safe_load((smoke.path / "workflow/presets/smoke.yaml").read_text())["grid"]["cells"]
    # its first learner is there: the M = 1 model of the same lambda
    cells.append({"dataset": "mnist", "ensemble": "voting", "members": 2, "lambda": 0.1})
    assert plan(smoke, tmp_path, grid={"cells": cells}) == GATHER | ONE_MODEL | MEASURE


@pytest.mark.parametrize("axis", ["ensemble", "dataset"])
def test_a_new_ensemble_method_or_dataset_computes_its_own_cell_only(smoke, tmp_path, axis):
    cells = yaml.safe_load((smoke.path / "workflow/presets/smoke.yaml").read_text())["grid"]["cells"]
    method, dataset = ("bagging", "mnist") if axis == "ensemble" else ("voting", "fashion_mnist")
    cells.append({"dataset": dataset, "ensemble": method, "members": 1, "lambda": 0 if axis == "ensemble" else 0.1})
    assert plan(smoke, tmp_path, grid={"cells": cells}) == GATHER | ONE_MODEL | MEASURE


def test_more_attack_seeds_craft_only_the_new_blocks(smoke, tmp_path):
    # seeds 0-1 and 2 are there; seeds 2-3 and 4 are new blocks of two
    assert plan(smoke, tmp_path, attack={"seeds": 5}) == ATTACK | GATHER
    # fewer seeds need no crafting at all: the first block holds them
    assert plan(smoke, tmp_path, attack={"seeds": 2}) == {"select_worst_uap": 6} | GATHER


def test_a_new_learning_rate_retrains_and_redoes_everything_after(smoke, tmp_path):
    assert plan(smoke, tmp_path, training={"learning_rate": 0.002}) == TRAIN | ATTACK | GATHER | MEASURE


def test_a_snapshot_setting_leaves_bagging_and_voting_alone(smoke, tmp_path):
    assert (
        plan(smoke, tmp_path, training={"snapshot_epochs": 6})
        == GATHER
        | {
            "keep_arrays": 1,
            "train_together": 1,
            "assemble_ensemble": 1,
            "evaluate_ensemble": 1,
            "craft_uaps": 2,
            "select_worst_uap": 1,
        }
        | MEASURE
    )


def test_an_attack_setting_recrafts_but_does_not_retrain(smoke, tmp_path):
    assert plan(smoke, tmp_path, attack={"clip": True}) == ATTACK | GATHER


def test_the_weight_of_clean_accuracy_only_gathers_anew(smoke, tmp_path):
    # the worst of K attack seeds has no such weight
    from_records = {"gather_records", "keep_arrays", "tabulate_worst_of_k"}
    wanted = {rule: count for rule, count in GATHER.items() if rule not in from_records} | {"plot_figure": 4}
    assert plan(smoke, tmp_path, metrics={"clean_weight": 0.7}) == wanted


@pytest.mark.parametrize("compute", [{"device": "cpu"}, {"gpu_slots": 8}])
def test_where_jobs_run_reruns_nothing(smoke, tmp_path, compute):
    assert plan(smoke, tmp_path, compute=compute) == {}


def test_the_number_of_cores_and_threads_reruns_nothing(smoke):
    options = ("--set-threads", "train_learner=2", "craft_uaps=2", "--resources", "gpu=4")
    assert smoke.planned("--cores", "1", *options, "--configfile", "workflow/presets/smoke.yaml") == {}


def test_a_moved_results_folder_reruns_nothing(smoke, tmp_path):
    # with a link in its old place, so that what Snakemake remembers of each file still holds
    (smoke.path / "results").rename(tmp_path / "moved")
    (smoke.path / "results").symlink_to(tmp_path / "moved")
    try:
        assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == {}
    finally:
        (smoke.path / "results").unlink()
        (tmp_path / "moved").rename(smoke.path / "results")


def test_where_the_data_come_from_reruns_nothing(smoke, tmp_path):
    assert plan(smoke, tmp_path, data={"local_dir": "/somewhere/else"}) == {}


def test_an_edit_of_the_download_reruns_nothing(smoke, edit):
    edit("src/jacobian_ensembles/data/fetching.py", "_ATTEMPTS = 3", "_ATTEMPTS = 4")
    assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == {}


def test_a_dataset_fetched_again_retrains_nothing(smoke):
    (smoke.path / "results/data/mnist.safetensors").unlink()
    smoke.preset("smoke", "results/data/mnist.safetensors")
    assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == {}


def test_touched_files_rerun_nothing(smoke):
    for part in ("workflow/scripts", "workflow/rules", "src"):
        for path in (smoke.path / part).rglob("*.*"):
            path.touch()
    assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == {}


def test_an_edit_of_an_adapter_reruns_its_rule(smoke, edit):
    edit("workflow/scripts/select_worst_uap.py", "snakemake.output.uap)", "str(snakemake.output.uap))")
    assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == {"select_worst_uap": 6} | GATHER


def test_an_edit_of_the_figures_only_redraws(smoke, edit):
    edit("src/jacobian_ensembles/paper/figures.py", "elinewidth=0.8", "elinewidth=0.9")
    assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == {
        "plot_figure": 3,
        "describe_run": 1,
        "write_report": 1,
        "all": 1,
    }


def test_an_edit_of_the_attack_recrafts_but_does_not_retrain(smoke, edit):
    edit("src/jacobian_ensembles/attacks/ascent.py", "return delta.clamp(-eps, eps)", "return delta.clamp(-eps, +eps)")
    assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == ATTACK | GATHER


def test_an_edit_of_the_regulariser_retrains(smoke, edit):
    edit("src/jacobian_ensembles/models/jacobian.py", "return at.products", "return +at.products")
    assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == TRAIN | ATTACK | GATHER | MEASURE


def test_comments_and_docstrings_rerun_nothing(smoke, edit):
    edit("src/jacobian_ensembles/training/learner.py", "import math\n", "import math  # for the cosine\n")
    edit("src/jacobian_ensembles/attacks/ascent.py", "Project onto", "Project  onto")
    assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == {}


def test_a_deleted_intermediate_is_made_again_on_request_without_its_neighbours(smoke, tmp_path):
    repo = smoke.copy(tmp_path / "repository")  # other tests read the files' times
    target = "results/smoke/worst/mnist/voting/M1/lambda0.00/rep0/eps0.15/worst.json"
    content = (repo.path / target).read_bytes()
    (repo.path / target).unlink()
    # everything made from it is still there, so it is not missed
    assert repo.planned("--configfile", "workflow/presets/smoke.yaml") == {}
    output = repo.preset("smoke", target)
    assert "select_worst_uap        1" in output
    assert "1 of 1 jobs done, in" in output
    assert (repo.path / target).read_bytes() == content
    # the same bytes, made at another time: that alone is told anew
    described = {"describe_run": 1, "write_report": 1, "all": 1}
    assert repo.planned("--configfile", "workflow/presets/smoke.yaml") == described
    repo.preset("smoke")
    assert repo.planned("--configfile", "workflow/presets/smoke.yaml") == {}


def test_another_run_name_shares_only_the_data(smoke, tmp_path):
    assert plan(smoke, tmp_path, run={"name": "other"}) == TRAIN | ATTACK | GATHER | MEASURE


@pytest.mark.parametrize(
    ("file", "old", "new", "remade"),
    [
        ("src/jacobian_ensembles/report/report.html.j2", "How to cite", "How to CITE", {"write_report": 1}),
        (
            "src/jacobian_ensembles/paper/table1.csv",
            "97.8",
            "11.1",
            {"plot_figure": 2, "write_table": 1, "predict_examples": 1, "describe_run": 1, "write_report": 1},
        ),
    ],
    ids=["template", "published numbers"],
)
def test_an_edit_of_a_file_that_is_no_code_remakes_what_shows_it(smoke, edit, file, old, new, remade):
    edit(file, old, new)
    assert smoke.planned("--configfile", "workflow/presets/smoke.yaml") == remade | {"all": 1}


def test_an_edit_of_what_adapters_share_reruns_those_that_use_it(smoke, edit):
    edit("workflow/scripts/_job.py", "int(wildcards.repetition)", "int(wildcards.repetition) + 1")
    assert (
        smoke.planned("--configfile", "workflow/presets/smoke.yaml")
        == {"evaluate_ensemble": 6} | ATTACK | GATHER | MEASURE
    )
