"""Stages download_dataset and import_dataset: a dataset as one checked file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jacobian_ensembles.data.arrays import DataError, check_arrays, check_class_names, image_shape, repeated_images
from jacobian_ensembles.data.fetching import DATASETS
from jacobian_ensembles.data.folders import read_image_folder
from jacobian_ensembles.extensions.origin import dataset_origin
from jacobian_ensembles.extensions.references import check_reference, folder_of, resolve, short_name
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.storage.files import save_tensors

log = logging.getLogger(__name__)


def download_dataset(
    dataset: str, path: str | Path, local_dir: str | Path | None = None, architecture: str | None = None
) -> None:
    """Obtain a dataset and store it as one checked file; a user's also says where it is from.

    Args:
        dataset: A key of :data:`DATASETS`; or a reference (see :mod:`~jacobian_ensembles.extensions.references`) to a
            folder of images or to a function from ``local_dir`` to the arrays of :func:`check_arrays`.
        path: The file to write.
        local_dir: See :func:`fetch_dataset`.
        architecture: Of the networks that are to be trained on it; None for none.

    Raises:
        DataError: If a user's arrays are not a dataset, or a built-in one could not be fetched; also if a LeNet is to
            be trained on images of another shape.
    """
    name = short_name(dataset)
    check_reference(dataset, DATASETS, folders=True)
    folder = folder_of(dataset)
    arrays = resolve(dataset, DATASETS)(local_dir) if folder is None else read_image_folder(folder, "auto")
    spec: dict[str, Any] = {"dataset": name}
    if dataset not in DATASETS:
        names = arrays.get("class_names") if isinstance(arrays, Mapping) else None
        arrays = check_arrays(name, arrays)
        if architecture is not None:
            _refuse_other_images(name, architecture, image_shape(arrays["train_images"].shape))
        if names is not None:
            spec["class_names"] = check_class_names(name, names, int(arrays["train_labels"].max()) + 1)
        spec["repeated"] = repeated_images(arrays)
        _warn_of_repeated(name, spec["repeated"], len(arrays["test_labels"]))
        spec["origin"] = dataset_origin(dataset, None if local_dir is None else str(local_dir))
    save_tensors(path, arrays, kind="dataset", spec=spec)


def _refuse_other_images(name: str, architecture: str, shape: tuple[int, int, int]) -> None:
    try:
        Architecture(architecture, shape)
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None


def _warn_of_repeated(name: str, repeated: Mapping[str, int], tested: int) -> None:
    inside, train, test = repeated["test_in_train"], repeated["in_train"], repeated["in_test"]
    if inside:
        log.warning(
            "%s: %d of %d test images are training images, byte for byte: accuracy on them says nothing of new ones.",
            name, inside, tested,
        )  # fmt: skip
    if train or test:
        log.info("%s: %d training and %d test images repeat another of their set.", name, train, test)
