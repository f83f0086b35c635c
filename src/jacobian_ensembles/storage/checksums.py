"""Checksums for results that are text: records carry their own, tables have a list beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jacobian_ensembles.storage.files import ArtifactError, read_json, write_json, write_text


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


def write_checksums(files: Sequence[str | Path]) -> None:
    """Write ``SHA256SUMS`` beside files of one folder, in the format that ``sha256sum --check`` reads."""
    lines = [f"{hashlib.sha256(Path(f).read_bytes()).hexdigest()}  {Path(f).name}\n" for f in files]
    write_text(Path(files[0]).with_name("SHA256SUMS"), "".join(sorted(lines)))


def verify_checksum(path: str | Path) -> None:
    """Check a file against the ``SHA256SUMS`` beside it; a file that is not listed is not checked.

    Raises:
        ArtifactError: If the file is missing or its content is not what the list says.
    """
    path = Path(path)
    try:
        content, sums = path.read_bytes(), path.with_name("SHA256SUMS")
        lines = sums.read_text(encoding="utf-8").splitlines() if sums.exists() else []
        listed = {name: digest for digest, name in (line.split() for line in lines)}
    except FileNotFoundError as error:
        raise ArtifactError(f"{error.filename}: there is no such file.") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be checked ({error}). Delete it to have it made again.") from error
    if listed.get(path.name, digest := hashlib.sha256(content).hexdigest()) != digest:
        raise ArtifactError(f"{path}: its checksum does not match its content. Delete it to have it made again.")
