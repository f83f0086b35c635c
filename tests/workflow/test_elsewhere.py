"""The workflow started in other folders, and imported by another workflow."""

import json
import os

import pytest
import yaml

pytestmark = pytest.mark.workflow

MINI = {
    "run": {"name": "mini"},
    "grid": {"datasets": ["mnist"], "ensembles": ["voting"], "members": [1], "lambdas": [0, 0.1]},
    "data": {"train_images": 1000, "test_images": 200},
    "training": {"batch_size": 50},
    "attack": {"seeds": 1, "iterations": 5},
}
MODULE = """
module robustness:
    snakefile:
        "{snakefile}"
    config:
        {config}


use rule * from robustness{rename}
"""


@pytest.fixture
def away(tmp_path):
    """A folder of the user's, without the workflow."""
    folder = tmp_path / "away"
    folder.mkdir()
    (folder / "mini.yaml").write_text(yaml.safe_dump(MINI))
    return folder


def edit_config(repository, section, **settings):
    """Edit the repository's config.yaml."""
    path = repository.path / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config[section] |= settings
    path.write_text(yaml.safe_dump(config))


def link_data(repository, results):
    """Put a repository's datasets into another results folder, as hard links."""
    (results / "data").mkdir(parents=True)
    for source in (repository.path / "results/data").iterdir():
        os.link(source, results / "data" / source.name)


@pytest.mark.parametrize("how", ["snakefile", "workflow/snakefile", "directory"])
def test_the_repositorys_configuration_is_the_base_wherever_snakemake_is_started(repository, away, how):
    edit_config(repository, "grid", eps=[0.15, 0.3, 0.4])
    options = {
        "snakefile": ["--snakefile", str(repository.path / "Snakefile")],
        "workflow/snakefile": ["--snakefile", str(repository.path / "workflow/Snakefile")],
        "directory": ["--directory", str(away)],
    }[how]
    cwd = repository.path if how == "directory" else away
    planned = repository.planned(*options, "--configfile", str(away / "mini.yaml"), cwd=cwd)
    assert planned["craft_uaps"] == 2 * 3
    assert planned["write_report"] == 1


def test_a_config_yaml_where_snakemake_runs_counts_and_is_named(repository, away):
    (away / "config.yaml").write_text(yaml.safe_dump(MINI | {"figures": {"eps": 0.2}}))
    output = repository.snakemake("--dry-run", "-p", "--snakefile", str(repository.path / "Snakefile"), cwd=away)
    assert f"Configuration: {away}/config.yaml, over {repository.path}/config.yaml" in output
    assert "results/mini/report.html" in output


def test_learners_are_trained_from_elsewhere_as_the_repositorys_configuration_says(smoke, repository, away):
    edit_config(repository, "training", epochs=1)
    link_data(smoke, away / "results")
    options = ["--snakefile", str(repository.path / "Snakefile"), "--configfile", "mini.yaml"]
    repository.snakemake("learners", *options, cwd=away)
    learner = away / "results/mini/learners/mnist/voting/lambda0.10/rep0/learner0.provenance.json"
    assert json.loads(learner.read_text())["settings"]["recipe"]["epochs"] == 1


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
@pytest.mark.parametrize("rename", ["", " as je_*"])
def test_another_workflow_imports_every_rule(repository, away, snakefile, rename):
    text = MODULE.format(snakefile=repository.path / snakefile, config="config", rename=rename)
    (away / "Snakefile").write_text(f'configfile: "mini.yaml"\n{text}')
    planned = repository.planned(cwd=away)
    prefix = "je_" if rename else ""
    assert planned[f"{prefix}craft_uaps"] == 2 * 4
    assert planned[f"{prefix}write_report"] == 1


def test_a_workflow_runs_two_imports_of_different_configuration(smoke, repository, away):
    names = ("one", "two")
    both = {name: MINI | {"run": {"name": "mini", "results": name}, "seed": seed} for seed, name in enumerate(names)}
    # a config.yaml of its own, which is no business of the workflow that it imports
    (away / "config.yaml").write_text(yaml.safe_dump(both))
    text = 'configfile: "config.yaml"\n'
    for name in names:
        link_data(smoke, away / name)
        module = MODULE.format(
            snakefile=repository.path / "Snakefile", config=f'config["{name}"]', rename=f" as {name}_*"
        )
        text += module.replace("robustness", name)
    (away / "Snakefile").write_text(text)
    learner = "mini/learners/mnist/voting/lambda0.10/rep0/learner0.safetensors"
    repository.snakemake(*(f"{name}/{learner}" for name in names), cwd=away)
    records = [json.loads((away / name / learner).with_suffix(".provenance.json").read_text()) for name in names]
    assert [record["settings"]["seed"] for record in records] == [0, 1]
