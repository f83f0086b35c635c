import hashlib
import json
import re
import subprocess
import tracemalloc
import warnings
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
    (folder / "code/torch.py").write_text("raise SystemExit('run by a check')")
    with pytest.raises(ArtifactError, match=r"code/torch\.py: .* does not name it"):
        check_archive(folder)
    (folder / "code/torch.py").unlink()
    (folder / "code/Snakefile").write_text("altered\n")
    with pytest.raises(ArtifactError, match=r"Snakefile: ro-crate-metadata\.json says 12 bytes; it has 8"):
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


@pytest.fixture
def packed(shipped, repository, tmp_path):
    archive_run(shipped, tmp_path / "mine.zip", repository)
    return tmp_path / "mine.zip"


def repack(path, change):
    """Pack an archive anew, with what ``change`` makes of its files' contents."""
    with zipfile.ZipFile(path) as packed:
        files = change({name: packed.read(name) for name in packed.namelist()})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)


def listing(files, **facts):
    """The files with another entry in the crate, or other facts of one that is there."""
    crate = json.loads(files[METADATA])
    crate["@graph"] = [e for e in crate["@graph"] if e["@id"] != facts["@id"]] + [{"@type": "File", **facts}]
    return files | {METADATA: json.dumps(crate).encode()}


def test_each_file_of_an_archive_is_missed_if_it_is_altered_removed_or_joined_by_another(packed):
    original, count = packed.read_bytes(), check_archive(packed)
    with zipfile.ZipFile(packed) as archive:
        names = sorted({*archive.namelist()} - {METADATA})
    assert count == len(names)
    for name in names:
        for change in (
            lambda files, name=name: files | {name: files[name] + b" "},
            lambda files, name=name: files | {name: bytes([files[name][0] ^ 1]) + files[name][1:]},
            lambda files, name=name: {key: content for key, content in files.items() if key != name},
            lambda files, name=name: files | {f"{name}.py": b"raise SystemExit('run by a check')"},
        ):
            repack(packed, change)
            with pytest.raises(ArtifactError, match=re.escape(name)):
                check_archive(packed)
            packed.write_bytes(original)


def test_an_archive_is_read_within_the_sizes_that_it_states(packed):
    original, zeros = packed.read_bytes(), bytes(200 * 2**20)
    facts = {"@id": "run/zeros.csv", "sha256": hashlib.sha256(zeros).hexdigest()}
    for size, message in ((str(len(zeros)), "it says that it holds"), ("10", "says 10 bytes; it has more")):
        repack(packed, lambda files, size=size: listing(files, contentSize=size, **facts) | {"run/zeros.csv": zeros})
        tracemalloc.start()
        with pytest.raises(ArtifactError, match=message):
            check_archive(packed)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
        tracemalloc.stop()
        packed.write_bytes(original)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: {METADATA: b'{"@graph": []}'}, "lists no file"),
        (lambda files: files | {METADATA: b'{"@graph": 1}'}, "does not say what"),
        (lambda files: files | {METADATA: b"[" * 100_000}, "cannot be read as JSON"),
        (lambda files: listing(files, **{"@id": "README.txt", "sha256": "0" * 64}), "does not say what"),
        (lambda files: {name: content for name, content in files.items() if name != METADATA}, "no archive of a run"),
        (lambda files: files | {"../evil.py": b""}, r"\.\./evil\.py: .* does not name it"),
    ],
    ids=["empty", "no graph", "deep", "no size", "no crate", "outside"],
)
def test_an_archive_that_says_little_or_nonsense_is_refused_in_one_line(packed, change, message):
    repack(packed, change)
    with pytest.raises(ArtifactError, match=message) as caught:
        check_archive(packed)
    assert str(packed) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_links_and_files_packed_twice_are_refused(packed):
    original = packed.read_bytes()
    with zipfile.ZipFile(packed, "a") as archive:
        link = zipfile.ZipInfo("run/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ArtifactError, match="run/link: a link"):
        check_archive(packed)
    packed.write_bytes(original)
    with zipfile.ZipFile(packed, "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("README.txt", "another")
    with pytest.raises(ArtifactError, match=r"README\.txt: packed twice"):
        check_archive(packed)


def test_a_shipped_run_with_a_link_is_neither_checked_nor_packed(shipped, repository, tmp_path):
    (shipped / "metrics/passwords.csv").symlink_to("/etc/passwd")
    for use in (check_archive, lambda run: archive_run(run, tmp_path / "mine.zip", repository)):
        with pytest.raises(ArtifactError, match=r"passwords\.csv: a link"):
            use(shipped)
