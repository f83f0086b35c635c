"""Checksums for results that are text: records carry their own, tables have a list beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jacobian_ensembles.storage.files import ArtifactError, read_json, write_json, write_text
from jacobian_ensembles.storage.places import misplaced

#: The list of checksums of the files beside and below it.
SUMS = "SHA256SUMS"
#: What the name of a provenance record ends in: how a job of the workflow made the files beside it.
PROVENANCE = ".provenance.json"


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256((json.dumps(record, indent=1, sort_keys=True) + "\n").encode()).hexdigest()


def write_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a JSON record with one more key, ``sha256``, the checksum of all others."""
    write_json(path, {**record, "sha256": _digest(record)})


def read_record(path: str | Path) -> dict[str, Any]:
    """Read what :func:`write_record` wrote, and check it.

    Returns:
        The record, without its checksum.

    Raises:
        ArtifactError: If the file is missing, not a JSON object, altered, or not what its path spells.
    """
    record = read_json(path)
    if record.pop("sha256", None) != _digest(record):
        raise ArtifactError(f"{path}: its checksum does not match its content. Delete it to have it made again.")
    if odd := misplaced(path, record):
        raise ArtifactError(f"{path}: it is another result's: {odd}. Delete it to have it made again.")
    return record


def write_checksums(files: Sequence[str | Path], folder: str | Path | None = None) -> None:
    """Write ``SHA256SUMS``, in the format that ``sha256sum --check`` reads.

    Args:
        files: What it lists.
        folder: Where to write it, above all files; None for the folder of the first.
    """
    folder = Path(files[0]).parent if folder is None else Path(folder)
    lines = [f"{sha256(f)}  {Path(f).relative_to(folder).as_posix()}\n" for f in files]
    write_text(folder / SUMS, "".join(sorted(lines, key=lambda line: line.partition("  ")[2])))


def sha256(path: str | Path) -> str:
    """The checksum of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recorded_checksum(path: str | Path) -> str | None:
    """The checksum of a job's output, as the provenance record beside it has it; None where no record names it.

    Raises:
        ArtifactError: If a record beside it is damaged.
    """
    path = Path(path)
    first = path.with_name(f"{path.stem}{PROVENANCE}")
    for record in (first, *sorted(set(path.parent.glob(f"[!.]*{PROVENANCE}")) - {first})):
        if record.is_file() and (found := read_provenance(record).get("outputs", {}).get(path.name)):
            return str(found)
    return None


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Read how a result was made, and check it; records of earlier versions, which list no outputs, have no checksum.

    Raises:
        ArtifactError: If the record is missing, not a JSON object, or altered.
    """
    record = read_json(path)
    return read_record(path) if {"outputs", "sha256"} & record.keys() else record


def read_checksums(path: str | Path) -> dict[str, str]:
    """What a ``SHA256SUMS`` lists: checksums by the files' names.

    Raises:
        ArtifactError: If it cannot be read.
    """
    try:
        parts = [line.partition("  ") for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read as a list of checksums ({error}).") from error
    listed = {name: digest for digest, _, name in parts}
    if any(len(digest) != 64 or not name for digest, _, name in parts) or len(listed) < len(parts):
        raise ArtifactError(f"{path}: no list of checksums as sha256sum writes it, each file once.")
    return listed


def verify_checksum(path: str | Path) -> None:
    """Check a file against the ``SHA256SUMS`` beside it or in the folder above, or the provenance of a job beside it.

    One that none of them names is not checked.

    Raises:
        ArtifactError: If the file is missing or its content is not what the list says.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: there is no such file.")
    for folder in (path.parent, path.parent.parent):
        if (sums := folder / SUMS).is_file():
            listed = read_checksums(sums).get(path.relative_to(folder).as_posix())
            if listed is not None:
                break
    else:
        listed = recorded_checksum(path)
    if listed is not None and listed != sha256(path):
        raise ArtifactError(
            f"{path}: its checksum does not match its content, or it is another result's. Delete it to have it made "
            "again, or take the original of a shipped run."
        )


def refuse_links(folder: str | Path) -> None:
    """Refuse a folder with anything but files and folders in it: a link may lead anywhere.

    Raises:
        ArtifactError: Naming the first.
    """
    for path in sorted(Path(folder).rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ArtifactError(
                f"{path}: {'a link' if path.is_symlink() else 'no file'}; a shipped run holds files only."
            )


def verify_all(folder: str | Path, ignored: Sequence[str] = ()) -> int:
    """Check every file below a folder against its ``SHA256SUMS``.

    Args:
        folder: Where the list is.
        ignored: Names of files that need not be listed.

    Returns:
        How many files there are, besides the list.

    Raises:
        ArtifactError: If a file is missing, altered, a link or not listed; the message names it.
    """
    folder = Path(folder)
    refuse_links(folder)
    listed = read_checksums(folder / SUMS)
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {name: path for name, path in found.items() if path.name not in ignored and name != SUMS}
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            raise ArtifactError(f"{folder / name}: missing, while {SUMS} names it.")
        if name not in listed:
            raise ArtifactError(f"{folder / name}: {SUMS} does not name it. Was it added later?")
        if sha256(found[name]) != listed[name]:
            raise ArtifactError(f"{folder / name}: its checksum is not the one in {SUMS}. Was it altered?")
    return len(found)
