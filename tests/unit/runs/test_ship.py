import shutil

import pytest
from helpers_runs import finished_run, ship

from jacobian_ensembles.runs import ship as shipping
from jacobian_ensembles.runs.run import Run, kept_files
from jacobian_ensembles.runs.ship import check_target, ship_run
from jacobian_ensembles.storage.checksums import SUMS, read_checksums
from jacobian_ensembles.storage.files import ArtifactError


@pytest.fixture
def run(tmp_path):
    """A small finished run: two models, two eps, three attack seeds."""
    return finished_run(tmp_path, "mine", (1, 3))


@pytest.fixture
def shipped(run, tmp_path):
    root, config = run
    ship(root, tmp_path / "shipped/mine", config)
    return tmp_path / "shipped/mine"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_shipped_is_the_kept_part_byte_for_byte(run, shipped):
    root, _ = run
    kept = {path.relative_to(root): path.read_bytes() for path in kept_files(root)}
    for path, content in kept.items():
        if path.parts[0] != "perturbations":  # run.keep names the bits alone
            assert (shipped / path).read_bytes() == content
    own = {SUMS, "ro-crate-metadata.json"}
    assert {str(path) for path in contents(shipped)} - {str(path) for path in kept} == own
    assert not (shipped / "perturbations").exists()


def test_every_file_has_its_checksum(shipped):
    names = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}
    assert read_checksums(shipped / SUMS).keys() == names - {SUMS}
    assert Run.open(shipped).verify() == len(names) - 1
    table = shipped / "metrics/summary.csv"
    original = table.read_text()
    table.write_text(original.replace("0.25", "0.85"))
    for use in (Run.open(shipped).verify, lambda: Run.open(shipped).table("summary")):
        with pytest.raises(ArtifactError, match=r"metrics/summary\.csv: its checksum"):
            use()
    table.write_text(original)
    (shipped / "notes.txt").touch()
    with pytest.raises(ArtifactError, match=r"notes\.txt: SHA256SUMS does not name it"):
        Run.open(shipped).verify()
    (shipped / "notes.txt").unlink()
    table.unlink()
    with pytest.raises(ArtifactError, match=r"summary\.csv: missing"):
        Run.open(shipped).verify()


def test_only_what_the_settings_ask_for_is_shipped(run, tmp_path):
    root, _ = run
    stale = root / "metrics/ablation.csv"
    shutil.copy(root / "metrics/metrics.csv", stale)
    ship_run(root, tmp_path / "lean", [path for path in kept_files(root) if path != stale])
    assert not (tmp_path / "lean/metrics/ablation.csv").exists()


def test_a_ship_that_fails_leaves_the_earlier_run_as_it_was(run, shipped, monkeypatch):
    before = contents(shipped)

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(shipping, "seal", fail)
    with pytest.raises(OSError, match="No space"):
        ship_run(run[0], shipped)
    assert contents(shipped) == before
    assert [path.name for path in shipped.parent.iterdir()] == ["mine"]


def test_a_shipped_run_is_replaced_as_a_whole(run, shipped):
    root, _ = run
    (root / "tables/table1.md").write_text("new")
    (root / "tables/notes.md").unlink()
    ship_run(root, shipped)
    assert (shipped / "tables/table1.md").read_text() == "new"
    assert not (shipped / "tables/notes.md").exists()
    Run.open(shipped).verify()


def test_an_unfinished_run_is_not_shipped(tmp_path):
    with pytest.raises(ArtifactError, match="no finished or shipped run"):
        ship_run(tmp_path, tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


def in_the_way(folder, shipped):
    """What must not be replaced, by the words that it is refused with."""
    thesis, live, link, file = (folder / name for name in ("thesis", "live", "link", "file"))
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("five years")
    shutil.copytree(shipped, live)
    (live / "learners").mkdir()
    (live / "learners/0.safetensors").touch()
    link.symlink_to(shipped)
    file.touch()
    pictures = folder / "pictures"
    (pictures / "figures").mkdir(parents=True)
    (pictures / "figures/mine.png").touch()
    return {
        thesis: r"chapter1\.tex: not part of a shipped run",
        live: r"0\.safetensors: not part of a shipped run",
        pictures: "no shipped run, which alone is replaced",
        link: "it is a link",
        file: "it is a file",
        folder / "missing/new": "there is no folder .*missing",
        shipped.parent: "not part of a shipped run|it holds",
    }


def test_nothing_but_a_shipped_run_is_replaced(shipped, tmp_path):
    for target, message in in_the_way(tmp_path, shipped).items():
        with pytest.raises(ArtifactError, match=message):
            check_target(target, [shipped])
    check_target(shipped, [shipped])
    check_target(tmp_path / "new")


def test_a_run_of_an_earlier_version_is_named_with_what_converts_it(shipped):
    (shipped / "attack_seeds.csv").touch()
    with pytest.raises(ArtifactError, match="jacobian-ensembles convert"):
        Run.open(shipped)
