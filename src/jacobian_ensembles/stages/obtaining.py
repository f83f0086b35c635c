"""A dataset as a file, obtained where it is missing: for the command line and the library."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.extensions.origin import dataset_origin, place_token
from jacobian_ensembles.extensions.references import check_reference, short_name
from jacobian_ensembles.runs.layout import Layout
from jacobian_ensembles.stages.download_dataset import download_dataset
from jacobian_ensembles.stages.inputs import StoredImages
from jacobian_ensembles.storage.files import read_header


def obtain_dataset(
    dataset: str, results: str | Path = "results", local_dir: str | Path | None = None, run: str = "single"
) -> Path:
    """Store a dataset where it belongs, unless it lies there already, unchanged at its source.

    Args:
        dataset: See :func:`load_dataset`.
        results: See :func:`load_dataset`.
        local_dir: See :func:`load_dataset`.
        run: The run that a dataset of one's own belongs to; a built-in one is for all.

    Returns:
        The file.

    Raises:
        DataError: See :func:`load_dataset`.
        ExtensionError: See :func:`load_dataset`.
    """
    check_reference(dataset, CARDS, folders=True)
    layout, place = Layout(str(results), run), None if local_dir is None else str(local_dir)
    if dataset in CARDS:
        path = Path(layout.dataset.format(dataset=dataset))
        current = path.is_file()
    else:
        origin = dataset_origin(dataset, place)
        path = Path(layout.own_dataset.format(dataset=f"{short_name(dataset)}-{place_token(origin)}"))
        current = path.is_file() and read_header(path, kind="dataset")[1].get("origin") == origin
    if not current:
        download_dataset(dataset, path, place)
    return path


def load_dataset(
    dataset: str,
    results: str | Path = "results",
    local_dir: str | Path | None = None,
    validation_images: int | None = None,
) -> StoredImages:
    """Load a dataset, obtained first where it is missing.

    Args:
        dataset: ``mnist`` or ``fashion_mnist``; a folder of images, ``path/to/folder`` (with a slash), which has
            ``train/<class>/*`` and ``test/<class>/*``; or a reference to a function, ``path/to/file.py:object``.
        results: Where it is stored and looked for: the folder that the workflow and the command line use.
        local_dir: A folder with the IDX files of a built-in dataset, to download nothing; or what a function is given.
        validation_images: Size of the validation split; None for 5,000, but at most a tenth of the training set.

    Returns:
        An object with ``train``, ``validation`` and ``test``, each images (B, channels, height, width), float32 in
        [0, 1], and labels (B,), read on first use; and ``classes`` and ``class_names``.

    Raises:
        DataError: If it cannot be obtained, or is no dataset; the message says why.
        ExtensionError: If there is no such dataset, folder or function.
    """
    return StoredImages(obtain_dataset(dataset, results, local_dir), validation_images, dataset=short_name(dataset))
