import os
import shutil
import subprocess

import pytest

from jacobian_ensembles.runs import provenance as module
from jacobian_ensembles.runs.provenance import provenance


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
    git(tree, "add", ".")
    git(tree, "commit", "-m", "x")
    assert len(commit()) == 40
    clean = commit()
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
