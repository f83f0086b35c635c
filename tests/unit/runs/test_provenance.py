import os
import shutil
import subprocess

import pytest

from jacobian_ensembles.runs import provenance as module
from jacobian_ensembles.runs.provenance import disagreement, files_of_job, inputs_of_job, provenance
from jacobian_ensembles.storage.checksums import read_provenance, sha256, write_record


def test_a_record_says_what_made_a_result():
    record = provenance({"seed": 3}, "cpu", threads=2, seconds=1.23456)
    assert record["settings"] == {"seed": 3}
    assert (record["device"], record["threads"], record["wall_seconds"]) == ("cpu", 2, 1.235)
    assert record["versions"]["torch"]
    assert record["finished"].endswith("+00:00")


def git(folder, *args):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", folder, *identity, *args], check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree, outside git so far, that the running code is said to lie in."""
    file = tmp_path / "tree/src/jacobian_ensembles/runs/provenance.py"
    file.parent.mkdir(parents=True)
    shutil.copy(module.__file__, file)
    monkeypatch.setattr(module, "_FILE", file.resolve())
    return tmp_path / "tree"


def commit():
    return provenance({}, "cpu", 1, 0)["commit"]


def test_the_commit_is_named_and_uncommitted_changes_are_confessed(tree):
    assert commit() is None
    git(tree, "init")
    assert commit() is None
    (tree / "results").mkdir()
    (tree / "results/shipped.csv").write_text("1")
    git(tree, "add", ".")
    git(tree, "commit", "-m", "x")
    assert len(commit()) == 40
    clean = commit()
    (tree / "results/shipped.csv").write_text("2")  # shipped anew: the code is the same
    assert commit() == clean
    (tree / "src/jacobian_ensembles/runs/provenance.py").write_text("changed")
    assert commit() == f"{clean}-dirty"


@pytest.mark.parametrize("how", ["above, untracked", "above, tracked", "at the top, untracked"])
def test_another_repository_is_not_named(tree, how):
    top = tree if how.startswith("at") else tree.parent
    git(top, "init")
    (top / "thesis.tex").write_text("x")
    git(top, "add", "thesis.tex" if how.endswith("untracked") else ".")
    git(top, "commit", "-m", "x")
    assert commit() is None


def test_a_link_to_the_tree_and_a_hooks_environment_change_nothing(tree, tmp_path, monkeypatch):
    git(tree, "init")
    git(tree, "add", ".")
    git(tree, "commit", "-m", "x")
    right = commit()
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init")
    git(other, "commit", "--allow-empty", "-m", "y")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert commit() == right


@pytest.fixture(autouse=True)
def _no_repository_from_outside(monkeypatch):
    # inside a git hook GIT_DIR names the real repository, and git() above would commit to it
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)


def test_a_missing_package_and_a_missing_git_are_no_error(monkeypatch):
    def none(package):
        raise module.PackageNotFoundError(package)

    monkeypatch.setattr(module, "version", none)
    monkeypatch.setenv("PATH", "")
    record = provenance({}, "cpu", 1, 0)
    assert record["commit"] is None
    assert set(record["versions"].values()) == {None}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_a_clone_that_belongs_to_somebody_else_has_a_commit(tree):
    git(tree, "init")
    git(tree, "add", ".")
    git(tree, "commit", "-m", "x")
    for path in [tree, *tree.rglob("*")]:
        os.chown(path, 4242, 4242)
    with pytest.raises(subprocess.CalledProcessError):  # git refuses it without being told
        git(tree, "status")
    assert len(commit()) == 40


def test_a_git_that_fails_is_warned_of_in_its_own_words(tree, caplog):
    (tree / ".git").write_text("gitdir: nowhere")
    assert commit() is None
    assert "not a git repository" in caplog.text


@pytest.fixture
def made(tmp_path):
    """A run with a dataset, a result that one job made of it, and the second job's provenance."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mnist.safetensors").write_text("images")
    data = tmp_path / "data/mnist.provenance.json"
    told = files_of_job(str(data), tmp_path / "run", [], [str(tmp_path / "data/mnist.safetensors"), str(data)])
    write_record(data, provenance({"rule": "download_dataset"}, "cpu", 1, 0) | told)
    result, record = tmp_path / "run/x/learner.safetensors", tmp_path / "run/x/learner.provenance.json"
    result.parent.mkdir(parents=True)
    result.write_text("weights")
    inputs = [str(tmp_path / "data/mnist.safetensors"), str(data)]
    told = files_of_job(str(record), tmp_path / "run", inputs, [str(result), str(record)])
    write_record(record, provenance({"rule": "train", "seed": 0, "code": {"a": "1"}}, "cpu", 1, 0) | told)
    return tmp_path


SETTINGS = {"rule": "train", "seed": 0, "code": {"a": "1"}}


def test_a_record_lists_what_was_read_and_written_wherever_the_run_lies(made):
    record = read_provenance(made / "run/x/learner.provenance.json")
    assert record["outputs"] == {"learner.safetensors": sha256(made / "run/x/learner.safetensors")}
    images = sha256(made / "data/mnist.safetensors")
    assert record["inputs"] == {"../data/mnist.safetensors": images, "../data/mnist.provenance.json": None}
    elsewhere = made.rename(made.with_name("elsewhere"))
    inputs = inputs_of_job(elsewhere / "run", [str(path) for path in (elsewhere / "data").iterdir()])
    assert disagreement(elsewhere / "run/x/learner.provenance.json", SETTINGS, inputs) is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (SETTINGS | {"seed": 5}, "seed was 0, and is 5"),
        (SETTINGS | {"code": {"a": "2"}}, 'code.a was "1", and is "2"'),
        (SETTINGS | {"clip": True}, "clip was null, and is true"),
    ],
)
def test_other_settings_and_other_code_disagree(made, settings, told):
    inputs = inputs_of_job(made / "run", [str(path) for path in (made / "data").iterdir()])
    assert disagreement(made / "run/x/learner.provenance.json", settings, inputs) == told


def test_other_inputs_disagree(made):
    record, data = made / "run/x/learner.provenance.json", made / "data/mnist.provenance.json"
    both = [str(path) for path in (made / "data").iterdir()]
    assert disagreement(record, SETTINGS, inputs_of_job(made / "run", [*both, "more"])) == (
        f"{os.path.relpath('more', made / 'run')} was not among its inputs"
    )
    write_record(data, read_provenance(data) | {"outputs": {"mnist.safetensors": "0" * 64}})
    assert disagreement(record, SETTINGS, inputs_of_job(made / "run", both)) == "../data/mnist.safetensors was another"
    data.unlink()  # nothing is known of it, so nothing is known to differ
    assert disagreement(record, SETTINGS, inputs_of_job(made / "run", both)) is None


def test_a_result_without_provenance_or_with_damaged_one_disagrees(made):
    record = made / "run/x/learner.provenance.json"
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 5'))
    assert "its checksum does not match" in disagreement(record, SETTINGS | {"seed": 5}, {})
    record.unlink()
    assert disagreement(record, SETTINGS, {}) == "there is no learner.provenance.json"
