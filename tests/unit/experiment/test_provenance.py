import os
import shutil
import subprocess

import pytest

from jacobian_ensembles.experiment import provenance as module
from jacobian_ensembles.experiment.provenance import provenance


def test_a_record_says_what_made_a_result():
    record = provenance({"seed": 3}, "cpu", threads=2, seconds=1.23456)
    assert record["settings"] == {"seed": 3}
    assert (record["device"], record["threads"], record["wall_seconds"]) == ("cpu", 2, 1.235)
    assert record["versions"]["torch"]
    assert record["finished"].endswith("+00:00")


def git(folder, *args):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", folder, *identity, *args], check=True, capture_output=True)


def test_the_commit_is_named_and_uncommitted_changes_are_confessed(tmp_path, monkeypatch):
    shutil.copy(module.__file__, tmp_path / "provenance.py")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "provenance.py"))
    assert provenance({}, "cpu", 1, 0)["commit"] is None
    git(tmp_path, "init")
    git(tmp_path, "add", "provenance.py")
    git(tmp_path, "commit", "-m", "x")
    commit = provenance({}, "cpu", 1, 0)["commit"]
    assert len(commit) == 40
    (tmp_path / "provenance.py").write_text("changed")
    assert provenance({}, "cpu", 1, 0)["commit"] == f"{commit}-dirty"


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
