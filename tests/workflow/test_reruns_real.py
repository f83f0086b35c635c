"""What an edit makes Snakemake do, not only plan: these run the jobs, and look at every file before and after."""

import shutil

import pytest
import yaml

from conftest import HERE

pytestmark = [pytest.mark.workflow, pytest.mark.faults]

CELL = "mnist/voting/M2/lambda0.10/rep0"
# figures and tables, which these are made into, are left to the plans of test_reruns.py
METRICS, JACOBIAN = "results/tiny/metrics/metrics.csv", "results/tiny/metrics/jacobian.csv"


@pytest.fixture
def copy(tiny, tmp_path):
    """A copy of the finished tiny run, with a configuration of its own to edit."""
    repo = tiny.copy(tmp_path / "copy")
    repo.configfile = str(repo.path / "tiny.yaml")
    shutil.copy(HERE / "tiny.yaml", repo.configfile)
    return repo


def edit(repo, section, **settings):
    path = repo.path / "tiny.yaml"
    config = yaml.safe_load(path.read_text())
    config[section].update(settings)
    path.write_text(yaml.safe_dump(config))


def times(repo):
    """When each result was written, in nanoseconds."""
    return {name: (repo.path / "results" / name).stat().st_mtime_ns for name in repo.stored()}


def run_and_tell(repo, *targets):
    """Run; the jobs done by rule, the files written, and that a further run has nothing to do."""
    before = times(repo)
    output = repo.run(*targets)
    done = {} if "Nothing to be done" in output else repo.finished_jobs()
    after = times(repo)
    assert set(before) <= set(after)  # whatever was computed stays
    assert repo.planned(*targets, "--configfile", repo.configfile) == {}
    return dict(done), {name for name in after if after[name] != before.get(name)}


def stages(files):
    return {name.split("/")[1] for name in files}


def test_a_second_run_writes_nothing(copy):
    assert run_and_tell(copy) == ({}, set())


def test_a_new_lambda_computes_its_own_cell_only(copy):
    config = yaml.safe_load((HERE / "tiny.yaml").read_text())["grid"]
    new = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.5}
    edit(copy, "grid", lambdas=[0, 0.1, 0.5], cells=[*config["cells"], new])
    done, written = run_and_tell(copy, METRICS, JACOBIAN)
    of_model = ("train_learner", "assemble_ensemble", "evaluate_ensemble", "select_worst_uap")
    tables = ("gather_records", "aggregate_metrics", "aggregate_jacobian")
    assert done == dict.fromkeys((*of_model, *tables), 1) | {"craft_uaps": 2}
    of_models = {name for name in written if "/lambda" in name}
    assert of_models
    assert all("lambda0.50" in name for name in of_models)


def test_more_attack_seeds_craft_only_the_new_blocks_and_keep_the_old_seeds(copy, tiny):
    edit(copy, "attack", seeds=6)
    done, written = run_and_tell(copy, METRICS)
    # seeds 0-1 and 2 are there; blocks of two: 2-3 and 4-5 are new
    assert done == {"craft_uaps": 4, "select_worst_uap": 2, "gather_records": 1, "aggregate_metrics": 1}
    crafted = {name for name in written if "/uaps/" in name}
    assert {name.rpartition("/")[2] for name in crafted} == {"seeds2-3.safetensors", "seeds4-5.safetensors"}
    old, new = ((repo.path / f"results/tiny/worst/{CELL}/eps0.15/worst.json").read_text() for repo in (tiny, copy))
    accuracies = [yaml.safe_load(text)["accuracies"] for text in (old, new)]
    assert accuracies[1][:3] == accuracies[0]


def test_a_deleted_intermediate_is_rebuilt_the_same_without_its_neighbours(copy, tiny):
    target = f"results/tiny/ensembles/{CELL}/ensemble.safetensors"
    (copy.path / target).unlink()
    done, written = run_and_tell(copy, target)
    assert done == {"assemble_ensemble": 1}
    assert written == {target.removeprefix("results/")}
    assert copy.stored() == tiny.stored()


def test_an_edit_of_the_attack_recrafts_everything_and_retrains_nothing(copy):
    source = copy.path / "src/jacobian_ensembles/attacks/ascent.py"
    old = "delta, velocity, eps=eps, step"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, "delta, velocity, eps=eps / 2, step"))
    done, written = run_and_tell(copy, METRICS)
    assert done == {"craft_uaps": 4, "select_worst_uap": 2, "gather_records": 1, "aggregate_metrics": 1}
    assert stages(written) >= {"uaps", "worst", "metrics"}
    assert not stages(written) & {"learners", "ensembles", "clean", "jacobian"}


def test_another_run_name_leaves_every_file_of_the_first_alone(copy, tiny):
    before = times(copy)
    edit(copy, "run", name="other")
    copy.run(f"results/other/worst/{CELL}/eps0.15/worst.json")
    after = times(copy)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"other"}
    # the run's name is no part of any draw: the same model, the same attack
    assert (
        copy.stored()[f"other/worst/{CELL}/eps0.15/worst.json"]
        == tiny.stored()[f"tiny/worst/{CELL}/eps0.15/worst.json"]
    )
