"""A shipped run as a research object: what made it, from what, with which settings, as RO-Crate metadata.

The profiles are those of Workflow Run RO-Crate 0.5: a shipped run is a Process Run Crate; packed together with the
workflow's code it is a Workflow Run Crate, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from jacobian_ensembles.data.cards import CARDS, FILES
from jacobian_ensembles.paper.catalogue import FIGURES, TABLES
from jacobian_ensembles.runs.run import UNLISTED, Run
from jacobian_ensembles.storage.checksums import SUMS, refuse_links
from jacobian_ensembles.storage.files import ArtifactError, read_json, understanding, write_json

if TYPE_CHECKING:
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

METADATA = "ro-crate-metadata.json"
_PIECE = 2**20
_RUN_PROFILES = "https://w3id.org/ro/wfrun"
_TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
_LICENSE = "https://spdx.org/licenses/MIT"
_PAPER = "https://arxiv.org/abs/2204.08726"
_FORMATS = {".csv": "text/csv", ".json": "application/json", ".md": "text/markdown", ".pdf": "application/pdf",
            ".png": "image/png", ".py": "text/x-python", ".smk": "text/plain", ".tex": "application/x-tex",
            ".html": "text/html", ".yaml": "application/yaml", ".yml": "application/yaml"}  # fmt: skip
_SAID = {
    "config.yaml": "The resolved configuration of the run.",
    "provenance.json": "What made the run: jobs and hours per rule, commits, devices and versions.",
    "records.csv": "The accuracy of every model under every attack seed, and what the attack counted.",
    "SHA256SUMS": "The checksum of every other file of the run.",
}
_PACKAGES = ("python", "torch", "torchvision", "numpy", "pandas", "seaborn")


def files_of(folder: Path) -> list[Path]:
    """The files of a crate, in order: all below the folder but its metadata, its checksums and Snakemake's stamps."""
    own = {folder / METADATA, folder / SUMS}
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p for p in found if p not in own and p.name not in UNLISTED)


def _leaves(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted key."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _description(path: Path) -> str | None:
    captions = {item.name: item.caption for item in (*FIGURES, *TABLES)}
    return _SAID.get(path.name, captions.get(path.stem))


def _facts(path: Path) -> dict[str, Any]:
    """What a crate says about a file."""
    content = path.read_bytes()
    facts = {
        "name": path.name,
        "description": _description(path),
        "encodingFormat": _FORMATS.get(path.suffix, "text/plain"),
        "contentSize": str(len(content)),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _add(crate: ROCrate, where: str, kind: str, **facts: Any) -> ContextEntity:
    from rocrate.model.contextentity import ContextEntity

    known = {name: value for name, value in facts.items() if value not in (None, [])}
    return crate.add(ContextEntity(crate, where, properties={"@type": kind, **known}))


def _add_dataset(crate: ROCrate, reference: str) -> ContextEntity:
    """A dataset, which is not among the crate's files; a built-in one is identified by the checksums of its own."""
    card = CARDS.get(reference)
    if card is None:
        return _add(crate, f"#dataset-{reference}", "CreativeWork", name=reference, description="A user's dataset.")
    sums = [
        _add(crate, f"#{reference}-{FILES[part]}", "PropertyValue", name=FILES[part], propertyID="sha256", value=digest)
        for part, digest in card.sha256.items()
    ]
    return _add(crate, f"#dataset-{reference}", "CreativeWork", name=card.title, identifier=sums)


def _add_software(crate: ROCrate, made: Mapping[str, Any]) -> ContextEntity:
    """This package at its commits, and what its results depend on, in every version that took part."""
    needed = [
        _add(crate, f"#{name}", "SoftwareApplication", name=name, softwareVersion=", ".join(made[name]))
        for name in _PACKAGES
        if made.get(name)
    ]
    version = f"{', '.join(made['package'])} (commit {', '.join(made['commit'])})"
    name = "Jacobian Ensembles: a workflow-managed reproduction"
    return _add(
        crate, "#jacobian-ensembles", "SoftwareApplication", name=name, softwareVersion=version,
        softwareRequirements=needed, license={"@id": _LICENSE},
    )  # fmt: skip


def _profiles(crate: ROCrate, names: Sequence[str]) -> list[ContextEntity]:
    return [
        _add(crate, f"{_RUN_PROFILES}/{name}/0.5", "CreativeWork", name=f"{name.title()} Run Crate", version="0.5")
        for name in names
    ]


def _describe_root(crate: ROCrate, config: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    run, banner = config["run"]["name"], config["run"]["banner"]
    _add(crate, _LICENSE, "CreativeWork", name="MIT License", url=_LICENSE)
    title = "Jacobian Ensembles Improve Robustness Trade-offs to Adversarial Attacks"
    _add(crate, _PAPER, "ScholarlyArticle", name=title, url=_PAPER)
    text = f"A run of the workflow that reproduces '{title}': metrics, tables and figures, with what made them."
    root = crate.root_dataset
    root["name"] = f"Jacobian Ensembles, run {run}"
    root["description"] = f"{text} {banner}".strip()
    root["datePublished"] = made["last_finished"]
    root["license"] = {"@id": _LICENSE}
    root["citation"] = {"@id": _PAPER}


def describe_run(folder: str | Path, run: str = ".", workflow: str | None = None, commit: str = "") -> dict[str, Any]:
    """The metadata of a crate around a shipped run.

    Args:
        folder: The crate.
        run: The shipped run's folder within it; the run's files are the results, all others are code.
        workflow: The Snakefile within the crate, if it holds the code; the crate is then a Workflow Run Crate.
        commit: The commit of that code.

    Returns:
        JSON-LD. Equal files give equal metadata; it does not say who ran it.

    Raises:
        ArtifactError: If the folder holds no shipped run.
    """
    from rocrate.rocrate import ROCrate

    folder = Path(folder)
    shipped = folder / run
    opened = Run.open(shipped)
    made, config = opened.made, opened.config

    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms.update(_TERMS)
    _describe_root(crate, config, made)
    instrument = _add_software(crate, made)
    if workflow is not None:
        software, facts = instrument, {"version": commit, "license": {"@id": _LICENSE}, **_facts(folder / workflow)}
        instrument = crate.add_workflow(
            str(folder / workflow), workflow, main=True, lang="snakemake", gen_cwl=False, properties=facts
        )
        instrument["softwareRequirements"] = software
    crate.root_dataset["conformsTo"] = _profiles(crate, ["process"] if workflow is None else ["process", "workflow"])

    files = {
        path: crate.add_file(str(path), path.relative_to(folder).as_posix(), properties=_facts(path))
        for path in files_of(folder)
        if path != folder / (workflow or "")
    }
    results = {path: entity for path, entity in files.items() if path.is_relative_to(shipped)}
    parameters = [
        _add(crate, f"#setting-{key}", "PropertyValue", name=key, value=text)
        for key, value in _leaves(config)
        for text in [value if isinstance(value, str) else json.dumps(value)]
    ]
    datasets = [_add_dataset(crate, name) for name in config["grid"]["datasets"]]
    jobs = ", ".join(f"{count} {rule}" for rule, count in sorted(made["jobs"].items()))
    action = crate.add_action(
        instrument,
        "#run",
        object=[results[shipped / "config.yaml"], *datasets, *parameters],
        result=[entity for path, entity in results.items() if path.name != "config.yaml"],
        properties={
            "name": f"Run {config['run']['name']}",
            "description": f"{sum(made['jobs'].values())} jobs, {sum(made['hours'].values()):.2f} h in all: {jobs}.",
            "endTime": made["last_finished"],
        },
    )
    crate.root_dataset["mentions"] = action
    metadata: dict[str, Any] = crate.metadata.generate()
    return metadata


def write_crate(folder: str | Path, **within: str) -> None:
    """Write a crate's metadata: see :func:`describe_run`."""
    write_json(Path(folder) / METADATA, describe_run(folder, **within))


def listed_files(metadata: Mapping[str, Any], path: str | Path) -> dict[str, tuple[str, int]]:
    """The SHA-256 and the size in bytes of every file that a crate's metadata lists.

    Args:
        metadata: Its JSON-LD.
        path: The crate, for messages.

    Raises:
        ArtifactError: If it lists none, one twice, or one without its size.
    """
    listed: dict[str, tuple[str, int]] = {}
    with understanding(Path(path) / METADATA):
        for entity in metadata["@graph"]:
            if "sha256" in entity:
                facts = str(entity["sha256"]), int(entity["contentSize"])
                if listed.setdefault(str(entity["@id"]), facts) != facts:
                    raise ArtifactError(f"{path}: {METADATA} lists {entity['@id']} twice.")
    if not listed:
        raise ArtifactError(f"{path}: {METADATA} lists no file.")
    return listed


def check_file(name: str, file: IO[bytes], stated: tuple[str, int]) -> None:
    """Check one file against its checksum, reading in pieces, and no more than its stated size.

    Args:
        name: What messages call it.
        file: Its content.
        stated: Of :func:`listed_files`.

    Raises:
        ArtifactError: If it is of another size or altered.
    """
    (wanted, size), digest, read = stated, hashlib.sha256(), 0
    while read <= size and (piece := file.read(min(_PIECE, size + 1 - read))):
        read += len(piece)
        digest.update(piece)
    if read != size:
        raise ArtifactError(f"{name}: {METADATA} says {size} bytes; it has {'more' if read > size else read}.")
    if digest.hexdigest() != wanted:
        raise ArtifactError(f"{name}: its checksum is not the one in {METADATA}.")


def check_names(found: Collection[str], listed: Collection[str], path: str | Path) -> None:
    """Check that a crate holds what its metadata lists, and nothing else.

    Raises:
        ArtifactError: Naming the first file that is missing or was added.
    """
    for name in sorted({*listed} - {*found}):
        raise ArtifactError(f"{path}/{name}: missing, while {METADATA} names it.")
    for name in sorted({*found} - {*listed}):
        raise ArtifactError(
            f"{path}/{name}: {METADATA} does not name it. Was it added later, or left by code that was run here? Check "
            "the archive itself, or unpack it anew."
        )


def check_crate(folder: str | Path) -> int:
    """Check every file of a crate against its metadata.

    Args:
        folder: The crate, such as an unpacked archive.

    Returns:
        How many files there are.

    Raises:
        ArtifactError: If a file is missing, altered, a link, or not in the metadata.
    """
    folder = Path(folder)
    refuse_links(folder)
    listed = listed_files(read_json(folder / METADATA), folder)
    found = {path.relative_to(folder).as_posix(): path for path in files_of(folder)}
    check_names(found, listed, folder)
    for name, path in found.items():
        with path.open("rb") as file:
            check_file(str(path), file, listed[name])
    return len(found)
