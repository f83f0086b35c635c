"""Saving and loading of results: atomic, checked, never pickled."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from jacobian_ensembles.storage.places import misplaced

_HEADER = "jacobian_ensembles"  # one key only: the order of several would not be deterministic


class ArtifactError(ValueError):
    """A stored result is missing, damaged or not of the expected kind; the message names the file."""


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically: readers see the old content or the new, never a part.

    Args:
        path: The file to write; missing folders are made.
        content: The whole content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with naming(path), os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; results are shared. A file system without permissions refuses, and that is fine.
        with suppress(OSError):
            os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Around code that writes: the system does not say where, if a disk is full in the middle of a file.

    Raises:
        OSError: What was raised, with the path.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def try_output(path: str | Path) -> None:
    """Find out whether a file could be written, by doing all that :func:`write_bytes` does but to another name.

    Args:
        path: The file to write; missing folders are made.

    Raises:
        OSError: If it is a folder or a device, or its folder cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"it is a folder; name a file in it, such as {path / 'result'}")
    if path.exists() and not path.is_file():
        raise FileExistsError("it is no ordinary file")
    path.parent.mkdir(parents=True, exist_ok=True)
    trial = path.with_name(f".{path.name}.trial")
    write_bytes(trial, b"trial")
    trial.unlink()


def write_text(path: str | Path, content: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a JSON record atomically, with sorted keys so that equal records are equal bytes."""
    write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON record.

    Raises:
        ArtifactError: If the file is missing or not a JSON object.
    """
    _check_is_file(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}).") from error
    return parse_json(path, content)


def parse_json(path: str | Path, content: bytes) -> dict[str, Any]:
    """What the content of a JSON file says: see :func:`read_json`."""
    try:
        record = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: cannot be read as JSON ({error}). Delete it to have it made again.") from error
    if not isinstance(record, dict):
        raise ArtifactError(f"{path}: expected a JSON object, got {type(record).__name__}. Delete it to rebuild it.")
    return record


def _checksum(tensors: Mapping[str, np.ndarray], kind: str, spec: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([kind, spec], sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()


def save_tensors(path: str | Path, tensors: Mapping[str, np.ndarray], kind: str, spec: Mapping[str, Any]) -> None:
    """Save named arrays as one safetensors file; equal content gives equal bytes.

    Args:
        path: The file to write.
        tensors: The arrays by name.
        kind: What the file is (``dataset``, ``learners``, ``uaps``, ...); :func:`load_tensors` checks it.
        spec: JSON-able facts needed to read the arrays.
    """
    arrays = {name: np.ascontiguousarray(value, value.dtype.newbyteorder("=")) for name, value in tensors.items()}
    header = {"kind": kind, "spec": dict(spec), "sha256": _checksum(arrays, kind, spec)}
    write_bytes(path, serialize(arrays, {_HEADER: json.dumps(header, sort_keys=True)}))


def _open(path: str | Path, only: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header of a file and the named arrays, or all of them, unchecked."""
    _check_is_file(path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in (file.keys() if only is None else only)}
    except Exception as error:  # whatever a strange header makes of it
        raise ArtifactError(f"{path}: not a readable safetensors file ({error}). {_what_it_is(path)}") from error
    if _HEADER not in metadata:
        raise ArtifactError(f"{path}: a safetensors file, but not one of this project (no '{_HEADER}' header).")
    try:
        header = json.loads(metadata[_HEADER])
        if not isinstance(header["spec"], dict):
            raise TypeError("its spec is no mapping")
        return {key: header[key] for key in ("kind", "spec", "sha256")}, tensors
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path}: its header is damaged ({error!r}). Delete it to have it made again.") from error


def read_header(path: str | Path, kind: str | None = None) -> tuple[str, dict[str, Any]]:
    """What a file that :func:`save_tensors` wrote is: its kind and spec, without reading its arrays.

    Args:
        path: The file.
        kind: The kind it must be of; None for any.

    Raises:
        ArtifactError: If the file is missing, truncated, of another kind, or not safetensors at all.
    """
    header, _ = _open(path, ())
    if kind is not None and header["kind"] != kind:
        raise ArtifactError(f"{path}: expected a file of kind '{kind}', got '{header['kind']}'.")
    return header["kind"], header["spec"]


def stored_checksum(path: str | Path) -> str:
    """The checksum of all that a file holds, as its header has it.

    Raises:
        ArtifactError: See :func:`read_header`.
    """
    return str(_open(path, ())[0]["sha256"])


def stored_shape(path: str | Path, name: str) -> tuple[int, ...]:
    """The shape of an array of a file, which is not read.

    Raises:
        ArtifactError: See :func:`read_header`; also if there is no such array.
    """
    _open(path, ())
    with understanding(path):
        try:
            with safe_open(str(path), framework="numpy") as file:
                return tuple(file.get_slice(name).get_shape())
        except SafetensorError as error:
            raise ValueError(str(error)) from error


def load_tensors(
    path: str | Path, kind: str, only: Sequence[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Load what :func:`save_tensors` wrote, after checking every byte of it.

    Args:
        path: The file.
        kind: The kind it must be of.
        only: Read just these arrays, without checking any checksum; None reads and checks all.

    Returns:
        The arrays by name, and the spec.

    Raises:
        ArtifactError: If the file is missing, truncated, altered, of another kind, not what its path spells (see
            :func:`~jacobian_ensembles.storage.places.misplaced`), or not safetensors at all.
    """
    header, tensors = _open(path, only)
    spec: dict[str, Any] = header["spec"]
    if header["kind"] != kind:
        raise ArtifactError(f"{path}: expected a file of kind '{kind}', got '{header['kind']}'.")
    if only is None and header["sha256"] != _checksum(tensors, kind, spec):
        raise ArtifactError(f"{path}: its checksum does not match its content. Delete it to have it made again.")
    if odd := misplaced(path, spec):
        raise ArtifactError(f"{path}: it is another result's: {odd}. Delete it to have it made again.")
    return tensors, spec


def _check_is_file(path: str | Path) -> None:
    if not Path(path).exists():
        raise ArtifactError(f"{path}: there is no such file.")
    if not Path(path).is_file():
        what = "a folder" if Path(path).is_dir() else "no ordinary file"
        raise ArtifactError(f"{path}: it is {what}, where a file is needed.")


def _what_it_is(path: str | Path) -> str:
    """What a file that is not safetensors seems to be, and what to do: only one of ours can be made again."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(100_000)
    except OSError:
        return "Give this user the right to read it."
    if f'"{_HEADER}"'.encode() in start:
        return "It is truncated or damaged; delete it to have it made again."
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return (
            "It looks like a file of torch.save, which could hold any code. Write a function that builds your model "
            "and loads it, and name that: path/to/file.py:function."
        )
    return "It is none of this project's files; a model of your own is named by path/to/file.py:function."


@contextmanager
def understanding(path: str | Path) -> Iterator[None]:
    """Around code that reads what a file says of itself: what it lacks, or has of another type, is refused in one line.

    Raises:
        ArtifactError: Naming the file.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        if isinstance(error, ArtifactError):
            raise
        told = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"{path}: it does not say what a file of its kind must ({told}).") from error


def check_tensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], expected: Mapping[str, tuple[tuple[int, ...], str]]
) -> None:
    """Check names, shapes and dtypes of loaded arrays.

    Args:
        path: The file they came from, for the message.
        tensors: The arrays by name.
        expected: (shape, dtype name) by name.

    Raises:
        ArtifactError: If they differ; the message names every difference.
    """
    problems = [f"missing {name}" for name in sorted(expected.keys() - tensors.keys())]
    problems += [f"unexpected {name}" for name in sorted(tensors.keys() - expected.keys())]
    for name in sorted(expected.keys() & tensors.keys()):
        got = (tensors[name].shape, tensors[name].dtype.name)
        if got != expected[name]:
            problems.append(f"{name} is {got[1]} {got[0]} where {expected[name][1]} {expected[name][0]} was expected")
    if problems:
        raise ArtifactError(f"{path}: {'; '.join(problems)}. Delete it to have it made again.")
