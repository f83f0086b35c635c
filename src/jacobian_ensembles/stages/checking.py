"""What no job could read or train on, refused before there are jobs."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.data.arrays import image_shape
from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.data.fetching import list_files, place_in
from jacobian_ensembles.data.folders import shape_of_first
from jacobian_ensembles.extensions.origin import dataset_origin
from jacobian_ensembles.extensions.references import folder_of
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.storage.files import read_header, stored_shape


def check_source(dataset: str, local_dir: str | None, architecture: str, stored: Path) -> None:
    """Look whether a dataset can be read and trained on: no more than file names, and one image of a folder.

    Args:
        dataset: As the configuration names it. What a function of the user's returns is known once it is stored.
        local_dir: The folder of a built-in dataset's files; None to download them.
        architecture: Of the networks that are to be trained on it.
        stored: Where the dataset is kept once it was read.

    Raises:
        DataError: If a file or folder is missing or out of place.
        ValueError: If a LeNet is to be trained on images of another shape.
    """
    there = stored.is_file()
    if dataset in CARDS:
        if local_dir is not None and not there:
            list_files(dataset, place_in(dataset, local_dir))
        return
    folder = folder_of(dataset)
    # what its source no longer gives is read anew
    if there and read_header(stored, kind="dataset")[1].get("origin") == dataset_origin(dataset, local_dir):
        shape = image_shape(stored_shape(stored, "train_images"))
    elif folder is not None:
        shape = shape_of_first(folder)
    else:
        return
    try:
        Architecture(architecture, shape)
    except ValueError as error:
        raise ValueError(f"{dataset}: {error}") from None
