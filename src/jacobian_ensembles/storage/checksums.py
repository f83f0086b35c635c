"""Checksums for results that are text: records carry their own, tables have a list beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jacobian_ensembles.storage.files import ArtifactError, read_json, write_json, write_text

#: The list of checksums of the files beside and below it.
SUMS = "SHA256SUMS"


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
        ArtifactError: If the file is missing, not a JSON object, or altered.
    """
    record = read_json(path)
    if record.pop("sha256", None) != _digest(record):
        raise ArtifactError(f"{path}: its checksum does not match its content. Delete it to have it made again.")
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
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def read_checksums(path: str | Path) -> dict[str, str]:
    """What a ``SHA256SUMS`` lists: checksums by the files' names.

    Raises:
        ArtifactError: If it cannot be read.
    """
    try:
        parts = [line.partition("  ") for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read as a list of checksums ({error}).") from error
    if any(len(digest) != 64 or not name for digest, _, name in parts):
        raise ArtifactError(f"{path}: no list of checksums as sha256sum writes it.")
    return {name: digest for digest, _, name in parts}


def verify_checksum(path: str | Path) -> None:
    """Check a file against the ``SHA256SUMS`` beside it, or in the folder above; one not listed is not checked.

    Raises:
        ArtifactError: If the file is missing or its content is not what the list says.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: there is no such file.")
    for folder in (path.parent, path.parent.parent):
        if (sums := folder / SUMS).is_file():
            listed = read_checksums(sums).get(path.relative_to(folder).as_posix())
            if listed is not None and listed != sha256(path):
                raise ArtifactError(
                    f"{path}: its checksum does not match its content. Delete it to have it made again, or take the "
                    "original of a shipped run."
                )
            return


def verify_all(folder: str | Path, ignored: Sequence[str] = ()) -> int:
    """Check every file below a folder against its ``SHA256SUMS``.

    Args:
        folder: Where the list is.
        ignored: Names of files that need not be listed.

    Returns:
        How many files there are, besides the list.

    Raises:
        ArtifactError: If a file is missing, altered or not listed; the message names it.
    """
    folder = Path(folder)
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
