"""A user's own dataset, network, objective, ensemble method and attack in the real workflow."""

import os
import shutil

import pandas as pd
import pytest
import yaml
from test_reruns import GATHER as OF_TWO_DATASETS

from conftest import ROOT
from jacobian_ensembles.storage.files import load_tensors

pytestmark = pytest.mark.workflow

OVERLAY = {
    "run": {"name": "own"},
    "grid": {
        "datasets": ["docs/examples/folder_of_images.py:shapes"],
        "ensembles": ["docs/examples/half_median.py:half_median"],
        "members": [2],
        "lambdas": [0.01],
        "eps": [0.3],
    },
    "data": {"local_dir": "images", "validation_images": 30},
    "model": {"architecture": "docs/examples/small_cnn.py:small_cnn", "options": {"width": 4}},
    "training": {
        "epochs": 12,
        "batch_size": 15,
        "learning_rate": 0.01,
        "objective": "docs/examples/logit_squeezing.py:LogitSqueezing",
        "options": {"noise": 0.02},
    },
    "attack": {
        "method": "docs/examples/momentum.py:momentum",
        "options": {"iterations": 5, "batch_size": 30},
        "seeds": 2,
    },
    "figures": {"eps": 0.3},
    "theory": {"images": 60},
}
TRAIN = {"train_learner": 2, "assemble_ensemble": 1, "evaluate_ensemble": 1}
ATTACK = {"craft_uaps": 1, "select_worst_uap": 1}
MEASURE = {"aggregate_jacobian": 1, "plot_figure": 6, "measure_image_error": 1}
GATHER = OF_TWO_DATASETS | {"keep_arrays": 1}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A copy of the repository in which a run of nothing but the user's own has finished."""
    import numpy as np
    from PIL import Image

    from conftest import Repository

    repo = Repository(tmp_path_factory.mktemp("own") / "repository")
    shutil.copytree(ROOT / "docs" / "examples", repo.path / "docs" / "examples")
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 20)):
        for label, name in enumerate(("blue", "green", "red")):
            (repo.path / "images" / part / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 60, (24, 20, 3), np.uint8)
                image[:12, :, 2 - label] += 150
                Image.fromarray(image).save(repo.path / "images" / part / name / f"{i}.png")
    (repo.path / "own.yaml").write_text(yaml.safe_dump(OVERLAY))
    repo.snakemake("--configfile", "own.yaml")
    return repo


def replan(repo, file, old, new):
    """What a dry run plans with a file edited; the file is put back."""
    path = repo.path / "docs" / "examples" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        return repo.planned("--configfile", "own.yaml")
    finally:
        path.write_text(text)


def test_the_users_own_reaches_tables_and_figures(own):
    summary = pd.read_csv(own.path / "results/own/metrics/summary.csv")
    assert set(summary["dataset"]) == {"shapes"}
    assert set(summary["ensemble"]) == {"half_median"}
    assert (summary["clean_accuracy"] > 0.8).all()
    assert (summary["mean_uap_accuracy"] < summary["clean_accuracy"]).all()
    uaps = own.path / "results/own/uaps/shapes/half_median/M2/lambda0.01/rep0/eps0.30/seeds0-1.safetensors"
    assert load_tensors(uaps, "uaps")[0]["delta"].shape == (2, 3, 24, 20)
    assert "Half_median" in (own.path / "results/own/tables/table1.md").read_text()
    assert len(list((own.path / "results/own/figures").glob("*.pdf"))) == 6


@pytest.mark.parametrize(
    ("file", "old", "new", "jobs"),
    [
        ("folder_of_images.py", "read_image_folder(local_dir)", 'read_image_folder(local_dir, "L")',
         {"import_dataset": 1} | TRAIN | ATTACK | GATHER | MEASURE),
        ("small_cnn.py", "nn.ReLU()", "nn.Tanh()", TRAIN | ATTACK | GATHER | MEASURE),
        ("logit_squeezing.py", "self.strength / 2", "self.strength / 3", TRAIN | ATTACK | GATHER | MEASURE),
        ("momentum.py", "decay: float = 0.9", "decay: float = 0.8", ATTACK | GATHER),
        ("half_median.py", "size // 2", "size // 3",
         TRAIN | ATTACK | GATHER | MEASURE),
        ("momentum.py", "as in the momentum", "as in  the momentum", {}),
    ],
    ids=["dataset", "architecture", "objective", "attack", "method", "docstring"],
)  # fmt: skip
def test_an_edit_of_the_users_file_reruns_what_depends_on_it(own, file, old, new, jobs):
    assert replan(own, file, old, new) == jobs


EVERYTHING = {"import_dataset": 1} | TRAIN | ATTACK | GATHER | MEASURE


def test_another_folder_is_imported_anew_and_the_same_images_are_not(own):
    assert own.planned("--configfile", "own.yaml") == {}
    shutil.copytree(own.path / "images", own.path / "others")
    assert own.planned("--configfile", "own.yaml", "--config", "data={local_dir: others}") == EVERYTHING


def test_an_edited_image_is_imported_anew(own):
    path = own.path / "images/train/red/0.png"
    kept = path.stat()
    path.touch()
    assert own.planned("--configfile", "own.yaml") == EVERYTHING
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert own.planned("--configfile", "own.yaml") == {}


def test_a_run_of_another_name_has_a_dataset_of_its_own(own):
    assert (own.path / "results/own/data/shapes.safetensors").is_file()
    assert not (own.path / "results/data/shapes.safetensors").exists()
    other = own.planned("--configfile", "own.yaml", "--config", "run={name: other}", "data={local_dir: others}")
    assert other["import_dataset"] == 1


def test_a_folder_by_its_path_is_a_dataset_and_an_edited_image_is_imported_anew(own):
    by_path = ("data", "--configfile", "own.yaml", "--config", "run={name: by_path}")
    by_path += ("grid={datasets: [./images]}", "data={local_dir: null}")
    own.snakemake(*by_path)
    arrays, spec = load_tensors(own.path / "results/by_path/data/images.safetensors", "dataset")
    assert arrays["train_images"].shape == (120, 24, 20, 3)
    assert spec["class_names"] == ["blue", "green", "red"]
    assert own.planned(*by_path) == {}
    path = own.path / "images/train/red/0.png"
    kept = path.stat()
    path.touch()
    assert own.planned(*by_path)["import_dataset"] == 1
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def test_a_reference_that_leads_nowhere_is_refused_before_any_job(own):
    output = own.snakemake("--dry-run", "--config", "attack={method: mine.py:attack}", check=False)
    assert "attack.method: got 'mine.py:attack'; no file mine.py in" in output
    assert "Traceback" not in output


def test_a_figure_is_a_file_that_the_configuration_names(smoke, tmp_path):
    repo = smoke.copy(tmp_path / "repository")
    shutil.copytree(ROOT / "docs" / "examples", repo.path / "docs" / "examples")
    own = ("--config", "figures={own: [docs/examples/accuracy_lost.py:accuracy_lost]}")
    drawn = {"plot_figure": 1, "describe_run": 1, "write_report": 1, "all": 1}
    assert repo.planned("--configfile", repo.configfile, *own) == drawn
    repo.run("all", "ship", *own)
    assert "Accuracy lost to the worst perturbation" in (repo.path / "results/smoke/report.html").read_text()
    assert {p.name for p in (repo.path / "results/reference/smoke/figures").glob("accuracy_lost.*")} == {
        "accuracy_lost.pdf", "accuracy_lost.png", "accuracy_lost.txt",
    }  # fmt: skip
    # the function's own file counts as its code
    figure = repo.path / "docs/examples/accuracy_lost.py"
    figure.write_text(figure.read_text().replace('marker="o"', 'marker="s"'))
    assert repo.planned("--configfile", repo.configfile, *own) == drawn


SNAPSHOTS = "docs/examples/snapshot_fast.py:snapshot_fast"


def test_a_cyclic_method_of_the_users_is_one_run_of_snapshots(own, tmp_path):
    overlay = tmp_path / "cyclic.yaml"
    sections = {**OVERLAY, "grid": {**OVERLAY["grid"], "ensembles": [SNAPSHOTS]}}
    sections["training"] = {**OVERLAY["training"], "snapshot_epochs": 12}
    overlay.write_text(yaml.safe_dump(sections))
    model = "results/own/ensembles/shapes/snapshot_fast/M2/lambda0.01/rep0/ensemble.safetensors"
    assert own.planned(model, "--configfile", str(overlay)) == {"train_together": 1, "assemble_ensemble": 1}
    own.snakemake(model, "--configfile", str(overlay))
    arrays, spec = load_tensors(own.path / model, "learners")
    assert (spec["ensemble"], spec["members"]) == ("snapshot_fast", 2)
    assert all((value[0] != value[1]).any() for value in arrays.values())
    sections["training"]["snapshot_epochs"] = 7
    overlay.write_text(yaml.safe_dump(sections))
    output = own.snakemake("--dry-run", "--configfile", str(overlay), check=False)
    assert "training.snapshot_epochs: got 7, which 2 cycles of snapshot_fast cannot share" in output
    assert "Traceback" not in output
