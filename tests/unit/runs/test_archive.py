import subprocess
import zipfile

import pytest
from helpers_runs import finished_run, ship

from jacobian_ensembles.cli.main import main
from jacobian_ensembles.runs.archive import archive_run, check_archive
from jacobian_ensembles.runs.crate import METADATA
from jacobian_ensembles.runs.ship import seal
from jacobian_ensembles.storage.files import ArtifactError, read_json, write_json


@pytest.fixture
def repository(tmp_path):
    """A repository with a workflow, a commit, and a shipped run of its own."""
    folder = tmp_path / "repository"
    for name in ("Snakefile", "src/module.py", "results/README.md", "results/reference/other/metrics.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    author = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "All"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def commit(repository):
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True).strip()


@pytest.fixture
def shipped(tmp_path, commit):
    root, config = finished_run(tmp_path, "mine", (1,))
    for path in root.rglob("*.provenance.json"):
        write_json(path, read_json(path) | {"commit": commit})
    ship(root, tmp_path / "shipped/mine", config)
    return tmp_path / "shipped/mine"


def test_an_archive_holds_the_run_its_description_and_the_code_that_made_it(shipped, repository, commit, tmp_path):
    (repository / "src/module.py").write_text("edited since\n")
    assert archive_run(shipped, tmp_path / "mine.zip", repository) == commit
    with zipfile.ZipFile(tmp_path / "mine.zip") as packed:
        packed.extractall(tmp_path / "unpacked")
    files = {p.relative_to(tmp_path / "unpacked").as_posix() for p in (tmp_path / "unpacked").rglob("*") if p.is_file()}
    run = {f"run/{p.relative_to(shipped).as_posix()}" for p in shipped.rglob("*") if p.is_file()}
    code = {"code/Snakefile", "code/src/module.py", "code/results/README.md"}  # no other shipped run
    assert files == run | code | {METADATA, "README.txt"}
    assert (tmp_path / "unpacked/code/src/module.py").read_text() == "# src/module.py\n"
    assert commit in (tmp_path / "unpacked/README.txt").read_text()
    entities = {entity["@id"]: entity for entity in read_json(tmp_path / "unpacked" / METADATA)["@graph"]}
    assert entities["./"]["mainEntity"] == {"@id": "code/Snakefile"}
    assert entities["code/Snakefile"]["version"] == commit
    assert {result["@id"] for result in entities["#run"]["result"]} == run - {"run/config.yaml"}


def test_equal_runs_give_equal_archives(shipped, repository, tmp_path):
    for name in ("one.zip", "two.zip"):
        archive_run(shipped, tmp_path / name, repository)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_an_archive_is_checked_packed_and_unpacked(shipped, repository, tmp_path):
    archive_run(shipped, path := tmp_path / "mine.zip", repository)
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(path) as packed:
        packed.extractall(folder)
    assert check_archive(path) == check_archive(folder) == len([p for p in folder.rglob("*") if p.is_file()]) - 1
    (folder / "code/made_by_a_run").touch()
    check_archive(folder)
    (folder / "code/Snakefile").write_text("altered\n")
    with pytest.raises(ArtifactError, match="Snakefile: its checksum"):
        check_archive(folder)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"mine\.zip: no ZIP file that can be read"):
        check_archive(path)


def test_an_altered_run_is_not_packed(shipped, repository, tmp_path):
    table = shipped / "metrics/metrics.csv"
    table.write_text(table.read_text().replace("0.25", "0.999"))
    with pytest.raises(ArtifactError, match=r"metrics/metrics\.csv: its checksum"):
        archive_run(shipped, tmp_path / "mine.zip", repository)
    assert not (tmp_path / "mine.zip").exists()


def test_a_run_of_several_commits_needs_one_named(shipped, repository, commit, tmp_path):
    write_json(shipped / "provenance.json", read_json(shipped / "provenance.json") | {"commit": [commit, "abc"]})
    seal(shipped)
    with pytest.raises(ArtifactError, match=r"made by .*, abc\. Name the commit whose code to pack: --commit"):
        archive_run(shipped, tmp_path / "mine.zip", repository)
    assert archive_run(shipped, tmp_path / "mine.zip", repository, "HEAD") == commit
    with pytest.raises(ArtifactError, match="git rev-parse failed"):
        archive_run(shipped, tmp_path / "mine.zip", repository, "no-such-branch")


def test_the_command_line(shipped, repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["archive", str(shipped), "--repository", str(repository)]) == 0
    assert main(["check", "mine.zip", str(shipped)]) == 0
    files = len([path for path in shipped.rglob("*") if path.is_file()]) - 1
    out = capsys.readouterr().out
    assert f"{shipped}: {files} files, all as described" in out
    assert f"mine.zip: {files + 5} files, all as described" in out  # with the code and a README.txt
    (shipped / "tables/table1.md").write_text("altered")
    assert main(["check", str(shipped)]) == 1
    assert main(["crate", str(shipped)]) == 0
    assert main(["check", str(shipped)]) == 0
