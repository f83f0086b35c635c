"""The research object of a shipped run: what it says, what it notices, and what a validator says of it."""

import hashlib
import importlib.resources
import json

import pytest
import requests
from helpers_runs import ROOT, finished_run, ship

from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.runs.crate import METADATA, check_crate, describe_run, write_crate
from jacobian_ensembles.storage.files import ArtifactError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    root, config = finished_run(folder, "mine", (1, 3))
    ship(root, folder / "shipped" / "mine", config)
    return folder / "shipped" / "mine"


@pytest.fixture
def shipped(made, tmp_path):
    import shutil

    return shutil.copytree(made, tmp_path / "mine")


@pytest.fixture
def entities(shipped):
    return {entity["@id"]: entity for entity in json.loads((shipped / METADATA).read_text())["@graph"]}


def ids(value):
    return {item["@id"] for item in (value if isinstance(value, list) else [value])}


def test_every_file_is_a_part_with_its_checksum(shipped, entities):
    files = {p.relative_to(shipped).as_posix() for p in shipped.rglob("*") if p.is_file()}
    files -= {METADATA, "SHA256SUMS"}
    assert ids(entities["./"]["hasPart"]) == files
    for name in files:
        content = (shipped / name).read_bytes()
        assert entities[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert entities[name]["contentSize"] == str(len(content))
    assert entities["figures/figure1.png"]["encodingFormat"] == "image/png"
    assert entities["tables/table1.md"]["description"].startswith("Table 1: the three models")


def test_the_run_is_one_action_from_data_and_settings_to_results(entities):
    run = entities["#run"]
    assert (run["@type"], run["instrument"]) == ("CreateAction", {"@id": "#jacobian-ensembles"})
    assert run["endTime"] == entities["./"]["datePublished"] == "2026-01-03T00:00:00+00:00"
    assert "3 jobs, 1.60 h in all: 1 craft_uaps, 2 train_learner." in run["description"]
    assert {"config.yaml", "#dataset-mnist", "#setting-attack.seeds"} <= ids(run["object"])
    assert ids(run["result"]) == ids(entities["./"]["hasPart"]) - {"config.yaml"}
    assert entities["#setting-attack.seeds"]["value"] == "50"
    assert entities["#setting-grid.eps"]["value"] == "[0.15, 0.2]"
    assert "agent" not in json.dumps(list(entities.values()))


def test_data_and_software_are_told_apart_from_all_others(entities):
    sums = {entities[name]["value"] for name in ids(entities["#dataset-mnist"]["identifier"])}
    assert sums == set(CARDS["mnist"].sha256.values())
    software = entities["#jacobian-ensembles"]
    assert software["softwareVersion"] == "0.1.0 (commit abc)"
    assert ids(software["softwareRequirements"]) == {"#python", "#torch"}
    assert entities["#torch"]["softwareVersion"] == "2.14.1"


def test_equal_files_give_equal_metadata(shipped):
    before = (shipped / METADATA).read_bytes()
    write_crate(shipped)
    assert (shipped / METADATA).read_bytes() == before


def test_a_users_dataset_is_named(shipped):
    config = shipped / "config.yaml"
    config.write_text(config.read_text().replace("- mnist\n", "- own.py:images\n"))
    named = {entity["@id"]: entity for entity in describe_run(shipped)["@graph"]}
    assert named["#dataset-own.py:images"]["name"] == "own.py:images"


def test_a_folder_that_is_no_shipped_run_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no finished or shipped run"):
        write_crate(tmp_path)


def test_files_are_checked_one_by_one(shipped):
    assert check_crate(shipped) == len([p for p in shipped.rglob("*") if p.is_file()]) - 2
    table = shipped / "tables/table1.md"
    table.write_text(table.read_text() + " ")
    with pytest.raises(ArtifactError, match=r"table1\.md: ro-crate-metadata\.json says 3 bytes; it has more"):
        check_crate(shipped)
    table.unlink()
    with pytest.raises(ArtifactError, match=r"table1\.md: missing, while"):
        check_crate(shipped)
    write_crate(shipped)
    (shipped / "tables/more.md").touch()
    with pytest.raises(ArtifactError, match=r"more\.md: .* does not name it"):
        check_crate(shipped)


@pytest.mark.parametrize("folder", sorted(path.parent for path in ROOT.glob(f"results/reference/*/{METADATA}")))
def test_shipped_runs_are_as_they_are_described(folder):
    check_crate(folder)  # red after an edit: jacobian-ensembles crate results/reference/<run>


def as_a_workflow(shipped, folder):
    """A crate with a workflow's code beside the run."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "Snakefile").write_text("rule all:\n")
    shipped.rename(folder / "run")
    (folder / "run" / METADATA).unlink()
    write_crate(folder, run="run", workflow="code/Snakefile", commit="abc")
    return folder


@pytest.mark.peers
def test_a_validator_finds_the_profiles_that_are_claimed(shipped, tmp_path, monkeypatch):
    """roc-validator, without a network: of everything it looks up on the web, only the vocabulary is needed."""
    services = pytest.importorskip("rocrate_validator.services", reason="pip install --group publishing")
    from rocrate_validator.utils.http import HttpRequester

    # that of RO-Crate 1.3, which rocrate brings; in 1.1 these terms had other addresses
    vocabulary = importlib.resources.files("rocrate").joinpath("data/ro-crate.jsonld").read_text()
    vocabulary = vocabulary.replace("https://bioschemas.org/terms/", "https://bioschemas.org/")

    def get(self, url, **options):
        assert url == "https://w3id.org/ro/crate/1.1/context"
        answer = requests.Response()
        answer.status_code, answer._content = 200, vocabulary.encode()
        answer.headers["Content-Type"] = "application/ld+json"
        return answer

    monkeypatch.setattr(HttpRequester, "get", get, raising=False)

    def issues(folder, profile):
        settings = {"rocrate_uri": str(folder), "profile_identifier": profile, "cache_path": tmp_path / "cache"}
        found = services.validate({**settings, "requirement_severity": "REQUIRED", "offline": True})
        return [f"{issue.check.identifier}: {issue.message}" for issue in found.get_issues()]

    assert issues(shipped, "process-run-crate") == []
    archive = as_a_workflow(shipped, tmp_path / "archive")
    assert issues(archive, "workflow-run-crate") == []
    # a crate that lacks what the profile wants is noticed
    metadata = json.loads((archive / METADATA).read_text())
    metadata["@graph"] = [entity for entity in metadata["@graph"] if entity["@id"] != "#run"]
    (archive / METADATA).write_text(json.dumps(metadata))
    assert issues(archive, "workflow-run-crate")
