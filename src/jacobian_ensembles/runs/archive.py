"""A shipped run in one file, with its research object and the code at its commit: what an archive like Zenodo keeps."""

from __future__ import annotations

import io
import shutil
import stat
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from jacobian_ensembles.runs.crate import (
    METADATA,
    check_crate,
    check_file,
    check_names,
    files_of,
    listed_files,
    write_crate,
)
from jacobian_ensembles.runs.run import UNLISTED, Run
from jacobian_ensembles.storage.checksums import PROVENANCE, read_provenance, sha256
from jacobian_ensembles.storage.files import ArtifactError, naming, parse_json, read_json, write_bytes

_MOST_METADATA = 2**26  # bytes
#: How many times its own size an archive may hold: tables pack ten to one, zeros a thousand to one.
_MOST_FOLD = 100
_README = """\
Run {run} of "Jacobian Ensembles: a workflow-managed reproduction".

run/                      metrics, tables, figures, configuration, provenance, checksums: see code/results/README.md
code/                     the workflow and its package at commit {commit}
ro-crate-metadata.json    what is what, what made it, and every file's SHA-256, as a Workflow Run RO-Crate

In code/, `make quick` installs and runs a small version, and

    .venv/bin/jacobian-ensembles check ../../{run}.zip     compares every packed file with its checksum
    .venv/bin/jacobian-ensembles join ../run -o ../{run}   draws the figures and tables anew from the metrics
"""


def _commit_of(shipped: Path) -> str:
    """The one commit that made a shipped run.

    Raises:
        ArtifactError: If there were several, or uncommitted changes.
    """
    commits = read_json(shipped / "provenance.json").get("commit", [])
    if len(commits) != 1 or len(commits[0]) != 40:
        made = ", ".join(commits) or "no commit"
        raise ArtifactError(f"{shipped}: made by {made}. Name the commit whose code to pack: --commit HEAD, say.")
    return str(commits[0])


def _git(repository: Path, *command: str) -> bytes:
    done = subprocess.run(["git", "-C", str(repository), *command], capture_output=True, check=False)
    if done.returncode:
        raise ArtifactError(f"{repository}: git {command[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def archive_run(shipped: str | Path, target: str | Path, repository: str | Path, commit: str | None = None) -> str:
    """Pack a shipped run, the code at a commit (without other shipped runs), and a Workflow Run RO-Crate of both.

    Args:
        shipped: A folder that :func:`~jacobian_ensembles.runs.ship.ship_run` wrote.
        target: The ZIP file to write; equal runs and commits give equal bytes.
        repository: A clone of this project.
        commit: The commit whose code to pack; None for the one that made the run.

    Returns:
        The full hash of the commit.

    Raises:
        ArtifactError: If a file of the run is altered, or the run was made by several commits and none is named, or the
            repository does not have it.
    """
    shipped, target, repository = Path(shipped), Path(target), Path(repository)
    Run.open(shipped).verify()
    wanted = commit or _commit_of(shipped)
    commit = _git(repository, "rev-parse", "--verify", f"{wanted}^{{commit}}").decode().strip()
    code = _git(repository, "archive", "--format=tar", commit, "--", ".", ":(exclude)results/reference")
    with tempfile.TemporaryDirectory() as folder, naming(folder):
        crate = Path(folder)
        with tarfile.open(fileobj=io.BytesIO(code)) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # which Python before 3.11.4 has not
            archive.extractall(crate / "code")
        shutil.copytree(shipped, crate / "run", ignore=shutil.ignore_patterns(*UNLISTED))
        (crate / "README.txt").write_text(_README.format(run=shipped.resolve().name, commit=commit), encoding="utf-8")
        write_crate(crate, run="run", workflow="code/Snakefile", commit=commit)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in (crate / "ro-crate-metadata.json", *files_of(crate)):
                entry = zipfile.ZipInfo(path.relative_to(crate).as_posix())  # dated 1980: real times change the bytes
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (path.stat().st_mode & 0o777 | 0o100000) << 16
                packed.writestr(entry, path.read_bytes())
        write_bytes(target, content.getvalue())
    return commit


def check_archive(path: str | Path) -> int:
    """Check a run or an archive, packed or not, file by file. Nothing is unpacked, and none of its code is run.

    Args:
        path: A run's folder, or what :func:`archive_run` wrote, as ZIP file or unpacked.

    Returns:
        How many files there are.

    Raises:
        ArtifactError: If a file is missing, altered, added, a link, or larger than the archive says.
    """
    if Path(path).is_dir():
        run = Run.open(path)
        if run.folder != Path(path).resolve():
            return check_crate(path)
        return run.verify() if run.shipped else _check_live(run.folder)
    try:
        with zipfile.ZipFile(path) as packed:
            return _check_packed(packed, Path(path))
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ArtifactError(f"{path}: no ZIP file that can be read ({error}).") from error


def _check_live(folder: Path) -> int:
    """Check every file of a live run against the provenance of the job that made it."""
    outputs = {
        record.parent / name: checksum
        for record in folder.rglob(f"[!.]*{PROVENANCE}")
        for name, checksum in read_provenance(record).get("outputs", {}).items()
    }
    for path, checksum in sorted(outputs.items()):
        if not path.is_file() or sha256(path) != checksum:
            raise ArtifactError(f"{path}: missing, or not what its job left. Delete it to have it made again.")
    if not outputs:
        raise ArtifactError(f"{folder}: an earlier version made it, which kept no checksums of live runs.")
    return len(outputs)


def _check_packed(packed: zipfile.ZipFile, path: Path) -> int:
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in packed.infolist():
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ArtifactError(f"{path}/{entry.filename}: a link; an archive holds files only.")
        if found.setdefault(entry.filename, entry) is not entry:
            raise ArtifactError(f"{path}/{entry.filename}: packed twice.")
    found = {name: entry for name, entry in found.items() if not entry.is_dir()}
    if METADATA not in found:
        raise ArtifactError(f"{path}: no archive of a run; it holds no {METADATA}.")
    with packed.open(METADATA) as file:
        content = file.read(_MOST_METADATA + 1)
    if len(content) > _MOST_METADATA:
        raise ArtifactError(f"{path}/{METADATA}: larger than {_MOST_METADATA} bytes.")
    listed = listed_files(parse_json(f"{path}/{METADATA}", content), path)
    check_names(found.keys() - {METADATA}, listed, path)
    if (total := sum(size for _, size in listed.values())) > (most := _MOST_FOLD * path.stat().st_size):
        raise ArtifactError(
            f"{path}: it says that it holds {total} bytes, where no run packs more than {most} so small."
        )
    for name, stated in listed.items():
        with packed.open(found[name]) as file:
            check_file(f"{path}/{name}", file, stated)
    return len(listed)
